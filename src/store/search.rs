//! Full text over messages, newest first. The index is filled beside the sends ([`index`]); what it does
//! not have yet, a search reads itself, so that it finds everything that is committed when it begins.

mod index;
mod words;

use std::collections::HashSet;
use std::sync::Arc;

use tokio::task::spawn_blocking;

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

/// Matches that pages may lie behind: nobody pages further than that, and each of them is read anew.
const MOST_SKIPPED: i64 = 10_000;

/// Messages that somebody may read, and how far the search in them has come.
struct Search<'a> {
    db: &'a Db,
    asker: UserId,
    within: Option<ConversationId>,
    words: Arc<Words>,
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
    let words = Arc::new(Words::of(query.as_str()));
    if words.is_empty() {
        return Ok(Vec::new());
    }
    if start.skipped > MOST_SKIPPED {
        return Ok(Vec::new());
    }
    let _turn = db.searches.acquire().await.map_err(Error::internal)?;
    let below = start.below.map_or(i64::MAX, |place| place.id);
    let limit = usize::try_from(limit).unwrap_or_default();
    let mut search = Search { db, asker, within, words, below, skipped: start.skipped, limit, found: Vec::new() };
    // Read once, and first: whatever is indexed meanwhile, a message is on one side of it.
    let indexed_to = sqlx::query_scalar!("select indexed_to from search_progress").fetch_one(&db.pool).await?;
    search.run(Part::Unindexed(indexed_to)).await?;
    search.below = search.below.min(indexed_to + 1);
    // A frequent word is mostly found in the last eras, and a rare one costs little in all of them.
    let newest = index::era(search.below - 1);
    for (first, last) in [(newest - 1, newest), (newest - 9, newest - 2)] {
        search.run(Part::Eras(first, last)).await?;
        search.below = search.below.min(index::first_id(first));
    }
    search.run(Part::Indexed).await?;
    messages::load(db, &search.found).await
}

/// Part of the messages.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// Past this id, and not indexed yet.
    Unindexed(i64),
    /// Of these eras, the last one included.
    Eras(i64, i64),
    /// All that are indexed.
    Indexed,
}

impl Search<'_> {
    /// Looks through a part until there is nothing more in it, or nothing more is wanted.
    async fn run(&mut self, part: Part) -> Result<(), Error> {
        while !self.is_full() {
            let ids = self.ids(part).await?;
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

    /// The newest messages of a part that may match.
    async fn ids(&self, part: Part) -> Result<Vec<i64>, Error> {
        let place = self.within.map(|id| id.0);
        let (first_era, last_era) = match part {
            Part::Unindexed(indexed_to) => {
                return Ok(sqlx::query_scalar!(
                    r#"select search_unindexed($1, $2, $3, $4, $5) as "ids!""#,
                    self.asker.0,
                    place,
                    indexed_to,
                    self.below,
                    IDS_AT_ONCE
                )
                .fetch_one(&self.db.pool)
                .await?);
            }
            Part::Eras(first, last) => (Some(first), Some(last)),
            Part::Indexed => (None, None),
        };
        Ok(sqlx::query_scalar!(
            r#"select search_indexed($1, $2, $3, $4, $5, $6, $7) as "ids!""#,
            self.asker.0,
            place,
            self.words.query(),
            first_era,
            last_era,
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
        let words = Arc::clone(&self.words);
        // Long texts take a while, and other sockets live on this thread.
        let matching: HashSet<i64> = spawn_blocking(move || {
            rows.into_iter().filter(|row| words.are_in(&row.content)).map(|row| row.id).collect()
        })
        .await
        .map_err(Error::internal)?;
        for id in ids.iter().filter(|id| matching.contains(id)) {
            if self.is_full() {
                break;
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
