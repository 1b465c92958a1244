//! The frames of read and delivery receipts: they move a marker of the caller, and push it to the others.

use serde::Serialize;
use utoipa::ToSchema;

use super::context::{Context, Outcome};
use crate::delivery::{Audience, CoalesceKey, ConversationKey, OverflowPolicy, Push};
use crate::error::Error;
use crate::model::{ReceiptEvent, Seq, Target, Timestamp, Topic, UserId};
use crate::store::conversations;
use crate::store::conversations::receipts::{self, MarkerUpdate};
use crate::wire::items::{MarkerItem, TargetItem};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// Moves one's read marker of a conversation forward.
///
/// `{"type": "readMessages", "params": {"receiverId": 2, "seq": 17}}`
#[derive(Debug)]
pub struct ReadMessages {
    /// The conversation.
    pub target: Target,
    /// Where the marker is to be; the newest message if the request has none.
    pub seq: Option<Seq>,
}

impl FromFields for ReadMessages {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()?, seq: fields.seq("seq")? })
    }
}

/// Moves one's delivery marker of a conversation forward: the messages up to `seq` have reached the client.
///
/// `{"type": "deliveredMessages", "params": {"groupId": 3, "seq": 17}}`
#[derive(Debug)]
pub struct DeliveredMessages {
    /// The conversation.
    pub target: Target,
    /// Where the marker is to be; the newest message if the request has none.
    pub seq: Option<Seq>,
}

impl FromFields for DeliveredMessages {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()?, seq: fields.seq("seq")? })
    }
}

/// Where one's own marker is now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnMarkerItem {
    #[serde(flatten)]
    target: TargetItem,
    #[schema(value_type = i64)]
    user_id: UserId,
    /// 0 where there is no message.
    seq: Seq,
    /// Null where it has never moved.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    at: Option<Timestamp>,
    /// Messages of others after one's read marker.
    unread_count: i64,
}

pub(super) async fn read_messages(params: ReadMessages, context: Context) -> Result<Outcome, Error> {
    let ReadMessages { target, seq } = params;
    let update = match conversations::visible_range(&context.app.db, context.user, target).await? {
        Some(range) => receipts::mark_read(&context.app.db, context.user, range, seq).await?,
        None => MarkerUpdate::NOT_STARTED,
    };
    Ok(outcome(ReceiptEvent::ReadMessages, target, update, &context))
}

pub(super) async fn delivered_messages(params: DeliveredMessages, context: Context) -> Result<Outcome, Error> {
    let DeliveredMessages { target, seq } = params;
    let update = match conversations::visible_range(&context.app.db, context.user, target).await? {
        Some(range) => receipts::mark_delivered(&context.app.db, context.user, range, seq).await?,
        None => MarkerUpdate::NOT_STARTED,
    };
    Ok(outcome(ReceiptEvent::DeliveredMessages, target, update, &context))
}

/// Replies with the marker, and pushes it if it has moved. Receipts are coalesced: a slow socket gets the
/// latest of each marker alone.
fn outcome(event: ReceiptEvent, target: Target, update: MarkerUpdate, context: &Context) -> Outcome {
    let user_id = context.user;
    let MarkerUpdate { seq, moved_at: at, unread_count, members } = update;
    let reply = Body::item(&OwnMarkerItem { target: target.into(), user_id, seq, at, unread_count });
    let (Some(at), Some(members)) = (at, members) else { return reply.into() };
    let conversation = ConversationKey::of(user_id, target);
    let coalesce_key = match event {
        ReceiptEvent::ReadMessages => CoalesceKey::Read(conversation, user_id),
        ReceiptEvent::DeliveredMessages => CoalesceKey::Delivered(conversation, user_id),
    };
    let push = |to: Audience, named: Target| {
        let item = MarkerItem { target: named.into(), user_id, seq, at };
        Push {
            to,
            from: Some(context.origin()),
            topic: Some(Topic::Receipts),
            frame: reply::push(event.push_type(), &Body::item(&item)),
            on_overflow: OverflowPolicy::KeepLatest(coalesce_key),
            message: None,
        }
    };
    let pushes = match target {
        Target::Group(_) => vec![push(Audience::Users(members), target)],
        // Each side of a dialog names it by the id of the other side.
        Target::User(other) if other == user_id => vec![push(Audience::user(user_id), target)],
        Target::User(other) => {
            vec![push(Audience::user(other), Target::User(user_id)), push(Audience::user(user_id), target)]
        }
    };
    Outcome::with_pushes(reply, pushes)
}
