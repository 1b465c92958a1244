//! The runtimes of sockets, on their own threads: thousands of clients that connect or disconnect on the threads of
//! HTTP delay no open socket, and sockets delay no writer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};

use tokio::runtime::{self, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// One single-threaded runtime a core: with work stealing between threads fewer messages are stored. Dropping this
/// ends the threads, and all tasks on them.
#[derive(Debug)]
pub(super) struct SocketRuntimes {
    runtimes: Vec<Handle>,
    next: AtomicUsize,
    _shutdown: DropGuard,
}

impl SocketRuntimes {
    /// # Errors
    /// If the system refuses threads.
    pub(super) fn start() -> std::io::Result<Self> {
        let shutdown = CancellationToken::new();
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let start = |_| {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            let (handle, stopped) = (runtime.handle().clone(), shutdown.clone().cancelled_owned());
            Builder::new().name("sockets".to_owned()).spawn(move || runtime.block_on(stopped))?;
            Ok(handle)
        };
        let runtimes = (0..cores).map(start).collect::<std::io::Result<_>>()?;
        Ok(Self { runtimes, next: AtomicUsize::new(0), _shutdown: shutdown.drop_guard() })
    }

    /// Assigns a runtime to one worker thread of HTTP, for all sockets that it upgrades; round robin.
    pub(super) fn assign(&self) -> &Handle {
        &self.runtimes[self.next.fetch_add(1, Ordering::Relaxed) % self.runtimes.len()]
    }
}
