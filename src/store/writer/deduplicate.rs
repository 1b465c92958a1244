//! Deduplication of sends that wait together, by their idempotency key, so that sends are idempotent. Duplicates of
//! messages that are stored already are found by `write_messages`, and a unique index decides between nodes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::pending::PendingSend;
use crate::model::{ClientMessageId, UserId};

/// Attaches the duplicates of each send to it: a batch holds one send for each sender and idempotency key,
/// and the others share its answer. Two of them in one batch would violate the unique index, and one batch
/// for each would cost every sender on this writer a commit each.
pub(super) fn deduplicate_by_client_id(sends: Vec<PendingSend>) -> Vec<PendingSend> {
    let mut batch: Vec<PendingSend> = Vec::with_capacity(sends.len());
    let mut first: HashMap<(UserId, ClientMessageId), usize> = HashMap::new();
    for send in sends {
        let Some(id) = send.message.client_message_id.clone() else {
            batch.push(send);
            continue;
        };
        match first.entry((send.message.sender, id)) {
            Entry::Occupied(index) => {
                let duplicates = &mut batch[*index.get()].duplicates;
                duplicates.push((send.message.target, send.reply));
                // It has duplicates of its own if an earlier batch held it and could not store it.
                duplicates.extend(send.duplicates);
            }
            Entry::Vacant(index) => {
                index.insert(batch.len());
                batch.push(send);
            }
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use tokio::sync::oneshot;

    use super::*;
    use crate::config::Cli;
    use crate::error::Error;
    use crate::model::{Content, SocketId, Target};
    use crate::store::writer::{NewMessage, SendReceipt};

    /// A send with the client id `same`, and the receiver of its answer.
    fn send(receiver: i64) -> (PendingSend, oneshot::Receiver<Result<SendReceipt, Error>>) {
        let limits = Cli::parse_from(["hark"]).config.limits;
        let message = NewMessage {
            sender: UserId(1),
            socket: SocketId::NONE,
            target: Target::User(UserId(receiver)),
            content: Content::parse("Hi".to_owned(), &limits).expect("a content"),
            client_message_id: Some(ClientMessageId::parse("same".to_owned(), &limits).expect("a client id")),
            reply_to: None,
        };
        let (reply, answer) = oneshot::channel();
        (PendingSend { message, history: 0, reply, duplicates: Vec::new() }, answer)
    }

    #[test]
    fn deduplicate_by_client_id_keeps_the_duplicates_of_a_duplicate() {
        let ((first, _), (deferred, mut one), (duplicate, mut other)) = (send(2), send(3), send(3));
        let deferred = deduplicate_by_client_id(vec![deferred, duplicate]);
        let batch = deduplicate_by_client_id([first].into_iter().chain(deferred).collect());
        assert_eq!(batch.len(), 1);
        for answer in [&mut one, &mut other] {
            assert!(
                matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty)),
                "it is still to be answered"
            );
        }
    }
}
