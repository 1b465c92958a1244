//! The memory budget of this node: bytes of messages under way, of requests in flight and of replies that
//! wait, over all clients. The limits of one socket bound what one client can take; the budget bounds what
//! many can take together. So no number of clients that send the largest frames, or read no replies, grows
//! the server past a chosen size.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// Bytes that each account may use even if the budget is spent. A message with the default maximum content fits, so a
/// client with one request at a time is not delayed by those that have spent the budget.
pub const GUARANTEED_BYTES: usize = 32 * 1024;

/// The bytes that all accounts of a node share.
#[derive(Debug)]
pub struct MemoryBudget {
    size: usize,
    used: Gauge,
    /// Notified when the budget has room again. Wakes one waiter, which wakes the next.
    room_freed: Notify,
}

impl MemoryBudget {
    /// A budget of `size` bytes; the gauge shows how many are in use.
    #[must_use]
    pub fn new(size: usize, used: Gauge) -> Arc<Self> {
        Arc::new(Self { size, used, room_freed: Notify::new() })
    }

    /// Opens an account, which uses nothing yet.
    #[must_use]
    pub fn open_account(self: &Arc<Self>) -> MemoryAccount {
        MemoryAccount { budget: Arc::clone(self), used: AtomicUsize::new(0), room_freed: Notify::new() }
    }

    fn has_room_for(&self, bytes: usize) -> bool {
        usize::try_from(self.used.get()).unwrap_or(0).saturating_add(bytes) <= self.size
    }
}

/// What one socket, or one request over HTTP, uses of the budget. Dropping it releases all of that.
#[derive(Debug)]
pub struct MemoryAccount {
    budget: Arc<MemoryBudget>,
    used: AtomicUsize,
    /// Notified when the account is back within [`GUARANTEED_BYTES`].
    room_freed: Notify,
}

impl MemoryAccount {
    /// Counts bytes that are in memory already, whatever the budget has left. A caller that is about to read
    /// more checks [`has_room_for`](Self::has_room_for) first.
    pub fn charge(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.budget.used.inc_by(signed(bytes));
    }

    /// Releases bytes that were charged.
    pub fn release(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        if before > GUARANTEED_BYTES && before - bytes <= GUARANTEED_BYTES {
            self.room_freed.notify_one();
        }
        let before = self.budget.used.dec_by(signed(bytes));
        let size = signed(self.budget.size);
        if before > size && before - signed(bytes) <= size {
            self.budget.room_freed.notify_one();
        }
    }

    /// Whether `bytes` more stay within the guarantee of this account, or within the budget.
    #[must_use]
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.used.load(Ordering::Relaxed).saturating_add(bytes) <= GUARANTEED_BYTES || self.budget.has_room_for(bytes)
    }

    /// Waits until there is room.
    pub async fn wait_for_room(&self) {
        while !self.has_room_for(0) {
            tokio::select! {
                () = self.budget.room_freed.notified() => {}
                () = self.room_freed.notified() => {}
            }
        }
        if self.budget.has_room_for(0) {
            self.budget.room_freed.notify_one();
        }
    }
}

impl Drop for MemoryAccount {
    fn drop(&mut self) {
        let used = *self.used.get_mut();
        self.release(used);
    }
}

/// Bytes charged to an account. Dropping the reservation releases them.
#[derive(Debug)]
pub struct Reservation {
    account: Arc<MemoryAccount>,
    bytes: usize,
}

impl Reservation {
    /// Charges bytes that are in memory already.
    #[must_use]
    pub fn new(account: &Arc<MemoryAccount>, bytes: usize) -> Self {
        account.charge(bytes);
        Self { account: Arc::clone(account), bytes }
    }

    /// Changes how many bytes are reserved.
    pub fn resize(&mut self, bytes: usize) {
        if bytes == self.bytes {
            return;
        }
        // The new bytes are charged first: releasing the old ones may free the room that all others wait for.
        self.account.charge(bytes);
        self.account.release(std::mem::replace(&mut self.bytes, bytes));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.release(self.bytes);
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
    fn an_account_keeps_its_guarantee_when_the_budget_is_spent() {
        let budget = MemoryBudget::new(100_000, Gauge::default());
        let (greedy, modest) = (budget.open_account(), budget.open_account());
        greedy.charge(100_001);
        assert!(!greedy.has_room_for(0));
        assert!(modest.has_room_for(GUARANTEED_BYTES) && !modest.has_room_for(GUARANTEED_BYTES + 1));
        greedy.release(1);
        assert!(greedy.has_room_for(0));
    }

    #[test]
    fn dropping_releases_the_bytes() {
        let budget = MemoryBudget::new(10, Gauge::default());
        let account = Arc::new(budget.open_account());
        let reservation = Reservation::new(&account, 5);
        account.charge(6);
        drop(reservation);
        assert_eq!(budget.used.get(), 6);
        drop(account);
        assert_eq!(budget.used.get(), 0);
    }

    #[test]
    fn freed_room_wakes_all_waiters() {
        let budget = MemoryBudget::new(100_000, Gauge::default());
        let (one, two, other) = (budget.open_account(), budget.open_account(), budget.open_account());
        one.charge(40_000);
        two.charge(40_000);
        other.charge(40_000);
        let (mut first, mut second) = (pin!(one.wait_for_room()), pin!(two.wait_for_room()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(other);
        assert!(first.as_mut().poll(&mut context).is_ready());
        assert!(second.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn an_account_back_within_its_guarantee_stops_waiting() {
        let budget = MemoryBudget::new(100_000, Gauge::default());
        let (modest, greedy) = (budget.open_account(), budget.open_account());
        modest.charge(40_000);
        greedy.charge(100_001);
        let mut room = pin!(modest.wait_for_room());
        let mut context = Context::from_waker(Waker::noop());
        assert!(room.as_mut().poll(&mut context).is_pending());
        modest.release(40_000);
        assert!(room.as_mut().poll(&mut context).is_ready());
        assert!(!greedy.has_room_for(0));
    }
}
