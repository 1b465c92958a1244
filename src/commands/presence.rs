//! Who is here, and who is writing.

use std::collections::HashMap;

use super::{Context, Outcome};
use crate::app::App;
use crate::delivery::presence::News;
use crate::delivery::socket::Socket;
use crate::delivery::typing::Typing as Writing;
use crate::delivery::{Audience, Delivery, Event, Push, Subject, WhenSlow, Where};
use crate::error::Error;
use crate::model::{Target, Timestamp, Topic, UserId};
use crate::store::Db;
use crate::store::presence::{self, Acquaintances};
use crate::wire::items::{OnlineInfo, TypingItem};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// `{"type": "typing", "params": {"receiverId": 2, "isTyping": true}}`
#[derive(Debug)]
pub struct Typing {
    /// Where.
    pub target: Target,
    /// Whether I write, or have stopped.
    pub is_typing: bool,
}

impl FromFields for Typing {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()?, is_typing: fields.required("isTyping")? })
    }
}

/// `{"type": "setPresence", "params": {"active": false}}`
#[derive(Debug)]
pub struct SetPresence {
    /// Whether the app of this socket is in front.
    pub active: bool,
}

impl FromFields for SetPresence {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { active: fields.required("active")? })
    }
}

/// `{"type": "getOnlineInfo", "params": {"userIds": [2, 3]}}`
#[derive(Debug)]
pub struct GetOnlineInfo {
    /// Of whom.
    pub user_ids: Vec<UserId>,
}

impl FromFields for GetOnlineInfo {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { user_ids: fields.required("userIds")? })
    }
}

pub(super) async fn typing(params: Typing, context: Context) -> Result<Outcome, Error> {
    let Typing { target, is_typing } = params;
    let user_id = context.user;
    presence::may_be_seen(&context.app.db, user_id, target).await?;
    // To the other side of a dialog the conversation is the one who writes.
    let seen = if target.user().is_some() { Target::User(user_id) } else { target };
    let frame = |is_typing| {
        let item = TypingItem { target: seen.into(), user_id, is_typing };
        reply::push("typing", &Body::item(&item))
    };
    let writing = Writing {
        user: user_id,
        conversation: Where::of(user_id, target),
        frame: frame(is_typing),
        ended: is_typing.then(|| frame(false)),
    };
    Ok(Outcome { reply: Body::done(), events: vec![Event::Typing(writing)] })
}

pub(super) fn set_presence(params: &SetPresence, context: &Context, socket: &Socket) -> Outcome {
    // Others hear of it with the next news. A socket that has ended was counted out as it was then.
    if !socket.outbox.is_over() && socket.set_active(params.active) != params.active {
        context.app.delivery.presence().turned(context.user, params.active);
    }
    Body::done().into()
}

pub(super) async fn get_online_info(params: GetOnlineInfo, context: Context) -> Result<Outcome, Error> {
    let known = presence::known(&context.app.db, context.user, &params.user_ids).await?;
    let mut rows: HashMap<UserId, OnlineInfo> = HashMap::new();
    let now = Timestamp(chrono::Utc::now());
    for person in known {
        let status = context.app.delivery.presence().of(person.id);
        let row = if person.has_blocked {
            // What they would see of anybody who was never here.
            OnlineInfo { user_id: person.id, is_online: false, active: false, last_seen_at: None }
        } else {
            let last_seen_at = if status.is_online { Some(now) } else { person.last_seen_at };
            OnlineInfo { user_id: person.id, is_online: status.is_online, active: status.active, last_seen_at }
        };
        rows.insert(person.id, row);
    }
    // In the order of the question, each once.
    let rows: Vec<OnlineInfo> = params.user_ids.iter().filter_map(|id| rows.remove(id)).collect();
    Ok(Body::rows(&rows).into())
}

/// Tells the sockets of this node of those who came, went or turned to something else, and notes when
/// those who went were last here. To be called every so often, on every node; what it costs grows with
/// those who are told.
///
/// # Errors
/// Only where the database fails; who was to be told is not, and may ask.
pub async fn announce(db: &Db, delivery: &Delivery, news: &[News]) -> Result<(), Error> {
    // Also of those who came: a server that is killed has no time to say when they went.
    let seen: Vec<_> = news.iter().filter(|news| news.is_ours).map(|news| (news.user, news.seen)).collect();
    if !seen.is_empty() {
        presence::set_last_seen(db, &seen).await?;
    }
    let users: Vec<UserId> = news.iter().map(|news| news.user).collect();
    let mut acquaintances = presence::acquaintances(db, &users).await?;
    for news in news.iter().filter(|news| news.is_known) {
        let told = acquaintances.remove(&news.user).unwrap_or_default();
        let item = OnlineInfo {
            user_id: news.user,
            is_online: news.status.is_online,
            active: news.status.active,
            last_seen_at: Some(news.seen),
        };
        delivery.publish_here(&push(&item, told));
    }
    Ok(())
}

/// What those are to be told who know somebody that deletes their account. To be asked before, because
/// afterwards nobody is their contact any more, and said after.
///
/// # Errors
/// Only where the database fails.
pub async fn farewell(app: &App, user: UserId) -> Result<Event, Error> {
    let told = presence::acquaintances(&app.db, &[user]).await?.remove(&user).unwrap_or_default();
    let item = OnlineInfo { user_id: user, is_online: false, active: false, last_seen_at: None };
    Ok(push(&item, told))
}

fn push(item: &OnlineInfo, told: Acquaintances) -> Event {
    let Acquaintances { contacts, blocked } = told;
    Event::Push(Push {
        to: Audience::Acquaintances { of: item.user_id, contacts: contacts.into(), blocked: blocked.into() },
        from: None,
        topic: Some(Topic::Presence),
        frame: reply::push("onlineInfo", &Body::item(item)),
        when_slow: WhenSlow::Latest(Subject::Presence(item.user_id)),
        message: None,
    })
}
