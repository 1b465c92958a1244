//! The queue in front of the password threads: bounded, and in an order in which a flood of attempts
//! holds up its senders first.
//!
//! Who has signed in to the account from the same network before goes first, but for every fourth turn,
//! which is for the others: anybody can make accounts of their own. Among both, fewer attempts of a network
//! in the last minutes go before more, and the newest before the oldest: under a flood the oldest have given
//! up by the time that it would be their turn. So four hundred addresses that keep trying stand behind each
//! other, and somebody from anywhere else goes next. It does not help who signs in for the first time against
//! more fresh networks a second than there are hashes a second; those who are told to come back hear so at
//! once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Weak;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::limits::rate_limit::Network;

/// Attempts that may wait for one thread: some seconds of its work.
const MAX_WAITING_PER_THREAD: usize = 256;
/// How long attempts count; up to twice as long for the oldest of them.
const COUNTED_PERIOD: Duration = Duration::from_mins(1);
/// Networks that are counted at most, before the count begins anew.
const MAX_COUNTED_NETWORKS: usize = 65_536;
/// Of so many turns one is for those who are not known.
const TURNS_PER_UNKNOWN: u64 = 4;
/// Attempts of a site, which may be many customers, that weigh as one of a network.
const SITE_ATTEMPTS: u32 = 16;

/// On whose behalf a password is hashed.
#[derive(Clone, Debug)]
pub struct Requester {
    /// Where the request came from.
    pub network: Network,
    /// Whether they have proved before that the account is theirs: it was made, or a session of it
    /// opened, from the same network, or the request has a good token.
    pub is_known: bool,
}

/// Attempts that wait for a thread. `W` is what the thread does.
pub(super) struct HashQueue<W> {
    state: Mutex<State<W>>,
    changed: Condvar,
    capacity: usize,
}

struct State<W> {
    waiting: BTreeMap<Rank, QueuedAttempt<W>>,
    next_number: u64,
    turns: u64,
    recent: AttemptCounts,
    is_closed: bool,
}

/// The least is next.
type Rank = (Reverse<bool>, u32, Reverse<u64>);

struct QueuedAttempt<W> {
    work: W,
    /// Dead where nobody waits for it any more.
    requester: Weak<()>,
}

impl<W> HashQueue<W> {
    /// For so many threads.
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

    /// Queues work until `waiting` is dropped. Where the queue is full, the last in order is dropped
    /// instead, which may be this one.
    pub(super) fn push(&self, work: W, from: &Requester, requester: Weak<()>) {
        let mut state = self.state.lock();
        let weight = state.recent.count(&from.network, Instant::now());
        state.next_number += 1;
        let rank = (Reverse(from.is_known), weight, Reverse(state.next_number));
        state.waiting.insert(rank, QueuedAttempt { work, requester });
        if state.waiting.len() > self.capacity {
            state.waiting.retain(|_, waiting| waiting.requester.strong_count() > 0);
        }
        // Dropped outside of the lock: whoever waits for it is woken by that.
        let last = if state.waiting.len() > self.capacity { state.waiting.pop_last() } else { None };
        drop(state);
        drop(last);
        self.changed.notify_one();
    }

    /// Waits for work that somebody waits for; `None` once the queue is closed.
    pub(super) fn next(&self) -> Option<W> {
        let mut state = self.state.lock();
        loop {
            while let Some(waiting) = state.pop() {
                if waiting.requester.strong_count() > 0 {
                    return Some(waiting.work);
                }
            }
            if state.is_closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Lets the threads end.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_all();
    }
}

impl<W> State<W> {
    fn pop(&mut self) -> Option<QueuedAttempt<W>> {
        self.turns += 1;
        let unknown = (Reverse(false), 0, Reverse(u64::MAX));
        let turn =
            if self.turns.is_multiple_of(TURNS_PER_UNKNOWN) { self.waiting.range(unknown..).next() } else { None };
        match turn.map(|(rank, _)| *rank) {
            Some(rank) => self.waiting.remove(&rank),
            None => self.waiting.pop_first().map(|(_, waiting)| waiting),
        }
    }
}

/// The attempts of the last minutes, by network and by site.
struct AttemptCounts {
    period: HashMap<Network, u32>,
    previous: HashMap<Network, u32>,
    began: Instant,
}

impl AttemptCounts {
    fn new(now: Instant) -> Self {
        Self { period: HashMap::new(), previous: HashMap::new(), began: now }
    }

