//! How many requests one socket may make.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config::Limits;

/// A socket that was refused so many bursts' worth of requests, without a quiet second between
/// them, does not listen.
const BURSTS_TOO_MANY: u32 = 5;
const QUIET: Duration = Duration::from_secs(1);

pub(super) struct Rate {
    /// None where the limit is turned off.
    limiter: Option<DefaultDirectRateLimiter>,
    clock: DefaultClock,
    refused: u32,
    most_refused: u32,
    last_refused: Instant,
}

pub(super) enum Verdict {
    Go,
    /// Come back after this time.
    Wait(Duration),
    /// Kept breaking the limit.
    Out,
}

impl Rate {
    pub(super) fn new(limits: &Limits) -> Self {
        let burst = NonZeroU32::new(limits.request_burst).unwrap_or(NonZeroU32::MIN);
        let limiter = NonZeroU32::new(limits.requests_per_second)
            .map(|rate| RateLimiter::direct(Quota::per_second(rate).allow_burst(burst)));
        let most_refused = burst.get().saturating_mul(BURSTS_TOO_MANY);
        Self { limiter, clock: DefaultClock::default(), refused: 0, most_refused, last_refused: Instant::now() }
    }

    /// Counts a request.
    pub(super) fn count(&mut self) -> Verdict {
        let Some(limiter) = &self.limiter else { return Verdict::Go };
        let Err(until) = limiter.check() else { return Verdict::Go };
        if self.last_refused.elapsed() > QUIET {
            self.refused = 0;
        }
        self.last_refused = Instant::now();
        self.refused += 1;
        if self.refused > self.most_refused {
            Verdict::Out
        } else {
            Verdict::Wait(until.wait_time_from(self.clock.now()))
        }
    }
}
