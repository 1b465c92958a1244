//! The durable write pipeline. Whatever queues up while one transaction commits becomes the next
//! one: no timer, so an idle server adds no delay and a busy one fills its batches by itself.
//!
//! A few writers run side by side, and a conversation is always on the same one, so that its
//! messages are handed to delivery in the order of `seq`. One bad message refuses itself, never
//! its neighbours, and a conversation that somebody else has locked holds up nobody's sends but its own.

mod call;
mod deferred;
mod lane;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::call::{KnownLists, Row};
use self::lane::{Lane, MAX_PATIENT, Written};
use super::Db;
use super::database::epochs::Epochs;
use super::groups::MemberIds;
use super::groups::member_cache::{MemberList, MemberLists};
use crate::error::Error;
use crate::model::{ClientMessageId, Content, ConversationId, MessageId, Seq, SocketId, Target, Timestamp, UserId};
use crate::telemetry::Metrics;

/// A message is `close` to the one before it where less than this lies between them.
const CLOSE: Duration = Duration::from_secs(10);

/// A message that somebody wants to send.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Who sends it, as the token says.
    pub sender: UserId,
    /// Over which socket: it gets a receipt, and no push.
    pub socket: SocketId,
    /// To whom.
    pub target: Target,
    /// What it says.
    pub content: Content,
    /// The sender's own name for it.
    pub client_message_id: Option<ClientMessageId>,
    /// The message of the same conversation that it replies to.
    pub reply_to: Option<MessageId>,
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
    /// What it replies to.
    pub reply_to: Option<RepliedTo>,
    /// Everybody in the conversation as of the commit, the sender included.
    pub members: MemberIds,
    /// What was sent.
    pub draft: Draft,
}

/// The message that another one replies to.
#[derive(Debug)]
pub struct RepliedTo {
    /// Which.
    pub id: MessageId,
    /// Who wrote it.
    pub sender_id: UserId,
    /// Current name of who wrote it.
    pub sender_name: String,
    /// What it says; empty where it was deleted.
    pub content: String,
}

impl Draft {
    fn conversation(&self) -> ConversationKey {
        match self.target {
            Target::User(UserId(other)) => {
                ConversationKey { group: None, low_user: self.sender.0.min(other), high_user: self.sender.0.max(other) }
            }
            Target::Group(group) => ConversationKey { group: Some(group.0), low_user: 0, high_user: 0 },
        }
    }
}

/// A conversation as sends name it. In this order all nodes lock them: dialogs, then groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ConversationKey {
    group: Option<i64>,
    low_user: i64,
    high_user: i64,
}

struct Job {
    draft: Draft,
    /// In which history of the database it was sent; see `epochs`.
    history: u64,
    done: Done,
    /// Sends of the same sender with the same client id that came while this one waited: its
    /// repeats, whatever they say.
    repeats: Vec<(Target, Done)>,
}

type Done = oneshot::Sender<Result<Receipt, Error>>;

impl Job {
    /// Tells the sender that nothing was stored, and why.
    fn refuse(self, error: &Error) {
        let refusal = || Err(error.for_another());
        // A sender who is gone needs no answer.
        let _ = self.done.send(refusal());
        for (_, done) in self.repeats {
            let _ = done.send(refusal());
        }
    }
}

/// Takes messages and answers each with its receipt, after the commit.
#[derive(Debug)]
pub struct Writer {
    epochs: Arc<Epochs>,
    queues: Vec<mpsc::Sender<Job>>,
    stop: CancellationToken,
    tasks: parking_lot::Mutex<JoinSet<()>>,
}

impl Writer {
    /// Connections that one writer takes: its own, and those on which it waits for conversations that
    /// are locked.
    pub const CONNECTIONS: u16 = 1 + MAX_PATIENT;

    /// Starts `writers` on the current runtime, two tasks each, with [`CONNECTIONS`](Self::CONNECTIONS) of
    /// `db` each at most.
    ///
    /// `on_commit` is called with each batch after its commit, in the order of `seq` for each
    /// conversation. It must not block.
    pub fn start<F>(db: &Db, writers: u16, queue: usize, metrics: &Metrics, on_commit: F) -> Self
    where
        F: Fn(Vec<Committed>) + Clone + Send + Sync + 'static,
    {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let queues = (0..writers)
            .map(|_| {
                let capacity = (queue / usize::from(writers)).max(1);
                let (sender, receiver) = mpsc::channel(capacity);
                // One batch is told of while the next one is written.
                let (written, to_settle) = mpsc::channel(1);
                let lane = Lane { db: db.clone(), metrics: metrics.clone(), written };
                tasks.spawn(lane.run(receiver, capacity, stop.clone()));
                let settling = Settling {
                    member_lists: db.member_lists.clone(),
                    metrics: metrics.clone(),
                    on_commit: on_commit.clone(),
                };
                tasks.spawn(settling.run(to_settle));
                sender
            })
            .collect();
        Self { epochs: Arc::clone(&db.epochs), queues, stop, tasks: parking_lot::Mutex::new(tasks) }
    }

