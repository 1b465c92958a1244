//! The cursor of `sync` as text: `{epoch}.{snapshot}`, and in the middle of a backlog
//! `{epoch}.{snapshot}.{snapshot at the first page}.{position of the last row}`. Clients hold it, so it is untrusted
//! input and validated as such.

use std::fmt;
use std::str::FromStr;

use crate::model::Cursor;

/// Maximum number of transactions in progress in a snapshot of a cursor: a cursor in the middle of a backlog holds two
/// snapshots, and stays within [`Cursor::MAX_CHARS`] whatever the lengths of the ids.
const MAX_IN_PROGRESS: usize = 384;

/// What the holder of a cursor knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyncCursor {
    /// The epoch in which its newest snapshot was taken; see the migrations.
    pub(super) epoch: i64,
    /// The holder knows everything that this snapshot sees.
    pub(super) base: Snapshot,
    /// In the middle of a backlog the holder also knows a part of what another snapshot sees.
    pub(super) page: Option<PageInProgress>,
}

/// How far a holder has paged through a backlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageInProgress {
    /// The snapshot at the first page, at which the backlog ends.
    pub(super) target: Snapshot,
    /// The last row that the holder has read.
    pub(super) after: RowPosition,
}

/// The position of a row in the order of the SQL function `changes_since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowPosition {
    pub(super) conversation: i64,
    pub(super) part: i32,
    pub(super) place: i64,
    pub(super) tie: i64,
}

impl RowPosition {
    /// The position before all rows.
    pub(super) const START: Self = Self { conversation: 0, part: 0, place: 0, tie: 0 };

    /// The part of the group events, the first of a conversation.
    const FIRST_PART: i32 = 1;
    /// The part of the user's settings, the last.
    const LAST_PART: i32 = 5;
}

/// A `pg_snapshot` of PostgreSQL. It sees the transactions below `end`, but for those that were in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The oldest transaction that was in progress; PostgreSQL's `xmin`.
    oldest: u64,
    /// The first transaction that had not begun; PostgreSQL's `xmax`.
    end: u64,
    /// Transactions in progress, in ascending order; PostgreSQL's `xip`.
    in_progress: Vec<u64>,
}

impl SyncCursor {
    /// `None` if the text is not one that [`fmt::Display`] would write.
    pub(super) fn parse(cursor: &Cursor) -> Option<Self> {
        let text = cursor.as_str();
        let parts: Vec<&str> = text.split('.').collect();
        let page = match parts[..] {
            [_, _] => None,
            [_, _, target, after] => {
                Some(PageInProgress { target: Snapshot::parse(target)?, after: RowPosition::parse(after)? })
            }
            _ => return None,
        };
        let cursor = Self { epoch: parse_number(parts[0])?, base: Snapshot::parse(parts[1])?, page };
        // A number can be written in several ways, such as with leading zeros.
        (cursor.to_string() == text).then_some(cursor)
    }

    /// The first transaction that the cursor knows nothing of.
    pub(super) fn end(&self) -> u64 {
        self.page.as_ref().map_or(0, |page| page.target.end).max(self.base.end)
    }
}

impl fmt::Display for SyncCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.base)?;
        if let Some(PageInProgress { target, after: RowPosition { conversation, part, place, tie } }) = &self.page {
            write!(f, ".{target}.{conversation}-{part}-{place}-{tie}")?;
        }
        Ok(())
    }
}

impl RowPosition {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let [conversation, part, place, tie] = parts[..] else { return None };
        let part = parse_number(part).filter(|part| (Self::FIRST_PART..=Self::LAST_PART).contains(part))?;
        Some(Self {
            conversation: parse_number(conversation)?,
            part,
            place: parse_number(place)?,
            tie: parse_number(tie)?,
        })
    }
}

