//! Deadlines of requests. A request is answered within [`REQUEST_TIMEOUT`] of its arrival, also while the
//! database hangs.
//!
//! During a slow command no further request is processed, so later requests wait in the decoder's or the kernel's
//! buffer, where their arrival is not recorded. After such a stall, requests that are read at once are taken to
//! have arrived with the last request read before it.

use std::time::Duration;

use tokio::time::Instant;

/// Maximum time from the arrival of a request to its answer. It is longer than the timeout of one write
/// transaction (`WRITE_TIMEOUT` of the writer).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(12);
/// A pause in reading of at least this length is a stall: the requests read after it may have waited as long.
const STALL_THRESHOLD: Duration = Duration::from_secs(1);
/// Requests that are read within this time after a stall belong to its backlog.
const BACKLOG_READ_TIME: Duration = Duration::from_millis(100);

/// Computes the deadlines for the requests of one connection.
pub(super) struct RequestDeadline {
    /// When the request that was read last is taken to have arrived.
    arrived: Instant,
    /// When reading was paused, if it is.
    paused_at: Option<Instant>,
    /// Until this moment, requests that are read belong to the backlog of a stall.
    backlog_until: Instant,
}

impl RequestDeadline {
    pub(super) fn new(now: Instant) -> Self {
        Self { arrived: now, paused_at: None, backlog_until: now }
    }

    /// Records that no request is read from now on.
    pub(super) fn pause(&mut self) {
        self.paused_at.get_or_insert_with(Instant::now);
    }

    /// Records that requests are read again.
    pub(super) fn resume(&mut self) {
        if let Some(paused_at) = self.paused_at.take() {
            self.resumed(paused_at, Instant::now());
        }
    }

    fn resumed(&mut self, paused_at: Instant, now: Instant) {
        if now - paused_at >= STALL_THRESHOLD {
            self.backlog_until = now + BACKLOG_READ_TIME;
        }
    }

    /// The deadline of a request that is read at `now`. It is in the past if the request has waited too long.
    pub(super) fn deadline(&mut self, now: Instant) -> Instant {
        if now >= self.backlog_until {
            self.arrived = now;
        }
        self.arrived + REQUEST_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadline_counts_from_arrival_after_short_pauses() {
        let start = Instant::now();
        let mut deadline = RequestDeadline::new(start);
        let later = start + Duration::from_secs(7);
        assert_eq!(deadline.deadline(later), later + REQUEST_TIMEOUT);
        // Each page of a history pauses reading for a moment.
        deadline.resumed(later, later + Duration::from_millis(20));
        let next = later + Duration::from_millis(21);
        assert_eq!(deadline.deadline(next), next + REQUEST_TIMEOUT);
    }

    #[test]
    fn deadline_counts_from_the_beginning_of_a_stall() {
        let start = Instant::now();
        let mut deadline = RequestDeadline::new(start);
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(deadline.deadline(at(0)), at(12_000), "the request that stalls");
        deadline.resumed(at(0), at(5_000));
        assert_eq!(deadline.deadline(at(5_001)), at(12_000), "a request of the backlog, which stalls as well");
        deadline.resumed(at(5_001), at(12_000));
        assert_eq!(deadline.deadline(at(12_001)), at(12_000), "a request of the backlog that has waited too long");
        assert_eq!(deadline.deadline(at(12_050)), at(12_000));
        assert_eq!(deadline.deadline(at(12_200)), at(24_200), "a new request");
    }
}