    /// Counts an attempt, and gives back how much those before it weigh.
    fn count(&mut self, network: &Network, now: Instant) -> u32 {
        if now.duration_since(self.began) >= COUNTED_PERIOD || self.period.len() >= 2 * MAX_COUNTED_NETWORKS {
            let is_long_ago = now.duration_since(self.began) >= 2 * COUNTED_PERIOD;
            let period = std::mem::take(&mut self.period);
            self.previous = if is_long_ago { HashMap::new() } else { period };
            self.began = now;
        }
        let mut before = |network: Network| {
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

    fn from(address: &str, is_known: bool) -> Requester {
        let address: IpAddr = address.parse().expect("an address");
        Requester { network: address.into(), is_known }
    }

    /// What a thread gets, in order, of a queue that holds all of these.
    fn order(requesters: &[Requester]) -> Vec<usize> {
        let queue = HashQueue::new(1);
        let waits = Arc::new(());
        for (nth, requester) in requesters.iter().enumerate() {
            queue.push(nth, requester, Arc::downgrade(&waits));
        }
        queue.close();
        std::iter::from_fn(|| queue.next()).collect()
    }

    #[test]
    fn push_puts_who_has_signed_in_before_first() {
        assert_eq!(order(&[from("10.0.0.1", false), from("10.1.0.1", true), from("10.2.0.1", false)])[0], 1);
    }

    #[test]
    fn next_gives_every_fourth_turn_to_who_has_not() {
        let mut requesters = vec![from("10.0.0.1", true); 20];
        requesters.push(from("192.0.2.1", false));
        assert_eq!(order(&requesters).iter().position(|nth| *nth == 20), Some(3));
    }

    #[test]
    fn push_puts_a_quiet_network_before_those_that_keep_trying() {
        let flood = (0..200).map(|nth| from(&format!("10.{}.0.1", nth % 50), false));
        let mut requesters: Vec<_> = flood.collect();
        requesters.insert(180, from("192.0.2.1", false));
        assert_eq!(order(&requesters)[0], 180);
    }

    #[test]
    fn push_takes_the_networks_of_one_site_together() {
        let of_one_site = |nth| from(&format!("2001:db8:1:{nth:x}::1"), false);
        let mut requesters: Vec<_> = (0..200).map(of_one_site).collect();
        requesters.insert(100, from("2001:db8:2::1", false));
        assert_eq!(order(&requesters)[0], 100);
    }

    #[test]
    fn push_drops_the_one_with_the_most_attempts_where_the_queue_is_full() {
        let queue = HashQueue::new(1);
        let waits = Arc::new(());
        for nth in 0..10 * MAX_WAITING_PER_THREAD {
            queue.push(nth, &from("10.0.0.1", false), Arc::downgrade(&waits));
        }
        queue.push(usize::MAX, &from("192.0.2.1", false), Arc::downgrade(&waits));
        queue.close();
        let all: Vec<usize> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!((all.len(), all[0]), (MAX_WAITING_PER_THREAD, usize::MAX));
    }

    #[test]
    fn next_skips_what_nobody_waits_for() {
        let queue = HashQueue::new(1);
        let waits = Arc::new(());
        queue.push(1, &from("10.0.0.1", false), Weak::new());
        queue.push(2, &from("10.0.0.1", false), Arc::downgrade(&waits));
        queue.close();
        assert_eq!((queue.next(), queue.next()), (Some(2), None));
    }

    #[test]
    fn attempts_are_forgotten_after_two_periods() {
        let began = Instant::now();
        let mut recent = AttemptCounts::new(began);
        let network = from("10.0.0.1", false).network;
        assert_eq!(recent.count(&network, began), 0);
        assert_eq!(recent.count(&network, began + COUNTED_PERIOD), SITE_ATTEMPTS + 1);
        assert_eq!(recent.count(&network, began + 3 * COUNTED_PERIOD), 0);
    }
}
