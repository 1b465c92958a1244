//! One conversation: opening and closing it, looking at it, and what I want of it.

use std::sync::Arc;

use super::{Context, Outcome};
use crate::delivery::socket::Socket;
use crate::delivery::{Audience, Event, Push, WhenSlow};
use crate::error::{Code, Error, Field};
use crate::model::{HistoryPage, HistoryStart, Target};
use crate::store::conversations::{self, Extent};
use crate::store::conversations::{history, settings};
use crate::store::messages;
use crate::wire::items::{ConversationDetails, ConversationMember, MessageItem, RemovedItem, SpamItem};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// Members that are told of one by one.
const MEMBERS_SHOWN: i64 = 100;

/// `{"type": "openConversation", "params": {"receiverId": 2, "limit": 20}}`
#[derive(Debug)]
pub struct OpenConversation {
    /// Which.
    pub target: Target,
    /// How many of its newest messages to answer with.
    pub limit: i64,
}

impl FromFields for OpenConversation {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()?, limit: fields.limit()? })
    }
}

/// `{"type": "closeConversation", "params": {"receiverId": 2}}`
#[derive(Debug)]
pub struct CloseConversation {
    /// Which.
    pub target: Target,
}

impl FromFields for CloseConversation {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()? })
    }
}

/// `{"type": "getConversation", "params": {"groupId": 3}}`
#[derive(Debug)]
pub struct GetConversation {
    /// Which.
    pub target: Target,
}

impl FromFields for GetConversation {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()? })
    }
}

/// `{"type": "removeConversation", "params": {"receiverId": 2}}`
#[derive(Debug)]
pub struct RemoveConversation {
    /// Which.
    pub target: Target,
}

impl FromFields for RemoveConversation {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()? })
    }
}

/// `{"type": "markSpam", "params": {"receiverId": 2, "spam": true}}`
#[derive(Debug)]
pub struct MarkSpam {
    /// Which.
    pub target: Target,
    /// Whether it is.
    pub spam: bool,
}

impl FromFields for MarkSpam {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()?, spam: fields.required("spam")? })
    }
}

pub(super) async fn open(params: OpenConversation, context: Context, socket: Arc<Socket>) -> Result<Outcome, Error> {
    let OpenConversation { target, limit } = params;
    let db = &context.app.db;
    let mut found = conversations::find(db, context.user, target).await?;
    if let (None, Target::User(other)) = (found, target) {
        settings::begin_dialog(db, context.user, other).await?;
        found = conversations::find(db, context.user, target).await?;
    }
    let extent = found.ok_or_else(none_yet)?;
    // Open before it is looked at: what comes in between is told twice rather than not at all.
    let Some(is_new) = context.app.delivery.hub.open(&socket, target) else {
        return Err(Error::new(Code::Conflict, "Too many conversations are open on this socket; close one first"));
    };
    let shown = async {
        let details = details(extent, &context).await?;
        let newest = history::page(db, extent, HistoryPage { limit, start: HistoryStart::Page(1) }).await?;
        Ok((details, newest))
    };
    let (details, newest) = shown.await.inspect_err(|error: &Error| {
        // Removed from the group since it was found: word of it may have come before it was open here.
        if is_new || error.code() == Code::NotAMember {
            context.app.delivery.hub.close(&socket, target);
        }
    })?;
    let rows: Vec<MessageItem<'_>> = newest.iter().map(messages::StoredMessage::item).collect();
    Ok(Body { data: Some(reply::raw(&rows)), ..details }.into())
}

pub(super) fn close(params: &CloseConversation, context: &Context, socket: &Arc<Socket>) -> Outcome {
    context.app.delivery.hub.close(socket, params.target);
    Body::done().into()
}

/// Also over HTTP.
///
/// # Errors
/// `not_found` where there is none, `not_a_member`.
pub async fn get(params: GetConversation, context: Context) -> Result<Outcome, Error> {
    let extent = existing(params.target, &context).await?;
    Ok(details(extent, &context).await?.into())
}

pub(super) async fn remove(params: RemoveConversation, context: Context) -> Result<Outcome, Error> {
    let extent = existing(params.target, &context).await?;
    let cleared_seq = settings::remove(&context.app.db, context.user, extent).await?;
    let item = Body::item(&RemovedItem { target: params.target.into(), cleared_seq });
    let push = to_my_other_sockets("removeConversation", &item, &context);
    Ok(Outcome::with_pushes(item, [push]))
}

pub(super) async fn mark_spam(params: MarkSpam, context: Context) -> Result<Outcome, Error> {
    let MarkSpam { target, spam } = params;
    let extent = existing(target, &context).await?;
    let item = Body::item(&SpamItem { target: target.into(), spam });
    let mut events = Vec::new();
    if settings::mark_spam(&context.app.db, context.user, extent.id, spam).await? {
        events.push(Event::Muted { user: context.user, target, muted: spam });
        events.push(Event::Push(to_my_other_sockets("markSpam", &item, &context)));
    }
    Ok(Outcome { reply: item, events })
}

async fn existing(target: Target, context: &Context) -> Result<Extent, Error> {
    conversations::find(&context.app.db, context.user, target).await?.ok_or_else(none_yet)
}

fn none_yet() -> Error {
    Error::of_field(Code::NotFound, Field::ReceiverId, ": there is no conversation with this user yet")
}

async fn details(extent: Extent, context: &Context) -> Result<Body, Error> {
    let db = &context.app.db;
    let gone = || Error::not_a_member();
    let state = conversations::state(db, context.user, extent.id).await?.ok_or_else(gone)?;
    let newest: Vec<_> = state.last_message_id.into_iter().collect();
    let newest = messages::load(db, &newest).await?.pop();
    let members = conversations::members(db, extent.id, MEMBERS_SHOWN).await?;
    let member = |member: conversations::Member| ConversationMember {
        id: member.id,
        name: member.name,
        is_admin: member.is_admin,
        joined_at: member.joined_at,
        read_seq: member.read_seq,
        delivered_seq: member.delivered_seq,
    };
    Ok(Body::item(&ConversationDetails {
        conversation: super::conversation_item(&state, newest.as_ref()),
        members: members.first.into_iter().map(member).collect(),
        admins: members.admins,
        member_count: members.count,
        message_count: state.last_seq - state.cleared_seq,
    }))
}

fn to_my_other_sockets(kind: &str, item: &Body, context: &Context) -> Push {
    Push {
        to: Audience::user(context.user),
        from: Some(context.origin()),
        topic: None,
        frame: reply::push(kind, item),
        when_slow: WhenSlow::Drop,
        message: None,
    }
}
