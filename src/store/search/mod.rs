//! Full-text search over messages, newest first. A background task fills the index (`index.rs`); a search reads the
//! messages that are not indexed yet itself, so that it finds everything that is committed when it begins.

mod index;
mod tokenizer;

use std::collections::HashSet;
use std::sync::Arc;

use tokio::task::spawn_blocking;

pub use self::index::{IndexProgress, Indexer, reindex};
use self::tokenizer::SearchTokens;
use super::Db;
use super::messages::{self, StoredMessage};
use crate::error::Error;
use crate::model::{ConversationId, ListStart, MessageId, SearchQuery, UserId};

/// Maximum number of ids that one query of the index returns.
const MAX_IDS_PER_QUERY: i64 = 10_000;
/// Maximum number of contents that one query reads.
const MAX_CONTENTS_PER_QUERY: usize = 200;
/// Maximum total length of these contents, not counting the last one.
const MAX_CONTENT_BYTES_PER_QUERY: i64 = 1_048_576;
/// What a message costs of a search's budget besides the length of its content, for reading its row.
const MESSAGE_OVERHEAD_BYTES: i64 = 256;
/// Maximum number of messages that one query takes from the index and looks up in the asker's conversations, for an
/// asker who is in very many groups.
const MAX_CANDIDATES_PER_QUERY: i64 = 20_000;
/// What one of these costs of a search's budget.
const CANDIDATE_COST_BYTES: i64 = 16;

/// Maximum number of matches on earlier pages: all of them are read again for each page. A page
/// past it is empty.
const MAX_SKIPPED_MATCHES: i64 = 10_000;

/// A search through the messages that a user may read, and how far it has come.
struct Search<'a> {
    db: &'a Db,
    asker: UserId,
    /// The one conversation to search, if not all of them.
    within: Option<ConversationId>,
    tokens: Arc<SearchTokens>,
    /// Messages from this id on were searched.
    below: i64,
    /// Matches still to be skipped, because they are on earlier pages.
    skipped: i64,
    /// Rows of the page.
    limit: usize,
    /// What is left of the budget, in bytes.
    bytes_left: i64,
    found: Vec<MessageId>,
}

/// A page of matches.
#[derive(Debug)]
pub struct SearchPage {
    /// The messages, newest first.
    pub messages: Vec<StoredMessage>,
    /// Set if the budget ran out before the page was full: messages below this id were not searched.
    pub stopped_at: Option<MessageId>,
    /// Whether the budget ran out before the search came to this page.
    pub is_short_of_page: bool,
}

impl SearchPage {
    const EMPTY: Self = Self { messages: Vec::new(), stopped_at: None, is_short_of_page: false };
}

/// A page of the messages that match all tokens of a query and that the asker may read, in one conversation or in all
/// of theirs. Its budget is about `max_bytes` of messages: past it the search stops, returns what it has found and
/// says where to continue.
///
/// # Errors
/// `overloaded` if too many searches of this user are queued already; otherwise only if the database fails.
pub async fn find_page(
    db: &Db,
    asker: UserId,
    within: Option<ConversationId>,
    query: &SearchQuery,
    limit: i64,
    start: ListStart,
    max_bytes: i64,
) -> Result<SearchPage, Error> {
    let tokens = Arc::new(SearchTokens::of(query.as_str()));
    if tokens.is_empty() || start.skipped > MAX_SKIPPED_MATCHES {
        return Ok(SearchPage::EMPTY);
    }
    let history = db.history();
    let _turn = db.searches.acquire(asker).await?;
    db.ensure_same_history(history)?;
    let mut search = Search {
        db,
        asker,
        within,
        tokens,
        below: start.below.map_or(i64::MAX, |place| place.id),
        skipped: start.skipped,
        limit: usize::try_from(limit).unwrap_or_default(),
        bytes_left: max_bytes,
        found: Vec::new(),
    };
    search.run().await?;
    let stopped_at = (!search.is_full() && search.is_over_budget()).then_some(MessageId(search.below));
    let is_short_of_page = stopped_at.is_some() && search.skipped > 0;
    Ok(SearchPage { messages: messages::load(db, &search.found).await?, stopped_at, is_short_of_page })
}

/// A range of messages to search.
#[derive(Clone, Copy, Debug)]
enum SearchRange {
    /// Messages past this id, which are not indexed yet.
    Unindexed(i64),
    /// Indexed messages from the first to the last of these buckets of ids, inclusive.
    Buckets(i64, i64),
    /// All indexed messages.
    Indexed,
}

