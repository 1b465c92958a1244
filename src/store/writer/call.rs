//! The call of the SQL function `write_messages`: a batch in one transaction and one round trip, its result
//! for each message, and the classification of errors.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sqlx::Postgres;
use sqlx::error::BoxDynError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgTypeInfo, PgValueRef};
use tokio::time::timeout;

use super::message::{LockKey, NewMessage, SendReceipt};
use crate::error::{Error, Field};
use crate::model::{ClientMessageId, ConversationId, Seq, Target, Timestamp, UserId};
use crate::store::Db;
use crate::store::database::availability::is_unavailable;
use crate::store::groups::member_cache::MemberList;
use crate::store::session_settings::PING_AFTER_IDLE;

/// Maximum time of one attempt, from acquiring a connection to the commit. After it the senders get `overloaded`.
/// It is longer than `lock_timeout`.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of attempts at a batch that conflicts with those of other nodes.
const MAX_ATTEMPTS: u32 = 5;

/// The member lists of the groups in a batch, as far as this node has cached them.
pub(super) type KnownMemberLists = HashMap<ConversationId, MemberList>;

/// The connection that a writer keeps from one batch to the next, until one fails. A pool tests each
/// connection that is returned to it, and the next batch would wait for that.
#[derive(Default)]
pub(super) struct CachedConnection(Option<(PoolConnection<Postgres>, Instant)>);

impl CachedConnection {
    /// Takes the cached connection, or one of the pool if the cached one may have died since.
    async fn take(&mut self, db: &Db) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let is_good = |used: Instant| used.elapsed() <= PING_AFTER_IDLE && db.epochs.is_current(used);
        match self.0.take().filter(|(_, used)| is_good(*used)) {
            Some((connection, _)) => Ok(connection),
            None => db.pool.acquire().await,
        }
    }
}

/// What a call does with a conversation that another transaction has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockMode {
    /// It skips the conversation, and its messages have [`WriteOutcome::Locked`].
    SkipLocked,
    /// It waits. Only for a batch of one conversation, so that no other one waits with it.
    Wait,
}

/// Writes a batch that was sent in this history of the database, and returns a result for each message, in
/// their order. A conflict with another node (one client id sent to two conversations, a deadlock) rolls
/// the batch back, and the next attempt sees what the other node has committed.
pub(super) async fn write_batch(
    db: &Db,
    connection: &mut CachedConnection,
    messages: &[&NewMessage],
    known_lists: &KnownMemberLists,
    history: u64,
    lock_mode: LockMode,
) -> Result<Vec<WriteResult>, BatchError> {
    let mut attempts = 1;
    loop {
        let attempt = write_once(db, connection, messages, known_lists, history, lock_mode);
        let Ok(result) = timeout(WRITE_TIMEOUT, attempt).await else {
            return Err(BatchError::InDoubt("a write took too long".into()));
        };
        match result {
            Ok(rows) => return Ok(rows),
            Err(error) if attempts < MAX_ATTEMPTS && is_retryable(&error) => attempts += 1,
            Err(error) if is_lock_timeout(&error) => return Err(BatchError::LockTimeout(error)),
            Err(error) if is_rolled_back(&error) => return Err(BatchError::RolledBack(error)),
            Err(error) => {
                db.availability.record_error(&error);
                return Err(BatchError::InDoubt(error.into()));
            }
        }
    }
}

async fn write_once(
    db: &Db,
    cached: &mut CachedConnection,
    messages: &[&NewMessage],
    known_lists: &KnownMemberLists,
    history: u64,
    lock_mode: LockMode,
) -> Result<Vec<WriteResult>, sqlx::Error> {
    let mut connection = cached.take(db).await?;
    // In another history, the sender's user id may name another user.
    if db.epochs.history_number() != history {
        return Err(sqlx::Error::Io(std::io::Error::other("the database was restored since this was sent")));
    }
    let BatchConversations { lows, highs, groups, places } = BatchConversations::of(messages);
    let known_versions: Vec<Option<i64>> =
        groups.iter().map(|group| Some(known_lists.get(&ConversationId((*group)?))?.version)).collect();
    let senders: Vec<i64> = messages.iter().map(|message| message.sender.0).collect();
    let receivers: Vec<Option<i64>> = messages.iter().map(|message| message.target.user().map(|id| id.0)).collect();
    let contents: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
    let client_ids: Vec<Option<&str>> =
        messages.iter().map(|message| message.client_message_id.as_ref().map(ClientMessageId::as_str)).collect();
    let replies_to: Vec<Option<i64>> = messages.iter().map(|message| message.reply_to.map(|id| id.0)).collect();
    let mut rows = sqlx::query_as!(
        WriteResult,
        r#"select ordinal as "ordinal!", outcome as "outcome!: _", conversation_id, message_id, seq,
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
        lock_mode == LockMode::Wait
    )
    .fetch_all(&mut *connection)
    .await?;
    cached.0 = Some((connection, Instant::now()));
    rows.sort_unstable_by_key(|row| row.ordinal);
    Ok(rows)
}

