//! The rate limit of one socket. Requests over the limit are refused with the time to wait; a socket that ignores
//! this for several bursts is disconnected.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::Limits;

/// A socket is disconnected once this many bursts' worth of its requests were refused without a pause.
const MAX_REFUSED_BURSTS: u32 = 5;
/// A pause of this length sets the count of refused requests back to zero.
const REFUSALS_RESET_AFTER: Duration = Duration::from_secs(1);

/// The token bucket of one socket, with `requests_per_second` and `request_burst` of the settings.
#[derive(Debug)]
pub struct SocketRateLimiter {
    /// `None` if the limit is turned off.
    limiter: Option<DefaultDirectRateLimiter>,
    clock: DefaultClock,
    refused: u32,
    max_refused: u32,
    last_refused: Instant,
}

/// Whether a request is processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateVerdict {
    /// It is within the limit.
    Allow,
    /// It is over the limit; one made after this time is allowed.
    RetryAfter(Duration),
    /// The socket kept sending over its limit.
    Disconnect,
}

impl SocketRateLimiter {
    /// A full bucket.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let burst = NonZeroU32::new(limits.request_burst).unwrap_or(NonZeroU32::MIN);
        let limiter = NonZeroU32::new(limits.requests_per_second)
            .map(|rate| RateLimiter::direct(Quota::per_second(rate).allow_burst(burst)));
        let max_refused = burst.get().saturating_mul(MAX_REFUSED_BURSTS);
        Self { limiter, clock: DefaultClock::default(), refused: 0, max_refused, last_refused: Instant::now() }
    }

    /// Takes one token for a request, if there is one.
    pub fn check(&mut self) -> RateVerdict {
        let Some(limiter) = &self.limiter else { return RateVerdict::Allow };
        let Err(until) = limiter.check() else { return RateVerdict::Allow };
        if self.last_refused.elapsed() > REFUSALS_RESET_AFTER {
            self.refused = 0;
        }
        self.last_refused = Instant::now();
        self.refused += 1;
        if self.refused > self.max_refused {
            RateVerdict::Disconnect
        } else {
            RateVerdict::RetryAfter(until.wait_time_from(self.clock.now()))
        }
    }
}
