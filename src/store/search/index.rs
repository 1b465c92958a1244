//! The full-text indexer: adds new messages to `message_words` in the background, so that a send does not wait for it.

use sqlx::PgConnection;

use super::super::Db;
use super::tokenizer::SearchTokens;
use crate::error::Error;
use crate::model::MessageId;

/// Maximum number of messages that one transaction indexes.
const MAX_BATCH: i64 = 1000;
/// Maximum total length of their contents, not counting the last one. The duration of a batch grows with its bytes, and
/// one that exceeds the timeout of a statement or an idle transaction would be retried forever.
const MAX_BATCH_BYTES: i64 = 262_144;
/// The advisory lock of the node that fills the index.
const INDEX_LOCK: i64 = 0x6861_726b_776f_7264;

/// What a step of the indexer has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexProgress {
    /// Nothing: all messages are indexed, or another node indexes them.
    Idle,
    /// Indexed all messages there were.
    Done,
    /// Indexed a full batch; there are more messages.
    More,
}

/// A future watermark: ids up to `id` were assigned in transactions below `before_xid`.
#[derive(Clone, Copy, Debug)]
struct PendingWatermark {
    id: i64,
    before_xid: i64,
}

/// Adds the tokens of new messages to the index, up to a watermark below which no message can appear any more.
///
/// Ids are assigned in one order and committed in another, so the newest id that is visible is no watermark. The id
/// that was assigned last becomes one as soon as every transaction that had begun by then has ended: a message below it
/// is visible then, or never will be. `write_messages` has its transaction id before it takes an id from the sequence,
/// so a transaction id that is allocated after the sequence was read is above all of these. (The `xmax` of a snapshot
/// is not: it is above the transactions that have ended.)
///
/// The state is of one incarnation of the database (see `epochs`): in another one ids may be assigned again.
#[derive(Debug, Default)]
pub struct Indexer {
    incarnation: u64,
    pending: Option<PendingWatermark>,
    /// No message with an id up to this one will appear any more.
    watermark: i64,
}

impl Indexer {
    /// Indexes the next batch. Writes nothing if there is nothing to do.
    ///
    /// # Errors
    /// Only if the database fails.
    pub async fn step(&mut self, db: &Db) -> Result<IndexProgress, Error> {
        let seen = sqlx::query!(
            r#"select indexed_to, (select case when is_called then last_value else 0 end from message_ids) as "given!"
               from search_progress"#
        )
        .fetch_one(&db.pool)
        .await?;
        let incarnation = db.epochs.incarnations();
        let is_ahead = self.watermark.max(self.pending.map_or(0, |pending| pending.id)) > seen.given;
        if incarnation != self.incarnation || is_ahead {
            *self = Self { incarnation, ..Self::default() };
        }
        if seen.indexed_to > seen.given {
            return rewind_progress(db).await;
        }
        if seen.indexed_to == seen.given {
            return Ok(IndexProgress::Idle);
        }
        if self.watermark <= seen.indexed_to {
            let pending = if let Some(pending) = self.pending {
                pending
            } else {
                let before_xid = allocate_xid(db).await?;
                *self.pending.insert(PendingWatermark { id: seen.given, before_xid })
            };
            if oldest_running_xid(db).await? < pending.before_xid {
                return Ok(IndexProgress::Idle);
            }
            (self.pending, self.watermark) = (None, pending.id);
        }
        index_up_to(db, self.watermark, self.incarnation).await
    }
}

