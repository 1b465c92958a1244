//! How often one network may sign up or log in, and one user or session ask over HTTP or open a socket,
//! on this node.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::error::Error;

/// The attempts of one kind, by who makes them.
#[derive(Debug)]
pub struct Attempts<K: Hash + Eq + Clone> {
    /// None where the limit is turned off.
    limiter: Option<DefaultKeyedRateLimiter<K>>,
}

impl<K: Hash + Eq + Clone> Attempts<K> {
    /// So many a minute of each, all at once if need be; 0 for any number.
    #[must_use]
    pub fn per_minute(number: u32) -> Self {
        Self::of(NonZeroU32::new(number).map(Quota::per_minute))
    }

    /// So many a second of each, and `burst` at once; 0 a second for any number.
    #[must_use]
    pub fn per_second(number: u32, burst: u32) -> Self {
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        Self::of(NonZeroU32::new(number).map(|number| Quota::per_second(number).allow_burst(burst)))
    }

    fn of(quota: Option<Quota>) -> Self {
        Self { limiter: quota.map(RateLimiter::keyed) }
    }

    /// Counts an attempt.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub fn count(&self, who: impl Into<K>) -> Result<(), Error> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter
            .check_key(&who.into())
            .map_err(|until| Error::rate_limited(until.wait_time_from(DefaultClock::default().now())))
    }

    /// Forgets those who have been quiet. To be called every so often.
    pub fn forget_quiet(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

/// The addresses of one customer, who holds a whole /64 of IPv6.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl Network {
    /// The network that this one is likely to have been given out of: a /48 of IPv6, which one customer
    /// may hold whole, and a /24 of IPv4.
    #[must_use]
    pub fn site(&self) -> Self {
        Self(match self.0 {
            IpAddr::V6(v6) => {
                let [a, b, c, ..] = v6.segments();
                // Not all zero behind it, so that no site is the same as one of its networks.
                Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 1).into()
            }
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Ipv6Addr::from_bits(u128::from(u32::from_be_bytes([0, a, b, c]))).into()
            }
        })
    }
}
