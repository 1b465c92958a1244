//! How often one address may sign up or log in, on this node.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::error::Error;

/// The attempts of one kind, by address.
#[derive(Debug)]
pub struct Attempts {
    /// None where the limit is turned off.
    limiter: Option<DefaultKeyedRateLimiter<IpAddr>>,
}

impl Attempts {
    /// So many a minute from one address, all at once if need be; 0 for any number.
    #[must_use]
    pub fn per_minute(number: u32) -> Self {
        Self { limiter: NonZeroU32::new(number).map(|number| RateLimiter::keyed(Quota::per_minute(number))) }
    }

    /// Counts an attempt.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub fn count(&self, address: IpAddr) -> Result<(), Error> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter
            .check_key(&whose(address))
            .map_err(|until| Error::rate_limited(until.wait_time_from(DefaultClock::default().now())))
    }

    /// Forgets the addresses that have been quiet. To be called every so often.
    pub fn forget_quiet(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

/// One customer holds a whole /64 of IPv6.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}