/// Allocates a transaction id, which is above all that were allocated before.
async fn allocate_xid(db: &Db) -> Result<i64, Error> {
    let xid = sqlx::query_scalar!(r#"select pg_current_xact_id()::text::bigint as "number!""#);
    Ok(xid.fetch_one(&db.pool).await?)
}

/// The oldest transaction id that is in progress: every transaction below it has ended.
async fn oldest_running_xid(db: &Db) -> Result<i64, Error> {
    let xmin = sqlx::query_scalar!(r#"select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as "xmin!""#);
    Ok(xmin.fetch_one(&db.pool).await?)
}

/// Moves `indexed_to` back to the first message without tokens, after a restore has left it above all assigned ids:
/// otherwise the messages in between would never be found.
async fn rewind_progress(db: &Db) -> Result<IndexProgress, Error> {
    let mut tx = db.pool.begin().await?;
    if !try_lock_index(&mut tx).await? {
        return Ok(IndexProgress::Idle);
    }
    tracing::warn!("search index ahead of the messages; looking for messages that it left out");
    // It scans all messages, once.
    sqlx::query!("set local statement_timeout = 0").execute(&mut *tx).await?;
    sqlx::query!(
        "update search_progress set indexed_to = least(
             indexed_to,
             (select case when is_called then last_value else 0 end from message_ids),
             (select min(m.id) - 1 from messages m
              where not exists (select from message_words w where w.message_id = m.id)))"
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(IndexProgress::More)
}

/// Takes the lock of the index until the end of the transaction. Returns false if another node holds it.
async fn try_lock_index(connection: &mut PgConnection) -> Result<bool, Error> {
    let locked = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "locked!""#, INDEX_LOCK);
    Ok(locked.fetch_one(connection).await?)
}

async fn index_up_to(db: &Db, watermark: i64, incarnation: u64) -> Result<IndexProgress, Error> {
    let mut tx = db.pool.begin().await?;
    // A new connection may lead to another incarnation of the database, in which the watermark does not hold.
    if db.epochs.incarnations() != incarnation || !try_lock_index(&mut tx).await? {
        return Ok(IndexProgress::Idle);
    }
    // A crash that loses a part of the index loses the same part of `indexed_to`, so the commit need not wait for the
    // disk.
    sqlx::query!("set local synchronous_commit = off").execute(&mut *tx).await?;
    // PostgreSQL knows the length of a content without reading it.
    let new = sqlx::query!(
        r#"select m.id as "id!", m.content as "content!", m.is_last as "is_last!", c.id as conversation_id,
                  c.low_user_id, c.high_user_id
           from (
               select id, content, conversation_id,
                      row_number() over in_order = $2 or sum(octet_length(content)) over in_order >= $3 as is_last,
                      sum(octet_length(content)) over in_order - octet_length(content) < $3 as has_room
               from (
                   select id, content, conversation_id from messages
                   where id > (select indexed_to from search_progress) and id <= $1
                   order by id limit $2
               ) new
               window in_order as (order by id rows unbounded preceding)
           ) m
           join conversations c on c.id = m.conversation_id
           where m.has_room
           order by m.id"#,
        watermark,
        MAX_BATCH,
        MAX_BATCH_BYTES
    )
    .fetch_all(&mut *tx)
    .await?;
    let is_full = new.last().is_some_and(|message| message.is_last);
    let indexed_to = if is_full { new.last().map_or(watermark, |message| message.id) } else { watermark };
    let ids: Vec<i64> = new.iter().map(|message| message.id).collect();
    let vectors = tokio::task::spawn_blocking(move || {
        let vectors = new.iter().map(|message| {
            let sides = [message.low_user_id, message.high_user_id];
            index_vector(message.id, &message.content, message.conversation_id, sides)
        });
        vectors.collect::<Vec<_>>()
    });
    // A row that exists already is newer: the message was edited meanwhile, see `reindex`.
    sqlx::query!(
        "insert into message_words (message_id, words)
         select n.id, n.words::tsvector from unnest($1::bigint[], $2::text[]) as n (id, words) order by n.id
         on conflict (message_id) do nothing",
        &ids,
        &vectors.await.map_err(Error::internal)?
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "update search_progress set indexed_to = greatest(indexed_to, least(
             $1, (select case when is_called then last_value else 0 end from message_ids)))",
        indexed_to
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(if is_full { IndexProgress::More } else { IndexProgress::Done })
}

/// The `tsvector` of a message: its tokens, and as lexemes that no query can contain its conversation, the two sides
/// of a dialog and the bucket of its id.
fn index_vector(id: i64, content: &str, conversation: i64, sides: [Option<i64>; 2]) -> String {
    let sides = sides.iter().flatten().fold(String::new(), |sides, user| sides + &format!(" '@{user}'"));
    format!("{} '#{conversation}'{sides} '~{}'", SearchTokens::of(content).vector(), id_bucket(id))
}

/// A bucket is this many consecutive ids.
const IDS_PER_BUCKET: i64 = 16_384;

/// The bucket of an id. A search for a frequent token looks through the newest buckets first.
pub(super) fn id_bucket(id: i64) -> i64 {
    id / IDS_PER_BUCKET
}

/// The first id of a bucket.
pub(super) fn first_id_of(bucket: i64) -> i64 {
    bucket * IDS_PER_BUCKET
}

/// Indexes the current content of a message anew. Call it within the transaction that has changed the content; a
/// transaction that changes several messages does so in the order of their ids.
///
/// A message that is not indexed yet gets its row here. The indexer, which may have read the old content, keeps a row
/// that exists; and if its own row is first, this statement waits for it and replaces it. The primary key of the row
/// decides, so that neither needs a lock on the message.
///
/// # Errors
/// Only if the database fails.
pub async fn reindex(connection: &mut PgConnection, message: MessageId) -> Result<(), Error> {
    let Some(now) = sqlx::query!(
        r#"select m.content, c.id, c.low_user_id, c.high_user_id
           from messages m join conversations c on c.id = m.conversation_id where m.id = $1"#,
        message.0
    )
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Ok(());
    };
    sqlx::query!(
        "insert into message_words (message_id, words) values ($1, $2::text::tsvector)
         on conflict (message_id) do update set words = excluded.words",
        message.0,
        index_vector(message.0, &now.content, now.id, [now.low_user_id, now.high_user_id])
    )
    .execute(connection)
    .await?;
    Ok(())
}
