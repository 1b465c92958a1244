//! Delivers the messages of a conversation in the order of `seq`, on every node. One node publishes its own
//! commits in that order, but messages of two nodes that write to one conversation may reach other nodes in
//! different orders. So a message that arrives before its predecessor is buffered for a moment. A predecessor that
//! was lost with its node is in the history, and the client detects the gap in `seq`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::push::{MessagePosition, Push};
use super::sharded_map::ShardedMap;
use crate::model::{ConversationId, Seq};

/// Maximum time that messages wait for a predecessor, which is on its way or was lost with its node.
const GAP_TIMEOUT: Duration = Duration::from_secs(2);
/// The same for the first message that this node sees of a conversation: its predecessor may have been
/// delivered while this node was alone, or not running.
const FIRST_GAP_TIMEOUT: Duration = Duration::from_millis(250);
/// Maximum number of buffered messages of one conversation; one more skips the gap.
const MAX_BUFFERED_MESSAGES: usize = 1_000;
/// State of a conversation without messages for this time is dropped. It is longer than the time within which
/// a message counts as recent ([`MessagePosition::follows_recent`]).
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// The next `seq` of each conversation on this node, and the messages that wait for it.
#[derive(Debug, Default)]
pub(super) struct Resequencer(ShardedMap<ConversationId, ReorderBuffer>);

#[derive(Debug)]
struct ReorderBuffer {
    /// The `seq` to deliver next; `None` while the first message seen here may have a predecessor on its way.
    next: Option<Seq>,
    waiting: BTreeMap<Seq, Push>,
    /// When the first began to wait, or when a message was last delivered while others waited.
    waiting_since: Instant,
    last_seen: Instant,
}

impl Resequencer {
    /// Delivers a message and those that waited for it, or buffers it until its predecessor arrives. A message
    /// that arrives too late to be delivered in order is dropped: the return value is then the latest `seq` that
    /// was delivered.
    pub(super) fn admit(&self, position: MessagePosition, push: &Push, mut deliver: impl FnMut(&Push)) -> Option<Seq> {
        let MessagePosition { conversation, seq, follows_recent } = position;
        // The lock is held while delivering, so that no other message overtakes this one on the way to the outboxes.
        let mut buffers = self.0.lock(conversation);
        let buffer = buffers.entry(conversation).or_insert_with(ReorderBuffer::new);
        buffer.last_seen = Instant::now();
        if seq == 1 || !follows_recent {
            buffer.next.get_or_insert(seq);
        }
        match buffer.next {
            Some(next) if seq < next => {
                tracing::debug!(%conversation, seq, next, "message too late for in-order delivery");
                return Some(next - 1);
            }
            Some(next) if seq == next => {
                deliver(push);
                buffer.next = Some(seq + 1);
                buffer.deliver_waiting(&mut deliver);
            }
            _ => {
                if buffer.waiting.is_empty() {
                    buffer.waiting_since = Instant::now();
                }
                buffer.waiting.insert(seq, push.clone());
                if buffer.waiting.len() > MAX_BUFFERED_MESSAGES {
                    buffer.skip_gap(&mut deliver);
                }
            }
        }
        None
    }

    /// Skips gaps that timed out, and drops the state of idle conversations.
    pub(super) fn expire(&self, mut deliver: impl FnMut(&Push)) {
        for mut buffers in self.0.lock_each() {
            buffers.retain(|_, buffer| {
                let gap_timeout = if buffer.next.is_some() { GAP_TIMEOUT } else { FIRST_GAP_TIMEOUT };
                if !buffer.waiting.is_empty() && buffer.waiting_since.elapsed() > gap_timeout {
                    buffer.skip_gap(&mut deliver);
                }
                buffer.last_seen.elapsed() < IDLE_TIMEOUT
            });
        }
    }

    /// Skips all gaps and drops all state: the next messages may be numbered anew.
    pub(super) fn reset(&self, mut deliver: impl FnMut(&Push)) {
        for mut buffers in self.0.lock_each() {
            buffers.values_mut().for_each(|buffer| buffer.skip_gap(&mut deliver));
            buffers.clear();
        }
    }
}

impl ReorderBuffer {
    fn new() -> Self {
        let now = Instant::now();
        Self { next: None, waiting: BTreeMap::new(), waiting_since: now, last_seen: now }
    }

    /// Continues without the message that the others wait for.
    fn skip_gap(&mut self, deliver: &mut impl FnMut(&Push)) {
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
    use crate::delivery::push::{Audience, OverflowPolicy, PushedMessage};
    use crate::wire::reply::Frame;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn message(seq: Seq) -> (MessagePosition, Push) {
        let position = MessagePosition { conversation: ConversationId(1), seq, follows_recent: seq > 1 };
        let push = Push {
            to: Audience::Users(Arc::from([])),
            from: None,
            topic: None,
            frame: Frame::ping(),
            on_overflow: OverflowPolicy::Drop,
            message: Some(Arc::new(PushedMessage { position, notification: Frame::ping() })),
        };
        (position, push)
    }

    fn seq_of(push: &Push) -> Seq {
        push.message.as_ref().expect("a message").position.seq
    }

    fn delivered(resequencer: &Resequencer, seqs: &[Seq]) -> Vec<Seq> {
        let mut delivered = Vec::new();
        for seq in seqs {
            let (position, push) = message(*seq);
            let _ = resequencer.admit(position, &push, |push| delivered.push(seq_of(push)));
        }
        delivered
    }

    proptest! {
        #[test]
        fn messages_in_any_order_are_delivered_by_seq(seqs in Just((1..=20).collect::<Vec<Seq>>()).prop_shuffle()) {
            prop_assert_eq!(delivered(&Resequencer::default(), &seqs), (1..=20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn later_messages_do_not_extend_the_gap_timeout() {
        let resequencer = Resequencer::default();
        let mut seen = delivered(&resequencer, &[1]);
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut next = 3;
        while seen.len() < 2 && Instant::now() < deadline {
            seen.extend(delivered(&resequencer, &[next]));
            resequencer.expire(|push| seen.push(seq_of(push)));
            next += 1;
        }
        assert_eq!(seen[..2], [1, 3]);
    }

    #[test]
    fn after_a_reset_delivery_starts_at_the_next_message() {
        let resequencer = Resequencer::default();
        assert_eq!(delivered(&resequencer, &[1, 2, 3, 5]), [1, 2, 3]);
        let mut late = Vec::new();
        resequencer.reset(|push| late.push(seq_of(push)));
        assert_eq!(late, [5]);
        let (position, push) = message(2);
        let position = MessagePosition { follows_recent: false, ..position };
        assert_eq!(resequencer.admit(position, &push, |push| late.push(seq_of(push))), None);
        assert_eq!(late, [5, 2]);
    }

    #[test]
    fn a_lost_message_delays_the_others_for_the_gap_timeout_only() {
        let resequencer = Resequencer::default();
        assert_eq!(delivered(&resequencer, &[1, 3, 4]), [1]);
        let mut late = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(5);
        while late.len() < 2 && Instant::now() < deadline {
            resequencer.expire(|push| late.push(seq_of(push)));
        }
        assert_eq!(late, [3, 4]);
        let (position, push) = message(2);
        assert_eq!(resequencer.admit(position, &push, |_| panic!("out of order")), Some(4));
        assert_eq!(delivered(&resequencer, &[5]), [5]);
    }
}
