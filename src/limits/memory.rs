//! What requests and their replies take of this node's memory, all clients together. The limits of one
//! socket bound what one client can take; this bounds what many can, so that no number of them that
//! send the largest frames, or read no replies, grows the server past a size that was chosen.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// Bytes that everybody may take, whatever others have: room for the largest message, so that who asks
/// one thing at a time is not held up by those who have used up the pool.
pub const ALWAYS: usize = 32 * 1024;

/// The bytes of a node.
#[derive(Debug)]
pub struct BytePool {
    size: usize,
    taken: Gauge,
    /// There is room again. Wakes one of those who wait, who wakes the next.
    freed: Notify,
}

impl BytePool {
    /// A pool of so many bytes; the gauge shows how many are taken.
    #[must_use]
    pub fn new(size: usize, taken: Gauge) -> Arc<Self> {
        Arc::new(Self { size, taken, freed: Notify::new() })
    }

    /// Nothing of it, as yet.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Share {
        Share { pool: Arc::clone(self), taken: AtomicUsize::new(0), freed: Notify::new() }
    }

    fn has_room_for(&self, bytes: usize) -> bool {
        usize::try_from(self.taken.get()).unwrap_or(0).saturating_add(bytes) <= self.size
    }
}

/// What one socket, or one request over HTTP, has taken. Given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    pool: Arc<BytePool>,
    taken: AtomicUsize,
    /// What is taken is little again.
    freed: Notify,
}

impl Share {
    /// Takes bytes that are there already; whoever brings more asks first.
    pub fn take(&self, bytes: usize) {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        self.pool.taken.inc_by(signed(bytes));
    }

    /// Gives bytes back that were taken.
    pub fn give_back(&self, bytes: usize) {
        let before = self.taken.fetch_sub(bytes, Ordering::Relaxed);
        if before > ALWAYS && before - bytes <= ALWAYS {
            self.freed.notify_one();
        }
        let before = self.pool.taken.dec_by(signed(bytes));
        let size = signed(self.pool.size);
        if before > size && before - signed(bytes) <= size {
            self.pool.freed.notify_one();
        }
    }

    /// Whether so many bytes more are within what it always may take, or there is room for them.
    #[must_use]
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.taken.load(Ordering::Relaxed).saturating_add(bytes) <= ALWAYS || self.pool.has_room_for(bytes)
    }

    /// Returns once there is room.
    pub async fn room(&self) {
        while !self.has_room_for(0) {
            tokio::select! {
                () = self.pool.freed.notified() => {}
                () = self.freed.notified() => {}
            }
        }
        if self.pool.has_room_for(0) {
            self.pool.freed.notify_one();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let taken = *self.taken.get_mut();
        self.give_back(taken);
    }
}

/// Bytes of a share that are given back when this is dropped.
#[derive(Debug)]
pub struct Taken {
    share: Arc<Share>,
    bytes: usize,
}

impl Taken {
    /// Takes bytes that are there already.
    #[must_use]
    pub fn of(share: &Arc<Share>, bytes: usize) -> Self {
        share.take(bytes);
        Self { share: Arc::clone(share), bytes }
    }

    /// Becomes more or less.
    pub fn set(&mut self, bytes: usize) {
        if bytes == self.bytes {
            return;
        }
        // First the new ones: what is given back may be all that keeps others waiting.
        self.share.take(bytes);
        self.share.give_back(std::mem::replace(&mut self.bytes, bytes));
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.share.give_back(self.bytes);
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn everybody_may_take_a_little_though_others_have_all() {
        let pool = BytePool::new(100_000, Gauge::default());
        let (greedy, modest) = (pool.share(), pool.share());
        greedy.take(100_001);
        assert!(!greedy.has_room_for(0));
        assert!(modest.has_room_for(ALWAYS) && !modest.has_room_for(ALWAYS + 1));
        greedy.give_back(1);
        assert!(greedy.has_room_for(0));
    }

    #[test]
    fn what_is_dropped_is_given_back() {
        let pool = BytePool::new(10, Gauge::default());
        let share = Arc::new(pool.share());
        let part = Taken::of(&share, 5);
        share.take(6);
        drop(part);
        assert_eq!(pool.taken.get(), 6);
        drop(share);
        assert_eq!(pool.taken.get(), 0);
    }

    #[test]
    fn all_who_wait_for_room_are_woken_when_there_is_some() {
        let pool = BytePool::new(100_000, Gauge::default());
        let (one, two, other) = (pool.share(), pool.share(), pool.share());
        one.take(40_000);
        two.take(40_000);
        other.take(40_000);
        let (mut first, mut second) = (pin!(one.room()), pin!(two.room()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(other);
        assert!(first.as_mut().poll(&mut context).is_ready());
        assert!(second.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn who_has_little_again_waits_for_nobody() {
        let pool = BytePool::new(100_000, Gauge::default());
        let (modest, greedy) = (pool.share(), pool.share());
        modest.take(40_000);
        greedy.take(100_001);
        let mut room = pin!(modest.room());
        let mut context = Context::from_waker(Waker::noop());
        assert!(room.as_mut().poll(&mut context).is_pending());
        modest.give_back(40_000);
        assert!(room.as_mut().poll(&mut context).is_ready());
        assert!(!greedy.has_room_for(0));
    }
}
