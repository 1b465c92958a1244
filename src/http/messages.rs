//! Routes of messages over all conversations, for programs without a socket: full-text search.

use actix_web::web::{Data, Json};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::error::{ErrorBody, HttpError};
use super::extract::{Authenticated, QueryString};
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
pub(super) struct MessagePage {
    /// The messages of the page, newest first.
    #[schema(value_type = Vec<MessageItem>)]
    pub(super) data: Option<Box<RawValue>>,
}

/// A page of messages that a search has found.
#[derive(Serialize, ToSchema)]
pub(super) struct SearchPage {
    /// The messages of the page, newest first.
    #[schema(value_type = Vec<MessageItem>)]
    data: Option<Box<RawValue>>,
    /// `before` of the request that continues the search. Present where the search had examined as much as
    /// one request may before the page was full.
    #[schema(value_type = i64, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<MessageId>,
}

/// The parameters of a search, with the name that the query has in a query string.
pub(super) struct SearchParams(SearchMessages);

impl FromFields for SearchParams {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        SearchMessages::from_fields_with("q", fields).map(Self)
    }
}

/// Search the text of all messages that I may read, newest first
#[utoipa::path(get, path = "/api/v1/messages/search", operation_id = "searchMessages", tag = "messages", security(("bearer" = [])), params(
    ("q" = String, Query, description = "Words, in any order; each may be the beginning of a word in the message"),
    ("receiverId" = Option<i64>, Query, description = "Only the dialog with this user"),
    ("groupId" = Option<i64>, Query, description = "Only this group"),
    ("limit" = Option<i64>, Query, description = "Rows of the page"),
    ("page" = Option<i64>, Query, description = "Number of the page, from 1; excludes before"),
    ("before" = Option<i64>, Query, description = "Only messages older than the one with this id; excludes page"),
), responses(
    (status = 200, body = SearchPage, description = "The messages of the page; with before where the search stopped early"),
    (status = 400, body = ErrorBody, description = "A field is not valid; the message names it"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
    (status = 403, body = ErrorBody, description = "The caller is not a member of the group"),
    (status = 404, body = ErrorBody, description = "There is no such user or group"),
    (status = 503, body = ErrorBody, description = "Too many searches of this user wait already, or the database does not answer"),
))]
pub(super) async fn search(
    app: Data<App>,
    request: Authenticated<QueryString<SearchParams>>,
) -> Result<Json<SearchPage>, HttpError> {
    let Authenticated(me, QueryString(SearchParams(params))) = request;
    let (found, item) = search::find(params, Context::without_socket(app.into_inner(), me.user)).await?;
    let data: Vec<MessageItem<'_>> = found.iter().map(message_item).collect();
    Ok(Json(SearchPage { data: Some(raw(&data)), before: item.map(|item| item.before) }))
}
