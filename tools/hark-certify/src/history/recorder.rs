//! Records events in one order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::value::RawValue;

use crate::history::event::{Entry, Event, Micros, Phase, SocketId};

/// Records events; clones share one history.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    start: Instant,
    entries: Arc<Mutex<Vec<Entry>>>,
    sockets: Arc<AtomicU32>,
}

impl Recorder {
    /// A recorder whose clock starts now.
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), entries: Arc::default(), sockets: Arc::default() }
    }

    /// The current time.
    pub(crate) fn now(&self) -> Micros {
        u64::try_from(self.start.elapsed().as_micros()).expect("a run is shorter than half a million years")
    }

    /// Records an event that happens now.
    pub(crate) fn note(&self, event: Event) {
        // The clock is read under the lock, so that entries are in the order of their times.
        let mut entries = self.entries.lock();
        let at = self.now();
        entries.push(Entry { at, event });
    }

    /// Records a phase of a fault.
    pub(crate) fn fault(&self, fault: &str, phase: Phase) {
        self.note(Event::Fault { fault: fault.to_owned(), phase });
    }

    /// Assigns the number of a new socket.
    pub(crate) fn next_socket(&self) -> SocketId {
        self.sockets.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes all events; the history is empty afterwards.
    pub(crate) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.entries.lock())
    }
}

/// A frame as it went over the wire; `None` if it is no JSON.
pub(crate) fn raw_frame(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}
