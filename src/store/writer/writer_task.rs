//! The first task of a writer: it makes batches of queued sends and commits them, and skips conversations that
//! another transaction has locked.

use std::collections::HashSet;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::call::{self, BatchError, CachedConnection, KnownMemberLists, LockMode, WriteOutcome, WriteResult};
use super::deduplicate::deduplicate_by_client_id;
use super::deferred::DeferredSends;
use super::message::{LockKey, NewMessage};
use super::pending::PendingSend;
use crate::error::Error;
use crate::store::Db;
use crate::telemetry::Metrics;

/// Maximum number of messages of one batch, which is one transaction.
const MAX_BATCH_MESSAGES: usize = 256;
/// Maximum number of deferred messages of one batch, so that new ones have a place in it too.
const MAX_RETRIED_MESSAGES: usize = MAX_BATCH_MESSAGES / 2;
/// Maximum number of locked conversations that one writer waits for at a time, each on a connection of its own.
pub(super) const MAX_LOCK_WAITS: u16 = 2;

/// Writes the batches of one writer.
#[derive(Clone)]
pub(super) struct WriterTask {
    pub(super) db: Db,
    pub(super) metrics: Metrics,
    /// To the [`CompletionTask`](super::CompletionTask).
    pub(super) committed: mpsc::Sender<CommittedBatch>,
}

/// A batch after its commit; `results` has one element for each of `sends`, in their order.
pub(super) struct CommittedBatch {
    pub(super) sends: Vec<PendingSend>,
    pub(super) results: Vec<WriteResult>,
    /// The member lists whose versions the call named.
    pub(super) known_lists: KnownMemberLists,
}

/// The sends of a batch that are still to be answered.
#[derive(Default)]
struct Unwritten {
    sends: Vec<PendingSend>,
    /// Whether the batch timed out on a lock. PostgreSQL does not say which conversation that was, so each
    /// of them has to be tried in a batch of its own.
    has_unknown_lock: bool,
}

impl WriterTask {
    /// Writes until `stop` is cancelled and the queue is empty. At any time a conversation is in the current
    /// batch, in one lock wait, or deferred: never in two of these, so that its messages keep their order.
    pub(super) async fn run(self, mut queue: mpsc::Receiver<PendingSend>, capacity: usize, stop: CancellationToken) {
        let mut connection = CachedConnection::default();
        let mut deferred = DeferredSends::new(capacity);
        let mut lock_waits: JoinSet<LockKey> = JoinSet::new();
        let mut is_closed = false;
        while !is_closed || !deferred.is_empty() {
            let mut sends = Vec::new();
            let room = if deferred.is_empty() { MAX_BATCH_MESSAGES } else { MAX_BATCH_MESSAGES - MAX_RETRIED_MESSAGES };
            let next_retry = deferred.next_retry();
            tokio::select! {
                biased;
                () = stop.cancelled(), if !queue.is_closed() => queue.close(),
                Some(done) = lock_waits.join_next() => deferred.release(done.expect("a write does not panic")),
                taken = queue.recv_many(&mut sends, room), if !is_closed => is_closed = taken == 0,
                () = sleep_until(next_retry.unwrap_or_else(Instant::now).into()), if next_retry.is_some() => {}
            }
            let free = deferred.defer_in_order(sends);
            let mut batch = deferred.take_due(MAX_RETRIED_MESSAGES);
            batch.extend(free);
            if !batch.is_empty() {
                let tried: HashSet<LockKey> = batch.iter().map(|send| send.message.conversation()).collect();
                let batch = deduplicate_by_client_id(batch);
                let unwritten = self.write(&mut connection, batch, LockMode::SkipLocked).await;
                deferred.put_back(tried, unwritten.sends, unwritten.has_unknown_lock);
            }
            while lock_waits.len() < usize::from(MAX_LOCK_WAITS)
                && let Some((conversation, sends)) = deferred.take_oldest(MAX_BATCH_MESSAGES)
            {
                lock_waits.spawn(self.clone().wait_and_write(conversation, deduplicate_by_client_id(sends)));
            }
        }
    }

    /// Writes a batch of one conversation, and waits for its lock.
    async fn wait_and_write(self, conversation: LockKey, batch: Vec<PendingSend>) -> LockKey {
        let unwritten = self.write(&mut CachedConnection::default(), batch, LockMode::Wait).await;
        for send in unwritten.sends {
            send.refuse(&Error::overloaded());
        }
        conversation
    }

    /// Commits a batch and answers its sends, except those whose conversation is locked.
    async fn write(
        &self,
        connection: &mut CachedConnection,
        batch: Vec<PendingSend>,
        lock_mode: LockMode,
    ) -> Unwritten {
        let started = Instant::now();
        // The lists are held until the call returns: for a group without a list in the result, the list whose version
        // the call was given is current.
        let known_lists = self.known_lists(&batch);
        let messages: Vec<&NewMessage> = batch.iter().map(|send| &send.message).collect();
        let history = batch.iter().map(|send| send.history).min().unwrap_or_default();
        match call::write_batch(&self.db, connection, &messages, &known_lists, history, lock_mode).await {
            Ok(rows) => {
                let (mut sends, mut results, mut locked) = (Vec::with_capacity(batch.len()), Vec::new(), Vec::new());
                for (send, result) in batch.into_iter().zip(rows) {
                    if result.outcome == WriteOutcome::Locked {
                        locked.push(send);
                    } else {
                        sends.push(send);
                        results.push(result);
                    }
                }
                if !sends.is_empty() {
                    self.metrics.batch_written(sends.len(), started.elapsed());
                    let committed = CommittedBatch { sends, results, known_lists };
                    self.committed.send(committed).await.expect("the completion task ends after this one");
                }
                Unwritten { sends: locked, has_unknown_lock: false }
            }
            Err(BatchError::LockTimeout(error)) => {
                drop(Error::from(error).log_and_convert());
                Unwritten { sends: batch, has_unknown_lock: true }
            }
            // The batch was rolled back as a whole. In batches of one message each, only the one that
            // PostgreSQL refuses fails.
            Err(BatchError::RolledBack(error)) if batch.len() > 1 => {
                drop(Error::from(error).log_and_convert());
                self.write_one_by_one(connection, batch, lock_mode).await
            }
            Err(failure) => {
                let answer = Error::from(failure).log_and_convert();
                for send in batch {
                    send.refuse(&Error::new(answer.code, answer.sentence("").into_owned()));
                }
                Unwritten::default()
            }
        }
    }

    async fn write_one_by_one(
        &self,
        connection: &mut CachedConnection,
        batch: Vec<PendingSend>,
        lock_mode: LockMode,
    ) -> Unwritten {
        let mut unwritten = Unwritten::default();
        let mut locked = HashSet::new();
        for send in batch {
            let conversation = send.message.conversation();
            // A later message of a locked conversation must not be stored before an earlier one.
            if locked.contains(&conversation) {
                unwritten.sends.push(send);
                continue;
            }
            let Unwritten { sends, has_unknown_lock } = Box::pin(self.write(connection, vec![send], lock_mode)).await;
            if !sends.is_empty() {
                locked.insert(conversation);
                unwritten.sends.extend(sends);
                unwritten.has_unknown_lock |= has_unknown_lock;
            }
        }
        unwritten
    }

    /// The cached member lists of the groups in a batch.
    fn known_lists(&self, batch: &[PendingSend]) -> KnownMemberLists {
        let groups = batch.iter().filter_map(|send| send.message.target.group());
        groups.filter_map(|group| Some((group.into(), self.db.member_cache.get(group.into())?))).collect()
    }
}
