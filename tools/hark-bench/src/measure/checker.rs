//! Checks the messages that each socket received against those that were acknowledged to their senders: nothing is
//! lost, duplicated or out of order.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::measure::scanner::Push;

/// What one sender has sent into one conversation, and which of it was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct SentLog {
    /// The number of the next message; all numbers below it were sent.
    issued: u64,
    /// Sent messages without a successful reply.
    unacknowledged: BTreeSet<u64>,
}

impl SentLog {
    /// Assigns the number of the next message.
    pub(crate) fn issue(&mut self) -> u64 {
        let number = self.issued;
        self.unacknowledged.insert(number);
        self.issued += 1;
        number
    }

    /// Records the successful reply to a message.
    pub(crate) fn acknowledge(&mut self, number: u64) {
        self.unacknowledged.remove(&number);
    }

    /// The number of acknowledged messages.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.issued - self.unacknowledged.len() as u64
    }

    fn is_acknowledged(&self, number: u64) -> bool {
        number < self.issued && !self.unacknowledged.contains(&number)
    }
}

/// Violations of the delivery contract, counted in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Violations {
    /// Acknowledged, and not delivered to a socket that was open.
    pub(crate) lost: u64,
    /// Delivered to one socket more than once.
    pub(crate) duplicated: u64,
    /// Delivered after a message with a higher `seq`, or after a later message of the same sender.
    pub(crate) out_of_order: u64,
}

impl Violations {
    /// Adds the violations of another receiver.
    pub(crate) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
    }
}

/// What one socket has received.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    // A socket is in few conversations with few senders each, so a linear search is short.
    conversations: Vec<ConversationLog>,
    violations: Violations,
}

#[derive(Debug)]
struct ConversationLog {
    number: u32,
    highest_seq: u64,
    streams: Vec<StreamLog>,
}

#[derive(Debug)]
struct StreamLog {
    number: u32,
    /// One past the highest number that was received.
    next: u64,
    /// Numbers below `next` that were not received.
    missing: BTreeSet<u64>,
}

impl Checker {
    /// Records a push; returns whether it is the first one of its message.
    pub(crate) fn record(&mut self, push: &Push) -> bool {
        let conversation = find_or_add(
            &mut self.conversations,
            |conversation| conversation.number == push.marker.conversation,
            || ConversationLog { number: push.marker.conversation, highest_seq: 0, streams: Vec::new() },
        );
        let stream = find_or_add(
            &mut conversation.streams,
            |stream| stream.number == push.marker.stream,
            || StreamLog { number: push.marker.stream, next: 0, missing: BTreeSet::new() },
        );
        let number = push.marker.number;
        let mut is_late = push.seq.is_some_and(|seq| seq < conversation.highest_seq);
        if number >= stream.next {
            stream.missing.extend(stream.next..number);
            stream.next = number + 1;
        } else if stream.missing.remove(&number) {
            is_late = true;
        } else {
            self.violations.duplicated += 1;
            return false;
        }
        conversation.highest_seq = conversation.highest_seq.max(push.seq.unwrap_or(0));
        self.violations.out_of_order += u64::from(is_late);
        true
    }

    /// Duplicated messages and messages out of order so far. The lost ones are counted by [`Checker::lost`].
    pub(crate) fn violations(&self) -> Violations {
        self.violations
    }

    /// The number of acknowledged messages of one stream that this socket has not received.
    pub(crate) fn lost(&self, conversation: u32, stream: u32, sent: &SentLog) -> u64 {
        let log = self.conversations.iter().find(|log| log.number == conversation);
        let Some(log) = log.and_then(|log| log.streams.iter().find(|log| log.number == stream)) else {
            return sent.acknowledged();
        };
        let below = log.missing.iter().filter(|number| sent.is_acknowledged(**number)).count();
        let beyond = (log.next..sent.issued).filter(|number| sent.is_acknowledged(*number)).count();
        (below + beyond) as u64
    }
}

fn find_or_add<T>(list: &mut Vec<T>, is_it: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let at = list.iter().position(is_it).unwrap_or_else(|| {
        list.push(new());
        list.len() - 1
    });
    &mut list[at]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measure::scanner::Marker;

    fn push(stream: u32, number: u64, seq: u64) -> Push {
        Push { marker: Marker { conversation: 1, stream, number, due: 0 }, seq: Some(seq) }
    }

    /// The violations where messages with these numbers, which are their `seq` as well, are received of ten that were
    /// acknowledged.
    fn check(numbers: impl IntoIterator<Item = u64>) -> Violations {
        let (mut checker, mut sent) = (Checker::default(), SentLog::default());
        for _ in 0..10 {
            let number = sent.issue();
            sent.acknowledge(number);
        }
        for number in numbers {
            checker.record(&push(1, number, number + 1));
        }
        Violations { lost: checker.lost(1, 1, &sent), ..checker.violations() }
    }

    #[test]
    fn messages_in_order_are_no_violation() {
        assert_eq!(check(0..10), Violations::default());
    }

    #[test]
    fn lost_messages_are_counted() {
        let lost = |lost| Violations { lost, ..Violations::default() };
        assert_eq!(check([0, 1, 3, 4, 5, 6, 7, 8, 9]), lost(1), "in the middle");
        assert_eq!(check(2..10), lost(2), "at the beginning");
        assert_eq!(check(0..9), lost(1), "at the end");
        assert_eq!(check([]), lost(10), "all");
    }

    #[test]
    fn duplicated_messages_are_counted() {
        let duplicated = |duplicated| Violations { duplicated, ..Violations::default() };
        assert_eq!(check([0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9]), duplicated(1));
        assert_eq!(check((0..10).chain(0..10)), duplicated(10));
    }

    #[test]
    fn messages_out_of_order_are_counted() {
        let late = |out_of_order| Violations { out_of_order, ..Violations::default() };
        assert_eq!(check([0, 2, 1, 3, 4, 5, 6, 7, 8, 9]), late(1));
        assert_eq!(check((0..10).rev()), late(9));
    }

    #[test]
    fn order_between_senders_is_that_of_seq() {
        let mut checker = Checker::default();
        for push in [push(1, 0, 1), push(2, 0, 3), push(1, 1, 2)] {
            checker.record(&push);
        }
        assert_eq!(checker.violations().out_of_order, 1);
    }

    #[test]
    fn unacknowledged_messages_are_not_lost() {
        let mut sent = SentLog::default();
        let (first, _refused) = (sent.issue(), sent.issue());
        sent.acknowledge(first);
        let mut checker = Checker::default();
        assert_eq!(checker.lost(1, 1, &sent), 1);
        checker.record(&push(1, 0, 1));
        assert_eq!((checker.lost(1, 1, &sent), sent.acknowledged()), (0, 1));
    }

    proptest! {
        /// Lost and duplicated messages are counted exactly, in whatever order the messages come.
        #[test]
        fn counts_are_exact(numbers in prop::collection::vec(0_u64..10, 0..40)) {
            let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
            let violations = check(numbers.iter().copied());
            prop_assert_eq!(violations.lost, 10 - distinct.len() as u64);
            prop_assert_eq!(violations.duplicated, (numbers.len() - distinct.len()) as u64);
        }
    }
}
