//! One after the other, so many a second: when everybody comes back at once, those who are here go on.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::select;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// Longest wait for a turn; who would wait longer comes back later.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Turns that nobody took stay free for so long.
const FREE_FOR: Duration = Duration::from_millis(50);

/// Gives out turns, in the order in which they are asked for.
#[derive(Debug)]
pub struct Pace {
    /// From one turn to the next; `None` where all may go at once.
    interval: Option<Duration>,
    next: Mutex<Instant>,
    ended: CancellationToken,
}

impl Pace {
    /// So many turns a second; 0 is no limit.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let interval = (per_second > 0).then(|| Duration::from_secs(1) / per_second);
        Self { interval, next: Mutex::new(Instant::now()), ended: CancellationToken::new() }
    }

    /// Waits for the next turn.
    ///
    /// # Errors
    /// `overloaded`, at once, where that would take too long.
    pub async fn turn(&self) -> Result<(), Error> {
        let Some(interval) = self.interval.filter(|_| !self.ended.is_cancelled()) else { return Ok(()) };
        let now = Instant::now();
        let turn = {
            let mut next = self.next.lock();
            let turn = (*next).max(now - FREE_FOR);
            if turn > now + LONGEST_WAIT {
                return Err(Error::overloaded());
            }
            *next = turn + interval;
            turn
        };
        if turn > now {
            select! {
                () = sleep_until(turn) => {}
                () = self.ended.cancelled() => {}
            }
        }
        Ok(())
    }

    /// Nobody has to wait any more: at a stop, whoever comes is to hear of it.
    pub fn end(&self) {
        self.ended.cancel();
    }
}
