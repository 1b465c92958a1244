//! What people let each other know besides messages: kept, and pushed to who asked for it.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Context, Outcome};
use crate::delivery::{Audience, Push, WhenSlow};
use crate::error::Error;
use crate::model::{NotificationData, NotificationId, NotificationKind, Page, Timestamp, Topic, UserId};
use crate::store::notifications::{self, Notification};
use crate::wire::items::ReadItem;
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// `{"type": "sendNotification", "params": {"userId": 2, "kind": "like", "data": {"photo": 3}}}`
#[derive(Debug)]
pub struct SendNotification {
    /// To whom.
    pub user_id: UserId,
    /// What it is about.
    pub kind: NotificationKind,
    /// What goes with it, if anything.
    pub data: Option<NotificationData>,
}

impl FromFields for SendNotification {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { user_id: fields.required("userId")?, kind: fields.required("kind")?, data: fields.optional("data")? })
    }
}

/// `{"type": "listNotifications", "params": {"limit": 20, "page": 1}}`
#[derive(Debug)]
pub struct ListNotifications {
    /// Which page.
    pub page: Page,
}

impl FromFields for ListNotifications {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { page: fields.page()? })
    }
}

/// `{"type": "readNotifications", "params": {"notificationId": 7}}`
#[derive(Debug)]
pub struct ReadNotifications {
    /// Which; all where it is left out.
    pub notification_id: Option<NotificationId>,
}

impl FromFields for ReadNotifications {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { notification_id: fields.optional("notificationId")? })
    }
}

/// What the sender is told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SentItem {
    /// Which it is.
    #[schema(value_type = i64)]
    notification_id: NotificationId,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

pub(super) async fn send(params: SendNotification, context: Context) -> Result<Outcome, Error> {
    let SendNotification { user_id, kind, data } = params;
    let limits = &context.app.config.limits;
    let (notification, is_pushed) =
        notifications::send(&context.app.db, context.user, user_id, &kind, data.as_ref(), limits).await?;
    let push = Push {
        to: Audience::user(user_id),
        from: Some(context.origin()),
        topic: Some(Topic::Notifications),
        frame: reply::push("notification", &Body::item(&notification.item()?)),
        // The list has it.
        when_slow: WhenSlow::Drop,
        message: None,
    };
    let item = SentItem { notification_id: notification.id, created_at: notification.created_at };
    Ok(Outcome::with_pushes(Body::item(&item), is_pushed.then_some(push)))
}

pub(super) async fn list(params: ListNotifications, context: Context) -> Result<Outcome, Error> {
    const LIST: &str = "notifications";
    let ListNotifications { page } = params;
    let start = context.paging.start_of(LIST, page);
    let found = notifications::list(&context.app.db, context.user, page.limit, start).await?;
    context.paging.record(LIST, page, found.last().map(notifications::place));
    let rows = found.iter().map(Notification::item).collect::<Result<Vec<_>, _>>()?;
    Ok(Body::rows(&rows).into())
}

pub(super) async fn read(params: ReadNotifications, context: Context) -> Result<Outcome, Error> {
    let ReadNotifications { notification_id } = params;
    let db = &context.app.db;
    let was_read = match notification_id {
        Some(id) => notifications::read(db, context.user, id).await?,
        None => notifications::read_all(db, context.user).await?,
    };
    let body = Body::item(&ReadItem { notification_id, read_at: was_read.read_at });
    let own = was_read.is_new.then(|| Push {
        to: Audience::user(context.user),
        from: Some(context.origin()),
        topic: None,
        frame: reply::push("readNotifications", &body),
        when_slow: WhenSlow::Drop,
        message: None,
    });
    Ok(Outcome::with_pushes(body, own))
}
