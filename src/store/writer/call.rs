//! The call of `write_messages`: one transaction, one round trip.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use tokio::time::timeout;

use super::super::groups::member_cache::MemberList;
use super::{ConversationKey, Draft, Receipt};
use crate::error::{Error, Field};
use crate::model::{ClientMessageId, ConversationId, Seq, Target, Timestamp, UserId};
use crate::store::database::availability::{self, is_unavailable};
use crate::store::{Db, TRUSTED_IDLE};

/// Longest wait for a transaction; after it the senders hear `overloaded`. Longer than a lock is waited for.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// How often a batch is tried again that lost a race with another node.
const MAX_TRIES: u32 = 5;

/// The member lists of the groups in a batch that this node has a copy of.
pub(super) type KnownLists = HashMap<ConversationId, MemberList>;

/// The connection that a writer keeps from one batch to the next, while they go well. A pool tests every
/// connection that comes back, and the next batch would wait for that.
#[derive(Default)]
pub(super) struct Kept(Option<(PoolConnection<Postgres>, Instant)>);

impl Kept {
    /// The one that was kept, unless it may have died since.
    async fn take(&mut self, db: &Db) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let is_good = |used: Instant| used.elapsed() <= TRUSTED_IDLE && db.epochs.is_current(used);
        match self.0.take().filter(|(_, used)| is_good(*used)) {
            Some((connection, _)) => Ok(connection),
            None => db.pool.acquire().await,
        }
    }
}

/// What a call does where somebody else has locked a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Goes past it; the sends to it are not stored, see [`Row::is_locked`].
    Never,
    /// Waits. For a batch of one conversation: whoever waits must hold nobody up.
    ForItsConversation,
}

/// Writes a batch that was sent in this history, and says for each draft, in their order, what became of it. A race with another
/// node (the same client id in two conversations, a deadlock) rolls it back, and the next try sees
/// what the other one committed.
pub(super) async fn write(
    db: &Db,
    kept: &mut Kept,
    drafts: &[&Draft],
    known: &KnownLists,
    history: u64,
    waits: Waits,
) -> Result<Vec<Row>, Failure> {
    let mut tries = 1;
    loop {
        let Ok(result) = timeout(WRITE_WITHIN, write_once(db, kept, drafts, known, history, waits)).await else {
            return Err(Failure::Unknown("a write took too long".into()));
        };
        match result {
            Ok(rows) => return Ok(rows),
            Err(error) if tries < MAX_TRIES && lost_a_race(&error) => tries += 1,
            Err(error) if is_lock_timeout(&error) => return Err(Failure::LockTimeout(error)),
            Err(error) if says_no(&error) => return Err(Failure::Refused(error)),
            Err(error) => {
                availability::note(&error);
                return Err(Failure::Unknown(error.into()));
            }
        }
    }
}

async fn write_once(
    db: &Db,
    kept: &mut Kept,
    drafts: &[&Draft],
    known: &KnownLists,
    history: u64,
    waits: Waits,
) -> Result<Vec<Row>, sqlx::Error> {
    let mut connection = kept.take(db).await?;
    // Who has sent in another history may be somebody else in this one.
    if db.epochs.histories() != history {
        return Err(sqlx::Error::Io(std::io::Error::other("the database was restored since this was sent")));
    }
    let Batch { lows, highs, groups, places } = Batch::of(drafts);
    let known_versions: Vec<Option<i64>> =
        groups.iter().map(|group| Some(known.get(&ConversationId((*group)?))?.version)).collect();
    let senders: Vec<i64> = drafts.iter().map(|draft| draft.sender.0).collect();
    let receivers: Vec<Option<i64>> = drafts.iter().map(|draft| draft.target.user().map(|id| id.0)).collect();
    let contents: Vec<&str> = drafts.iter().map(|draft| draft.content.as_str()).collect();
    let client_ids: Vec<Option<&str>> =
        drafts.iter().map(|draft| draft.client_message_id.as_ref().map(ClientMessageId::as_str)).collect();
    let replies_to: Vec<Option<i64>> = drafts.iter().map(|draft| draft.reply_to.map(|id| id.0)).collect();
    let mut rows = sqlx::query_as!(
        Row,
        r#"select ordinal as "ordinal!", outcome as "outcome!", conversation_id, message_id, seq,
                  created_at as "created_at?: _", previous_at as "previous_at?: _",
                  sender_name, receiver_name, group_name,
                  reply_sender_id as "reply_sender_id?: _", reply_sender_name, reply_content,
                  member_version, member_ids
           from write_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"#,
        &lows as &[Option<i64>],
        &highs as &[Option<i64>],
        &groups as &[Option<i64>],
        &known_versions as &[Option<i64>],
        &places,
        &senders,
        &receivers as &[Option<i64>],
        &contents as &[&str],
        &client_ids as &[Option<&str>],
        &replies_to as &[Option<i64>],
        waits == Waits::ForItsConversation
    )
    .fetch_all(&mut *connection)
    .await?;
    kept.0 = Some((connection, Instant::now()));
    rows.sort_unstable_by_key(|row| row.ordinal);
    Ok(rows)
}

