//! Lost, doubled, out of order: what a receiver has heard, held against what senders were promised.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::scan::Push;

/// What one sender has sent into one conversation, and which of it was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// So many were sent: the numbers below this.
    issued: u64,
    /// Those of them that no receipt came for, yet or at all.
    unacknowledged: BTreeSet<u64>,
}

impl Sent {
    /// The number of the next message.
    pub(crate) fn issue(&mut self) -> u64 {
        let number = self.issued;
        self.unacknowledged.insert(number);
        self.issued += 1;
        number
    }

    /// A receipt came.
    pub(crate) fn acknowledge(&mut self, number: u64) {
        self.unacknowledged.remove(&number);
    }

    /// How many were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.issued - self.unacknowledged.len() as u64
    }

    fn is_acknowledged(&self, number: u64) -> bool {
        number < self.issued && !self.unacknowledged.contains(&number)
    }
}

/// What went wrong, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wrongs {
    /// Acknowledged, and never delivered to somebody who was there.
    pub(crate) lost: u64,
    /// Delivered once more to the same socket.
    pub(crate) doubled: u64,
    /// Delivered after one with a higher `seq`, or after a later one of the same sender.
    pub(crate) out_of_order: u64,
}

impl Wrongs {
    /// Adds those of another receiver.
    pub(crate) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.out_of_order += other.out_of_order;
    }
}

/// What one socket has heard.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    // A socket is in few conversations, with few senders each: a search through a list is short.
    places: Vec<Place>,
    wrongs: Wrongs,
}

#[derive(Debug)]
struct Place {
    number: u32,
    highest_seq: u64,
    streams: Vec<Stream>,
}

#[derive(Debug)]
struct Stream {
    number: u32,
    /// One past the highest that was heard.
    next: u64,
    /// Those below it that were not.
    missing: BTreeSet<u64>,
}

impl Judge {
    /// Takes a push down. Whether it is the first of its message.
    pub(crate) fn hear(&mut self, push: &Push) -> bool {
        let place = find_or_add(
            &mut self.places,
            |place| place.number == push.marker.place,
            || Place { number: push.marker.place, highest_seq: 0, streams: Vec::new() },
        );
        let stream = find_or_add(
            &mut place.streams,
            |stream| stream.number == push.marker.stream,
            || Stream { number: push.marker.stream, next: 0, missing: BTreeSet::new() },
        );
        let number = push.marker.number;
        let mut is_late = push.seq.is_some_and(|seq| seq < place.highest_seq);
        if number >= stream.next {
            stream.missing.extend(stream.next..number);
            stream.next = number + 1;
        } else if stream.missing.remove(&number) {
            is_late = true;
        } else {
            self.wrongs.doubled += 1;
            return false;
        }
        place.highest_seq = place.highest_seq.max(push.seq.unwrap_or(0));
        self.wrongs.out_of_order += u64::from(is_late);
        true
    }

    /// What is wrong with what was heard so far.
    pub(crate) fn wrongs(&self) -> Wrongs {
        self.wrongs
    }

    /// How many acknowledged messages of a sender this socket has not heard.
    pub(crate) fn lost(&self, place: u32, stream: u32, sent: &Sent) -> u64 {
        let heard = self.places.iter().find(|known| known.number == place);
        let Some(heard) = heard.and_then(|place| place.streams.iter().find(|known| known.number == stream)) else {
            return sent.acknowledged();
        };
        let below = heard.missing.iter().filter(|number| sent.is_acknowledged(**number)).count();
        let beyond = (heard.next..sent.issued).filter(|number| sent.is_acknowledged(*number)).count();
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
    use crate::bench::scan::Marker;

    fn push(stream: u32, number: u64, seq: u64) -> Push {
        Push { marker: Marker { place: 1, stream, number, sent: 0 }, seq: Some(seq) }
    }

    /// What is wrong where these numbers, which are their `seq` as well, are heard of ten that were acknowledged.
    fn judged(numbers: impl IntoIterator<Item = u64>) -> Wrongs {
        let (mut judge, mut sent) = (Judge::default(), Sent::default());
        for _ in 0..10 {
            let number = sent.issue();
            sent.acknowledge(number);
        }
        for number in numbers {
            judge.hear(&push(1, number, number + 1));
        }
        Wrongs { lost: judge.lost(1, 1, &sent), ..judge.wrongs() }
    }

    #[test]
    fn all_in_order_is_right() {
        assert_eq!(judged(0..10), Wrongs::default());
    }

    #[test]
    fn a_planted_loss_is_found() {
        let lost = |lost| Wrongs { lost, ..Wrongs::default() };
        assert_eq!(judged([0, 1, 3, 4, 5, 6, 7, 8, 9]), lost(1), "in the middle");
        assert_eq!(judged(2..10), lost(2), "at the beginning");
        assert_eq!(judged(0..9), lost(1), "at the end");
        assert_eq!(judged([]), lost(10), "all");
    }

    #[test]
    fn a_planted_double_is_found() {
        let doubled = |doubled| Wrongs { doubled, ..Wrongs::default() };
        assert_eq!(judged([0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9]), doubled(1));
        assert_eq!(judged((0..10).chain(0..10)), doubled(10));
    }

    #[test]
    fn a_planted_reorder_is_found() {
        let late = |out_of_order| Wrongs { out_of_order, ..Wrongs::default() };
        assert_eq!(judged([0, 2, 1, 3, 4, 5, 6, 7, 8, 9]), late(1));
        assert_eq!(judged((0..10).rev()), late(9));
    }

    #[test]
    fn order_among_several_senders_is_that_of_seq() {
        let mut judge = Judge::default();
        for push in [push(1, 0, 1), push(2, 0, 3), push(1, 1, 2)] {
            judge.hear(&push);
        }
        assert_eq!(judge.wrongs().out_of_order, 1);
    }

    #[test]
    fn what_was_not_acknowledged_is_not_lost() {
        let mut sent = Sent::default();
        let (first, _refused) = (sent.issue(), sent.issue());
        sent.acknowledge(first);
        let mut judge = Judge::default();
        assert_eq!(judge.lost(1, 1, &sent), 1);
        judge.hear(&push(1, 0, 1));
        assert_eq!((judge.lost(1, 1, &sent), sent.acknowledged()), (0, 1));
    }

    proptest! {
        /// Whatever comes in whatever order, how often it came is told exactly.
        #[test]
        fn counts_are_exact(numbers in prop::collection::vec(0_u64..10, 0..40)) {
            let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
            let wrongs = judged(numbers.iter().copied());
            prop_assert_eq!(wrongs.lost, 10 - distinct.len() as u64);
            prop_assert_eq!(wrongs.doubled, (numbers.len() - distinct.len()) as u64);
        }
    }
}
