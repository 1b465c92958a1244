//! Sends to conversations that somebody else has locked, until they can be stored. Most such locks last
//! for a commit of another node; the first few conversations are waited for, and the others tried again
//! with a later batch.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::{ConversationKey, Job};
use crate::error::Error;

/// When a conversation is tried again; twice as late each time, up to the second.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(1);
const MAX_RETRY_DELAY: Duration = Duration::from_millis(100);
/// How long a lock is put up with, as `lock_timeout` of those that are waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The conversations that are locked, or were until their sends are stored.
pub(super) struct Deferred {
    conversations: HashMap<ConversationKey, DeferredConversation>,
    /// Those that nobody works on, who has waited longest first.
    order: VecDeque<ConversationKey>,
    jobs: usize,
    /// Most jobs of all of them; of one conversation a quarter.
    capacity: usize,
}

struct DeferredConversation {
    /// In the order in which they were sent.
    jobs: VecDeque<Job>,
    since: Instant,
    retry_at: Instant,
    delay: Duration,
    /// Whether it must not hold up a batch again.
    alone: bool,
}

impl Deferred {
    pub(super) fn new(capacity: usize) -> Self {
        Self { conversations: HashMap::new(), order: VecDeque::new(), jobs: 0, capacity }
    }

    /// Whether every send that was deferred is answered.
    pub(super) fn is_empty(&self) -> bool {
        self.conversations.is_empty()
    }

    /// When a batch is to try again what nobody waits for.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.order.iter().map(|key| &self.conversations[key]).filter(|waiting| !waiting.alone).map(|w| w.retry_at).min()
    }

    /// Puts new sends behind those of the same conversation that are deferred, and gives back the others.
    pub(super) fn defer_behind(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        if self.conversations.is_empty() {
            return jobs;
        }
        let (waits, free): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| self.conversations.contains_key(&job.draft.conversation()));
        for job in waits {
            let waiting = self.conversations.get_mut(&job.draft.conversation()).expect("it is there, as was just seen");
            if self.jobs >= self.capacity || waiting.jobs.len() >= (self.capacity / 4).max(1) {
                job.refuse(&Error::overloaded());
            } else {
                waiting.jobs.push_back(job);
                self.jobs += 1;
            }
        }
        free
    }

    /// Takes at most so many sends whose conversations are due to be tried again. What becomes of them is
    /// for [`put_back`](Self::put_back) to hear, before anything else is asked.
    pub(super) fn take_due(&mut self, most: usize) -> Vec<Job> {
        let now = Instant::now();
        let mut taken = Vec::new();
        for key in &self.order {
            let waiting = self.conversations.get_mut(key).expect("what is in order is there");
            if !waiting.alone && waiting.retry_at <= now {
                let some = waiting.jobs.len().min(most - taken.len());
                taken.extend(waiting.jobs.drain(..some));
            }
        }
        self.jobs -= taken.len();
        taken
    }

    /// Takes the sends of the conversation that has waited longest, for somebody who waits for it and
    /// [`release`](Self::release)s it afterwards.
    pub(super) fn take_first(&mut self, most: usize) -> Option<(ConversationKey, Vec<Job>)> {
        let key = self.order.pop_front()?;
        let waiting = self.conversations.get_mut(&key).expect("what is in order is there");
        let some = waiting.jobs.len().min(most);
        self.jobs -= some;
        Some((key, waiting.jobs.drain(..some).collect()))
    }

    /// A conversation was waited for, and what was taken of it is answered. What came meanwhile is next.
    pub(super) fn release(&mut self, key: ConversationKey) {
        let waiting = self.conversations.get_mut(&key).expect("it was taken, and nobody else removes it");
        if waiting.jobs.is_empty() {
            self.conversations.remove(&key);
        } else {
            waiting.begin();
            self.order.push_back(key);
        }
    }

    /// What a batch could not store is deferred, in front of what came later; what it stored of the
    /// conversations `tried` is over.
    pub(super) fn put_back(&mut self, tried: HashSet<ConversationKey>, unwritten: Vec<Job>, alone: bool) {
        let mut held: HashMap<ConversationKey, Vec<Job>> = HashMap::new();
        for job in unwritten {
            held.entry(job.draft.conversation()).or_default().push(job);
        }
        for key in tried {
            let known = self.conversations.get_mut(&key);
            match (held.remove(&key), known) {
                (None, None) => {}
                (None, Some(waiting)) if waiting.jobs.is_empty() => self.remove(key),
                (None, Some(waiting)) => waiting.begin(),
                (Some(jobs), known) => {
                    let is_new = known.is_none();
                    let waiting = self.conversations.entry(key).or_insert_with(DeferredConversation::new);
                    waiting.alone |= alone;
                    waiting.put_off();
                    self.jobs += jobs.len();
                    for job in jobs.into_iter().rev() {
                        waiting.jobs.push_front(job);
                    }
                    if is_new {
                        self.order.push_back(key);
                    } else if waiting.since.elapsed() > LOCK_TIMEOUT {
                        self.refuse(key);
                    }
                }
            }
        }
    }

    fn refuse(&mut self, key: ConversationKey) {
        let jobs =
            self.conversations.get_mut(&key).map(|waiting| std::mem::take(&mut waiting.jobs)).unwrap_or_default();
        self.jobs -= jobs.len();
        for job in jobs {
            job.refuse(&Error::overloaded());
        }
        self.remove(key);
    }

    fn remove(&mut self, key: ConversationKey) {
        self.conversations.remove(&key);
        self.order.retain(|other| *other != key);
    }
}

impl DeferredConversation {
    fn new() -> Self {
        let now = Instant::now();
        Self { jobs: VecDeque::new(), since: now, retry_at: now, delay: Duration::ZERO, alone: false }
    }

    /// The lock was free, for a moment at least.
    fn begin(&mut self) {
        *self = Self { jobs: std::mem::take(&mut self.jobs), ..Self::new() };
    }

    fn put_off(&mut self) {
        self.delay = (self.delay * 2).clamp(MIN_RETRY_DELAY, MAX_RETRY_DELAY);
        self.retry_at = Instant::now() + self.delay;
    }
}