/// The conversations of a batch, each once and in the order in which all nodes lock them, and the
/// conversation of each message. A dialog has a low and a high user, a group has its id.
struct BatchConversations {
    lows: Vec<Option<i64>>,
    highs: Vec<Option<i64>>,
    groups: Vec<Option<i64>>,
    /// For each message the index of its conversation, from 1.
    places: Vec<i32>,
}

impl BatchConversations {
    fn of(messages: &[&NewMessage]) -> Self {
        let keys: Vec<LockKey> = messages.iter().map(|message| message.conversation()).collect();
        let mut conversations = keys.clone();
        conversations.sort_unstable();
        conversations.dedup();
        let place = |key| conversations.partition_point(|conversation| conversation <= key);
        Self {
            places: keys.iter().map(|key| i32::try_from(place(key)).expect("a batch is small")).collect(),
            lows: conversations.iter().map(|key| key.group.is_none().then_some(key.low_user)).collect(),
            highs: conversations.iter().map(|key| key.group.is_none().then_some(key.high_user)).collect(),
            groups: conversations.iter().map(|key| key.group).collect(),
        }
    }
}

/// Why a batch has no results.
pub(super) enum BatchError {
    /// PostgreSQL refused the batch and rolled it back: nothing of it is stored.
    RolledBack(sqlx::Error),
    /// A lock was not released within `lock_timeout`: nothing of the batch is stored.
    LockTimeout(sqlx::Error),
    /// It is not known whether the batch is stored, as a whole or not at all: the database was unavailable or
    /// restored, or did not answer in time, perhaps before the call. The batch is not retried.
    InDoubt(Box<dyn std::error::Error + Send + Sync>),
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::RolledBack(error) | BatchError::LockTimeout(error) => error.into(),
            BatchError::InDoubt(cause) => Self::unavailable(cause),
        }
    }
}

/// The outcome of one message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    /// It is a new message, and committed.
    Stored,
    /// An earlier send with the same idempotency key has stored it, so this send is idempotent.
    Duplicate,
    /// Its conversation was skipped, see [`LockMode::SkipLocked`].
    Locked,
    /// The sender's account was deleted.
    Unauthorized,
    /// There is no such receiver.
    NoSuchUser,
    /// There is no such group, or it has ended.
    NoSuchGroup,
    /// The sender is not in the group.
    NotAMember,
    /// The other side of the dialog has blocked the sender.
    Blocked,
    /// There is no message to reply to that the sender can see in this conversation.
    NoSuchMessage,
    /// An outcome of a newer schema. Only this message fails: the others of its batch are committed all the same.
    Unknown,
}

impl sqlx::Type<Postgres> for WriteOutcome {
    fn type_info() -> PgTypeInfo {
        <String as sqlx::Type<Postgres>>::type_info()
    }
}

impl<'r> sqlx::Decode<'r, Postgres> for WriteOutcome {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        <&str as sqlx::Decode<Postgres>>::decode(value).map(Self::from_name)
    }
}

impl WriteOutcome {
    /// The outcome with this name in the SQL function.
    fn from_name(name: &str) -> Self {
        match name {
            "stored" => Self::Stored,
            "repeat" => Self::Duplicate,
            "locked" => Self::Locked,
            "unauthorized" => Self::Unauthorized,
            "no_such_user" => Self::NoSuchUser,
            "no_such_group" => Self::NoSuchGroup,
            "not_a_member" => Self::NotAMember,
            "blocked" => Self::Blocked,
            "no_such_message" => Self::NoSuchMessage,
            _ => Self::Unknown,
        }
    }
}

