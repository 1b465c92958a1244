//! Full text over messages, newest first. The index is filled beside the sends ([`index`]); what it does
//! not have yet, a search reads itself, so that it finds everything that is committed when it begins.

mod index;
mod tokens;

use std::collections::HashSet;
use std::sync::Arc;

use tokio::task::spawn_blocking;

pub use self::index::{Indexer, Progress, reindex};
use self::tokens::Words;
use super::Db;
use super::messages::{self, StoredMessage};
use crate::error::Error;
use crate::model::{ConversationId, ListStart, MessageId, SearchQuery, UserId};

/// Ids that are asked for at once.
const IDS_AT_ONCE: i64 = 10_000;
/// Messages that are read at once.
const CONTENTS_AT_ONCE: usize = 200;
/// Bytes of messages that are read at once, but for the last one.
const BYTES_AT_ONCE: i64 = 1_048_576;
/// What a message costs of a search's bytes besides its content: the look at its row.
const BYTES_A_MESSAGE: i64 = 256;
/// Messages that have the words and are looked up in the asker's conversations at once, where the asker
/// is in very many groups.
const CANDIDATES_AT_ONCE: i64 = 20_000;
/// What one of these costs of a search's bytes.
const BYTES_A_CANDIDATE: i64 = 16;

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
    /// Bytes that may still be looked at.
    bytes_left: i64,
    found: Vec<MessageId>,
}

/// A page of what was found.
#[derive(Debug)]
pub struct Page {
    /// The messages, newest first.
    pub messages: Vec<StoredMessage>,
    /// Where the search has stopped short of a full page: messages below this id were not looked at.
    pub stopped_at: Option<MessageId>,
    /// Whether it has stopped before it came to this page.
    pub is_short_of_page: bool,
}

impl Page {
    const EMPTY: Self = Self { messages: Vec::new(), stopped_at: None, is_short_of_page: false };
}