    /// Queues a message at once, before the returned future is first polled, and answers after the
    /// commit. Messages that are submitted one after the other are stored in that order.
    ///
    /// # Errors
    /// `overloaded` where the queue is full or the database is away; `not_found`, `not_a_member` or
    /// `unauthorized` where this message is refused.
    pub fn submit(&self, draft: Draft) -> impl Future<Output = Result<Receipt, Error>> + Send + use<> {
        let (done, receipt) = oneshot::channel();
        let queued = self.queues[self.queue_of(&draft)].try_send(Job {
            draft,
            history: self.epochs.histories(),
            done,
            repeats: Vec::new(),
        });
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
        draft.conversation().hash(&mut hasher);
        usize::try_from(hasher.finish() % self.queues.len() as u64).expect("less than the number of queues")
    }
}

/// What comes after the commits of one writer, in their order.
struct Settling<F> {
    member_lists: MemberLists,
    metrics: Metrics,
    on_commit: F,
}

impl<F: Fn(Vec<Committed>)> Settling<F> {
    async fn run(self, mut written: mpsc::Receiver<Written>) {
        while let Some(written) = written.recv().await {
            self.settle(written);
        }
    }

    /// Answers the senders, then hands what was stored to delivery.
    fn settle(&self, Written { batch, rows, known: mut lists }: Written) {
        let mut committed = Vec::with_capacity(batch.len());
        for (job, row) in batch.into_iter().zip(rows) {
            // A sender who is gone needs no answer.
            for (target, done) in job.repeats {
                let _ = done.send(row.repeat_receipt(&job.draft, target));
            }
            let _ = job.done.send(row.receipt(&job.draft));
            if row.outcome == "stored"
                && let Some(message) = self.committed(job.draft, row, &mut lists)
            {
                committed.push(message);
            }
        }
        self.metrics.messages_stored(committed.len());
        (self.on_commit)(committed);
    }

    fn committed(&self, draft: Draft, row: Row, lists: &mut KnownLists) -> Option<Committed> {
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
            reply_to: replied_to(&draft, row.reply_sender_id, row.reply_sender_name, row.reply_content),
            members,
            draft,
        })
    }
}

fn replied_to(
    draft: &Draft,
    sender_id: Option<UserId>,
    sender_name: Option<String>,
    content: Option<String>,
) -> Option<RepliedTo> {
    Some(RepliedTo { id: draft.reply_to?, sender_id: sender_id?, sender_name: sender_name?, content: content? })
}

/// Puts the repeats of a send to it: a batch holds one of them, and all share its answer. Written
/// each in a batch of its own, they would cost everybody on this writer a commit each.
fn without_repeats(jobs: Vec<Job>) -> Vec<Job> {
    let mut batch: Vec<Job> = Vec::with_capacity(jobs.len());
    let mut first: HashMap<(UserId, ClientMessageId), usize> = HashMap::new();
    for job in jobs {
        let Some(id) = job.draft.client_message_id.clone() else {
            batch.push(job);
            continue;
        };
        match first.entry((job.draft.sender, id)) {
            Entry::Occupied(place) => {
                let repeats = &mut batch[*place.get()].repeats;
                repeats.push((job.draft.target, job.done));
                // It has some of its own where it was in an earlier batch, which could not store it.
                repeats.extend(job.repeats);
            }
            Entry::Vacant(place) => {
                place.insert(batch.len());
                batch.push(job);
            }
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config::Cli;

    /// A send with the client id `same`, and who waits for its answer.
    fn send(receiver: i64) -> (Job, oneshot::Receiver<Result<Receipt, Error>>) {
        let limits = Cli::parse_from(["hark"]).config.limits;
        let draft = Draft {
            sender: UserId(1),
            socket: SocketId::NONE,
            target: Target::User(UserId(receiver)),
            content: Content::parse("Hi".to_owned(), &limits).expect("a content"),
            client_message_id: Some(ClientMessageId::parse("same".to_owned(), &limits).expect("a client id")),
            reply_to: None,
        };
        let (done, answer) = oneshot::channel();
        (Job { draft, history: 0, done, repeats: Vec::new() }, answer)
    }

    #[test]
    fn a_send_that_becomes_a_repeat_brings_its_own_repeats() {
        let ((first, _), (deferred, mut one), (repeat, mut other)) = (send(2), send(3), send(3));
        let deferred = without_repeats(vec![deferred, repeat]);
        let batch = without_repeats([first].into_iter().chain(deferred).collect());
        assert_eq!(batch.len(), 1);
        for answer in [&mut one, &mut other] {
            assert!(matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty)), "it is waited for");
        }
    }
}
