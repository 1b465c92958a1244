//! One order for all members, on every node. Each node hands over its own commits in the order of
//! `seq`, but two nodes that write to one conversation may reach a third, or each other, crosswise.
//! So a message that comes before its predecessor waits for it, for a moment: a predecessor that
//! was lost with its node is in the history, and the gap in `seq` says so.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{MessagePlace, Push};
use crate::model::{ConversationId, Seq};

const SHARDS: usize = 64;
/// Longest wait for a predecessor that is on its way, or lost with its node.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same where nothing of the conversation came before: the predecessor may have been delivered while
/// this node was alone, or not there.
const PATIENCE_AT_FIRST: Duration = Duration::from_millis(250);
/// Most messages of one conversation that wait for a predecessor.
const MOST_WAITING: usize = 1_000;
/// A conversation that was silent for so long is forgotten. Longer than a message counts as close
/// to the one before it.
const FORGET_AFTER: Duration = Duration::from_mins(1);

/// Where each conversation stands on this node.
#[derive(Debug)]
pub(super) struct Order {
    shards: Vec<Mutex<HashMap<ConversationId, Lane>>>,
}

#[derive(Debug)]
struct Lane {
    /// The `seq` to deliver next; `None` until it is known which message came first here.
    next: Option<Seq>,
    waiting: BTreeMap<Seq, Push>,
    /// Since when the first of them waits.
    waiting_since: Instant,
    last_seen: Instant,
}

impl Default for Order {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Order {
    /// Delivers a message, and those that waited for it; or lets it wait for the one before it. Gives
    /// back how far the conversation has come where the message comes too late to be delivered.
    pub(super) fn admit(&self, place: MessagePlace, push: &Push, mut deliver: impl FnMut(&Push)) -> Option<Seq> {
        let MessagePlace { conversation, seq, close_to_previous } = place;
        let nth = conversation.0.unsigned_abs() % SHARDS as u64;
        let shard = &self.shards[usize::try_from(nth).expect("less than the number of shards")];
        // Held while delivering: two nodes must not overtake each other between here and the outboxes.
        let mut lanes = shard.lock();
        let lane = lanes.entry(conversation).or_insert_with(Lane::new);
        lane.last_seen = Instant::now();
        if seq == 1 || !close_to_previous {
            lane.next.get_or_insert(seq);
        }
        match lane.next {
            Some(next) if seq < next => {
                tracing::debug!(%conversation, seq, next, "a message came too late to be pushed in order");
                return Some(next - 1);
            }
            Some(next) if seq == next => {
                deliver(push);
                lane.next = Some(seq + 1);
                lane.deliver_waiting(&mut deliver);
            }
            _ => {
                if lane.waiting.is_empty() {
                    lane.waiting_since = Instant::now();
                }
                lane.waiting.insert(seq, push.clone());
                if lane.waiting.len() > MOST_WAITING {
                    lane.give_up(&mut deliver);
                }
            }
        }
        None
    }

    /// Gives up waiting where it took too long, and forgets silent conversations.
    pub(super) fn sweep(&self, mut deliver: impl FnMut(&Push)) {
        for shard in &self.shards {
            shard.lock().retain(|_, lane| {
                let patience = if lane.next.is_some() { PATIENCE } else { PATIENCE_AT_FIRST };
                if !lane.waiting.is_empty() && lane.waiting_since.elapsed() > patience {
                    lane.give_up(&mut deliver);
                }
                lane.last_seen.elapsed() < FORGET_AFTER
            });
        }
    }

    /// Waits for nothing any more, and forgets all conversations: what comes next may be numbered anew.
    pub(super) fn forget(&self, mut deliver: impl FnMut(&Push)) {
        for shard in &self.shards {
            let mut lanes = shard.lock();
            lanes.values_mut().for_each(|lane| lane.give_up(&mut deliver));
            lanes.clear();
        }
    }
}

impl Lane {
    fn new() -> Self {
        let now = Instant::now();
        Self { next: None, waiting: BTreeMap::new(), waiting_since: now, last_seen: now }
    }

    /// Goes on without the message that the others wait for.
    fn give_up(&mut self, deliver: &mut impl FnMut(&Push)) {
        self.next = self.waiting.keys().next().copied();
        self.deliver_waiting(deliver);
    }

    fn deliver_waiting(&mut self, deliver: &mut impl FnMut(&Push)) {
        while let Some(next) = self.next
            && let Some(push) = self.waiting.remove(&next)
        {
            deliver(&push);
            self.next = Some(next + 1);
        }
        self.waiting_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Audience, Message, WhenSlow};
    use crate::wire::reply::Frame;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn message(seq: Seq) -> (MessagePlace, Push) {
        let place = MessagePlace { conversation: ConversationId(1), seq, close_to_previous: seq > 1 };
        let push = Push {
            to: Audience::Users(Arc::from([])),
            from: None,
            topic: None,
            frame: Frame::ping(),
            when_slow: WhenSlow::Drop,
            message: Some(Arc::new(Message { place, notification: Frame::ping() })),
        };
        (place, push)
    }

    fn seq_of(push: &Push) -> Seq {
        push.message.as_ref().expect("a message").place.seq
    }

    fn delivered(order: &Order, seqs: &[Seq]) -> Vec<Seq> {
        let mut delivered = Vec::new();
        for seq in seqs {
            let (place, push) = message(*seq);
            let _ = order.admit(place, &push, |push| delivered.push(seq_of(push)));
        }
        delivered
    }

    proptest! {
        #[test]
        fn whatever_order_they_come_in_they_leave_in_one(seqs in Just((1..=20).collect::<Vec<Seq>>()).prop_shuffle()) {
            prop_assert_eq!(delivered(&Order::default(), &seqs), (1..=20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn messages_that_go_on_coming_do_not_renew_the_wait() {
        let order = Order::default();
        let mut seen = delivered(&order, &[1]);
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut next = 3;
        while seen.len() < 2 && Instant::now() < deadline {
            seen.extend(delivered(&order, &[next]));
            order.sweep(|push| seen.push(seq_of(push)));
            next += 1;
        }
        assert_eq!(seen[..2], [1, 3]);
    }

    #[test]
    fn a_conversation_that_was_put_back_is_delivered_from_there_on() {
        let order = Order::default();
        assert_eq!(delivered(&order, &[1, 2, 3, 5]), [1, 2, 3]);
        let mut late = Vec::new();
        order.forget(|push| late.push(seq_of(push)));
        assert_eq!(late, [5]);
        let (place, push) = message(2);
        let place = MessagePlace { close_to_previous: false, ..place };
        assert_eq!(order.admit(place, &push, |push| late.push(seq_of(push))), None);
        assert_eq!(late, [5, 2]);
    }

    #[test]
    fn a_lost_message_holds_up_the_others_for_a_moment_only() {
        let order = Order::default();
        assert_eq!(delivered(&order, &[1, 3, 4]), [1]);
        let mut late = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(5);
        while late.len() < 2 && Instant::now() < deadline {
            order.sweep(|push| late.push(seq_of(push)));
        }
        assert_eq!(late, [3, 4]);
        let (place, push) = message(2);
        assert_eq!(order.admit(place, &push, |_| panic!("out of order")), Some(4));
        assert_eq!(delivered(&order, &[5]), [5]);
    }
}
