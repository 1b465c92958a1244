//! The threads on which sockets talk: none of them waits behind a crowd that comes or goes, which HTTP's
//! have, nor does a writer wait behind sockets.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};

use tokio::runtime::{self, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A thread a core, each with a runtime of its own: threads that take work from each other store fewer
/// messages. All end when this is dropped, and whatever runs there with them.
#[derive(Debug)]
pub(super) struct Talking {
    threads: Vec<Handle>,
    next: AtomicUsize,
    _end: DropGuard,
}

impl Talking {
    /// # Errors
    /// The system has no threads.
    pub(super) fn start() -> std::io::Result<Self> {
        let end = CancellationToken::new();
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let start = |_| {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            let (handle, ended) = (runtime.handle().clone(), end.clone().cancelled_owned());
            Builder::new().name("sockets".to_owned()).spawn(move || runtime.block_on(ended))?;
            Ok(handle)
        };
        let threads = (0..cores).map(start).collect::<std::io::Result<_>>()?;
        Ok(Self { threads, next: AtomicUsize::new(0), _end: end.drop_guard() })
    }

    /// The thread for the sockets of one of HTTP's.
    pub(super) fn next(&self) -> &Handle {
        &self.threads[self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len()]
    }
}
