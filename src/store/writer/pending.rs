//! Sends that wait for their batch.

use tokio::sync::oneshot;

use super::message::{NewMessage, SendReceipt};
use crate::error::Error;
use crate::model::Target;

/// A send that has not been answered.
pub(super) struct PendingSend {
    pub(super) message: NewMessage,
    /// The history of the database in which it was sent, see [`Db::history`](crate::store::Db::history).
    pub(super) history: u64,
    pub(super) reply: ReplySender,
    /// Sends with the same idempotency key that were submitted while this one waited. They get its
    /// answer, whatever their content and target.
    pub(super) duplicates: Vec<(Target, ReplySender)>,
}

pub(super) type ReplySender = oneshot::Sender<Result<SendReceipt, Error>>;

impl PendingSend {
    /// Answers the send and its duplicates with `error`. After `BatchError::InDoubt` they
    /// may have been stored.
    pub(super) fn refuse(self, error: &Error) {
        let refusal = || Err(error.for_another());
        // The receiver of an answer may be dropped: its socket has disconnected.
        let _ = self.reply.send(refusal());
        for (_, reply) in self.duplicates {
            let _ = reply.send(refusal());
        }
    }
}
