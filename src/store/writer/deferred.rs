//! Sends to conversations that another transaction has locked, deferred until they can be stored. Most such
//! locks last for one commit of another node. A writer waits for the locks of the oldest few conversations,
//! and retries the others with later batches, with exponential backoff.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::message::LockKey;
use super::pending::PendingSend;
use crate::error::Error;

/// The backoff of a conversation after its first try; it doubles with each one.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(1);
/// Maximum backoff of a conversation.
const MAX_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Sends to a conversation whose lock is not released within this time are refused. The same limit as PostgreSQL's
/// `lock_timeout` in a lock wait.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The conversations of one writer that are locked, or were locked and still have sends to be stored.
pub(super) struct DeferredSends {
    conversations: HashMap<LockKey, DeferredConversation>,
    /// Those that no lock wait has taken, the oldest first.
    order: VecDeque<LockKey>,
    /// The number of sends of all conversations.
    len: usize,
    /// Maximum number of sends of all conversations; one conversation may have a quarter of it.
    capacity: usize,
}

struct DeferredConversation {
    /// In the order in which they were submitted.
    sends: VecDeque<PendingSend>,
    since: Instant,
    retry_at: Instant,
    /// The current backoff.
    delay: Duration,
    /// Whether its lock may block a whole batch; then only a lock wait retries it.
    must_wait_alone: bool,
}

impl DeferredSends {
    pub(super) fn new(capacity: usize) -> Self {
        Self { conversations: HashMap::new(), order: VecDeque::new(), len: 0, capacity }
    }

    /// Whether every deferred send is answered, lock waits included.
    pub(super) fn is_empty(&self) -> bool {
        self.conversations.is_empty()
    }

    /// When the next batch is to retry a conversation; `None` if there is none to retry.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        let waiting = self.order.iter().map(|key| &self.conversations[key]);
        waiting.filter(|conversation| !conversation.must_wait_alone).map(|conversation| conversation.retry_at).min()
    }

    /// Defers new sends to conversations that have deferred sends, after these, and returns the other sends. If
    /// there is no room, new sends are refused as `overloaded`.
    pub(super) fn defer_in_order(&mut self, sends: Vec<PendingSend>) -> Vec<PendingSend> {
        if self.conversations.is_empty() {
            return sends;
        }
        let (behind, free): (Vec<PendingSend>, Vec<PendingSend>) =
            sends.into_iter().partition(|send| self.conversations.contains_key(&send.message.conversation()));
        for send in behind {
            let conversation =
                self.conversations.get_mut(&send.message.conversation()).expect("the key was just looked up");
            if self.len >= self.capacity || conversation.sends.len() >= (self.capacity / 4).max(1) {
                send.refuse(&Error::overloaded());
            } else {
                conversation.sends.push_back(send);
                self.len += 1;
            }
        }
        free
    }

    /// Takes at most `max` sends of conversations that are due for a retry. The caller reports the result to
    /// [`put_back`](Self::put_back) before it calls any other method.
    pub(super) fn take_due(&mut self, max: usize) -> Vec<PendingSend> {
        let now = Instant::now();
        let mut taken = Vec::new();
        for key in &self.order {
            let conversation = self.conversations.get_mut(key).expect("every key in order has a conversation");
            if !conversation.must_wait_alone && conversation.retry_at <= now {
                let count = conversation.sends.len().min(max - taken.len());
                taken.extend(conversation.sends.drain(..count));
            }
        }
        self.len -= taken.len();
        taken
    }

    /// Takes the sends of the oldest conversation for a lock wait, which ends with
    /// [`release`](Self::release).
    pub(super) fn take_oldest(&mut self, max: usize) -> Option<(LockKey, Vec<PendingSend>)> {
        let key = self.order.pop_front()?;
        let conversation = self.conversations.get_mut(&key).expect("every key in order has a conversation");
        let count = conversation.sends.len().min(max);
        self.len -= count;
        Some((key, conversation.sends.drain(..count).collect()))
    }

    /// Ends a lock wait: the sends that it took are answered. Sends that were deferred meanwhile are retried at once.
    pub(super) fn release(&mut self, key: LockKey) {
        let conversation = self.conversations.get_mut(&key).expect("only the lock wait that took it removes it");
        if conversation.sends.is_empty() {
            self.conversations.remove(&key);
        } else {
            conversation.reset();
            self.order.push_back(key);
        }
    }

    /// Takes the result of a batch: `unwritten` sends are deferred, before those that were submitted later. The
    /// other conversations of the batch, which are all in `tried`, are not locked any more.
    /// `has_unknown_lock` says that one of the conversations, but not which, may block a whole batch.
    pub(super) fn put_back(&mut self, tried: HashSet<LockKey>, unwritten: Vec<PendingSend>, has_unknown_lock: bool) {
        let mut locked: HashMap<LockKey, Vec<PendingSend>> = HashMap::new();
        for send in unwritten {
            locked.entry(send.message.conversation()).or_default().push(send);
        }
        for key in tried {
            let known = self.conversations.get_mut(&key);
            match (locked.remove(&key), known) {
                (None, None) => {}
                (None, Some(conversation)) if conversation.sends.is_empty() => self.remove(key),
                (None, Some(conversation)) => conversation.reset(),
                (Some(sends), known) => {
                    let is_new = known.is_none();
                    let conversation = self.conversations.entry(key).or_insert_with(DeferredConversation::new);
                    conversation.must_wait_alone |= has_unknown_lock;
                    conversation.back_off();
                    self.len += sends.len();
                    for send in sends.into_iter().rev() {
                        conversation.sends.push_front(send);
                    }
                    if is_new {
                        self.order.push_back(key);
                    } else if conversation.since.elapsed() > LOCK_TIMEOUT {
                        self.refuse(key);
                    }
                }
            }
        }
    }

    fn refuse(&mut self, key: LockKey) {
        let sends = self
            .conversations
            .get_mut(&key)
            .map(|conversation| std::mem::take(&mut conversation.sends))
            .unwrap_or_default();
        self.len -= sends.len();
        for send in sends {
            send.refuse(&Error::overloaded());
        }
        self.remove(key);
    }

    fn remove(&mut self, key: LockKey) {
        self.conversations.remove(&key);
        self.order.retain(|other| *other != key);
    }
}

impl DeferredConversation {
    fn new() -> Self {
        let now = Instant::now();
        Self { sends: VecDeque::new(), since: now, retry_at: now, delay: Duration::ZERO, must_wait_alone: false }
    }

    /// Begins anew without backoff, because the lock was free at least once.
    fn reset(&mut self) {
        *self = Self { sends: std::mem::take(&mut self.sends), ..Self::new() };
    }

    /// Doubles the delay until the next retry.
    fn back_off(&mut self) {
        self.delay = (self.delay * 2).clamp(MIN_RETRY_DELAY, MAX_RETRY_DELAY);
        self.retry_at = Instant::now() + self.delay;
    }
}
