//! What a cursor says: `{epoch}.{snapshot}`, and while what was missed is being paged through
//! `{epoch}.{snapshot}.{snapshot at the first page}.{place of the last row}`. Clients hold it,
//! so nothing of it is believed before it was looked at.

use std::fmt;
use std::str::FromStr;

use crate::model::Cursor;

/// Most transactions under way in a snapshot of a cursor: with numbers of any length, a cursor in the middle of
/// a backlog, which holds two, has at most [`Cursor::MAX_CHARS`].
const MAX_UNDER_WAY: usize = 384;

/// What the holder of a cursor knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// In which its newest snapshot was taken; see the migrations.
    pub(super) epoch: i64,
    /// Everything that this sees.
    pub(super) base: Snapshot,
    /// And of what another one sees, a part.
    pub(super) pending: Option<Pending>,
}

/// How far a holder has paged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    /// Where the pages end.
    pub(super) target: Snapshot,
    /// The last row so far.
    pub(super) after: Position,
}

/// A row's place in the order of `changes_since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) conversation: i64,
    pub(super) part: i32,
    pub(super) place: i64,
    pub(super) tie: i64,
}

impl Position {
    /// Before every row.
    pub(super) const START: Self = Self { conversation: 0, part: 0, place: 0, tie: 0 };

    pub(super) const EVENTS: i32 = 1;
    pub(super) const NEW_MESSAGES: i32 = 2;
    pub(super) const CHANGED_MESSAGES: i32 = 3;
    pub(super) const MARKERS: i32 = 4;
    const WISHES: i32 = 5;
}

/// What PostgreSQL calls a `pg_snapshot`: transactions from `end` on were not begun, and of those
/// below some were under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    oldest: u64,
    end: u64,
    under_way: Vec<u64>,
}

impl Known {
    /// `None` where it is not what we hand out.
    pub(super) fn parse(cursor: &Cursor) -> Option<Self> {
        let text = cursor.as_str();
        let parts: Vec<&str> = text.split('.').collect();
        let pending = match parts[..] {
            [_, _] => None,
            [_, _, target, after] => Some(Pending { target: Snapshot::parse(target)?, after: Position::parse(after)? }),
            _ => return None,
        };
        let known = Self { epoch: number(parts[0])?, base: Snapshot::parse(parts[1])?, pending };
        // Numbers can be written in more ways than ours.
        (known.to_string() == text).then_some(known)
    }

    /// It knows of no transaction from here on.
    pub(super) fn end(&self) -> u64 {
        self.pending.as_ref().map_or(0, |pending| pending.target.end).max(self.base.end)
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.base)?;
        if let Some(Pending { target, after: Position { conversation, part, place, tie } }) = &self.pending {
            write!(f, ".{target}.{conversation}-{part}-{place}-{tie}")?;
        }
        Ok(())
    }
}

impl Position {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let [conversation, part, place, tie] = parts[..] else { return None };
        let part = number(part).filter(|part| (Self::EVENTS..=Self::WISHES).contains(part))?;
        Some(Self { conversation: number(conversation)?, part, place: number(place)?, tie: number(tie)? })
    }
}

impl Snapshot {
    /// `None` where PostgreSQL would not take it, or would not have written it so.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let [oldest, end, under_way] = parts[..] else { return None };
        let (oldest, end) = (number(oldest)?, number(end)?);
        let under_way: Vec<u64> = match under_way {
            "" => Vec::new(),
            list => list.split(',').map(number).collect::<Option<_>>()?,
        };
        let is_in_order = under_way.is_sorted_by(|one, next| one < next)
            && under_way.first().is_none_or(|first| oldest <= *first)
            && under_way.last().is_none_or(|last| *last < end);
        (is_transaction(oldest) && is_transaction(end) && oldest <= end && is_in_order).then_some(Self {
            oldest,
            end,
            under_way,
        })
    }

    /// It knows of no transaction from here on.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Whether it holds as many transactions under way as it can: then there may have been more.
    pub(super) fn is_full(&self) -> bool {
        self.under_way.len() >= MAX_UNDER_WAY
    }

    /// With few enough transactions under way that a cursor can hold two such snapshots: it ends where there
    /// would be one more. It sees less than the whole one, and so a little is told again.
    pub(super) fn bounded(mut self) -> Self {
        if let Some(first_left_out) = self.under_way.get(MAX_UNDER_WAY).copied() {
            self.end = first_left_out;
            self.under_way.truncate(MAX_UNDER_WAY);
        }
        self
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.oldest, self.end)?;
        for (nth, transaction) in self.under_way.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write!(f, "{comma}{transaction}")?;
        }
        Ok(())
    }
}