/// A page of the messages that have all words of a query and that somebody may read, in one
/// conversation or in all of theirs. After about `max_bytes` of messages that were looked at it stops
/// with what it has found, and says where to go on.
///
/// # Errors
/// `overloaded` where too many searches of this person wait already; else only where the database fails.
pub async fn page(
    db: &Db,
    asker: UserId,
    within: Option<ConversationId>,
    query: &SearchQuery,
    limit: i64,
    start: ListStart,
    max_bytes: i64,
) -> Result<Page, Error> {
    let words = Arc::new(Words::of(query.as_str()));
    if words.is_empty() || start.skipped > MOST_SKIPPED {
        return Ok(Page::EMPTY);
    }
    let history = db.history();
    let _turn = db.searches.turn(asker).await?;
    db.check_history(history)?;
    let mut search = Search {
        db,
        asker,
        within,
        words,
        below: start.below.map_or(i64::MAX, |place| place.id),
        skipped: start.skipped,
        limit: usize::try_from(limit).unwrap_or_default(),
        bytes_left: max_bytes,
        found: Vec::new(),
    };
    search.run_all().await?;
    let stopped_at = (!search.is_full() && search.is_spent()).then_some(MessageId(search.below));
    let is_short_of_page = stopped_at.is_some() && search.skipped > 0;
    Ok(Page { messages: messages::load(db, &search.found).await?, stopped_at, is_short_of_page })
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
    async fn run_all(&mut self) -> Result<(), Error> {
        // Read once, and first: whatever is indexed meanwhile, a message is on one side of it.
        let indexed_to = sqlx::query_scalar!("select indexed_to from search_progress").fetch_one(&self.db.pool).await?;
        self.run(Part::Unindexed(indexed_to), indexed_to + 1).await?;
        // A frequent word is mostly found in the last eras, and a rare one costs little in all of them.
        let newest = index::era(self.below.min(indexed_to + 1) - 1);
        for (first, last) in [(newest - 1, newest), (newest - 9, newest - 2)] {
            self.run(Part::Eras(first, last), index::first_id(first)).await?;
        }
        self.run(Part::Indexed, 0).await
    }

    /// Looks through a part, which begins with the id `first`, until there is nothing more in it, or
    /// nothing more is wanted.
    async fn run(&mut self, part: Part, first: i64) -> Result<(), Error> {
        while self.goes_on() {
            let (ids, reached) = self.ids(part).await?;
            let mut rest = ids.as_slice();
            while self.goes_on() && !rest.is_empty() {
                let looked_at = self.look_at(&rest[..rest.len().min(CONTENTS_AT_ONCE)]).await?;
                rest = &rest[looked_at..];
            }
            if !rest.is_empty() {
                break;
            }
            if let Some(reached) = reached {
                self.below = reached;
                self.bytes_left -= CANDIDATES_AT_ONCE * BYTES_A_CANDIDATE;
            } else if ids.len() < usize::try_from(IDS_AT_ONCE).unwrap_or_default() {
                self.below = self.below.min(first);
                break;
            }
        }
        Ok(())
    }

    fn goes_on(&self) -> bool {
        !self.is_full() && !self.is_spent() && self.below > 1
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.limit
    }

    fn is_spent(&self) -> bool {
        self.bytes_left <= 0 && self.below > 1
    }

    /// The newest messages of a part that may match; and down to which id they are all of them, where
    /// there may be more below it.
    async fn ids(&self, part: Part) -> Result<(Vec<i64>, Option<i64>), Error> {
        let place = self.within.map(|id| id.0);
        let (first_era, last_era) = match part {
            Part::Unindexed(indexed_to) => {
                let ids = sqlx::query_scalar!(
                    r#"select search_unindexed_messages($1, $2, $3, $4, $5) as "ids!""#,
                    self.asker.0,
                    place,
                    indexed_to,
                    self.below,
                    IDS_AT_ONCE
                );
                return Ok((ids.fetch_one(&self.db.pool).await?, None));
            }
            Part::Eras(first, last) => (Some(first), Some(last)),
            Part::Indexed => (None, None),
        };
        let found = sqlx::query!(
            r#"select ids as "ids!", reached from search_indexed_messages($1, $2, $3, $4, $5, $6, $7, $8)"#,
            self.asker.0,
            place,
            self.words.query(),
            first_era,
            last_era,
            self.below,
            IDS_AT_ONCE,
            CANDIDATES_AT_ONCE
        )
        .fetch_one(&self.db.pool)
        .await?;
        Ok((found.ids, found.reached))
    }

    /// Keeps those of these messages, the newest first, that match as they are now and that the asker
    /// may read now, whatever the index says of them. Gives back how many it has looked at: the first,
    /// and more as their contents have room.
    async fn look_at(&mut self, ids: &[i64]) -> Result<usize, Error> {
        // The length of a content is known without reading it.
        let rows = sqlx::query!(
            r#"select c.id as "id!", case when c.bytes_before < $3 then c.content end as content
               from (
                   select m.id, m.content,
                          sum(octet_length(m.content)) over (order by m.id desc) - octet_length(m.content) as bytes_before
                   from messages m join members me on me.conversation_id = m.conversation_id and me.user_id = $2
                   where m.id = any($1) and m.seq > me.cleared_seq
               ) c
               order by c.id desc"#,
            ids,
            self.asker.0,
            self.bytes_left.min(BYTES_AT_ONCE)
        )
        .fetch_all(&self.db.pool)
        .await?;
        let first_left_out = rows.iter().find(|row| row.content.is_none()).map(|row| row.id);
        let looked_at = first_left_out.and_then(|id| ids.iter().position(|it| *it == id)).unwrap_or(ids.len());
        let bytes: usize = rows.iter().filter_map(|row| row.content.as_ref()).map(String::len).sum();
        let words = Arc::clone(&self.words);
        // Long texts take a while, and other sockets live on this thread.
        let matching: HashSet<i64> = spawn_blocking(move || {
            let contents = rows.into_iter().filter_map(|row| Some((row.id, row.content?)));
            contents.filter(|(_, content)| words.are_in(content)).map(|(id, _)| id).collect()
        })
        .await
        .map_err(Error::internal)?;
        let number = i64::try_from(looked_at).unwrap_or(i64::MAX);
        self.bytes_left -= i64::try_from(bytes).unwrap_or(i64::MAX).saturating_add(number * BYTES_A_MESSAGE);
        for id in &ids[..looked_at] {
            self.below = *id;
            if !matching.contains(id) {
                continue;
            }
            if self.skipped > 0 {
                self.skipped -= 1;
            } else {
                self.found.push(MessageId(*id));
                if self.is_full() {
                    break;
                }
            }
        }
        Ok(looked_at)
    }
}
