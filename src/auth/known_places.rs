//! From which networks people have proved that an account is theirs. A hint for
//! [`hash_queue`](super::hash_queue), and kept in memory alone: sessions say the same of those who have not
//! signed out.

use std::time::Duration;

use moka::sync::Cache;

use crate::limits::rate_limit::Network;
use crate::model::UserId;

/// Most pairs that are kept; the least used go.
const MAX_PAIRS: u64 = 65_536;
/// How long a pair is kept that is not used.
const UNUSED_LIFETIME: Duration = Duration::from_hours(24);

/// Pairs of an account and a network.
#[derive(Clone, Debug)]
pub struct KnownPlaces(Cache<(UserId, Network), ()>);

impl KnownPlaces {
    /// None are known.
    #[must_use]
    pub fn new() -> Self {
        Self(Cache::builder().max_capacity(MAX_PAIRS).time_to_idle(UNUSED_LIFETIME).build())
    }

    /// Somebody has signed up or in.
    pub fn remember(&self, user: UserId, network: Network) {
        self.0.insert((user, network), ());
    }

    /// Whether somebody has, from this network.
    #[must_use]
    pub fn contains(&self, user: UserId, network: &Network) -> bool {
        self.0.get(&(user, network.clone())).is_some()
    }
}

impl Default for KnownPlaces {
    fn default() -> Self {
        Self::new()
    }
}
