//! Sends: the frames that store a message, and the push that tells of it.

use serde::Serialize;

use super::{Context, Outcome};
use crate::delivery::{Delivery, Event, Place, Push};
use crate::error::Error;
use crate::model::{ClientMessageId, Content, GroupId, MessageId, Seq, Target, Timestamp, UserId};
use crate::store::writer::{Committed, Draft, Receipt};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// `{"type": "privateMessage", "params": {"receiverId": 2, "content": "Hi", "clientMessageId": "a1"}}`
#[derive(Debug)]
pub struct PrivateMessage {
    /// To whom; oneself for notes.
    pub receiver_id: UserId,
    /// What it says.
    pub content: Content,
    /// The sender's own name for it, if any.
    pub client_message_id: Option<ClientMessageId>,
}

impl FromFields for PrivateMessage {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            receiver_id: fields.required("receiverId")?,
            content: fields.required("content")?,
            client_message_id: fields.optional("clientMessageId")?,
        })
    }
}

/// `{"type": "messageInGroup", "params": {"groupId": 1, "content": "lol", "clientMessageId": "a2"}}`
#[derive(Debug)]
pub struct MessageInGroup {
    /// To which group.
    pub group_id: GroupId,
    /// What it says.
    pub content: Content,
    /// The sender's own name for it, if any.
    pub client_message_id: Option<ClientMessageId>,
}

impl FromFields for MessageInGroup {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            group_id: fields.required("groupId")?,
            content: fields.required("content")?,
            client_message_id: fields.optional("clientMessageId")?,
        })
    }
}

pub(super) fn private(
    params: PrivateMessage,
    context: &Context,
) -> impl Future<Output = Result<Outcome, Error>> + Send + use<> {
    send(Target::User(params.receiver_id), params.content, params.client_message_id, context)
}

pub(super) fn in_group(
    params: MessageInGroup,
    context: &Context,
) -> impl Future<Output = Result<Outcome, Error>> + Send + use<> {
    send(Target::Group(params.group_id), params.content, params.client_message_id, context)
}

/// Not an `async fn`: the message is with the writer when this returns. The push is none of the
/// outcome's, because the writer hands messages over in the order of `seq`; see [`announce`].
fn send(
    target: Target,
    content: Content,
    client_message_id: Option<ClientMessageId>,
    context: &Context,
) -> impl Future<Output = Result<Outcome, Error>> + Send + use<> {
    let receipt = context.app.writer.submit(Draft { sender: context.user, target, content, client_message_id });
    async move { Ok(Body::item(&ReceiptItem::from(receipt.await?)).into()) }
}

/// What a sender is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptItem {
    message_id: MessageId,
    seq: Seq,
    created_at: Timestamp,
    client_message_id: Option<String>,
    duplicate: bool,
}

impl From<Receipt> for ReceiptItem {
    fn from(receipt: Receipt) -> Self {
        Self {
            message_id: receipt.message_id,
            seq: receipt.seq,
            created_at: receipt.created_at,
            client_message_id: receipt.client_message_id.map(ClientMessageId::into_string),
            duplicate: receipt.duplicate,
        }
    }
}

/// What a receiver is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageItem<'a> {
    message_id: MessageId,
    seq: Seq,
    sender_id: UserId,
    sender_name: &'a str,
    receiver_id: Option<UserId>,
    receiver_name: Option<&'a str>,
    group_id: Option<GroupId>,
    group_name: Option<&'a str>,
    content: &'a str,
    /// Nothing can be replied or reacted to yet; clients find the keys where they will be.
    reply_to: Option<()>,
    reactions: [(); 0],
    created_at: Timestamp,
    updated_at: Timestamp,
    deleted_at: Option<Timestamp>,
    client_message_id: Option<&'a str>,
}

/// Pushes messages that have just been committed to everybody in their conversations but their
/// senders. The writer calls it with each batch.
pub fn announce(committed: &[Committed], delivery: &Delivery) {
    for message in committed.iter().filter(|message| message.members.len() > 1) {
        delivery.publish(&Event::Push(push(message)));
    }
}

fn push(message: &Committed) -> Push {
    let draft = &message.draft;
    let (kind, receiver_id, group_id) = match draft.target {
        Target::User(receiver) => ("privateMessage", Some(receiver), None),
        Target::Group(group) => ("messageInGroup", None, Some(group)),
    };
    let item = MessageItem {
        message_id: message.id,
        seq: message.seq,
        sender_id: draft.sender,
        sender_name: &message.sender_name,
        receiver_id,
        receiver_name: message.receiver_name.as_deref(),
        group_id,
        group_name: message.group_name.as_deref(),
        content: draft.content.as_str(),
        reply_to: None,
        reactions: [],
        created_at: message.created_at,
        updated_at: message.created_at,
        deleted_at: None,
        client_message_id: draft.client_message_id.as_ref().map(ClientMessageId::as_str),
    };
    let body = Body {
        message: Some(draft.content.as_str().to_owned()),
        sender_name: Some(message.sender_name.clone()),
        ..Body::item(&item)
    };
    Push {
        to: message.members.clone(),
        except: Some(draft.sender),
        frame: reply::push(kind, &body),
        place: Some(Place {
            conversation: message.conversation,
            seq: message.seq,
            close_to_previous: message.close_to_previous,
        }),
    }
}
