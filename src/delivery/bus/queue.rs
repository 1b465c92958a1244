//! What waits to be said to other nodes, bounded in bytes.

use std::collections::VecDeque;

/// Most bytes that wait: about a second of what a busy node has to say. What comes beyond is left out,
/// and the numbers of the batches show it.
const MAX_BYTES: usize = 16 << 20;
/// A batch takes no more in once it has so many bytes.
const FULL_BATCH_BYTES: usize = 64 << 10;
/// Most bytes of one thing that is said. What is larger is left out as well: it is in the database.
const MAX_SAID_BYTES: usize = 1 << 20;

/// Bodies of batches, and the numbers that these get.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bodies: VecDeque<String>,
    bytes: usize,
    number: u64,
    /// Something was left out since the last batch.
    has_skipped: bool,
}

impl Queue {
    pub(super) fn push(&mut self, said: &str) {
        if said.len() > MAX_SAID_BYTES || self.bytes + said.len() > MAX_BYTES {
            self.skip();
            return;
        }
        self.bytes += said.len();
        match self.bodies.back_mut() {
            Some(body) if body.len() < FULL_BATCH_BYTES => body.push_str(said),
            _ => self.bodies.push_back(said.to_owned()),
        }
    }

    /// The next batch.
    pub(super) fn take(&mut self) -> Option<(u64, String)> {
        let body = self.bodies.pop_front()?;
        self.bytes -= body.len();
        Some((self.next_number(), body))
    }

    /// The number of the next batch.
    pub(super) fn next_number(&mut self) -> u64 {
        self.number += if std::mem::take(&mut self.has_skipped) { 2 } else { 1 };
        self.number
    }

    /// Something is left out.
    pub(super) fn skip(&mut self) {
        self.has_skipped = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &mut Queue) -> Vec<(u64, usize)> {
        std::iter::from_fn(|| queue.take().map(|(number, body)| (number, body.len()))).collect()
    }

    #[test]
    fn small_things_share_a_batch() {
        let mut queue = Queue::default();
        (0..3).for_each(|_| queue.push("hello"));
        queue.push(&"x".repeat(FULL_BATCH_BYTES));
        queue.push("y");
        assert_eq!(taken(&mut queue), [(1, 15 + FULL_BATCH_BYTES), (2, 1)]);
    }

    #[test]
    fn what_does_not_fit_leaves_a_gap_in_the_numbers() {
        let mut queue = Queue::default();
        queue.push("a");
        queue.push(&"x".repeat(MAX_SAID_BYTES + 1));
        queue.push("b");
        assert_eq!(taken(&mut queue), [(2, 2)]);
        assert_eq!(queue.next_number(), 3);
        let large = "x".repeat(MAX_SAID_BYTES);
        (0..=MAX_BYTES / MAX_SAID_BYTES).for_each(|_| queue.push(&large));
        let numbers: Vec<u64> = taken(&mut queue).into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, (5..5 + numbers.len() as u64).collect::<Vec<_>>(), "one was left out, once");
        assert_eq!(numbers.len(), MAX_BYTES / MAX_SAID_BYTES);
        queue.push("there is room again");
        assert_eq!(queue.take().map(|(number, _)| number), numbers.last().map(|last| last + 1));
    }
}
