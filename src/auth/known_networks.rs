//! The networks from which users have proved that an account is theirs. The cache is a hint for the order of
//! [`hash_queue`](super::hash_queue) and is kept in memory alone: sessions hold the same of users who have
//! not signed out.

use std::time::Duration;

use moka::sync::Cache;

use crate::limits::keyed_rate_limit::IpPrefix;
use crate::model::UserId;

/// Maximum number of pairs that are kept; past it, the least used are evicted.
const MAX_PAIRS: u64 = 65_536;
/// How long an unused pair is kept.
const IDLE_TIMEOUT: Duration = Duration::from_hours(24);

/// A cache of pairs of an account and a network.
#[derive(Clone, Debug)]
pub struct KnownNetworks(Cache<(UserId, IpPrefix), ()>);

impl KnownNetworks {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self(Cache::builder().max_capacity(MAX_PAIRS).time_to_idle(IDLE_TIMEOUT).build())
    }

    /// Remembers that a user has signed up or in from a network.
    pub fn insert(&self, user: UserId, network: IpPrefix) {
        self.0.insert((user, network), ());
    }

    /// Whether the user has signed up or in from this network.
    #[must_use]
    pub fn contains(&self, user: UserId, network: &IpPrefix) -> bool {
        self.0.get(&(user, network.clone())).is_some()
    }
}

impl Default for KnownNetworks {
    fn default() -> Self {
        Self::new()
    }
}
