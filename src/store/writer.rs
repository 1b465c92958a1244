//! The durable write pipeline. Whatever queues up while one transaction commits becomes the next
//! one: no timer, so an idle server adds no delay and a busy one fills its batches by itself.
//!
//! A few writers run side by side, and a conversation is always on the same one, so that its
//! messages are handed to delivery in the order of `seq`. One bad message refuses itself, never
//! its neighbours.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Db;
use super::groups::MemberIds;
use super::member_lists::{MemberList, MemberLists};
use crate::error::{Code, Error};
use crate::model::{ClientMessageId, Content, ConversationId, MessageId, Seq, Target, Timestamp, UserId};
use crate::telemetry::Metrics;

/// Most messages of one transaction.
const MAX_BATCH: usize = 256;
/// How often a batch is tried again that lost a race with another node.
const MAX_TRIES: u32 = 5;
/// A message is `close` to the one before it where less than this lies between them.
const CLOSE: Duration = Duration::from_secs(10);

/// A message that somebody wants to send.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Who sends it, as the token says.
    pub sender: UserId,
    /// To whom.
    pub target: Target,
    /// What it says.
    pub content: Content,
    /// The sender's own name for it.
    pub client_message_id: Option<ClientMessageId>,
}

/// What a sender is told, once the message is committed.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The message.
    pub message_id: MessageId,
    /// Its place in the conversation.
    pub seq: Seq,
    /// When it was stored.
    pub created_at: Timestamp,
    /// As it was given.
    pub client_message_id: Option<ClientMessageId>,
    /// Whether it was stored by an earlier send of the same sender.
    pub duplicate: bool,
}

/// A message that has just been committed, and who is to get it.
#[derive(Debug)]
pub struct Committed {
    /// The message.
    pub id: MessageId,
    /// Where.
    pub conversation: ConversationId,
    /// Its place there.
    pub seq: Seq,
    /// When it was stored.
    pub created_at: Timestamp,
    /// Whether the message before it is so young that another node may still be delivering it.
    pub close_to_previous: bool,
    /// Current name of the sender.
    pub sender_name: String,
    /// Current name of the receiver, in a dialog.
    pub receiver_name: Option<String>,
    /// Name of the group, in one.
    pub group_name: Option<String>,
    /// Everybody in the conversation as of the commit, the sender included.
    pub members: MemberIds,
    /// What was sent.
    pub draft: Draft,
}

struct Job {
    draft: Draft,
    done: oneshot::Sender<Result<Receipt, Error>>,
}

/// Takes messages and answers each with its receipt, after the commit.
#[derive(Debug)]
pub struct Writer {
    queues: Vec<mpsc::Sender<Job>>,
    stop: CancellationToken,
    tasks: parking_lot::Mutex<JoinSet<()>>,
}

impl Writer {
    /// Starts `writers` tasks on the current runtime, each with one connection of `db`.
    ///
    /// `on_commit` is called with each batch after its commit, in the order of `seq` for each
    /// conversation. It must not block.
    pub fn start<F>(db: &Db, writers: u16, queue: usize, metrics: &Metrics, on_commit: F) -> Self
    where
        F: Fn(Vec<Committed>) + Clone + Send + Sync + 'static,
    {
        let stop = CancellationToken::new();
        let member_lists = MemberLists::new();
        let mut tasks = JoinSet::new();
        let queues = (0..writers)
            .map(|_| {
                let (sender, receiver) = mpsc::channel((queue / usize::from(writers)).max(1));
                let lane = Lane {
                    db: db.clone(),
                    member_lists: member_lists.clone(),
                    metrics: metrics.clone(),
                    on_commit: on_commit.clone(),
                };
                tasks.spawn(lane.run(receiver, stop.clone()));
                sender
            })
            .collect();
        Self { queues, stop, tasks: parking_lot::Mutex::new(tasks) }
    }

    /// Queues a message at once, before the returned future is first polled, and answers after the
    /// commit. Messages that are submitted one after the other are stored in that order.
    ///
    /// # Errors
    /// `overloaded` where the queue is full or the database is away; `not_found`, `not_a_member` or
    /// `unauthorized` where this message is refused.
    pub fn submit(&self, draft: Draft) -> impl Future<Output = Result<Receipt, Error>> + Send + use<> {
        let (done, receipt) = oneshot::channel();
        let queued = self.queues[self.queue_of(&draft)].try_send(Job { draft, done });
        async move {
            queued.map_err(|_| Error::overloaded())?;
            // A writer that goes away with the job in hand has confirmed nothing.
            receipt.await.unwrap_or_else(|_| Err(Error::overloaded()))
        }
    }

