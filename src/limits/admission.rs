//! Admission control for upgrades: it spaces them out, so that a reconnect storm cannot starve the sockets
//! that are already open.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::select;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// Maximum time that a client waits for a slot. A client that would wait longer is refused at once and has to retry
/// later.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Slots of this time that were not used stay available, so that a few upgrades at once need not wait.
const BURST_WINDOW: Duration = Duration::from_millis(50);

/// Grants evenly spaced slots, in the order of the calls.
#[derive(Debug)]
pub struct AdmissionLimiter {
    /// Time between two slots; `None` if the limit is turned off.
    interval: Option<Duration>,
    next_slot: Mutex<Instant>,
    disabled: CancellationToken,
}

impl AdmissionLimiter {
    /// A limiter that admits `per_second` callers a second; 0 turns the limit off.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let interval = (per_second > 0).then(|| Duration::from_secs(1) / per_second);
        Self { interval, next_slot: Mutex::new(Instant::now()), disabled: CancellationToken::new() }
    }

    /// Waits for the next slot.
    ///
    /// # Errors
    /// `overloaded`, at once, if the wait would exceed 10 seconds.
    pub async fn acquire(&self) -> Result<(), Error> {
        let Some(interval) = self.interval.filter(|_| !self.disabled.is_cancelled()) else { return Ok(()) };
        let now = Instant::now();
        let slot = {
            let mut next_slot = self.next_slot.lock();
            let slot = (*next_slot).max(now - BURST_WINDOW);
            if slot > now + MAX_WAIT {
                return Err(Error::overloaded());
            }
            *next_slot = slot + interval;
            slot
        };
        if slot > now {
            select! {
                () = sleep_until(slot) => {}
                () = self.disabled.cancelled() => {}
            }
        }
        Ok(())
    }

    /// Admits all callers from now on, including those that wait: during a graceful shutdown each client gets its
    /// close frame at once.
    pub fn disable(&self) {
        self.disabled.cancel();
    }
}
