//! A fair queue: places that people share, handed out round robin by person. Whoever asks for many at
//! once waits behind their own requests, and nobody else does.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::Error;
use crate::model::UserId;

/// Longest wait for a turn. Shorter than a socket's request waits for its answer.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Requests of one person that wait; a socket has one of them at most.
const MAX_WAITING_PER_USER: usize = 64;

/// Hands out turns; a clone shares them.
#[derive(Clone, Debug)]
pub struct FairQueue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Most turns of one person at the same time.
    per_user: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Turns that nobody has.
    free: usize,
    /// How many turns each person has; only those who have some.
    running: HashMap<UserId, usize>,
    waiting: HashMap<UserId, VecDeque<oneshot::Sender<Turn>>>,
    /// The keys of `waiting`, in the order of their next turns.
    ring: VecDeque<UserId>,
}

/// The right to go on; it ends when this is dropped.
#[derive(Debug)]
pub struct Turn {
    /// `None` where it was handed to nobody.
    queue: Option<Arc<Inner>>,
    user: UserId,
}

impl FairQueue {
    /// At most `places` turns at the same time, and of these `per_user` for one person.
    #[must_use]
    pub fn new(places: usize, per_user: usize) -> Self {
        let state = State { free: places, running: HashMap::new(), waiting: HashMap::new(), ring: VecDeque::new() };
        Self(Arc::new(Inner { per_user, state: Mutex::new(state) }))
    }

    /// At most `per_user` turns for one person at the same time, for any number of people.
    #[must_use]
    pub fn per_user(per_user: usize) -> Self {
        Self::new(usize::MAX, per_user)
    }

    /// Waits for a turn of this person.
    ///
    /// # Errors
    /// `overloaded` where too many requests of this person wait already, or a turn takes too long.
    pub async fn turn(&self, user: UserId) -> Result<Turn, Error> {
        let turn = {
            let mut state = self.0.state.lock();
            // Nobody who could have it waits for a turn that is free: see `hand_out`.
            if state.free > 0 && state.has_room(user, self.0.per_user) {
                return Ok(state.begin(&self.0, user));
            }
            let is_new = !state.waiting.contains_key(&user);
            if is_new {
                state.ring.push_back(user);
            }
            let waiting = state.waiting.entry(user).or_default();
            // Whoever hung up is counted no more.
            waiting.retain(|waiting| !waiting.is_closed());
            if waiting.len() >= MAX_WAITING_PER_USER {
                return Err(Error::overloaded());
            }
            let (hand_out, turn) = oneshot::channel();
            waiting.push_back(hand_out);
            turn
        };
        let turn = timeout(MAX_WAIT, turn).await.map_err(|_| Error::overloaded())?;
        turn.map_err(Error::internal)
    }
}

impl State {
    fn has_room(&self, user: UserId, per_user: usize) -> bool {
        self.running.get(&user).copied().unwrap_or_default() < per_user
    }

    fn begin(&mut self, queue: &Arc<Inner>, user: UserId) -> Turn {
        self.free -= 1;
        *self.running.entry(user).or_default() += 1;
        Turn { queue: Some(Arc::clone(queue)), user }
    }

    fn end(&mut self, user: UserId) {
        self.free += 1;
        if let Some(running) = self.running.get_mut(&user) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(&user);
            }
        }
    }

    /// Hands free turns to those who are next.
    fn hand_out(&mut self, queue: &Arc<Inner>) {
        while self.free > 0 {
            let next = self.ring.iter().position(|user| self.has_room(*user, queue.per_user));
            let Some(user) = next.and_then(|next| self.ring.remove(next)) else { break };
            let next = self.waiting.get_mut(&user).and_then(VecDeque::pop_front);
            if let Some(next) = next
                && let Err(mut unclaimed) = next.send(self.begin(queue, user))
            {
                // Taken back here, because its end would wait for the lock that is held.
                unclaimed.queue = None;
                self.end(user);
            }
            if self.waiting.get(&user).is_some_and(|waiting| !waiting.is_empty()) {
                self.ring.push_back(user);
            } else {
                self.waiting.remove(&user);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = mem::take(&mut self.queue) {
            let mut state = queue.state.lock();
            state.end(self.user);
            state.hand_out(&queue);
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
    async fn a_person_with_one_request_waits_for_one_turn_of_whoever_has_many() {
        let queue = FairQueue::new(1, 1);
        let first = queue.turn(ANN).await.expect("a free place");
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for user in [ANN, ANN, ANN, BOB, CLEO, BOB] {
            let (queue, order) = (queue.clone(), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let _turn = queue.turn(user).await.expect("a turn");
                order.lock().push(user);
            }));
            yield_now().await;
        }
        drop(first);
        for waiting in waiting {
            waiting.await.expect("a turn");
        }
        assert_eq!(*order.lock(), [ANN, BOB, CLEO, ANN, BOB, ANN]);
        let state = queue.0.state.lock();
        assert!(state.free == 1 && state.running.is_empty() && state.waiting.is_empty() && state.ring.is_empty());
    }

    #[tokio::test]
    async fn one_person_leaves_places_to_others() {
        let queue = FairQueue::new(3, 2);
        let _turns = [queue.turn(ANN).await.expect("the first"), queue.turn(ANN).await.expect("the second")];
        assert!(queue.turn(ANN).now_or_never().is_none(), "the third waits");
        assert!(queue.turn(BOB).now_or_never().is_some_and(|turn| turn.is_ok()));
    }

    #[tokio::test]
    async fn who_hangs_up_takes_no_turn_along() {
        let queue = FairQueue::new(1, 1);
        let turn = queue.turn(ANN).await.expect("a free place");
        assert!(queue.turn(BOB).now_or_never().is_none(), "it hangs up");
        let mut waits = Box::pin(queue.turn(CLEO));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(turn);
        let turn = waits.await.expect("the turn that Bob did not take");
        // Handed out, and dropped before it was looked at.
        let mut late = Box::pin(queue.turn(BOB));
        assert!(late.as_mut().now_or_never().is_none());
        drop(turn);
        drop(late);
        assert!(queue.turn(ANN).now_or_never().is_some_and(|turn| turn.is_ok()));
    }

    #[tokio::test]
    async fn too_many_requests_of_one_person_are_refused_and_nobody_elses() {
        let queue = FairQueue::new(2, 1);
        let _turn = queue.turn(ANN).await.expect("a free place");
        let mut waiting = Vec::new();
        for _ in 0..MAX_WAITING_PER_USER {
            let mut waits = Box::pin(queue.turn(ANN));
            assert!(waits.as_mut().now_or_never().is_none());
            waiting.push(waits);
        }
        assert!(queue.turn(ANN).now_or_never().is_some_and(|turn| turn.is_err()));
        assert!(queue.turn(BOB).now_or_never().is_some_and(|turn| turn.is_ok()));
        waiting.pop();
        assert!(queue.turn(ANN).now_or_never().is_none(), "the place of who hung up");
    }
}