    /// Takes no more messages, and returns when all that were taken are committed and delivered.
    pub async fn drain(&self) {
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }

    /// Both sides of a dialog are on the same writer.
    fn queue_of(&self, draft: &Draft) -> usize {
        let mut hasher = DefaultHasher::new();
        match draft.target {
            Target::User(receiver) => (draft.sender.min(receiver), draft.sender.max(receiver)).hash(&mut hasher),
            Target::Group(group) => group.hash(&mut hasher),
        }
        usize::try_from(hasher.finish() % self.queues.len() as u64).expect("less than the number of queues")
    }
}

/// One writer: a queue, and the conversations that are on it.
struct Lane<F> {
    db: Db,
    member_lists: MemberLists,
    metrics: Metrics,
    on_commit: F,
}

impl<F: Fn(Vec<Committed>)> Lane<F> {
    async fn run(self, mut queue: mpsc::Receiver<Job>, stop: CancellationToken) {
        // Repeats of a send that is in the batch wait for the next one, which finds it stored.
        let mut repeats: Vec<Job> = Vec::new();
        loop {
            let mut jobs = std::mem::take(&mut repeats);
            if jobs.is_empty() {
                tokio::select! {
                    biased;
                    () = stop.cancelled(), if !queue.is_closed() => queue.close(),
                    taken = queue.recv_many(&mut jobs, MAX_BATCH) => if taken == 0 { return },
                }
            } else {
                while jobs.len() < MAX_BATCH
                    && let Ok(job) = queue.try_recv()
                {
                    jobs.push(job);
                }
            }
            if jobs.is_empty() {
                continue;
            }
            let mut seen = HashSet::new();
            let (batch, rest) = jobs.into_iter().partition(|job: &Job| {
                let draft = &job.draft;
                draft.client_message_id.clone().is_none_or(|id| seen.insert((draft.sender, id)))
            });
            repeats = rest;
            self.write(batch).await;
        }
    }

    /// Commits a batch and answers every job in it.
    async fn write(&self, batch: Vec<Job>) {
        let started = std::time::Instant::now();
        // Kept until the answer is there: only what is named in the call may be relied on after it.
        let known = self.known_lists(&batch);
        match self.call(&batch, &known).await {
            Ok(rows) => {
                self.metrics.batch_written(batch.len(), started.elapsed());
                self.settle(batch, rows, known);
            }
            // The batch was rolled back as a whole: whoever is to blame for it is alone in a batch of one.
            Err(error) if error.code() == Code::Internal && batch.len() > 1 => {
                let _ = error.into_answer();
                for job in batch {
                    Box::pin(self.write(vec![job])).await;
                }
            }
            Err(error) => {
                let told = error.into_answer();
                for job in batch {
                    let _ = job.done.send(Err(Error::new(told.code, told.message.clone())));
                }
            }
        }
    }

    /// One transaction, one round trip. A race with another node (the same client id in two
    /// conversations, a deadlock) rolls it back, and the next try sees what the other one committed.
    async fn call(&self, batch: &[Job], known: &HashMap<ConversationId, MemberList>) -> Result<Vec<Row>, Error> {
        let mut tries = 1;
        loop {
            match self.call_once(batch, known).await {
                Err(error) if tries < MAX_TRIES && lost_a_race(&error) => tries += 1,
                result => return Ok(result?),
            }
        }
    }

