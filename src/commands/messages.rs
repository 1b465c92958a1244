//! The frames that send a message, and its push.

use std::borrow::Cow;
use std::sync::Arc;

use super::context::{Context, Outcome};
use crate::delivery::{
    Audience, ConversationKey, Delivery, Event, MessagePosition, OverflowPolicy, Push, PushedMessage,
};
use crate::error::Error;
use crate::model::{
    ClientMessageId, Content, GroupId, MessageEvent, MessageId, NotificationKind, Origin, PushType, Target, UserId,
};
use crate::store::messages;
use crate::store::writer::{CommittedMessage, NewMessage, RepliedMessage, SendReceipt};
use crate::wire::items::{MessageItem, NewMessageData, NotificationItem, ReceiptItem, ReplyTo};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// Sends a message to a dialog, which the first message creates.
///
/// `{"type": "privateMessage", "params": {"receiverId": 2, "content": "Hi", "clientMessageId": "a1"}}`
#[derive(Debug)]
pub struct PrivateMessage {
    /// The other side of the dialog; the sender's own id for notes to oneself.
    pub receiver_id: UserId,
    /// The text.
    pub content: Content,
    /// The idempotency key of this send.
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

/// Sends a message to a group.
///
/// `{"type": "messageInGroup", "params": {"groupId": 1, "content": "lol", "clientMessageId": "a2"}}`
#[derive(Debug)]
pub struct MessageInGroup {
    /// The group; the sender has to be a member.
    pub group_id: GroupId,
    /// The text.
    pub content: Content,
    /// The idempotency key of this send.
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

/// Sends a message to the conversation of another one, as a reply to it.
///
/// `{"type": "replyMessage", "params": {"messageId": 3, "content": "I do.", "clientMessageId": "a3"}}`
#[derive(Debug)]
pub struct ReplyMessage {
    /// The message replied to, which decides the conversation.
    pub message_id: MessageId,
    /// The text.
    pub content: Content,
    /// The idempotency key of this send.
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

pub(super) fn private_message(
    params: PrivateMessage,
    context: &Context,
) -> impl Future<Output = Result<Outcome, Error>> + Send + use<> {
    let PrivateMessage { receiver_id, content, client_message_id } = params;
    send(Target::User(receiver_id), content, client_message_id, None, context)
}

pub(super) fn message_in_group(
    params: MessageInGroup,
    context: &Context,
) -> impl Future<Output = Result<Outcome, Error>> + Send + use<> {
    let MessageInGroup { group_id, content, client_message_id } = params;
    send(Target::Group(group_id), content, client_message_id, None, context)
}

/// Whether the sender may still write there is checked by the writer alone, so that a retry is idempotent: it is
/// answered with the receipt of the first send even if the sender may not write there any more.
pub(super) async fn reply_message(params: ReplyMessage, context: Context) -> Result<Outcome, Error> {
    let ReplyMessage { message_id, content, client_message_id } = params;
    let target = messages::find_target(&context.app.db, context.user, message_id).await?;
    send(target, content, client_message_id, Some(message_id), &context).await
}

/// Sends a message over a socket or HTTP.
///
/// It is not an `async fn`, because the message is in the writer's queue when this returns. The outcome has
/// no push: the writer hands messages to [`publish_committed`] in the order of `seq`.
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
    let message = NewMessage { sender, socket, target, content, client_message_id, reply_to };
    let receipt = context.app.writer.submit(message);
    async move { Ok(Body::item(&receipt_item(receipt.await?)).into()) }
}

fn receipt_item(receipt: SendReceipt) -> ReceiptItem {
    ReceiptItem {
        message_id: receipt.message_id,
        seq: receipt.seq,
        created_at: receipt.created_at,
        client_message_id: receipt.client_message_id.map(ClientMessageId::into_string),
        duplicate: receipt.is_duplicate,
    }
}

/// Pushes messages of a committed batch to all members of their conversations, the other sockets of their
/// senders included. The writer calls it with each batch.
pub fn publish_committed(committed: &[CommittedMessage], delivery: &Delivery) {
    for message in committed {
        delivery.publish(&Event::Push(message_push(message)));
    }
}

fn message_push(message: &CommittedMessage) -> Push {
    let sent = &message.sent;
    let item = MessageItem {
        message_id: message.id,
        seq: message.seq,
        sender_id: sent.sender,
        sender_name: Cow::Borrowed(&message.sender_name),
        receiver_id: sent.target.user(),
        receiver_name: message.receiver_name.as_deref().map(Cow::Borrowed),
        group_id: sent.target.group(),
        group_name: message.group_name.as_deref().map(Cow::Borrowed),
        content: Cow::Borrowed(sent.content.as_str()),
        reply_to: message.reply_to.as_ref().map(reply_item),
        reactions: Vec::new(),
        created_at: message.created_at,
        updated_at: message.created_at,
        deleted_at: None,
        client_message_id: sent.client_message_id.as_ref().map(|id| Cow::Borrowed(id.as_str())),
    };
    let body = Body {
        message: Some(sent.content.as_str().to_owned()),
        sender_name: Some(message.sender_name.clone()),
        ..Body::item(&item)
    };
    let position = MessagePosition {
        conversation: message.conversation,
        seq: message.seq,
        follows_recent: message.follows_recent,
    };
    Push {
        to: Audience::Users(message.members.clone()),
        from: Some(Origin { user: sent.sender, socket: sent.socket }),
        topic: None,
        frame: reply::push(MessageEvent::sent_to(sent.target).push_type(), &body),
        on_overflow: OverflowPolicy::MarkBehind(ConversationKey::of(sent.sender, sent.target), message.seq),
        message: Some(Arc::new(PushedMessage { position, notification: notification_frame(message) })),
    }
}

/// The notification of a new message. Sockets get it besides the message if they have subscribed to notifications,
/// do not have the conversation open and have not muted it.
fn notification_frame(message: &CommittedMessage) -> reply::Frame {
    let sent = &message.sent;
    // To the receiver of a private message, the conversation is the dialog with the sender.
    let target = match sent.target {
        Target::User(_) => Target::User(sent.sender),
        group @ Target::Group(_) => group,
    };
    let data = NewMessageData { target: target.into(), message_id: message.id, seq: message.seq };
    let item = NotificationItem {
        notification_id: None,
        kind: Cow::Borrowed(NotificationKind::MESSAGE),
        user_id: sent.sender,
        user_name: Cow::Borrowed(&message.sender_name),
        data: Some(reply::raw(&data)),
        created_at: message.created_at,
        read_at: None,
    };
    reply::push(PushType::Notification, &Body::item(&item))
}

fn reply_item(message: &RepliedMessage) -> ReplyTo<'_> {
    ReplyTo {
        message_id: message.id,
        sender_id: message.sender_id,
        sender_name: Cow::Borrowed(&message.sender_name),
        content: Cow::Borrowed(&message.content),
    }
}
