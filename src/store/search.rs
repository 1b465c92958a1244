//! Full text over messages, newest first. The index is filled beside the sends ([`index`]); what it does
//! not have yet, a search reads itself, so that it finds everything that is committed when it begins.

mod index;
mod words;

use std::collections::HashMap;

pub use self::index::{Indexer, Progress, reindex};
use self::words::Words;
use super::Db;
use super::messages::{self, StoredMessage};
use crate::error::Error;
use crate::model::{ConversationId, ListStart, MessageId, SearchQuery, UserId};

/// Ids that are asked for at once.
const IDS_AT_ONCE: i64 = 10_000;
/// Messages that are read at once.
const CONTENTS_AT_ONCE: usize = 200;

/// Messages that somebody may read, and how far the search in them has come.
struct Search<'a> {
    db: &'a Db,
    asker: UserId,
    within: Option<ConversationId>,
    words: Words,
    /// What is newer has been looked at.
    below: i64,
    /// Of what matches, so much is on the pages before.
    skipped: i64,
    /// Rows of the page.
    limit: usize,
    found: Vec<MessageId>,
}

/// A page of the messages that have all words of a query and that somebody may read, in one
/// conversation or in all of theirs.
///
/// # Errors
/// Only where the database fails.
pub async fn page(
    db: &Db,
    asker: UserId,
    within: Option<ConversationId>,
    query: &SearchQuery,
    limit: i64,
    start: ListStart,
) -> Result<Vec<StoredMessage>, Error> {
    let words = Words::of(query.as_str());
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let below = start.below.map_or(i64::MAX, |place| place.id);
    let limit = usize::try_from(limit).unwrap_or_default();
    let mut search = Search { db, asker, within, words, below, skipped: start.skipped, limit, found: Vec::new() };
    // Read once, and first: whatever is indexed meanwhile, a message is on one side of it.
    let indexed_to = sqlx::query_scalar!("select indexed_to from search_progress").fetch_one(&db.pool).await?;
    search.run(false, indexed_to).await?;
    search.run(true, indexed_to).await?;
    messages::load(db, &search.found).await
}

impl Search<'_> {
    /// Looks through the messages on one side of the index's end until there is nothing more, or
    /// nothing more is wanted.
    async fn run(&mut self, indexed: bool, indexed_to: i64) -> Result<(), Error> {
        while !self.is_full() {
            let ids = if indexed { self.indexed(indexed_to).await? } else { self.unindexed(indexed_to).await? };
            for ids in ids.chunks(CONTENTS_AT_ONCE) {
                if !self.is_full() {
                    self.look_at(ids).await?;
                }
            }
            match ids.last() {
                Some(last) if ids.len() >= usize::try_from(IDS_AT_ONCE).unwrap_or_default() => self.below = *last,
                _ => break,
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.limit
    }

    async fn indexed(&self, indexed_to: i64) -> Result<Vec<i64>, Error> {
        Ok(sqlx::query_scalar!(
            r#"select search_indexed($1, $2, $3, $4, $5, $6) as "ids!""#,
            self.asker.0,
            self.within.map(|id| id.0),
            self.words.query(),
            indexed_to,
            self.below,
            IDS_AT_ONCE
        )
        .fetch_one(&self.db.pool)
        .await?)
    }

    async fn unindexed(&self, indexed_to: i64) -> Result<Vec<i64>, Error> {
        Ok(sqlx::query_scalar!(
            r#"select search_unindexed($1, $2, $3, $4, $5) as "ids!""#,
            self.asker.0,
            self.within.map(|id| id.0),
            indexed_to,
            self.below,
            IDS_AT_ONCE
        )
        .fetch_one(&self.db.pool)
        .await?)
    }

    /// Keeps those of these messages that match as they are now and that the asker may read now,
    /// whatever the index says of them.
    async fn look_at(&mut self, ids: &[i64]) -> Result<(), Error> {
        let rows = sqlx::query!(
            "select m.id, m.content
             from messages m join members me on me.conversation_id = m.conversation_id and me.user_id = $2
             where m.id = any($1) and m.seq > me.cleared_seq",
            ids,
            self.asker.0
        )
        .fetch_all(&self.db.pool)
        .await?;
        let contents: HashMap<i64, String> = rows.into_iter().map(|row| (row.id, row.content)).collect();
        for id in ids {
            if self.is_full() {
                break;
            }
            if !contents.get(id).is_some_and(|content| self.words.are_in(content)) {
                continue;
            }
            if self.skipped > 0 {
                self.skipped -= 1;
            } else {
                self.found.push(MessageId(*id));
            }
        }
        Ok(())
    }
}