    async fn call_once(
        &self,
        batch: &[Job],
        known: &HashMap<ConversationId, MemberList>,
    ) -> Result<Vec<Row>, sqlx::Error> {
        let drafts = || batch.iter().map(|job| &job.draft);
        let senders: Vec<i64> = drafts().map(|draft| draft.sender.0).collect();
        let groups: Vec<Option<i64>> = drafts().map(|draft| draft.target.group().map(|id| id.0)).collect();
        let receivers: Vec<Option<i64>> = drafts().map(|draft| draft.target.user().map(|id| id.0)).collect();
        let contents: Vec<&str> = drafts().map(|draft| draft.content.as_str()).collect();
        let client_ids: Vec<Option<&str>> =
            drafts().map(|draft| draft.client_message_id.as_ref().map(ClientMessageId::as_str)).collect();
        let known_versions: Vec<Option<i64>> =
            drafts().map(|draft| Some(known.get(&draft.target.group()?.into())?.version)).collect();
        sqlx::query_as!(
            Row,
            r#"select ordinal as "ordinal!", outcome as "outcome!", conversation_id, message_id, seq,
                      created_at as "created_at?: _", previous_at as "previous_at?: _",
                      sender_name, receiver_name, group_name, member_version, member_ids
               from write_messages($1, $2, $3, $4, $5, $6)"#,
            &senders,
            &groups as &[Option<i64>],
            &receivers as &[Option<i64>],
            &contents as &[&str],
            &client_ids as &[Option<&str>],
            &known_versions as &[Option<i64>]
        )
        .fetch_all(&self.db.pool)
        .await
    }

    fn known_lists(&self, batch: &[Job]) -> HashMap<ConversationId, MemberList> {
        let groups = batch.iter().filter_map(|job| job.draft.target.group());
        groups.filter_map(|group| Some((group.into(), self.member_lists.get(group.into())?))).collect()
    }

    /// Answers the senders, then hands what was stored to delivery.
    fn settle(&self, batch: Vec<Job>, rows: Vec<Row>, mut lists: HashMap<ConversationId, MemberList>) {
        let mut committed = Vec::with_capacity(batch.len());
        for (job, row) in batch.into_iter().zip(rows) {
            let receipt = row.receipt(&job.draft);
            let stored = row.outcome == "stored";
            if stored && let Some(message) = self.committed(job.draft, row, &mut lists) {
                committed.push(message);
            }
            // A sender who is gone needs no answer.
            let _ = job.done.send(receipt);
        }
        self.metrics.messages_stored(committed.len());
        (self.on_commit)(committed);
    }

    fn committed(&self, draft: Draft, row: Row, lists: &mut HashMap<ConversationId, MemberList>) -> Option<Committed> {
        let conversation = ConversationId(row.conversation_id?);
        let created_at: Timestamp = row.created_at?;
        let members = match draft.target {
            Target::User(receiver) if receiver == draft.sender => Arc::from([receiver]),
            Target::User(receiver) => Arc::from([draft.sender, receiver]),
            Target::Group(_) => {
                if let (Some(version), Some(ids)) = (row.member_version, row.member_ids) {
                    let list = MemberList { version, ids: ids.into_iter().map(UserId).collect() };
                    self.member_lists.put(conversation, list.clone());
                    lists.insert(conversation, list);
                }
                // No list came back, so the one that was named in the call still holds.
                lists.get(&conversation)?.ids.clone()
            }
        };
        let close_to_previous = row
            .previous_at
            .is_some_and(|previous: Timestamp| (created_at.0 - previous.0).to_std().is_ok_and(|gap| gap < CLOSE));
        Some(Committed {
            id: row.message_id?.into(),
            conversation,
            seq: row.seq?,
            created_at,
            close_to_previous,
            sender_name: row.sender_name?,
            receiver_name: row.receiver_name,
            group_name: row.group_name,
            members,
            draft,
        })
    }
}

/// What `write_messages` says of one message.
struct Row {
    #[expect(dead_code, reason = "the rows come in the order of the batch; the column is what they are sorted by")]
    ordinal: i64,
    outcome: String,
    conversation_id: Option<i64>,
    message_id: Option<i64>,
    seq: Option<Seq>,
    created_at: Option<Timestamp>,
    previous_at: Option<Timestamp>,
    sender_name: Option<String>,
    receiver_name: Option<String>,
    group_name: Option<String>,
    member_version: Option<i64>,
    member_ids: Option<Vec<i64>>,
}

impl Row {
    fn receipt(&self, draft: &Draft) -> Result<Receipt, Error> {
        match self.outcome.as_str() {
            "unauthorized" => return Err(Error::unauthorized()),
            "no_such_user" => return Err(Error::not_found("params.receiverId: there is no such user")),
            "no_such_group" => return Err(Error::not_found("params.groupId: there is no such group")),
            "not_a_member" => return Err(Error::not_a_member()),
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

/// Unique violation, serialization failure, deadlock: the transaction is rolled back for certain.
fn lost_a_race(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["23505", "40001", "40P01"].contains(&code.as_ref()))
}