/// The lower half of a transaction's number begins at 3; it is counted in the upper one how often.
fn is_transaction(number: u64) -> bool {
    number & u64::from(u32::MAX) >= 3
}

fn number<N: FromStr>(text: &str) -> Option<N> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use proptest::prelude::*;

    fn parse(text: &str) -> Option<Known> {
        let limits = crate::config::Cli::parse_from(["hark"]).config.limits;
        Known::parse(&Cursor::parse(text.to_owned(), &limits).ok()?)
    }

    #[test]
    fn what_we_hand_out_comes_back_the_same() {
        for text in ["1.728:728:", "1.728:735:728,730", "12.728:735:728.730:800:730,731,799.7-2-300-0"] {
            assert_eq!(parse(text).map(|known| known.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let bad = [
            "1",
            "1.",
            ".728:728:",
            "x.728:728:",
            "1.728:728",
            "1.728:728:,",
            "1.728:727:",
            "1.728:735:735",
            "1.728:735:727",
            "1.728:735:730,729",
            "1.728:735:730,730",
            "1.728:735:730,",
            "+1.728:728:",
            "01.728:728:",
            "1.+728:728:",
            "1.0:0:",
            "1.2:5:",
            "1.4294967296:4294967300:",
            "1.-5:728:",
            "1.728:99999999999999999999:",
            "1.728:728:.728:728:",
            "1.728:728:.728:728:.1-2-3",
            "1.728:728:.728:728:.1-0-3-0",
            "1.728:728:.728:728:.1-6-3-0",
            "1.728:728:.728:728:.1-2-9223372036854775808-0",
            "1.728:728:.728:728:.1-2--3-0",
            "1.728:728:.728:728:.1-2-3-0.",
            " 1.728:728:",
            "1.728:728:'; drop table x",
        ];
        for text in bad {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    /// Snapshots as PostgreSQL has them, with up to three times as many transactions as a cursor holds.
    fn snapshots(from: u64) -> impl Strategy<Value = Snapshot> {
        let steps = prop::collection::vec(1..1_000_u64, 0..3 * MAX_UNDER_WAY);
        (from..from + 1_000_000, steps, 1..1_000_u64).prop_map(|(oldest, steps, past)| {
            let mut last = oldest;
            let numbers = steps.iter().map(|step| {
                last += step;
                last
            });
            let under_way: Vec<u64> = numbers.filter(|number| is_transaction(*number)).collect();
            let end = last + past;
            Snapshot { oldest, end: if is_transaction(end) { end } else { end + 3 }, under_way }
        })
    }

    fn sees(snapshot: &Snapshot, number: u64) -> bool {
        number < snapshot.end && snapshot.under_way.binary_search(&number).is_err()
    }

    proptest! {
        #[test]
        fn a_bounded_snapshot_sees_nothing_that_the_whole_one_does_not(whole in snapshots(3), past in 0..2_000_u64) {
            let bounded = whole.clone().bounded();
            for number in whole.oldest..whole.end + past {
                prop_assert!(sees(&whole, number) || !sees(&bounded, number), "{}", number);
            }
            if whole.under_way.len() <= MAX_UNDER_WAY {
                prop_assert_eq!(&bounded, &whole);
            }
            prop_assert_eq!(Snapshot::parse(&bounded.to_string()), Some(bounded));
        }

        #[test]
        fn a_cursor_that_is_handed_out_is_accepted(
            base in snapshots(u64::MAX - (1 << 32)),
            target in snapshots(u64::MAX - (1 << 32)),
            epoch in 0..i64::MAX,
            place in 0..i64::MAX,
        ) {
            let after = Position { conversation: i64::MAX, part: 5, place, tie: i64::MAX };
            let pending = Some(Pending { target: target.bounded(), after });
            let known = Known { epoch, base: base.bounded(), pending };
            prop_assert_eq!(parse(&known.to_string()), Some(known));
        }

        #[test]
        fn no_text_brings_it_down(text in "[0-9.:,-]{0,60}|\\PC{0,30}") {
            if let Some(known) = parse(&text) {
                prop_assert_eq!(known.to_string(), text);
            }
        }
    }
}
