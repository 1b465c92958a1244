//! Sends: the frames that store a message, and the push that tells of it.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Context, Outcome};
use crate::delivery::{Audience, Delivery, Event, Message, MessagePlace, Push, WhenSlow, Where};
use crate::error::Error;
use crate::model::{ClientMessageId, Content, GroupId, MessageId, NotificationKind, Origin, Target, UserId};
use crate::store::messages;
use crate::store::writer::{Committed, Draft, Receipt, RepliedTo};
use crate::wire::items::{MessageItem, NewMessageData, NotificationItem, ReceiptItem, ReplyTo};
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

/// `{"type": "replyMessage", "params": {"messageId": 3, "content": "I do.", "clientMessageId": "a3"}}`
#[derive(Debug)]
pub struct ReplyMessage {
    /// To which message; the reply goes into its conversation.
    pub message_id: MessageId,
    /// What it says.
    pub content: Content,
    /// The sender's own name for it, if any.
    pub client_message_id: Option<ClientMessageId>,
}

impl FromFields for ReplyMessage {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            message_id: fields.required("messageId")?,
            content: fields.required("content")?,
            client_message_id: fields.optional("clientMessageId")?,
        })
    }
}

pub(super) fn private(
    params: PrivateMessage,
    context: &Context,
) -> impl Future<Output = Result<Outcome, Error>> + Send + use<> {
    let PrivateMessage { receiver_id, content, client_message_id } = params;
    send(Target::User(receiver_id), content, client_message_id, None, context)
}

pub(super) fn in_group(
    params: MessageInGroup,
    context: &Context,
) -> impl Future<Output = Result<Outcome, Error>> + Send + use<> {
    let MessageInGroup { group_id, content, client_message_id } = params;
    send(Target::Group(group_id), content, client_message_id, None, context)
}

/// Who may write there is for the writer to say, so that a repeat is answered even where one may no
/// longer.
pub(super) async fn reply(params: ReplyMessage, context: Context) -> Result<Outcome, Error> {
    let ReplyMessage { message_id, content, client_message_id } = params;
    let target = messages::target(&context.app.db, context.user, message_id).await?;
    send(target, content, client_message_id, Some(message_id), &context).await
}

/// Sends to a conversation, over a socket or without one.
///
/// Not an `async fn`: the message is with the writer when this returns. The push is none of the
/// outcome's, because the writer hands messages over in the order of `seq`; see [`announce`].
///
/// # Errors
/// `not_found`, `not_a_member`, `blocked`, `overloaded`.
pub fn send(
    target: Target,
    content: Content,
    client_message_id: Option<ClientMessageId>,
    reply_to: Option<MessageId>,
    context: &Context,
) -> impl Future<Output = Result<Outcome, Error>> + Send + use<> {
    let Origin { user: sender, socket } = context.origin();
    let draft = Draft { sender, socket, target, content, client_message_id, reply_to };
    let receipt = context.app.writer.submit(draft);
    async move { Ok(Body::item(&receipt_item(receipt.await?)).into()) }
}

fn receipt_item(receipt: Receipt) -> ReceiptItem {
    ReceiptItem {
        message_id: receipt.message_id,
        seq: receipt.seq,
        created_at: receipt.created_at,
        client_message_id: receipt.client_message_id.map(ClientMessageId::into_string),
        duplicate: receipt.duplicate,
    }
}

/// Pushes messages that have just been committed to everybody in their conversations, and to the
/// other sockets of their senders. The writer calls it with each batch.
pub fn announce(committed: &[Committed], delivery: &Delivery) {
    for message in committed {
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
        sender_name: Cow::Borrowed(&message.sender_name),
        receiver_id,
        receiver_name: message.receiver_name.as_deref().map(Cow::Borrowed),
        group_id,
        group_name: message.group_name.as_deref().map(Cow::Borrowed),
        content: Cow::Borrowed(draft.content.as_str()),
        reply_to: message.reply_to.as_ref().map(reply_to),
        reactions: Vec::new(),
        created_at: message.created_at,
        updated_at: message.created_at,
        deleted_at: None,
        client_message_id: draft.client_message_id.as_ref().map(|id| Cow::Borrowed(id.as_str())),
    };
    let body = Body {
        message: Some(draft.content.as_str().to_owned()),
        sender_name: Some(message.sender_name.clone()),
        ..Body::item(&item)
    };
    let place = MessagePlace {
        conversation: message.conversation,
        seq: message.seq,
        close_to_previous: message.close_to_previous,
    };
    Push {
        to: Audience::Users(message.members.clone()),
        from: Some(Origin { user: draft.sender, socket: draft.socket }),
        topic: None,
        frame: reply::push(kind, &body),
        when_slow: WhenSlow::Behind(Where::of(draft.sender, draft.target), message.seq),
        message: Some(Arc::new(Message { place, notification: notification(message) })),
    }
}

/// What those are told who asked for notifications and do not have the conversation open.
fn notification(message: &Committed) -> reply::Frame {
    let draft = &message.draft;
    // In a dialog there is one other side, and to it the conversation is the sender.
    let target = match draft.target {
        Target::User(_) => Target::User(draft.sender),
        group @ Target::Group(_) => group,
    };
    let data = NewMessageData { target: target.into(), message_id: message.id, seq: message.seq };
    let item = NotificationItem {
        notification_id: None,
        kind: Cow::Borrowed(NotificationKind::MESSAGE),
        user_id: draft.sender,
        user_name: Cow::Borrowed(&message.sender_name),
        data: Some(reply::raw(&data)),
        created_at: message.created_at,
        read_at: None,
    };
    reply::push("notification", &Body::item(&item))
}

fn reply_to(message: &RepliedTo) -> ReplyTo<'_> {
    ReplyTo {
        message_id: message.id,
        sender_id: message.sender_id,
        sender_name: Cow::Borrowed(&message.sender_name),
        content: Cow::Borrowed(&message.content),
    }
}
