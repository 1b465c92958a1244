//! The frames of presence and typing, and the pushes of presence.

use std::collections::HashMap;

use super::context::{Context, Outcome};
use crate::app::App;
use crate::delivery::presence::PresenceChange;
use crate::delivery::socket::Socket;
use crate::delivery::{Audience, CoalesceKey, ConversationKey, Delivery, Event, OverflowPolicy, Push, TypingEvent};
use crate::error::Error;
use crate::model::{PushType, Target, Timestamp, Topic, UserId};
use crate::store::Db;
use crate::store::presence::{self, PresenceWatchers};
use crate::wire::items::{OnlineInfo, TypingItem};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// Shows or hides one's typing indicator to the others in a conversation. It ends by itself after a while.
///
/// `{"type": "typing", "params": {"receiverId": 2, "isTyping": true}}`
#[derive(Debug)]
pub struct Typing {
    /// The conversation.
    pub target: Target,
    /// False hides the indicator.
    pub is_typing: bool,
}

impl FromFields for Typing {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()?, is_typing: fields.required("isTyping")? })
    }
}

/// Says whether the app of this socket is in the foreground.
///
/// `{"type": "setPresence", "params": {"active": false}}`
#[derive(Debug)]
pub struct SetPresence {
    /// Whether it is in the foreground; new sockets are.
    pub active: bool,
}

impl FromFields for SetPresence {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { active: fields.required("active")? })
    }
}

/// Reads the presence of users whom the caller knows.
///
/// `{"type": "getOnlineInfo", "params": {"userIds": [2, 3]}}`
#[derive(Debug)]
pub struct GetOnlineInfo {
    /// The users; those whom the caller does not know are left out of the reply.
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
    presence::ensure_may_type(&context.app.db, user_id, target).await?;
    // The other side of a dialog names it by the id of the one who types.
    let named = if target.user().is_some() { Target::User(user_id) } else { target };
    let frame = |is_typing| {
        let item = TypingItem { target: named.into(), user_id, is_typing };
        reply::push(PushType::Typing, &Body::item(&item))
    };
    let event = TypingEvent {
        user: user_id,
        conversation: ConversationKey::of(user_id, target),
        frame: frame(is_typing),
        timeout_frame: is_typing.then(|| frame(false)),
    };
    Ok(Outcome { reply: Body::done(), events: vec![Event::Typing(event)] })
}

pub(super) fn set_presence(params: &SetPresence, context: &Context, socket: &Socket) -> Outcome {
    // Others are notified with the next batch of changes. A socket that is closed was removed from presence
    // with the state that it had then.
    if !socket.outbox.is_closed() && socket.set_active(params.active) != params.active {
        context.app.delivery.presence.activity_changed(context.user, params.active);
    }
    Body::done().into()
}

pub(super) async fn get_online_info(params: GetOnlineInfo, context: Context) -> Result<Outcome, Error> {
    let known = presence::list_known_users(&context.app.db, context.user, &params.user_ids).await?;
    let mut rows: HashMap<UserId, OnlineInfo> = HashMap::new();
    let now = Timestamp(chrono::Utc::now());
    for user in known {
        let status = context.app.delivery.presence.status(user.id);
        let row = if user.has_blocked {
            // As of a user who has never been online, so that the block does not show.
            OnlineInfo { user_id: user.id, is_online: false, active: false, last_seen_at: None }
        } else {
            let last_seen_at = if status.is_online { Some(now) } else { user.last_seen_at };
            OnlineInfo { user_id: user.id, is_online: status.is_online, active: status.active, last_seen_at }
        };
        rows.insert(user.id, row);
    }
    // In the order of the request, each user once.
    let rows: Vec<OnlineInfo> = params.user_ids.iter().filter_map(|id| rows.remove(id)).collect();
    Ok(Body::rows(&rows).into())
}

/// Pushes changes of presence to the sockets of this node, and stores when the users were last online. A
/// background task of every node calls it with the changes since the last call; its cost grows with the number
/// of users who are notified.
///
/// # Errors
/// Only if the database fails; no push is sent then, and `getOnlineInfo` has the changes.
pub async fn announce_changes(db: &Db, delivery: &Delivery, changes: &[PresenceChange]) -> Result<(), Error> {
    // Also of users who came online: a server that is killed does not store when they went offline.
    let seen: Vec<_> = changes
        .iter()
        .filter(|change| change.is_recorded_here)
        .map(|change| (change.user, change.last_seen_at))
        .collect();
    if !seen.is_empty() {
        presence::set_last_seen(db, &seen).await?;
    }
    let users: Vec<UserId> = changes.iter().map(|change| change.user).collect();
    let mut watchers = presence::load_watchers(db, &users).await?;
    for change in changes.iter().filter(|change| change.has_been_announced) {
        let watchers = watchers.remove(&change.user).unwrap_or_default();
        let item = OnlineInfo {
            user_id: change.user,
            is_online: change.status.is_online,
            active: change.status.active,
            last_seen_at: Some(change.last_seen_at),
        };
        delivery.publish_locally(&presence_event(&item, watchers));
    }
    Ok(())
}

/// Makes the push that a user is offline who deletes the account. The caller makes it before the deletion,
/// after which the user has no contacts any more, and publishes it after.
///
/// # Errors
/// Only if the database fails.
pub async fn offline_event(app: &App, user: UserId) -> Result<Event, Error> {
    let watchers = presence::load_watchers(&app.db, &[user]).await?.remove(&user).unwrap_or_default();
    let item = OnlineInfo { user_id: user, is_online: false, active: false, last_seen_at: None };
    Ok(presence_event(&item, watchers))
}

fn presence_event(item: &OnlineInfo, watchers: PresenceWatchers) -> Event {
    let PresenceWatchers { contacts, blocked } = watchers;
    Event::Push(Push {
        to: Audience::PresenceWatchers { of: item.user_id, contacts: contacts.into(), blocked: blocked.into() },
        from: None,
        topic: Some(Topic::Presence),
        frame: reply::push(PushType::OnlineInfo, &Body::item(item)),
        on_overflow: OverflowPolicy::KeepLatest(CoalesceKey::Presence(item.user_id)),
        message: None,
    })
}
