//! One writer: it makes batches of what is queued, and goes past conversations that somebody else has
//! locked.

use std::collections::HashSet;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::call::{self, Failure, Kept, KnownLists, Row, Waits};
use super::deferred::Deferred;
use super::{ConversationKey, Draft, Job, without_repeats};
use crate::error::Error;
use crate::store::Db;
use crate::telemetry::Metrics;

/// Most messages of one transaction.
const MAX_BATCH: usize = 256;
/// Most of them that were deferred: what is new has its place too.
const MAX_RETRIED: usize = MAX_BATCH / 2;
/// Locked conversations that one writer waits for at the same time, each on a connection of its own.
pub(super) const MAX_PATIENT: u16 = 2;

/// One writer: a queue, and the conversations that are on it.
#[derive(Clone)]
pub(super) struct Lane {
    pub(super) db: Db,
    pub(super) metrics: Metrics,
    pub(super) written: mpsc::Sender<Written>,
}

/// A batch that is committed.
pub(super) struct Written {
    pub(super) batch: Vec<Job>,
    pub(super) rows: Vec<Row>,
    pub(super) known: KnownLists,
}

/// Sends of a batch that are not answered.
#[derive(Default)]
struct Unwritten {
    jobs: Vec<Job>,
    /// Whether a lock was waited for in vain: whose it is, nobody knows, so that each conversation has
    /// to go alone.
    alone: bool,
}

impl Lane {
    /// Writes until `stop`, and then what is queued. A conversation is in the next batch, or with one
    /// patient task, or deferred: never in two places, so that its messages keep their order.
    pub(super) async fn run(self, mut queue: mpsc::Receiver<Job>, capacity: usize, stop: CancellationToken) {
        let mut kept = Kept::default();
        let mut deferred = Deferred::new(capacity);
        let mut patient: JoinSet<ConversationKey> = JoinSet::new();
        let mut is_closed = false;
        while !is_closed || !deferred.is_empty() {
            let mut jobs = Vec::new();
            let room = if deferred.is_empty() { MAX_BATCH } else { MAX_BATCH - MAX_RETRIED };
            let next_retry = deferred.next_retry();
            tokio::select! {
                biased;
                () = stop.cancelled(), if !queue.is_closed() => queue.close(),
                Some(done) = patient.join_next() => deferred.release(done.expect("a write does not panic")),
                taken = queue.recv_many(&mut jobs, room), if !is_closed => is_closed = taken == 0,
                () = sleep_until(next_retry.unwrap_or_else(Instant::now).into()), if next_retry.is_some() => {}
            }
            let free = deferred.defer_behind(jobs);
            let mut batch = deferred.take_due(MAX_RETRIED);
            batch.extend(free);
            if !batch.is_empty() {
                let retried: HashSet<ConversationKey> = batch.iter().map(|job| job.draft.conversation()).collect();
                let unwritten = self.write(&mut kept, without_repeats(batch), Waits::Never).await;
                deferred.put_back(retried, unwritten.jobs, unwritten.alone);
            }
            while patient.len() < usize::from(MAX_PATIENT)
                && let Some((conversation, jobs)) = deferred.take_first(MAX_BATCH)
            {
                patient.spawn(self.clone().write_patiently(conversation, without_repeats(jobs)));
            }
        }
    }

    /// Writes to one conversation, and waits for its lock.
    async fn write_patiently(self, conversation: ConversationKey, batch: Vec<Job>) -> ConversationKey {
        let unwritten = self.write(&mut Kept::default(), batch, Waits::ForItsConversation).await;
        for job in unwritten.jobs {
            job.refuse(&Error::overloaded());
        }
        conversation
    }

    /// Commits a batch and answers the jobs in it, but for those whose conversation is locked.
    async fn write(&self, kept: &mut Kept, batch: Vec<Job>, waits: Waits) -> Unwritten {
        let started = Instant::now();
        // Kept until the answer is there: only what is named in the call may be relied on after it.
        let known = self.known_lists(&batch);
        let drafts: Vec<&Draft> = batch.iter().map(|job| &job.draft).collect();
        let history = batch.iter().map(|job| job.history).min().unwrap_or_default();
        match call::write(&self.db, kept, &drafts, &known, history, waits).await {
            Ok(rows) => {
                let (mut answered, mut answers, mut locked) = (Vec::with_capacity(batch.len()), Vec::new(), Vec::new());
                for (job, row) in batch.into_iter().zip(rows) {
                    if row.is_locked() {
                        locked.push(job);
                    } else {
                        answered.push(job);
                        answers.push(row);
                    }
                }
                if !answered.is_empty() {
                    self.metrics.batch_written(answered.len(), started.elapsed());
                    let written = Written { batch: answered, rows: answers, known };
                    self.written.send(written).await.expect("it goes on until we are gone");
                }
                Unwritten { jobs: locked, alone: false }
            }
            Err(Failure::LockTimeout(error)) => {
                drop(Error::from(error).log_and_convert());
                Unwritten { jobs: batch, alone: true }
            }
            // PostgreSQL refused the batch and rolled it back as a whole; whoever is to blame for it
            // is alone in a batch of one.
            Err(Failure::Refused(error)) if batch.len() > 1 => {
                drop(Error::from(error).log_and_convert());
                self.write_one_by_one(kept, batch, waits).await
            }
            Err(failure) => {
                let told = Error::from(failure).log_and_convert();
                for job in batch {
                    job.refuse(&Error::new(told.code, told.sentence("").into_owned()));
                }
                Unwritten::default()
            }
        }
    }

    async fn write_one_by_one(&self, kept: &mut Kept, batch: Vec<Job>, waits: Waits) -> Unwritten {
        let mut unwritten = Unwritten::default();
        let mut held = HashSet::new();
        for job in batch {
            let conversation = job.draft.conversation();
            // Not before those that are to be stored before it.
            if held.contains(&conversation) {
                unwritten.jobs.push(job);
                continue;
            }
            let Unwritten { jobs, alone } = Box::pin(self.write(kept, vec![job], waits)).await;
            if !jobs.is_empty() {
                held.insert(conversation);
                unwritten.jobs.extend(jobs);
                unwritten.alone |= alone;
            }
        }
        unwritten
    }

    fn known_lists(&self, batch: &[Job]) -> KnownLists {
        let groups = batch.iter().filter_map(|job| job.draft.target.group());
        groups.filter_map(|group| Some((group.into(), self.db.member_lists.get(group.into())?))).collect()
    }
}
