//! A conversation's messages, newest first. `seq` is dense, so a page is arithmetic on it and costs
//! the same at any depth.

use super::Db;
use crate::error::Error;
use crate::model::{HistoryPage, HistoryStart, Seq};
use crate::store::conversations::Extent;
use crate::store::messages::{StoredMessage, select_messages};

/// A page of a conversation.
///
/// # Errors
/// Only where the database fails.
pub async fn page(db: &Db, conversation: Extent, page: HistoryPage) -> Result<Vec<StoredMessage>, Error> {
    let below = below(conversation.last_seq, page);
    Ok(select_messages!(
        "select id, -seq as place from messages where conversation_id = $1 and seq < $2 and seq > $4
         order by seq desc limit $3",
        conversation.id.0,
        below,
        page.limit,
        conversation.cleared_seq
    )
    .fetch_all(&db.pool)
    .await?)
}

/// The `seq` that every message of the page is below.
fn below(last_seq: Seq, page: HistoryPage) -> Seq {
    match page.start {
        // What came after the look at who may read is not for who was let in then.
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
                let end = below(last_seq, HistoryPage { limit, start: HistoryStart::Page(number) });
                seen.extend(((end - limit).max(1)..end).rev());
            }
            prop_assert_eq!(seen, (1..=last_seq).rev().collect::<Vec<_>>());
        }

        #[test]
        fn no_page_number_overflows(number in 1..=crate::model::MAX_ID, limit in 1_i64..=10_000) {
            let end = below(crate::model::MAX_ID, HistoryPage { limit, start: HistoryStart::Page(number) });
            prop_assert!(end <= crate::model::MAX_ID + 1);
        }
    }
}
