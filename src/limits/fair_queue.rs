//! A fair queue: permits that users share, granted round robin by user. The requests of a user with many at once
//! wait for each other, and delay no other user.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::Error;
use crate::model::UserId;

/// Maximum time that a request waits for a permit. Shorter than the request timeout of a socket.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Maximum number of waiting requests of one user. A socket has at most one of them.
const MAX_WAITING_PER_USER: usize = 64;

/// A semaphore with fairness between users; a clone shares its permits.
#[derive(Clone, Debug)]
pub struct FairQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Maximum number of permits that one user holds at the same time.
    per_user: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Permits that no user holds.
    available: usize,
    /// How many permits each user holds; only users who hold some.
    held: HashMap<UserId, usize>,
    waiting: HashMap<UserId, VecDeque<oneshot::Sender<FairPermit>>>,
    /// The keys of `waiting`, in the order in which they are served next.
    round_robin: VecDeque<UserId>,
}

/// The right to run. Dropping the permit returns it to the queue.
#[derive(Debug)]
pub struct FairPermit {
    /// `None` if the waiter was cancelled before it got the permit.
    queue: Option<Arc<Shared>>,
    user: UserId,
}

impl FairQueue {
    /// At most `permits` at the same time, and `per_user` of them for one user.
    #[must_use]
    pub fn new(permits: usize, per_user: usize) -> Self {
        let state =
            State { available: permits, held: HashMap::new(), waiting: HashMap::new(), round_robin: VecDeque::new() };
        Self(Arc::new(Shared { per_user, state: Mutex::new(state) }))
    }

    /// At most `per_user` permits for one user at the same time, for any number of users.
    #[must_use]
    pub fn per_user(per_user: usize) -> Self {
        Self::new(usize::MAX, per_user)
    }

    /// Waits for a permit of this user.
    ///
    /// # Errors
    /// `overloaded` if too many requests of this user wait already, or the wait exceeds 10 seconds.
    pub async fn acquire(&self, user: UserId) -> Result<FairPermit, Error> {
        let permit = {
            let mut state = self.0.state.lock();
            // While a permit is available, no waiter could take it: see `serve_waiting`.
            if state.available > 0 && state.is_below_limit(user, self.0.per_user) {
                return Ok(state.grant(&self.0, user));
            }
            let is_new = !state.waiting.contains_key(&user);
            if is_new {
                state.round_robin.push_back(user);
            }
            let waiting = state.waiting.entry(user).or_default();
            // Requests that were cancelled no longer count.
            waiting.retain(|waiting| !waiting.is_closed());
            if waiting.len() >= MAX_WAITING_PER_USER {
                return Err(Error::overloaded());
            }
            let (sender, permit) = oneshot::channel();
            waiting.push_back(sender);
            permit
        };
        let permit = timeout(MAX_WAIT, permit).await.map_err(|_| Error::overloaded())?;
        permit.map_err(Error::internal)
    }
}

impl State {
    fn is_below_limit(&self, user: UserId, per_user: usize) -> bool {
        self.held.get(&user).copied().unwrap_or_default() < per_user
    }

    fn grant(&mut self, queue: &Arc<Shared>, user: UserId) -> FairPermit {
        self.available -= 1;
        *self.held.entry(user).or_default() += 1;
        FairPermit { queue: Some(Arc::clone(queue)), user }
    }

    fn take_back(&mut self, user: UserId) {
        self.available += 1;
        if let Some(held) = self.held.get_mut(&user) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&user);
            }
        }
    }

    /// Grants the available permits to the users who are next.
    fn serve_waiting(&mut self, queue: &Arc<Shared>) {
        while self.available > 0 {
            let next = self.round_robin.iter().position(|user| self.is_below_limit(*user, queue.per_user));
            let Some(user) = next.and_then(|next| self.round_robin.remove(next)) else { break };
            let next = self.waiting.get_mut(&user).and_then(VecDeque::pop_front);
            if let Some(next) = next
                && let Err(mut unclaimed) = next.send(self.grant(queue, user))
            {
                // Taken back here, because dropping it would wait for the lock that is held.
                unclaimed.queue = None;
                self.take_back(user);
            }
            if self.waiting.get(&user).is_some_and(|waiting| !waiting.is_empty()) {
                self.round_robin.push_back(user);
            } else {
                self.waiting.remove(&user);
            }
        }
    }
}

impl Drop for FairPermit {
    fn drop(&mut self) {
        if let Some(queue) = mem::take(&mut self.queue) {
            let mut state = queue.state.lock();
            state.take_back(self.user);
            state.serve_waiting(&queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::task::yield_now;

    use super::*;

    const ANN: UserId = UserId(1);
    const BOB: UserId = UserId(2);
    const CLEO: UserId = UserId(3);

    #[tokio::test]
    async fn a_user_with_one_request_waits_for_one_permit_of_a_user_with_many() {
        let queue = FairQueue::new(1, 1);
        let first = queue.acquire(ANN).await.expect("an available permit");
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for user in [ANN, ANN, ANN, BOB, CLEO, BOB] {
            let (queue, order) = (queue.clone(), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let _permit = queue.acquire(user).await.expect("a permit");
                order.lock().push(user);
            }));
            yield_now().await;
        }
        drop(first);
        for waiting in waiting {
            waiting.await.expect("a permit");
        }
        assert_eq!(*order.lock(), [ANN, BOB, CLEO, ANN, BOB, ANN]);
        let state = queue.0.state.lock();
        assert!(
            state.available == 1 && state.held.is_empty() && state.waiting.is_empty() && state.round_robin.is_empty()
        );
    }

    #[tokio::test]
    async fn one_user_cannot_hold_all_permits() {
        let queue = FairQueue::new(3, 2);
        let _permits = [queue.acquire(ANN).await.expect("the first"), queue.acquire(ANN).await.expect("the second")];
        assert!(queue.acquire(ANN).now_or_never().is_none(), "the third waits");
        assert!(queue.acquire(BOB).now_or_never().is_some_and(|permit| permit.is_ok()));
    }

    #[tokio::test]
    async fn a_cancelled_request_keeps_no_permit() {
        let queue = FairQueue::new(1, 1);
        let permit = queue.acquire(ANN).await.expect("an available permit");
        assert!(queue.acquire(BOB).now_or_never().is_none(), "it is cancelled");
        let mut waits = Box::pin(queue.acquire(CLEO));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(permit);
        let permit = waits.await.expect("the permit that Bob did not take");
        // Granted, and dropped before it was polled.
        let mut late = Box::pin(queue.acquire(BOB));
        assert!(late.as_mut().now_or_never().is_none());
        drop(permit);
        drop(late);
        assert!(queue.acquire(ANN).now_or_never().is_some_and(|permit| permit.is_ok()));
    }

    #[tokio::test]
    async fn too_many_waiting_requests_of_one_user_are_refused() {
        let queue = FairQueue::new(2, 1);
        let _permit = queue.acquire(ANN).await.expect("an available permit");
        let mut waiting = Vec::new();
        for _ in 0..MAX_WAITING_PER_USER {
            let mut waits = Box::pin(queue.acquire(ANN));
            assert!(waits.as_mut().now_or_never().is_none());
            waiting.push(waits);
        }
        assert!(queue.acquire(ANN).now_or_never().is_some_and(|permit| permit.is_err()));
        assert!(queue.acquire(BOB).now_or_never().is_some_and(|permit| permit.is_ok()));
        waiting.pop();
        assert!(queue.acquire(ANN).now_or_never().is_none(), "the place of the cancelled request");
    }
}
