//! The frames about one conversation: open and close it on a socket, read it, and a member's own settings.

use std::sync::Arc;

use super::context::{Context, Outcome};
use super::items::{conversation_item, message_item};
use crate::delivery::socket::Socket;
use crate::delivery::{Audience, Event, OverflowPolicy, Push};
use crate::error::{Code, Error, Field};
use crate::model::{HistoryPage, HistoryStart, PushType, Target};
use crate::store::conversations::{self, MemberState, VisibleRange, history, settings};
use crate::store::messages;
use crate::wire::items::{ConversationDetails, ConversationMember, MessageItem, RemovedItem, SpamItem};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// Maximum number of members that the details of a conversation list by name.
const MAX_LISTED_MEMBERS: i64 = 100;

/// Replies with a conversation and its newest messages, and turns on its typing and presence pushes for this
/// socket. A dialog is created if there is none.
///
/// `{"type": "openConversation", "params": {"receiverId": 2, "limit": 20}}`
#[derive(Debug)]
pub struct OpenConversation {
    /// The conversation.
    pub target: Target,
    /// Maximum number of messages of the reply, from the newest back.
    pub limit: i64,
}

impl FromFields for OpenConversation {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()?, limit: fields.limit()? })
    }
}

/// Turns off what `openConversation` has turned on for this socket.
///
/// `{"type": "closeConversation", "params": {"receiverId": 2}}`
#[derive(Debug)]
pub struct CloseConversation {
    /// The conversation.
    pub target: Target,
}

impl FromFields for CloseConversation {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()? })
    }
}

/// Replies with a conversation and its members.
///
/// `{"type": "getConversation", "params": {"groupId": 3}}`
#[derive(Debug)]
pub struct GetConversation {
    /// The conversation.
    pub target: Target,
}

impl FromFields for GetConversation {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()? })
    }
}

/// Clears the history of a conversation and removes it from the lists, for the caller alone.
///
/// `{"type": "removeConversation", "params": {"receiverId": 2}}`
#[derive(Debug)]
pub struct RemoveConversation {
    /// The conversation.
    pub target: Target,
}

impl FromFields for RemoveConversation {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()? })
    }
}

/// Marks a conversation as spam or not, for the caller alone.
///
/// `{"type": "markSpam", "params": {"receiverId": 2, "spam": true}}`
#[derive(Debug)]
pub struct MarkSpam {
    /// The conversation.
    pub target: Target,
    /// Whether it is to be spam.
    pub spam: bool,
}

impl FromFields for MarkSpam {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()?, spam: fields.required("spam")? })
    }
}

pub(super) async fn open_conversation(
    params: OpenConversation,
    context: Context,
    socket: Arc<Socket>,
) -> Result<Outcome, Error> {
    let OpenConversation { target, limit } = params;
    let db = &context.app.db;
    let mut found = conversations::visible_range(db, context.user, target).await?;
    if let (None, Target::User(other)) = (found, target) {
        settings::start_dialog(db, context.user, other).await?;
        found = conversations::visible_range(db, context.user, target).await?;
    }
    let range = found.ok_or_else(not_started)?;
    // It is opened before it is loaded: what changes in between is in both the reply and a push, rather than
    // in neither.
    let Some(is_new) = context.app.delivery.hub.open_conversation(&socket, target) else {
        return Err(Error::new(Code::Conflict, "Too many conversations are open on this socket; close one first"));
    };
    let loaded = async {
        let details = details(range, &context).await?;
        let newest = history::page(db, range, HistoryPage { limit, start: HistoryStart::Page(1) }).await?;
        Ok((details, newest))
    };
    let (details, newest) = loaded.await.inspect_err(|error: &Error| {
        // The user was removed from the group since it was found, and the event that closes it here may have
        // been handled before it was open.
        if is_new || error.code() == Code::NotAMember {
            context.app.delivery.hub.close_conversation(&socket, target);
        }
    })?;
    let rows: Vec<MessageItem<'_>> = newest.iter().map(message_item).collect();
    Ok(Body { data: Some(reply::raw(&rows)), ..details }.into())
}

pub(super) fn close_conversation(params: &CloseConversation, context: &Context, socket: &Arc<Socket>) -> Outcome {
    context.app.delivery.hub.close_conversation(socket, params.target);
    Body::done().into()
}

/// Carries out `getConversation`, over a socket or HTTP.
///
/// # Errors
/// `not_found` if there is no such conversation, `not_a_member`.
pub async fn get_conversation(params: GetConversation, context: Context) -> Result<Outcome, Error> {
    let range = started(params.target, &context).await?;
    Ok(details(range, &context).await?.into())
}

pub(super) async fn remove_conversation(params: RemoveConversation, context: Context) -> Result<Outcome, Error> {
    let range = started(params.target, &context).await?;
    let cleared_seq = settings::remove(&context.app.db, context.user, range).await?;
    let item = Body::item(&RemovedItem { target: params.target.into(), cleared_seq });
    let push = own_push(PushType::RemoveConversation, &item, &context);
    Ok(Outcome::with_pushes(item, [push]))
}

pub(super) async fn mark_spam(params: MarkSpam, context: Context) -> Result<Outcome, Error> {
    let MarkSpam { target, spam } = params;
    let range = started(target, &context).await?;
    let item = Body::item(&SpamItem { target: target.into(), spam });
    let mut events = Vec::new();
    if settings::mark_spam(&context.app.db, context.user, range.id, spam).await? {
        events.push(Event::MuteChanged { user: context.user, target, muted: spam });
        events.push(Event::Push(own_push(PushType::MarkSpam, &item, &context)));
    }
    Ok(Outcome { reply: item, events })
}

/// What the caller can see of a conversation; `not_found` for a dialog that has not been started.
async fn started(target: Target, context: &Context) -> Result<VisibleRange, Error> {
    conversations::visible_range(&context.app.db, context.user, target).await?.ok_or_else(not_started)
}

fn not_started() -> Error {
    Error::of_field(Code::NotFound, Field::ReceiverId, ": there is no conversation with this user yet")
}

async fn details(range: VisibleRange, context: &Context) -> Result<Body, Error> {
    let db = &context.app.db;
    let state = conversations::load_state(db, context.user, range.id).await?.ok_or_else(Error::not_a_member)?;
    let newest: Vec<_> = state.last_message_id.into_iter().collect();
    let newest = messages::load(db, &newest).await?.pop();
    let members = conversations::load_members(db, range.id, MAX_LISTED_MEMBERS).await?;
    let member = |member: MemberState| ConversationMember {
        id: member.id,
        name: member.name,
        is_admin: member.is_admin,
        joined_at: member.joined_at,
        read_seq: member.read_seq,
        delivered_seq: member.delivered_seq,
    };
    Ok(Body::item(&ConversationDetails {
        conversation: conversation_item(&state, newest.as_ref()),
        members: members.first.into_iter().map(member).collect(),
        admins: members.admins,
        member_count: members.count,
        message_count: state.last_seq - state.cleared_seq,
    }))
}

/// A push to the other sockets of the caller.
fn own_push(push_type: PushType, item: &Body, context: &Context) -> Push {
    Push {
        to: Audience::user(context.user),
        from: Some(context.origin()),
        topic: None,
        frame: reply::push(push_type, item),
        on_overflow: OverflowPolicy::Drop,
        message: None,
    }
}
