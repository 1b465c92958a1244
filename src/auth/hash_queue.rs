//! Admission control for password hashes, the most expensive work that a stranger can ask for: a bounded priority
//! queue in front of the hashing threads, in which a flood of attempts delays its senders first.
//!
//! Callers who have signed in to the account from the same network before go first. Every fourth turn is for the
//! others, because anyone can create accounts of their own and flood from there. Within both classes, networks
//! with fewer attempts in the last minutes go before those with more, and newer attempts before older ones: under
//! a flood, the callers of the oldest have given up by the time that their turn would come. So four hundred
//! addresses that keep trying queue after each other, and a caller from any other network goes next. The queue
//! does not protect a first sign-in from a flood out of more new networks a second than there are hashes a second:
//! then it is full, and attempts without a place are refused at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Weak;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::limits::keyed_rate_limit::IpPrefix;

/// Maximum number of attempts that wait for one thread: some seconds of its work.
const MAX_WAITING_PER_THREAD: usize = 256;
/// The period of the attempt counts. An attempt counts until the end of the period after its own.
const COUNT_PERIOD: Duration = Duration::from_mins(1);
/// Maximum number of networks, each with its site, that are counted in one period; past it the next period begins.
const MAX_COUNTED_NETWORKS: usize = 65_536;
/// One of this many turns is for callers that are not known.
const TURNS_PER_UNKNOWN: u64 = 4;
/// How many attempts of a site, which may be many customers, weigh as much as one attempt of a network.
const SITE_ATTEMPTS: u32 = 16;

/// The caller for whom a password is hashed.
#[derive(Clone, Debug)]
pub struct Requester {
    /// The network that the request came from.
    pub network: IpPrefix,
    /// Whether the caller has proved before that the account is theirs: the account was created or a session of
    /// it opened from the same network, or the request has a valid token.
    pub is_known: bool,
}

/// Attempts that wait for a thread. `J` is the job of the thread.
pub(super) struct HashQueue<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
    capacity: usize,
}

struct State<J> {
    waiting: BTreeMap<Rank, QueuedAttempt<J>>,
    next_number: u64,
    turns: u64,
    recent: AttemptCounts,
    is_closed: bool,
}

/// The priority of an attempt, whose lowest is next: known callers first, then the weight of the network's
/// attempts, then the newest.
type Rank = (Reverse<bool>, u32, Reverse<u64>);

struct QueuedAttempt<J> {
    job: J,
    /// Cannot be upgraded once the caller has stopped waiting.
    waiting: Weak<()>,
}

impl<J> HashQueue<J> {
    /// An empty queue for this many threads.
    pub(super) fn new(threads: usize) -> Self {
        let state = State {
            waiting: BTreeMap::new(),
            next_number: 0,
            turns: 0,
            recent: AttemptCounts::new(Instant::now()),
            is_closed: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), capacity: threads * MAX_WAITING_PER_THREAD }
    }

    /// Queues a job, which is skipped once `waiting` cannot be upgraded. If the queue is full, the job of the
    /// lowest priority is dropped, which may be this one.
    pub(super) fn push(&self, job: J, requester: &Requester, waiting: Weak<()>) {
        let mut state = self.state.lock();
        let weight = state.recent.count(&requester.network, Instant::now());
        state.next_number += 1;
        let rank = (Reverse(requester.is_known), weight, Reverse(state.next_number));
        state.waiting.insert(rank, QueuedAttempt { job, waiting });
        if state.waiting.len() > self.capacity {
            state.waiting.retain(|_, attempt| attempt.waiting.strong_count() > 0);
        }
        // Dropped outside of the lock, because that wakes the caller.
        let last = if state.waiting.len() > self.capacity { state.waiting.pop_last() } else { None };
        drop(state);
        drop(last);
        self.changed.notify_one();
    }

    /// Waits for the next job whose caller still waits; `None` once the queue is closed and empty.
    pub(super) fn next(&self) -> Option<J> {
        let mut state = self.state.lock();
        loop {
            while let Some(attempt) = state.pop() {
                if attempt.waiting.strong_count() > 0 {
                    return Some(attempt.job);
                }
            }
            if state.is_closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Closes the queue, which ends the threads once it is empty.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_all();
    }
}

impl<J> State<J> {
    fn pop(&mut self) -> Option<QueuedAttempt<J>> {
        self.turns += 1;
        let unknown = (Reverse(false), 0, Reverse(u64::MAX));
        let turn =
            if self.turns.is_multiple_of(TURNS_PER_UNKNOWN) { self.waiting.range(unknown..).next() } else { None };
        match turn.map(|(rank, _)| *rank) {
            Some(rank) => self.waiting.remove(&rank),
            None => self.waiting.pop_first().map(|(_, attempt)| attempt),
        }
    }
}

