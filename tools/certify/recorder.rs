//! Writes down what is seen, in one order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::value::RawValue;

use super::record::{Entry, Micros, Phase, Seen, SocketId};

/// Shared by all who see something.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    begun: Instant,
    entries: Arc<Mutex<Vec<Entry>>>,
    sockets: Arc<AtomicU32>,
}

impl Recorder {
    /// An empty one, whose clock begins now.
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), entries: Arc::default(), sockets: Arc::default() }
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Micros {
        u64::try_from(self.begun.elapsed().as_micros()).expect("a run is shorter than half a million years")
    }

    /// Writes down something that is seen now.
    pub(crate) fn note(&self, seen: Seen) {
        // The clock is read under the lock, so that entries are in the order of their times.
        let mut entries = self.entries.lock();
        let at = self.now();
        entries.push(Entry { at, seen });
    }

    /// A phase of a fault.
    pub(crate) fn fault(&self, fault: &str, phase: Phase) {
        self.note(Seen::Fault { fault: fault.to_owned(), phase });
    }

    /// A number that no other socket has.
    pub(crate) fn socket(&self) -> SocketId {
        self.sockets.fetch_add(1, Ordering::Relaxed)
    }

    /// All of it, which leaves nothing behind.
    pub(crate) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.entries.lock())
    }
}

/// A frame as it went over the wire; None where it is no JSON.
pub(crate) fn raw(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}
