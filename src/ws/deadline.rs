//! Until when a request is to be answered. A database that hangs refuses nothing, and behind a command
//! that waits for it nothing is read: how long a client has waited already, nobody has seen.

use std::time::Duration;

use tokio::time::Instant;

/// Longest wait for an answer. Longer than a write may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);
/// A connection that was not read for so long may have requests that have waited as long.
const HELD_UP: Duration = Duration::from_secs(1);
/// How long it takes to read those.
const BACKLOG: Duration = Duration::from_millis(100);

/// The patience of one connection.
pub(super) struct Patience {
    /// No request that is read now has come before this moment.
    arrived: Instant,
    /// Since when nothing is read.
    held_since: Option<Instant>,
    /// What is read before this moment may have waited.
    backlog_until: Instant,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self { arrived: now, held_since: None, backlog_until: now }
    }

    /// Nothing is read from now on, if it was so far.
    pub(super) fn hold(&mut self) {
        self.held_since.get_or_insert_with(Instant::now);
    }

    /// It is read again.
    pub(super) fn resume(&mut self) {
        if let Some(since) = self.held_since.take() {
            self.resumed(since, Instant::now());
        }
    }

    fn resumed(&mut self, since: Instant, now: Instant) {
        if now - since >= HELD_UP {
            self.backlog_until = now + BACKLOG;
        }
    }

    /// Until when a request that is read at `now` is to be answered; past where it has waited for too long.
    pub(super) fn due(&mut self, now: Instant) -> Instant {
        if now >= self.backlog_until {
            self.arrived = now;
        }
        self.arrived + ANSWER_WITHIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_given_its_time() {
        let begun = Instant::now();
        let mut patience = Patience::new(begun);
        let later = begun + Duration::from_secs(7);
        assert_eq!(patience.due(later), later + ANSWER_WITHIN);
        // One page after the other holds it up for a moment each.
        patience.resumed(later, later + Duration::from_millis(20));
        let next = later + Duration::from_millis(21);
        assert_eq!(patience.due(next), next + ANSWER_WITHIN);
    }

    #[test]
    fn what_has_waited_behind_others_has_waited() {
        let begun = Instant::now();
        let mut patience = Patience::new(begun);
        let at = |milliseconds| begun + Duration::from_millis(milliseconds);
        assert_eq!(patience.due(at(0)), at(12_000), "it hangs");
        patience.resumed(at(0), at(5_000));
        assert_eq!(patience.due(at(5_001)), at(12_000), "it was sent meanwhile, and hangs as well");
        patience.resumed(at(5_001), at(12_000));
        assert_eq!(patience.due(at(12_001)), at(12_000), "this one has waited for too long");
        assert_eq!(patience.due(at(12_050)), at(12_000));
        assert_eq!(patience.due(at(12_200)), at(24_200), "and this one is new");
    }
}
