//! An open load: messages are sent when they are due, however long the ones before them take.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Shortest rest: what is due meanwhile is sent together.
const REST: Duration = Duration::from_micros(200);

/// Says which of a row of things are due, `rate` a second from now on, until the receiver is dropped.
///
/// A thread of its own, because the runtime's timers count whole milliseconds, and that would be most of
/// the latency of a server that is not busy.
#[expect(clippy::disallowed_methods, reason = "the time itself is what is waited for")]
pub(crate) fn pace(rate: f64) -> UnboundedReceiver<Range<u64>> {
    let (due, receiver) = unbounded_channel();
    let begun = Instant::now();
    thread::spawn(move || {
        let mut said = 0;
        loop {
            let now = due_after(rate, begun.elapsed());
            if now > said && due.send(said..now).is_err() {
                return;
            }
            said = now;
            thread::sleep((begun + due_at(rate, said)).saturating_duration_since(Instant::now()).max(REST));
        }
    });
    receiver
}

/// When the `nth` is due, counted from 0.
pub(crate) fn due_at(rate: f64, nth: u64) -> Duration {
    Duration::from_secs_f64(super::results::float(nth) / rate)
}

/// How many are due by then: those whose time has come.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate and a time are not negative")]
fn due_after(rate: f64, elapsed: Duration) -> u64 {
    (elapsed.as_secs_f64() * rate).floor() as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_due_in_its_turn() {
        assert_eq!(due_after(10.0, Duration::ZERO), 1);
        assert_eq!(due_after(10.0, Duration::from_millis(99)), 1);
        assert_eq!(due_after(10.0, Duration::from_millis(101)), 2);
        assert_eq!(due_at(10.0, 25), Duration::from_millis(2500));
    }

    #[tokio::test]
    async fn nothing_is_left_out() {
        let mut due = pace(20_000.0);
        let mut next = 0;
        while next < 1000 {
            let some = due.recv().await.expect("the pacer goes on");
            assert_eq!(some.start, next);
            next = some.end;
        }
    }
}