impl Search<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        // Read once, before all else: whatever is indexed meanwhile, each message is on one side of this id.
        let indexed_to = sqlx::query_scalar!("select indexed_to from search_progress").fetch_one(&self.db.pool).await?;
        self.search_range(SearchRange::Unindexed(indexed_to), indexed_to + 1).await?;
        // A frequent token mostly fills the page from the newest buckets, and a rare one costs little in all of them.
        let newest = index::id_bucket(self.below.min(indexed_to + 1) - 1);
        for (first, last) in [(newest - 1, newest), (newest - 9, newest - 2)] {
            self.search_range(SearchRange::Buckets(first, last), index::first_id_of(first)).await?;
        }
        self.search_range(SearchRange::Indexed, 0).await
    }

    /// Searches a range, whose lowest id is `first`, until it is exhausted, the page is full or the budget is used up.
    async fn search_range(&mut self, range: SearchRange, first: i64) -> Result<(), Error> {
        while self.can_continue() {
            let (ids, reached) = self.find_candidates(range).await?;
            let mut rest = ids.as_slice();
            while self.can_continue() && !rest.is_empty() {
                let read = self.keep_matches(&rest[..rest.len().min(MAX_CONTENTS_PER_QUERY)]).await?;
                rest = &rest[read..];
            }
            if !rest.is_empty() {
                break;
            }
            if let Some(reached) = reached {
                self.below = reached;
                self.bytes_left -= MAX_CANDIDATES_PER_QUERY * CANDIDATE_COST_BYTES;
            } else if ids.len() < usize::try_from(MAX_IDS_PER_QUERY).unwrap_or_default() {
                self.below = self.below.min(first);
                break;
            }
        }
        Ok(())
    }

    fn can_continue(&self) -> bool {
        !self.is_full() && !self.is_over_budget() && self.below > 1
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.limit
    }

    fn is_over_budget(&self) -> bool {
        self.bytes_left <= 0 && self.below > 1
    }

    /// Finds the newest messages of a range that may match. The second value is the id down to which these are all
    /// candidates, if there may be more below it.
    async fn find_candidates(&self, range: SearchRange) -> Result<(Vec<i64>, Option<i64>), Error> {
        let within = self.within.map(|id| id.0);
        let (first_bucket, last_bucket) = match range {
            SearchRange::Unindexed(indexed_to) => {
                let ids = sqlx::query_scalar!(
                    r#"select search_unindexed_messages($1, $2, $3, $4, $5) as "ids!""#,
                    self.asker.0,
                    within,
                    indexed_to,
                    self.below,
                    MAX_IDS_PER_QUERY
                );
                return Ok((ids.fetch_one(&self.db.pool).await?, None));
            }
            SearchRange::Buckets(first, last) => (Some(first), Some(last)),
            SearchRange::Indexed => (None, None),
        };
        let found = sqlx::query!(
            r#"select ids as "ids!", reached from search_indexed_messages($1, $2, $3, $4, $5, $6, $7, $8)"#,
            self.asker.0,
            within,
            self.tokens.query(),
            first_bucket,
            last_bucket,
            self.below,
            MAX_IDS_PER_QUERY,
            MAX_CANDIDATES_PER_QUERY
        )
        .fetch_one(&self.db.pool)
        .await?;
        Ok((found.ids, found.reached))
    }

    /// Reads messages, which are given newest first, and keeps those that match with their current content and that
    /// the asker may read now, whatever the index says of them. Returns how many were read: at least one, and more as
    /// long as their contents fit.
    async fn keep_matches(&mut self, ids: &[i64]) -> Result<usize, Error> {
        // PostgreSQL knows the length of a content without reading it.
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
            self.bytes_left.min(MAX_CONTENT_BYTES_PER_QUERY)
        )
        .fetch_all(&self.db.pool)
        .await?;
        let first_left_out = rows.iter().find(|row| row.content.is_none()).map(|row| row.id);
        let read = first_left_out.and_then(|id| ids.iter().position(|it| *it == id)).unwrap_or(ids.len());
        let bytes: usize = rows.iter().filter_map(|row| row.content.as_ref()).map(String::len).sum();
        let tokens = Arc::clone(&self.tokens);
        // Long texts take a while, and other sockets are served on this thread.
        let matching: HashSet<i64> = spawn_blocking(move || {
            let contents = rows.into_iter().filter_map(|row| Some((row.id, row.content?)));
            contents.filter(|(_, content)| tokens.match_text(content)).map(|(id, _)| id).collect()
        })
        .await
        .map_err(Error::internal)?;
        let count = i64::try_from(read).unwrap_or(i64::MAX);
        self.bytes_left -= i64::try_from(bytes).unwrap_or(i64::MAX).saturating_add(count * MESSAGE_OVERHEAD_BYTES);
        for id in &ids[..read] {
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
        Ok(read)
    }
}
