//! Frames of notifications, which users send each other besides messages: they are stored, and pushed to sockets that
//! have subscribed to them.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::context::{Context, Outcome};
use crate::delivery::{Audience, OverflowPolicy, Push};
use crate::error::Error;
use crate::model::{NotificationData, NotificationId, NotificationKind, Page, PushType, Timestamp, Topic, UserId};
use crate::store::notifications::{self, Notification};
use crate::wire::items::{NotificationItem, ReadItem};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// `{"type": "sendNotification", "params": {"userId": 2, "kind": "like", "data": {"photo": 3}}}`
#[derive(Debug)]
pub struct SendNotification {
    /// The receiver.
    pub user_id: UserId,
    /// Its kind, which the sender chooses.
    pub kind: NotificationKind,
    /// Its payload, if any.
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
    /// The page to list.
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
    /// The notification to mark as read; all if it is absent.
    pub notification_id: Option<NotificationId>,
}

impl FromFields for ReadNotifications {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { notification_id: fields.optional("notificationId")? })
    }
}

/// The item of the reply to `sendNotification`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SentItem {
    /// Id of the notification.
    #[schema(value_type = i64)]
    notification_id: NotificationId,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// `sendNotification`: stores it, and pushes it unless it comes from a dialog that the receiver marked as spam.
pub(super) async fn send_notification(params: SendNotification, context: Context) -> Result<Outcome, Error> {
    let SendNotification { user_id, kind, data } = params;
    let limits = &context.app.config.limits;
    let (notification, is_pushed) =
        notifications::send(&context.app.db, context.user, user_id, &kind, data.as_ref(), limits).await?;
    let push = Push {
        to: Audience::user(user_id),
        from: Some(context.origin()),
        topic: Some(Topic::Notifications),
        frame: reply::push(PushType::Notification, &Body::item(&notification_item(&notification)?)),
        // `listNotifications` has it.
        on_overflow: OverflowPolicy::Drop,
        message: None,
    };
    let item = SentItem { notification_id: notification.id, created_at: notification.created_at };
    Ok(Outcome::with_pushes(Body::item(&item), is_pushed.then_some(push)))
}

/// `listNotifications`: a page, newest first.
pub(super) async fn list_notifications(params: ListNotifications, context: Context) -> Result<Outcome, Error> {
    const LIST: &str = "notifications";
    let ListNotifications { page } = params;
    let start = context.paging.start_of(LIST, page);
    let found = notifications::list(&context.app.db, context.user, page.limit, start).await?;
    context.paging.record(LIST, page, found.last().map(notifications::list_position));
    let rows = found.iter().map(notification_item).collect::<Result<Vec<_>, _>>()?;
    Ok(Body::rows(&rows).into())
}

/// `readNotifications`: pushed to the other sockets of the asker.
pub(super) async fn read_notifications(params: ReadNotifications, context: Context) -> Result<Outcome, Error> {
    let ReadNotifications { notification_id } = params;
    let db = &context.app.db;
    let outcome = match notification_id {
        Some(id) => notifications::read(db, context.user, id).await?,
        None => notifications::read_all(db, context.user).await?,
    };
    let body = Body::item(&ReadItem { notification_id, read_at: outcome.read_at });
    let own = outcome.is_new.then(|| Push {
        to: Audience::user(context.user),
        from: Some(context.origin()),
        topic: None,
        frame: reply::push(PushType::ReadNotifications, &body),
        on_overflow: OverflowPolicy::Drop,
        message: None,
    });
    Ok(Outcome::with_pushes(body, own))
}

/// The item of a notification. Also used by the export.
///
/// # Errors
/// `internal` if the stored payload is not JSON.
pub fn notification_item(notification: &Notification) -> Result<NotificationItem<'_>, Error> {
    let data = notification.data.clone().map(RawValue::from_string).transpose().map_err(Error::internal)?;
    Ok(NotificationItem {
        notification_id: Some(notification.id),
        kind: Cow::Borrowed(&notification.kind),
        user_id: notification.sender_id,
        user_name: Cow::Borrowed(&notification.sender_name),
        data,
        created_at: notification.created_at,
        read_at: notification.read_at,
    })
}
