//! Messages, for programs without a socket.

use actix_web::web::{Data, Json};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::error::{ErrorBody, HttpError};
use super::extract::{Asked, QueryString};
use crate::app::App;
use crate::commands::Context;
use crate::commands::items::message_item;
use crate::commands::search::{self, SearchMessages};
use crate::error::Error;
use crate::model::MessageId;
use crate::wire::items::MessageItem;
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::raw;

/// A page of messages.
#[derive(Serialize, ToSchema)]
pub(super) struct Messages {
    #[schema(value_type = Vec<MessageItem>)]
    pub(super) data: Option<Box<RawValue>>,
}

/// A page of messages that were found.
#[derive(Serialize, ToSchema)]
pub(super) struct FoundMessages {
    #[schema(value_type = Vec<MessageItem>)]
    data: Option<Box<RawValue>>,
    /// Where the search goes on: it had looked at as much as one request may before the page was full.
    #[schema(value_type = Option<i64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<MessageId>,
}

pub(super) struct Wanted(SearchMessages);

impl FromFields for Wanted {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        SearchMessages::from_fields_with("q", fields).map(Self)
    }
}

/// Messages that say something, of all that I may read, newest first
#[utoipa::path(get, path = "/api/v1/messages/search", operation_id = "searchMessages", tag = "messages", security(("bearer" = [])), params(
    ("q" = String, Query, min_length = 1, max_length = 254, description = "Words, in any order; each may be the beginning of one"),
    ("receiverId" = Option<i64>, Query, minimum = 1, description = "In the dialog with this user alone"),
    ("groupId" = Option<i64>, Query, minimum = 1, description = "In this group alone"),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Rows, 20 where left out"),
    ("page" = Option<i64>, Query, minimum = 1, description = "From 1; not with before"),
    ("before" = Option<i64>, Query, minimum = 1, description = "Older messages than the one with this id; not with page"),
), responses(
    (status = 200, body = FoundMessages, description = "Done; with before where the search stopped early"),
    (status = 400, body = ErrorBody, description = "A field is not good; the message names it"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
    (status = 403, body = ErrorBody, description = "Not in that group"),
    (status = 404, body = ErrorBody, description = "There is no such user or group"),
    (status = 503, body = ErrorBody, description = "Too many searches of mine wait already, or the database does not answer"),
))]
pub(super) async fn search(
    app: Data<App>,
    asked: Asked<QueryString<Wanted>>,
) -> Result<Json<FoundMessages>, HttpError> {
    let Asked(me, QueryString(Wanted(params))) = asked;
    let (found, item) = search::find(params, Context::without_socket(app.into_inner(), me.user)).await?;
    let data: Vec<MessageItem<'_>> = found.iter().map(message_item).collect();
    Ok(Json(FoundMessages { data: Some(raw(&data)), before: item.map(|item| item.before) }))
}
