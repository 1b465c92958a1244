//! The second task of a writer: answers senders and hands messages to delivery, while the first one commits
//! the next batch.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::call::{KnownMemberLists, WriteOutcome, WriteResult};
use super::message::{CommittedMessage, NewMessage, RepliedMessage};
use super::writer_task::CommittedBatch;
use crate::model::{ConversationId, Target, Timestamp, UserId};
use crate::store::groups::member_cache::{MemberCache, MemberList};
use crate::telemetry::Metrics;

/// A message follows a recent one if less than this lies between the two: another node may still be
/// delivering the first.
const ADJACENT_WINDOW: Duration = Duration::from_secs(10);

/// Completes the batches of one writer, in the order of their commits.
pub(super) struct CompletionTask<F> {
    pub(super) member_lists: MemberCache,
    pub(super) metrics: Metrics,
    pub(super) on_commit: F,
}

impl<F: Fn(Vec<CommittedMessage>)> CompletionTask<F> {
    /// Completes batches until the writer's task drops its end of the channel.
    pub(super) async fn run(self, mut batches: mpsc::Receiver<CommittedBatch>) {
        while let Some(batch) = batches.recv().await {
            self.complete(batch);
        }
    }

    /// Answers the senders, then hands the messages that were stored to delivery.
    fn complete(&self, CommittedBatch { sends, results, known_lists: mut lists }: CommittedBatch) {
        let mut committed = Vec::with_capacity(sends.len());
        for (send, result) in sends.into_iter().zip(results) {
            // The receiver of an answer may be dropped: its socket has disconnected.
            for (target, reply) in send.duplicates {
                let _ = reply.send(result.duplicate_receipt(&send.message, target));
            }
            let _ = send.reply.send(result.receipt(&send.message));
            if result.outcome == WriteOutcome::Stored
                && let Some(message) = self.committed_message(send.message, result, &mut lists)
            {
                committed.push(message);
            }
        }
        self.metrics.messages_stored(committed.len());
        (self.on_commit)(committed);
    }

    fn committed_message(
        &self,
        sent: NewMessage,
        result: WriteResult,
        lists: &mut KnownMemberLists,
    ) -> Option<CommittedMessage> {
        let conversation = ConversationId(result.conversation_id?);
        let created_at: Timestamp = result.created_at?;
        let members = match sent.target {
            Target::User(receiver) if receiver == sent.sender => Arc::from([receiver]),
            Target::User(receiver) => Arc::from([sent.sender, receiver]),
            Target::Group(_) => {
                if let (Some(version), Some(ids)) = (result.member_version, result.member_ids) {
                    let list = MemberList { version, ids: ids.into_iter().map(UserId).collect() };
                    self.member_lists.put(conversation, list.clone());
                    lists.insert(conversation, list);
                }
                // If the call returned no list, the version that it was given was current at the commit.
                lists.get(&conversation)?.ids.clone()
            }
        };
        let follows_recent = result.previous_at.is_some_and(|previous: Timestamp| {
            (created_at.0 - previous.0).to_std().is_ok_and(|gap| gap < ADJACENT_WINDOW)
        });
        Some(CommittedMessage {
            id: result.message_id?.into(),
            conversation,
            seq: result.seq?,
            created_at,
            follows_recent,
            sender_name: result.sender_name?,
            receiver_name: result.receiver_name,
            group_name: result.group_name,
            reply_to: replied_message(&sent, result.reply_sender_id, result.reply_sender_name, result.reply_content),
            members,
            sent,
        })
    }
}

fn replied_message(
    sent: &NewMessage,
    sender_id: Option<UserId>,
    sender_name: Option<String>,
    content: Option<String>,
) -> Option<RepliedMessage> {
    Some(RepliedMessage { id: sent.reply_to?, sender_id: sender_id?, sender_name: sender_name?, content: content? })
}