/// A row that `write_messages` returns: what was done with one message.
pub(super) struct WriteResult {
    /// The index of the message in the batch, which orders the rows.
    ordinal: i64,
    pub(super) outcome: WriteOutcome,
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

impl WriteResult {
    /// The answer to a duplicate of `first` that was sent to `target` and deduplicated in the same batch. A refusal of
    /// `first` holds for its own target alone: a duplicate to another one gets `overloaded`, and may be sent
    /// again.
    pub(super) fn duplicate_receipt(&self, first: &NewMessage, target: Target) -> Result<SendReceipt, Error> {
        match self.receipt(first) {
            Ok(receipt) => Ok(SendReceipt { is_duplicate: true, ..receipt }),
            Err(_) if target != first.target => Err(Error::overloaded()),
            refusal => refusal,
        }
    }

    /// The answer to the sender of `message`.
    pub(super) fn receipt(&self, message: &NewMessage) -> Result<SendReceipt, Error> {
        match self.outcome {
            WriteOutcome::Stored | WriteOutcome::Duplicate => {}
            WriteOutcome::Locked => return Err(Error::internal("a locked conversation has no answer yet")),
            WriteOutcome::Unauthorized => return Err(Error::unauthorized()),
            WriteOutcome::NoSuchUser => return Err(Error::no_such_user(Field::ReceiverId)),
            WriteOutcome::NoSuchGroup => return Err(Error::no_such_group()),
            WriteOutcome::NotAMember => return Err(Error::not_a_member()),
            WriteOutcome::Blocked => return Err(Error::blocked()),
            WriteOutcome::NoSuchMessage => return Err(Error::no_such_message()),
            WriteOutcome::Unknown => return Err(Error::internal("write_messages returned an unknown outcome")),
        }
        let (Some(message_id), Some(seq), Some(created_at)) = (self.message_id, self.seq, self.created_at) else {
            return Err(Error::internal(format!("write_messages answered {:?} without a receipt", self.outcome)));
        };
        Ok(SendReceipt {
            message_id: message_id.into(),
            seq,
            created_at,
            client_message_id: message.client_message_id.clone(),
            is_duplicate: self.outcome == WriteOutcome::Duplicate,
        })
    }
}

/// Whether PostgreSQL has executed the batch and rolled it back. A deadlock is among these errors, although
/// it is a retryable one: it concerns one conversation, and the others in the batch can be stored.
fn is_rolled_back(error: &sqlx::Error) -> bool {
    let Some(code) = error.as_database_error().map(sqlx::error::DatabaseError::code) else { return false };
    !is_unavailable(error) || code.is_some_and(|code| code.starts_with("40"))
}

/// Whether a lock was not released within `lock_timeout`. It concerns one conversation, and the others in the
/// batch can be stored.
fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() == Some("55P03")
}

/// Whether the batch conflicted with that of another node and may succeed in a retry: a unique violation,
/// a serialization failure, a deadlock. The transaction is rolled back for certain.
fn is_retryable(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["23505", "40001", "40P01"].contains(&code.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_outcome_of_a_newer_schema_is_unknown() {
        assert_eq!(WriteOutcome::from_name("repeat"), WriteOutcome::Duplicate);
        assert_eq!(WriteOutcome::from_name("of_tomorrow"), WriteOutcome::Unknown);
    }

    /// Every outcome that the SQL function names is known.
    #[test]
    fn write_outcome_knows_what_write_messages_returns() {
        let sql = include_str!("../../../migrations/20261122000005_messages.sql");
        let function = sql.split("function write_messages").nth(1).expect("the function");
        let names = [
            "stored",
            "repeat",
            "locked",
            "unauthorized",
            "no_such_user",
            "no_such_group",
            "not_a_member",
            "blocked",
            "no_such_message",
        ];
        for name in names {
            assert!(function.contains(&format!("'{name}'")), "{name}");
            assert_ne!(WriteOutcome::from_name(name), WriteOutcome::Unknown, "{name}");
        }
    }
}
