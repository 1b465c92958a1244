//! The schedule of an open-loop load: operations start when they are due, however long earlier ones take. A closed
//! loop would send less to a slow server and hide its latency (coordinated omission).

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::measure::results::float;

/// Shortest sleep between two wake-ups: operations that become due meanwhile start together.
const MIN_SLEEP: Duration = Duration::from_micros(200);

/// Sends the numbers of the operations that are due, `rate` per second from now on, until the receiver is dropped.
///
/// It runs on a thread of its own, because the timers of the runtime have a resolution of a millisecond, which would be
/// most of the latency of an idle server.
#[expect(clippy::disallowed_methods, reason = "the time itself is what is waited for")]
pub(crate) fn schedule(rate: f64) -> UnboundedReceiver<Range<u64>> {
    let (due, receiver) = unbounded_channel();
    let start = Instant::now();
    thread::spawn(move || {
        let mut sent = 0;
        loop {
            let count = due_after(rate, start.elapsed());
            if count > sent && due.send(sent..count).is_err() {
                return;
            }
            sent = count;
            thread::sleep((start + due_at(rate, sent)).saturating_duration_since(Instant::now()).max(MIN_SLEEP));
        }
    });
    receiver
}

/// The time when the `nth` operation is due, counted from 0.
pub(crate) fn due_at(rate: f64, nth: u64) -> Duration {
    Duration::from_secs_f64(float(nth) / rate)
}

/// The number of operations that are due after `elapsed`; the first one is due at once.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate and a time are not negative")]
fn due_after(rate: f64, elapsed: Duration) -> u64 {
    (elapsed.as_secs_f64() * rate).floor() as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_follow_the_rate() {
        assert_eq!(due_after(10.0, Duration::ZERO), 1);
        assert_eq!(due_after(10.0, Duration::from_millis(99)), 1);
        assert_eq!(due_after(10.0, Duration::from_millis(101)), 2);
        assert_eq!(due_at(10.0, 25), Duration::from_millis(2500));
    }

    #[tokio::test]
    async fn schedule_skips_no_operation() {
        let mut due = schedule(20_000.0);
        let mut next = 0;
        while next < 1000 {
            let some = due.recv().await.expect("the schedule goes on");
            assert_eq!(some.start, next);
            next = some.end;
        }
    }
}
