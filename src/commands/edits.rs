//! The frames that change a message: edit, delete, react.

use super::context::{Context, Outcome};
use super::items::message_item;
use crate::delivery::{Audience, ConversationKey, OverflowPolicy, Push};
use crate::error::Error;
use crate::model::{Content, GroupId, MessageEvent, MessageId, Reaction, Target, Topic};
use crate::store::messages::{MessageChange, edits, reactions};
use crate::wire::items::ReactionChange;
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// Replaces the content of a message of one's own.
///
/// `{"type": "editMessage", "params": {"messageId": 3, "content": "Hello"}}`
#[derive(Debug)]
pub struct EditMessage {
    /// The message.
    pub message_id: MessageId,
    /// The new text.
    pub content: Content,
}

impl FromFields for EditMessage {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { message_id: fields.required("messageId")?, content: fields.required("content")? })
    }
}

/// Deletes the content and the reactions of a message. Authors and admins of the group may.
///
/// `{"type": "deleteMessage", "params": {"messageId": 3}}`
#[derive(Debug)]
pub struct DeleteMessage {
    /// The message.
    pub message_id: MessageId,
}

impl FromFields for DeleteMessage {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { message_id: fields.required("messageId")? })
    }
}

/// Sets, replaces or takes back one's own reaction to a message.
///
/// `{"type": "reactToMessage", "params": {"messageId": 3, "reaction": "👍"}}`
#[derive(Debug)]
pub struct ReactToMessage {
    /// The message.
    pub message_id: MessageId,
    /// The reaction; null takes it back.
    pub reaction: Option<Reaction>,
}

impl FromFields for ReactToMessage {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { message_id: fields.required("messageId")?, reaction: fields.required_or_null("reaction")? })
    }
}

pub(super) async fn edit_message(params: EditMessage, context: Context) -> Result<Outcome, Error> {
    let change = edits::edit(&context.app.db, context.user, params.message_id, &params.content).await?;
    Ok(outcome(MessageEvent::EditMessage, &change, &context))
}

pub(super) async fn delete_message(params: DeleteMessage, context: Context) -> Result<Outcome, Error> {
    match edits::delete(&context.app.db, context.user, params.message_id).await? {
        Some(change) => Ok(outcome(MessageEvent::DeleteMessage, &change, &context)),
        None => Ok(Body::done().into()),
    }
}

pub(super) async fn react_to_message(params: ReactToMessage, context: Context) -> Result<Outcome, Error> {
    let ReactToMessage { message_id, reaction } = params;
    let change = reactions::set(&context.app.db, context.user, message_id, reaction.as_ref()).await?;
    let Some(change) = change else { return Ok(Body::done().into()) };
    let message = &change.message;
    // Not the whole message: in a large group it would hold a thousand reactions, for a thousand members.
    let body = Body::item(&ReactionChange {
        message_id,
        seq: message.seq,
        sender_id: message.sender_id,
        receiver_id: message.receiver_id,
        group_id: message.group_id,
        user_id: context.user,
        reaction: reaction.map(Reaction::into_string),
        at: change.changed_at,
    });
    let push = change_push(MessageEvent::ReactToMessage, &body, &change, &context);
    Ok(Outcome::with_pushes(body, [push]))
}

/// Replies with the message as it is now, and pushes the same to the other members.
fn outcome(event: MessageEvent, change: &MessageChange, context: &Context) -> Outcome {
    let body = Body::item(&message_item(&change.message));
    let push = change_push(event, &body, change, context);
    Outcome::with_pushes(body, [push])
}

fn change_push(event: MessageEvent, body: &Body, change: &MessageChange, context: &Context) -> Push {
    let message = &change.message;
    let conversation = match (message.receiver_id, message.group_id) {
        (Some(receiver), _) => ConversationKey::of(message.sender_id, Target::User(receiver)),
        (None, group) => ConversationKey::Group(group.unwrap_or(GroupId(message.conversation_id.0))),
    };
    Push {
        to: Audience::Users(change.members.clone()),
        from: Some(context.origin()),
        topic: Some(Topic::Messages),
        frame: reply::push(event.push_type(), body),
        on_overflow: OverflowPolicy::MarkBehind(conversation, message.seq),
        message: None,
    }
}
