//! What this node knows of one peer: which batch it has received last, whether there was a gap before it, and
//! the parts of the batch that is arriving.

use chrono::Utc;

use super::payload::Payload;
use crate::model::Timestamp;

/// Another node.
#[derive(Debug)]
pub(super) struct Peer {
    /// The number of the batch that arrives next; `None` before the first.
    next_batch: Option<u64>,
    /// The parts of that batch so far.
    partial: PartialBatch,
    /// No change with a number below this was missed.
    pub(super) watermark: i64,
    pub(super) last_heard_at: Timestamp,
    /// Heartbeats of this node since then.
    pub(super) silent_heartbeats: u32,
    /// Whether it counts as running.
    pub(super) is_present: bool,
    /// Whether its presence snapshot has arrived.
    pub(super) is_synced: bool,
}

#[derive(Debug, Default)]
struct PartialBatch {
    body: String,
    parts: usize,
}

impl Peer {
    pub(super) fn new(watermark: i64) -> Self {
        Self {
            next_batch: None,
            partial: PartialBatch::default(),
            watermark,
            last_heard_at: Timestamp(Utc::now()),
            silent_heartbeats: 0,
            is_present: false,
            is_synced: false,
        }
    }

    /// If payloads are missing before this one, the watermark from which on changes may have been missed. A peer
    /// whose first payload is not the beginning of its batch 1 was running before, and that is a gap too.
    pub(super) fn gap_before(&self, payload: &Payload<'_>) -> Option<i64> {
        let next = self.next_batch.unwrap_or(1);
        let is_next_part = payload.batch == next && payload.part == self.partial.parts + 1;
        // A peer that does not know whether a batch has arrived sends it again: idempotent by its number.
        (payload.batch >= next && !is_next_part).then_some(self.watermark)
    }

    /// Adds a payload, and returns the body of its batch once all parts are there.
    pub(super) fn assemble(&mut self, payload: &Payload<'_>) -> Option<String> {
        if self.next_batch.is_some_and(|next| payload.batch < next) {
            return None;
        }
        if self.next_batch != Some(payload.batch) || payload.part == 1 {
            self.partial = PartialBatch::default();
            self.next_batch = Some(payload.batch);
        }
        if payload.part != self.partial.parts + 1 {
            // This is the rest of a batch whose beginning is missing.
            self.next_batch = Some(payload.batch + 1);
            return None;
        }
        self.partial.body.push_str(payload.body);
        self.partial.parts += 1;
        if payload.part < payload.parts {
            return None;
        }
        self.next_batch = Some(payload.batch + 1);
        Some(std::mem::take(&mut self.partial).body)
    }
}
