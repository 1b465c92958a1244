//! Keyed rate limits of this node: sign-ups and sign-ins by network, requests over HTTP and WebSocket upgrades
//! by session and by user. Past a limit a caller is refused with the time to wait (429 and `Retry-After`).

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::error::Error;

/// A rate limit of one kind of request, counted for each key by itself.
#[derive(Debug)]
pub struct KeyedRateLimiter<K: Hash + Eq + Clone> {
    /// `None` if the limit is turned off.
    limiter: Option<DefaultKeyedRateLimiter<K>>,
}

impl<K: Hash + Eq + Clone> KeyedRateLimiter<K> {
    /// A limit of `number` requests a minute for each key, which may arrive all at once; 0 turns it off.
    #[must_use]
    pub fn per_minute(number: u32) -> Self {
        Self::with_quota(NonZeroU32::new(number).map(Quota::per_minute))
    }

    /// A limit of `number` requests a second for each key, and of `burst` at once; 0 a second turns it off.
    #[must_use]
    pub fn per_second(number: u32, burst: u32) -> Self {
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        Self::with_quota(NonZeroU32::new(number).map(|number| Quota::per_second(number).allow_burst(burst)))
    }

    fn with_quota(quota: Option<Quota>) -> Self {
        Self { limiter: quota.map(RateLimiter::keyed) }
    }

    /// Counts a request of this key.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait, if the key is past its limit.
    pub fn check(&self, key: impl Into<K>) -> Result<(), Error> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter
            .check_key(&key.into())
            .map_err(|until| Error::rate_limited(until.wait_time_from(DefaultClock::default().now())))
    }

    /// Frees the memory of keys that have their whole quota again. A background task calls this at an interval.
    pub fn evict_idle(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

/// The addresses that one customer of a provider holds: an IPv4 address, or a whole /64 of IPv6.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IpPrefix(IpAddr);

impl From<IpAddr> for IpPrefix {
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

impl IpPrefix {
    /// The shorter prefix that this one is likely to have been assigned from: a /48 of IPv6, which one customer
    /// may hold whole, or a /24 of IPv4.
    #[must_use]
    pub fn site(&self) -> Self {
        Self(match self.0 {
            IpAddr::V6(v6) => {
                let [a, b, c, ..] = v6.segments();
                // The last bit keeps a site apart from the first of its own prefixes.
                Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 1).into()
            }
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Ipv6Addr::from_bits(u128::from(u32::from_be_bytes([0, a, b, c]))).into()
            }
        })
    }
}