/// The conversations of a batch, each once and in the order in which all nodes lock them; and which of
/// them each draft goes to.
struct Batch {
    lows: Vec<Option<i64>>,
    highs: Vec<Option<i64>>,
    groups: Vec<Option<i64>>,
    /// From 1, one a draft.
    places: Vec<i32>,
}

impl Batch {
    fn of(drafts: &[&Draft]) -> Self {
        let ends: Vec<ConversationKey> = drafts.iter().map(|draft| draft.conversation()).collect();
        let mut conversations = ends.clone();
        conversations.sort_unstable();
        conversations.dedup();
        let place = |end| conversations.partition_point(|conversation| conversation <= end);
        Self {
            places: ends.iter().map(|end| i32::try_from(place(end)).expect("a batch is small")).collect(),
            lows: conversations.iter().map(|key| key.group.is_none().then_some(key.low_user)).collect(),
            highs: conversations.iter().map(|key| key.group.is_none().then_some(key.high_user)).collect(),
            groups: conversations.iter().map(|key| key.group).collect(),
        }
    }
}

/// Why a batch has no rows.
pub(super) enum Failure {
    /// PostgreSQL said no: nothing of it is stored.
    Refused(sqlx::Error),
    /// Somebody has held a lock for too long: nothing of it is stored.
    LockTimeout(sqlx::Error),
    /// It was cut off: it may be stored or not.
    Unknown(Box<dyn std::error::Error + Send + Sync>),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) | Failure::LockTimeout(error) => error.into(),
            Failure::Unknown(cause) => Self::unavailable(cause),
        }
    }
}

/// What `write_messages` says of one message.
pub(super) struct Row {
    /// Place in the batch.
    ordinal: i64,
    pub(super) outcome: String,
    pub(super) conversation_id: Option<i64>,
    pub(super) message_id: Option<i64>,
    pub(super) seq: Option<Seq>,
    pub(super) created_at: Option<Timestamp>,
    pub(super) previous_at: Option<Timestamp>,
    pub(super) sender_name: Option<String>,
    pub(super) receiver_name: Option<String>,
    pub(super) group_name: Option<String>,
    pub(super) reply_sender_id: Option<UserId>,
    pub(super) reply_sender_name: Option<String>,
    pub(super) reply_content: Option<String>,
    pub(super) member_version: Option<i64>,
    pub(super) member_ids: Option<Vec<i64>>,
}

impl Row {
    /// Whether somebody else has locked its conversation, so that nothing became of it.
    pub(super) fn is_locked(&self) -> bool {
        self.outcome == "locked"
    }

    /// What a repeat to `target` is told: the receipt of the first, or the refusal where it would
    /// get the same.
    pub(super) fn repeat_receipt(&self, first: &Draft, target: Target) -> Result<Receipt, Error> {
        match self.receipt(first) {
            Ok(receipt) => Ok(Receipt { duplicate: true, ..receipt }),
            Err(_) if target != first.target => Err(Error::overloaded()),
            refusal => refusal,
        }
    }

    pub(super) fn receipt(&self, draft: &Draft) -> Result<Receipt, Error> {
        match self.outcome.as_str() {
            "unauthorized" => return Err(Error::unauthorized()),
            "no_such_user" => return Err(Error::no_such_user(Field::ReceiverId)),
            "no_such_group" => return Err(Error::no_such_group()),
            "not_a_member" => return Err(Error::not_a_member()),
            "blocked" => return Err(Error::blocked()),
            "no_such_message" => return Err(Error::no_such_message()),
            _ => {}
        }
        let (Some(message_id), Some(seq), Some(created_at)) = (self.message_id, self.seq, self.created_at) else {
            return Err(Error::internal(format!("write_messages answered {} without a receipt", self.outcome)));
        };
        Ok(Receipt {
            message_id: message_id.into(),
            seq,
            created_at,
            client_message_id: draft.client_message_id.clone(),
            duplicate: self.outcome == "repeat",
        })
    }
}

/// Whether PostgreSQL has looked at the batch and rolled it back. A deadlock is one conversation's: the others in
/// the batch need not hear of it.
fn says_no(error: &sqlx::Error) -> bool {
    let Some(code) = error.as_database_error().map(sqlx::error::DatabaseError::code) else { return false };
    !is_unavailable(error) || code.is_some_and(|code| code.starts_with("40"))
}

/// Whether a lock took too long: it is one conversation's, and the others in the batch need not hear of it.
fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() == Some("55P03")
}

/// Unique violation, serialization failure, deadlock: the transaction is rolled back for certain.
fn lost_a_race(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["23505", "40001", "40P01"].contains(&code.as_ref()))
}
