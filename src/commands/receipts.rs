//! How far I have read, and how far messages have reached me.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Context, Outcome};
use crate::delivery::{Audience, Push, Subject, WhenSlow, Where};
use crate::error::Error;
use crate::model::{Seq, Target, Timestamp, Topic, UserId};
use crate::store::conversations;
use crate::store::conversations::receipts::{self, Marker};
use crate::wire::items::{MarkerItem, TargetItem};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// `{"type": "readMessages", "params": {"receiverId": 2, "seq": 17}}`
#[derive(Debug)]
pub struct ReadMessages {
    /// Where.
    pub target: Target,
    /// Up to here; all of it where left out.
    pub seq: Option<Seq>,
}

impl FromFields for ReadMessages {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()?, seq: fields.seq("seq")? })
    }
}

/// `{"type": "deliveredMessages", "params": {"groupId": 3, "seq": 17}}`
#[derive(Debug)]
pub struct DeliveredMessages {
    /// Where.
    pub target: Target,
    /// Up to here; all of it where left out.
    pub seq: Option<Seq>,
}

impl FromFields for DeliveredMessages {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { target: fields.target()?, seq: fields.seq("seq")? })
    }
}

/// Where my own marker is now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnMarkerItem {
    #[serde(flatten)]
    target: TargetItem,
    #[schema(value_type = i64)]
    user_id: UserId,
    /// 0 where nothing was there to be read.
    seq: Seq,
    /// Null where it was never moved.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// Messages of others past what I have read.
    unread_count: i64,
}

pub(super) async fn read(params: ReadMessages, context: Context) -> Result<Outcome, Error> {
    let ReadMessages { target, seq } = params;
    let marker = match conversations::find(&context.app.db, context.user, target).await? {
        Some(extent) => receipts::read(&context.app.db, context.user, extent, seq).await?,
        None => Marker::NOWHERE,
    };
    Ok(outcome("readMessages", target, marker, Subject::Read, &context))
}

pub(super) async fn delivered(params: DeliveredMessages, context: Context) -> Result<Outcome, Error> {
    let DeliveredMessages { target, seq } = params;
    let marker = match conversations::find(&context.app.db, context.user, target).await? {
        Some(extent) => receipts::delivered(&context.app.db, context.user, extent, seq).await?,
        None => Marker::NOWHERE,
    };
    Ok(outcome("deliveredMessages", target, marker, Subject::Delivered, &context))
}

fn outcome(
    kind: &str,
    target: Target,
    marker: Marker,
    subject: fn(Where, UserId) -> Subject,
    context: &Context,
) -> Outcome {
    let user_id = context.user;
    let Marker { seq, at, unread_count, told } = marker;
    let reply = Body::item(&OwnMarkerItem { target: target.into(), user_id, seq, at, unread_count });
    let (Some(at), Some(told)) = (at, told) else { return reply.into() };
    let conversation = Where::of(user_id, target);
    let push = |to: Audience, seen: Target| {
        let item = MarkerItem { target: seen.into(), user_id, seq, at };
        Push {
            to,
            from: Some(context.origin()),
            topic: Some(Topic::Receipts),
            frame: reply::push(kind, &Body::item(&item)),
            when_slow: WhenSlow::Latest(subject(conversation, user_id)),
            message: None,
        }
    };
    let pushes = match target {
        Target::Group(_) => vec![push(Audience::Users(told), target)],
        // Each side calls a dialog by the other one's name.
        Target::User(other) if other == user_id => vec![push(Audience::user(user_id), target)],
        Target::User(other) => {
            vec![push(Audience::user(other), Target::User(user_id)), push(Audience::user(user_id), target)]
        }
    };
    Outcome::with_pushes(reply, pushes)
}
