//! The messages that wait to be sent to other nodes, bounded in bytes.

use std::collections::VecDeque;

/// Maximum number of bytes that wait: about a second of what a busy node sends. A message beyond that is dropped, and
/// peers detect the gap in the numbers of the batches.
const MAX_QUEUE_BYTES: usize = 16 << 20;
/// A batch accepts no more messages once it has this many bytes.
const FULL_BATCH_BYTES: usize = 64 << 10;
/// Maximum size of one message in bytes. A larger one is dropped as well: its content is in the database.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Bodies of batches, which are numbered as they leave.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    bodies: VecDeque<String>,
    bytes: usize,
    number: u64,
    /// Whether a message was dropped since the last batch.
    has_gap: bool,
}

impl SendQueue {
    /// Adds a message to the last batch, or drops it if the queue is full.
    pub(super) fn push(&mut self, message: &str) {
        if message.len() > MAX_MESSAGE_BYTES || self.bytes + message.len() > MAX_QUEUE_BYTES {
            self.skip_number();
            return;
        }
        self.bytes += message.len();
        match self.bodies.back_mut() {
            Some(body) if body.len() < FULL_BATCH_BYTES => body.push_str(message),
            _ => self.bodies.push_back(message.to_owned()),
        }
    }

    /// Takes the next batch.
    pub(super) fn take(&mut self) -> Option<(u64, String)> {
        let body = self.bodies.pop_front()?;
        self.bytes -= body.len();
        Some((self.next_number(), body))
    }

    /// The number of the next batch.
    pub(super) fn next_number(&mut self) -> u64 {
        self.number += if std::mem::take(&mut self.has_gap) { 2 } else { 1 };
        self.number
    }

    /// Skips a number before the next batch, so that peers detect a gap and catch up.
    pub(super) fn skip_number(&mut self) {
        self.has_gap = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &mut SendQueue) -> Vec<(u64, usize)> {
        std::iter::from_fn(|| queue.take().map(|(number, body)| (number, body.len()))).collect()
    }

    #[test]
    fn small_messages_share_a_batch() {
        let mut queue = SendQueue::default();
        (0..3).for_each(|_| queue.push("hello"));
        queue.push(&"x".repeat(FULL_BATCH_BYTES));
        queue.push("y");
        assert_eq!(taken(&mut queue), [(1, 15 + FULL_BATCH_BYTES), (2, 1)]);
    }

    #[test]
    fn a_dropped_message_leaves_a_gap_in_the_numbers() {
        let mut queue = SendQueue::default();
        queue.push("a");
        queue.push(&"x".repeat(MAX_MESSAGE_BYTES + 1));
        queue.push("b");
        assert_eq!(taken(&mut queue), [(2, 2)]);
        assert_eq!(queue.next_number(), 3);
        let large = "x".repeat(MAX_MESSAGE_BYTES);
        (0..=MAX_QUEUE_BYTES / MAX_MESSAGE_BYTES).for_each(|_| queue.push(&large));
        let numbers: Vec<u64> = taken(&mut queue).into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, (5..5 + numbers.len() as u64).collect::<Vec<_>>(), "one number is skipped, once");
        assert_eq!(numbers.len(), MAX_QUEUE_BYTES / MAX_MESSAGE_BYTES);
        queue.push("there is room again");
        assert_eq!(queue.take().map(|(number, _)| number), numbers.last().map(|last| last + 1));
    }
}
