//! Filling the index, beside the sends and never in their way.

use sqlx::PgConnection;

use super::super::Db;
use super::tokens::Words;
use crate::error::Error;
use crate::model::MessageId;

/// Most messages of one transaction.
const MAX_BATCH: i64 = 1000;
/// Most bytes of their contents, but for the last one. A batch takes time by its bytes, and one that took
/// longer than a statement or an idle transaction may would be tried again and again.
const MAX_BATCH_BYTES: i64 = 262_144;
/// The advisory lock of who fills the index; one node does.
const LOCK: i64 = 0x6861_726b_776f_7264;

/// What a step of the indexer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing: there is nothing to do, or another node does it.
    Idle,
    /// It indexed what there was.
    Done,
    /// It indexed a full batch, and there is more.
    More,
}

/// Ids up to `id` were given out to transactions whose numbers are below `before`.
#[derive(Clone, Copy, Debug)]
struct Given {
    id: i64,
    before: i64,
}

/// Adds the words of new messages to the index.
///
/// Ids are given out in one order and committed in another, so the newest one that can be seen is
/// no bound. The one that was given out last is, as soon as every transaction that had begun by then
/// has ended: what is below it is there to be seen, or never will be. `write_messages` has its
/// transaction's number before it takes an id, so a number taken after the look at the sequence is
/// above all of these. (A snapshot's `xmax` is not: it is above those that have ended.)
///
/// What it knows is of one life of the database (see `epochs`): in another one ids may be given out again.
#[derive(Debug, Default)]
pub struct Indexer {
    life: u64,
    waiting: Option<Given>,
    /// No message will appear any more up to here.
    settled: i64,
}

impl Indexer {
    /// Indexes the next batch. Writes nothing where there is nothing to do.
    ///
    /// # Errors
    /// Only where the database fails.
    pub async fn step(&mut self, db: &Db) -> Result<Progress, Error> {
        let seen = sqlx::query!(
            r#"select indexed_to, (select case when is_called then last_value else 0 end from message_ids) as "given!"
               from search_progress"#
        )
        .fetch_one(&db.pool)
        .await?;
        let life = db.epochs.lives();
        let knows_of_more = self.settled.max(self.waiting.map_or(0, |waiting| waiting.id)) > seen.given;
        if life != self.life || knows_of_more {
            *self = Self { life, ..Self::default() };
        }
        if seen.indexed_to > seen.given {
            return take_back(db).await;
        }
        if seen.indexed_to == seen.given {
            return Ok(Progress::Idle);
        }
        if self.settled <= seen.indexed_to {
            let given = match self.waiting {
                Some(given) => given,
                None => *self.waiting.insert(Given { id: seen.given, before: next_number(db).await? }),
            };
            if oldest_running(db).await? < given.before {
                return Ok(Progress::Idle);
            }
            (self.waiting, self.settled) = (None, given.id);
        }
        index_up_to(db, self.settled, self.life).await
    }
}

/// A number for a transaction, above all that were given before.
async fn next_number(db: &Db) -> Result<i64, Error> {
    let number = sqlx::query_scalar!(r#"select pg_current_xact_id()::text::bigint as "number!""#);
    Ok(number.fetch_one(&db.pool).await?)
}

/// Every transaction with a number below this one has ended.
async fn oldest_running(db: &Db) -> Result<i64, Error> {
    let xmin = sqlx::query_scalar!(r#"select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as "xmin!""#);
    Ok(xmin.fetch_one(&db.pool).await?)
}

/// Puts `indexed_to` back to where it belongs, where it stands above all ids that were given out: what has no
/// words yet would never be found.
async fn take_back(db: &Db) -> Result<Progress, Error> {
    let mut tx = db.pool.begin().await?;
    if !is_ours(&mut tx).await? {
        return Ok(Progress::Idle);
    }
    tracing::warn!("the index of the search is ahead of the messages; what it left out is looked for");
    // It looks through all messages, once.
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
    Ok(Progress::More)
}

/// Whether this transaction alone fills the index.
async fn is_ours(connection: &mut PgConnection) -> Result<bool, Error> {
    let locked = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "locked!""#, LOCK);
    Ok(locked.fetch_one(connection).await?)
}

async fn index_up_to(db: &Db, settled: i64, life: u64) -> Result<Progress, Error> {
    let mut tx = db.pool.begin().await?;
    // A new connection may lead to another life of the database, in which that is not settled.
    if db.epochs.lives() != life || !is_ours(&mut tx).await? {
        return Ok(Progress::Idle);
    }
    // What a crash takes of the index, it takes of indexed_to as well; nobody has to wait for a disk.
    sqlx::query!("set local synchronous_commit = off").execute(&mut *tx).await?;
    // The length of a content is known without reading it.
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
        settled,
        MAX_BATCH,
        MAX_BATCH_BYTES
    )
    .fetch_all(&mut *tx)
    .await?;
    let is_full = new.last().is_some_and(|message| message.is_last);
    let indexed_to = if is_full { new.last().map_or(settled, |message| message.id) } else { settled };
    let ids: Vec<i64> = new.iter().map(|message| message.id).collect();
    let vectors = tokio::task::spawn_blocking(move || {
        let vectors = new.iter().map(|message| {
            let people = [message.low_user_id, message.high_user_id];
            vector(message.id, &message.content, message.conversation_id, people)
        });
        vectors.collect::<Vec<_>>()
    });
    // One that is there already was edited meanwhile, see `reindex`.
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
    Ok(if is_full { Progress::More } else { Progress::Done })
}

/// What the index knows of a message: its words, who may read it, and its era.
fn vector(id: i64, content: &str, conversation: i64, people: [Option<i64>; 2]) -> String {
    let people = people.iter().flatten().fold(String::new(), |people, user| people + &format!(" '@{user}'"));
    format!("{} '#{conversation}'{people} '~{}'", Words::of(content).vector(), era(id))
}

/// An era is so many ids in a row.
const ERA: i64 = 16_384;

pub(super) fn era(id: i64) -> i64 {
    id / ERA
}

/// The id that an era begins with.
pub(super) fn first_id(era: i64) -> i64 {
    era * ERA
}

/// Puts the words that a message has now into the index. Belongs into the transaction that has just
/// changed its content; who changes several does it in the order of their ids.
///
/// A message that is not indexed yet gets its row here. The indexer, which may have read the old content,
/// leaves a row alone that is there; and if its own is first, this one waits for it and replaces it. The
/// row's primary key decides, so neither needs a lock on the message.
///
/// # Errors
/// Only where the database fails.
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
        vector(message.0, &now.content, now.id, [now.low_user_id, now.high_user_id])
    )
    .execute(connection)
    .await?;
    Ok(())
}