/// The attempts of this period and the one before, by network and by site.
struct AttemptCounts {
    period: HashMap<IpPrefix, u32>,
    previous: HashMap<IpPrefix, u32>,
    began: Instant,
}

impl AttemptCounts {
    fn new(now: Instant) -> Self {
        Self { period: HashMap::new(), previous: HashMap::new(), began: now }
    }

    /// Counts an attempt, and returns the weight of those before it.
    fn count(&mut self, network: &IpPrefix, now: Instant) -> u32 {
        if now.duration_since(self.began) >= COUNT_PERIOD || self.period.len() >= 2 * MAX_COUNTED_NETWORKS {
            let is_long_ago = now.duration_since(self.began) >= 2 * COUNT_PERIOD;
            let period = std::mem::take(&mut self.period);
            self.previous = if is_long_ago { HashMap::new() } else { period };
            self.began = now;
        }
        let mut before = |network: IpPrefix| {
            let earlier = self.previous.get(&network).copied().unwrap_or_default();
            let count = self.period.entry(network).or_default();
            let before = earlier.saturating_add(*count);
            *count = count.saturating_add(1);
            before
        };
        let of_site = before(network.site());
        before(network.clone()).saturating_mul(SITE_ATTEMPTS).saturating_add(of_site)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::*;

    fn requester(address: &str, is_known: bool) -> Requester {
        let address: IpAddr = address.parse().expect("an address");
        Requester { network: address.into(), is_known }
    }

    /// The order in which a thread takes the attempts of these requesters.
    fn order(requesters: &[Requester]) -> Vec<usize> {
        let queue = HashQueue::new(1);
        let waiting = Arc::new(());
        for (nth, requester) in requesters.iter().enumerate() {
            queue.push(nth, requester, Arc::downgrade(&waiting));
        }
        queue.close();
        std::iter::from_fn(|| queue.next()).collect()
    }

    #[test]
    fn push_ranks_known_callers_first() {
        assert_eq!(
            order(&[requester("10.0.0.1", false), requester("10.1.0.1", true), requester("10.2.0.1", false)])[0],
            1
        );
    }

    #[test]
    fn next_gives_every_fourth_turn_to_unknown_callers() {
        let mut requesters = vec![requester("10.0.0.1", true); 20];
        requesters.push(requester("192.0.2.1", false));
        assert_eq!(order(&requesters).iter().position(|nth| *nth == 20), Some(3));
    }

    #[test]
    fn push_ranks_a_quiet_network_before_a_flood() {
        let flood = (0..200).map(|nth| requester(&format!("10.{}.0.1", nth % 50), false));
        let mut requesters: Vec<_> = flood.collect();
        requesters.insert(180, requester("192.0.2.1", false));
        assert_eq!(order(&requesters)[0], 180);
    }

    #[test]
    fn push_counts_the_networks_of_a_site_together() {
        let of_one_site = |nth| requester(&format!("2001:db8:1:{nth:x}::1"), false);
        let mut requesters: Vec<_> = (0..200).map(of_one_site).collect();
        requesters.insert(100, requester("2001:db8:2::1", false));
        assert_eq!(order(&requesters)[0], 100);
    }

    #[test]
    fn push_drops_the_network_with_the_most_attempts_when_full() {
        let queue = HashQueue::new(1);
        let waiting = Arc::new(());
        for nth in 0..10 * MAX_WAITING_PER_THREAD {
            queue.push(nth, &requester("10.0.0.1", false), Arc::downgrade(&waiting));
        }
        queue.push(usize::MAX, &requester("192.0.2.1", false), Arc::downgrade(&waiting));
        queue.close();
        let all: Vec<usize> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!((all.len(), all[0]), (MAX_WAITING_PER_THREAD, usize::MAX));
    }

    #[test]
    fn next_skips_jobs_of_callers_that_are_gone() {
        let queue = HashQueue::new(1);
        let waiting = Arc::new(());
        queue.push(1, &requester("10.0.0.1", false), Weak::new());
        queue.push(2, &requester("10.0.0.1", false), Arc::downgrade(&waiting));
        queue.close();
        assert_eq!((queue.next(), queue.next()), (Some(2), None));
    }

    #[test]
    fn count_drops_attempts_after_two_periods() {
        let began = Instant::now();
        let mut recent = AttemptCounts::new(began);
        let network = requester("10.0.0.1", false).network;
        assert_eq!(recent.count(&network, began), 0);
        assert_eq!(recent.count(&network, began + COUNT_PERIOD), SITE_ATTEMPTS + 1);
        assert_eq!(recent.count(&network, began + 3 * COUNT_PERIOD), 0);
    }
}
