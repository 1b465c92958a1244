//! The history of a conversation: its messages, newest first. `seq` is dense, so the bounds of a page are
//! computed from its number without OFFSET, and a page costs the same at any depth.

use super::Db;
use crate::error::Error;
use crate::model::{HistoryPage, HistoryStart, Seq};
use crate::store::conversations::VisibleRange;
use crate::store::messages::{StoredMessage, select_messages};

/// Loads a page of the messages that a member can see.
///
/// # Errors
/// Only if the database fails.
pub async fn page(db: &Db, range: VisibleRange, page: HistoryPage) -> Result<Vec<StoredMessage>, Error> {
    let upper_bound = upper_bound(range.last_seq, page);
    Ok(select_messages!(
        "select id, -seq as place from messages where conversation_id = $1 and seq < $2 and seq > $4
         order by seq desc limit $3",
        range.id.0,
        upper_bound,
        page.limit,
        range.cleared_seq
    )
    .fetch_all(&db.pool)
    .await?)
}

/// The `seq` below which the page starts: its first message is the one before it.
fn upper_bound(last_seq: Seq, page: HistoryPage) -> Seq {
    match page.start {
        // Messages that were stored after the check of membership are not shown: the member may have been
        // removed by then.
        HistoryStart::Before(seq) => seq.min(last_seq + 1),
        HistoryStart::Page(number) => (last_seq + 1).saturating_sub((number - 1).saturating_mul(page.limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pages_tile_a_history_without_gap_or_overlap(last_seq in 0_i64..500, limit in 1_i64..100) {
            let mut seen = Vec::new();
            for number in 1..=(last_seq / limit + 2) {
                let end = upper_bound(last_seq, HistoryPage { limit, start: HistoryStart::Page(number) });
                seen.extend(((end - limit).max(1)..end).rev());
            }
            prop_assert_eq!(seen, (1..=last_seq).rev().collect::<Vec<_>>());
        }

        #[test]
        fn no_page_number_overflows(number in 1..=crate::model::MAX_ID, limit in 1_i64..=10_000) {
            let end = upper_bound(crate::model::MAX_ID, HistoryPage { limit, start: HistoryStart::Page(number) });
            prop_assert!(end <= crate::model::MAX_ID + 1);
        }
    }
}
