//! The durable write pipeline: group commit for new messages. Whatever queues up while one transaction
//! commits becomes the next batch. There is no timer, so an idle server adds no delay and a busy one fills
//! its batches by itself.
//!
//! A few writers run side by side, each with a `WriterTask` and a `CompletionTask`. A conversation is
//! always on the same writer, so its messages are handed to delivery in the order of `seq`. A message that
//! PostgreSQL refuses fails alone, and a conversation that another transaction has locked delays no sends
//! but its own (`deferred.rs`). The queue is bounded, and a full one is backpressure: senders get `overloaded`.
//!
//! A send with a `client_message_id`, its idempotency key, is idempotent: a retry gets the receipt of the message
//! that is stored. Sends that wait together are deduplicated here (`deduplicate.rs`), a message that is stored
//! already is found by `write_messages`, and a unique index decides between nodes.

mod call;
mod completion_task;
mod deduplicate;
mod deferred;
mod message;
mod pending;
mod writer_task;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::completion_task::CompletionTask;
pub use self::message::{CommittedMessage, NewMessage, RepliedMessage, SendReceipt};
use self::pending::PendingSend;
use self::writer_task::{MAX_LOCK_WAITS, WriterTask};
use super::Db;
use super::database::epochs::Epochs;
use crate::error::Error;
use crate::telemetry::Metrics;

/// The writers of this node: takes new messages, and answers each with its receipt after the commit.
#[derive(Debug)]
pub struct Writer {
    epochs: Arc<Epochs>,
    queues: Vec<mpsc::Sender<PendingSend>>,
    stop: CancellationToken,
    tasks: parking_lot::Mutex<JoinSet<()>>,
}

impl Writer {
    /// Maximum number of connections that one writer uses: one for its batches, and one for each locked conversation
    /// that it waits for.
    pub const CONNECTIONS: u16 = 1 + MAX_LOCK_WAITS;

    /// Starts `writers` on the current runtime, each with two tasks, its share of a queue of `queue` messages,
    /// and at most [`CONNECTIONS`](Self::CONNECTIONS) of `db`.
    ///
    /// `on_commit` is called with the stored messages of each batch after its commit, for each conversation
    /// in the order of `seq`. It must not block.
    pub fn start<F>(db: &Db, writers: u16, queue: usize, metrics: &Metrics, on_commit: F) -> Self
    where
        F: Fn(Vec<CommittedMessage>) + Clone + Send + Sync + 'static,
    {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let queues = (0..writers)
            .map(|_| {
                let capacity = (queue / usize::from(writers)).max(1);
                let (sender, receiver) = mpsc::channel(capacity);
                // One batch is completed while the next one is written, and at most one more waits to be completed.
                let (committed, to_complete) = mpsc::channel(1);
                let writer = WriterTask { db: db.clone(), metrics: metrics.clone(), committed };
                tasks.spawn(writer.run(receiver, capacity, stop.clone()));
                let completion = CompletionTask {
                    member_lists: db.member_cache.clone(),
                    metrics: metrics.clone(),
                    on_commit: on_commit.clone(),
                };
                tasks.spawn(completion.run(to_complete));
                sender
            })
            .collect();
        Self { epochs: Arc::clone(&db.epochs), queues, stop, tasks: parking_lot::Mutex::new(tasks) }
    }

    /// Queues a message at once, before the returned future is first polled. The future resolves after the
    /// commit. Messages of one conversation are stored in the order in which they were submitted.
    ///
    /// # Errors
    /// `overloaded` if the queue is full (backpressure), the conversation stays locked, or the database is unavailable:
    /// the message may be sent again, and a retry is idempotent with a `client_message_id`. `not_found`, `not_a_member`, `blocked` or
    /// `unauthorized` if this message is refused.
    pub fn submit(&self, message: NewMessage) -> impl Future<Output = Result<SendReceipt, Error>> + Send + use<> {
        let (reply, receipt) = oneshot::channel();
        let queued = self.queues[self.queue_index(&message)].try_send(PendingSend {
            message,
            history: self.epochs.history_number(),
            reply,
            duplicates: Vec::new(),
        });
        async move {
            queued.map_err(|_| Error::overloaded())?;
            // The writer's task ended without an answer, so nothing is confirmed.
            receipt.await.unwrap_or_else(|_| Err(Error::overloaded()))
        }
    }

    /// Graceful shutdown: refuses new messages, and returns when all that were queued are committed and
    /// handed to delivery.
    pub async fn drain(&self) {
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }

    /// The queue of a conversation, which is the same for both sides of a dialog.
    fn queue_index(&self, message: &NewMessage) -> usize {
        let mut hasher = DefaultHasher::new();
        message.conversation().hash(&mut hasher);
        usize::try_from(hasher.finish() % self.queues.len() as u64).expect("less than the number of queues")
    }
}