impl Snapshot {
    /// `None` if PostgreSQL would reject the text, or would have written it in another way.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let [oldest, end, in_progress] = parts[..] else { return None };
        let (oldest, end) = (parse_number(oldest)?, parse_number(end)?);
        let in_progress: Vec<u64> = match in_progress {
            "" => Vec::new(),
            list => list.split(',').map(parse_number).collect::<Option<_>>()?,
        };
        let is_in_order = in_progress.is_sorted_by(|one, next| one < next)
            && in_progress.first().is_none_or(|first| oldest <= *first)
            && in_progress.last().is_none_or(|last| *last < end);
        (is_normal_xid(oldest) && is_normal_xid(end) && oldest <= end && is_in_order).then_some(Self {
            oldest,
            end,
            in_progress,
        })
    }

    /// The first transaction that had not begun.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Whether it has the maximum number of transactions in progress: there may have been more.
    pub(super) fn is_full(&self) -> bool {
        self.in_progress.len() >= MAX_IN_PROGRESS
    }

    /// The snapshot with at most [`MAX_IN_PROGRESS`] transactions in progress: it ends at the first one that exceeds
    /// them. It sees less than the whole one, so that a few changes are reported twice.
    pub(super) fn bounded(mut self) -> Self {
        if let Some(first_left_out) = self.in_progress.get(MAX_IN_PROGRESS).copied() {
            self.end = first_left_out;
            self.in_progress.truncate(MAX_IN_PROGRESS);
        }
        self
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.oldest, self.end)?;
        for (nth, transaction) in self.in_progress.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            write!(f, "{comma}{transaction}")?;
        }
        Ok(())
    }
}

/// Whether this is a normal transaction id: the lower 32 bits begin at 3, and the upper ones count how often they have
/// wrapped around.
fn is_normal_xid(number: u64) -> bool {
    number & u64::from(u32::MAX) >= 3
}

fn parse_number<N: FromStr>(text: &str) -> Option<N> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use proptest::prelude::*;

    fn parse(text: &str) -> Option<SyncCursor> {
        let limits = crate::config::Cli::parse_from(["hark"]).config.limits;
        SyncCursor::parse(&Cursor::parse(text.to_owned(), &limits).ok()?)
    }

    #[test]
    fn cursor_text_is_read_back_unchanged() {
        for text in ["1.728:728:", "1.728:735:728,730", "12.728:735:728.730:800:730,731,799.7-2-300-0"] {
            assert_eq!(parse(text).map(|cursor| cursor.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn cursor_in_any_other_form_is_refused() {
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

    /// Snapshots as PostgreSQL has them, with up to three times as many transactions in progress as a cursor holds.
    fn snapshots(from: u64) -> impl Strategy<Value = Snapshot> {
        let steps = prop::collection::vec(1..1_000_u64, 0..3 * MAX_IN_PROGRESS);
        (from..from + 1_000_000, steps, 1..1_000_u64).prop_map(|(oldest, steps, past)| {
            let mut last = oldest;
            let numbers = steps.iter().map(|step| {
                last += step;
                last
            });
            let in_progress: Vec<u64> = numbers.filter(|number| is_normal_xid(*number)).collect();
            let end = last + past;
            Snapshot { oldest, end: if is_normal_xid(end) { end } else { end + 3 }, in_progress }
        })
    }

    fn sees(snapshot: &Snapshot, number: u64) -> bool {
        number < snapshot.end && snapshot.in_progress.binary_search(&number).is_err()
    }

    proptest! {
        #[test]
        fn bounded_snapshot_sees_nothing_that_the_whole_one_does_not(whole in snapshots(3), past in 0..2_000_u64) {
            let bounded = whole.clone().bounded();
            for number in whole.oldest..whole.end + past {
                prop_assert!(sees(&whole, number) || !sees(&bounded, number), "{}", number);
            }
            if whole.in_progress.len() <= MAX_IN_PROGRESS {
                prop_assert_eq!(&bounded, &whole);
            }
            prop_assert_eq!(Snapshot::parse(&bounded.to_string()), Some(bounded));
        }

        #[test]
        fn cursor_that_is_handed_out_is_accepted(
            base in snapshots(u64::MAX - (1 << 32)),
            target in snapshots(u64::MAX - (1 << 32)),
            epoch in 0..i64::MAX,
            place in 0..i64::MAX,
        ) {
            let after = RowPosition { conversation: i64::MAX, part: 5, place, tie: i64::MAX };
            let page = Some(PageInProgress { target: target.bounded(), after });
            let cursor = SyncCursor { epoch, base: base.bounded(), page };
            prop_assert_eq!(parse(&cursor.to_string()), Some(cursor));
        }

        #[test]
        fn cursor_of_any_text_does_not_panic(text in "[0-9.:,-]{0,60}|\\PC{0,30}") {
            if let Some(cursor) = parse(&text) {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
