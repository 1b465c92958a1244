//! What becomes of a message after it was sent.

use super::{Context, Outcome};
use crate::delivery::{Audience, Push, WhenSlow, Where};
use crate::error::Error;
use crate::model::{Content, GroupId, MessageId, Reaction, Target, Topic};
use crate::store::messages::edits::{self, Changed};
use crate::wire::items::ReactionChange;
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// `{"type": "editMessage", "params": {"messageId": 3, "content": "Hello"}}`
#[derive(Debug)]
pub struct EditMessage {
    /// Which.
    pub message_id: MessageId,
    /// What it says from now on.
    pub content: Content,
}

impl FromFields for EditMessage {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { message_id: fields.required("messageId")?, content: fields.required("content")? })
    }
}

/// `{"type": "deleteMessage", "params": {"messageId": 3}}`
#[derive(Debug)]
pub struct DeleteMessage {
    /// Which.
    pub message_id: MessageId,
}

impl FromFields for DeleteMessage {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { message_id: fields.required("messageId")? })
    }
}

/// `{"type": "reactToMessage", "params": {"messageId": 3, "reaction": "👍"}}`
#[derive(Debug)]
pub struct ReactToMessage {
    /// To which.
    pub message_id: MessageId,
    /// With what; null takes it back.
    pub reaction: Option<Reaction>,
}

impl FromFields for ReactToMessage {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { message_id: fields.required("messageId")?, reaction: fields.required_or_null("reaction")? })
    }
}

pub(super) async fn edit(params: EditMessage, context: Context) -> Result<Outcome, Error> {
    let changed = edits::edit(&context.app.db, context.user, params.message_id, &params.content).await?;
    Ok(with_the_message("editMessage", &changed, &context))
}

pub(super) async fn delete(params: DeleteMessage, context: Context) -> Result<Outcome, Error> {
    match edits::delete(&context.app.db, context.user, params.message_id).await? {
        Some(changed) => Ok(with_the_message("deleteMessage", &changed, &context)),
        None => Ok(Body::done().into()),
    }
}

pub(super) async fn react(params: ReactToMessage, context: Context) -> Result<Outcome, Error> {
    let ReactToMessage { message_id, reaction } = params;
    let changed = edits::react(&context.app.db, context.user, message_id, reaction.as_ref()).await?;
    let Some(changed) = changed else { return Ok(Body::done().into()) };
    let message = &changed.message;
    // Not the message as a whole: in a large group it would hold a thousand reactions, for a thousand people.
    let item = Body::item(&ReactionChange {
        message_id,
        seq: message.seq,
        sender_id: message.sender_id,
        receiver_id: message.receiver_id,
        group_id: message.group_id,
        user_id: context.user,
        reaction: reaction.map(Reaction::into_string),
        at: changed.at,
    });
    let push = push("reactToMessage", &item, &changed, &context);
    Ok(Outcome::with_pushes(item, [push]))
}

fn with_the_message(kind: &str, changed: &Changed, context: &Context) -> Outcome {
    let item = Body::item(&changed.message.item());
    let push = push(kind, &item, changed, context);
    Outcome::with_pushes(item, [push])
}

fn push(kind: &str, item: &Body, changed: &Changed, context: &Context) -> Push {
    let message = &changed.message;
    let conversation = match (message.receiver_id, message.group_id) {
        (Some(receiver), _) => Where::of(message.sender_id, Target::User(receiver)),
        (None, group) => Where::Group(group.unwrap_or(GroupId(message.conversation_id.0))),
    };
    Push {
        to: Audience::Users(changed.members.clone()),
        from: Some(context.origin()),
        topic: Some(Topic::Messages),
        frame: reply::push(kind, item),
        when_slow: WhenSlow::Behind(conversation, message.seq),
        message: None,
    }
}
