//! Messages, for programs without a socket.

use actix_web::web::{Data, Json};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::error::{ErrorBody, HttpError};
use super::extract::{Asked, QueryString};
use crate::app::App;
use crate::commands::Context;
use crate::commands::search::{self, SearchMessages};
use crate::error::Error;
use crate::wire::items::MessageItem;
use crate::wire::params::{Fields, FromFields};

/// A page of messages.
#[derive(Serialize, ToSchema)]
pub(super) struct Messages {
    #[schema(value_type = Vec<MessageItem>)]
    pub(super) data: Option<Box<RawValue>>,
}

pub(super) struct Wanted(SearchMessages);

impl FromFields for Wanted {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        let query = fields.required("q")?;
        Ok(Self(SearchMessages { query, target: fields.optional_target()?, page: fields.page()? }))
    }
}

/// Messages that say something, of all that I may read, newest first
#[utoipa::path(get, path = "/api/v1/messages/search", tag = "messages", security(("bearer" = [])), params(
    ("q" = String, Query, min_length = 1, max_length = 254, description = "Words, in any order; each may be the beginning of one"),
    ("receiverId" = Option<i64>, Query, minimum = 1, description = "In the dialog with this user alone"),
    ("groupId" = Option<i64>, Query, minimum = 1, description = "In this group alone"),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Rows, 20 where left out"),
    ("page" = Option<i64>, Query, minimum = 1, description = "From 1"),
), responses(
    (status = 200, body = Messages, description = "Done"),
    (status = 400, body = ErrorBody, description = "A field is not good; the message names it"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
    (status = 403, body = ErrorBody, description = "Not in that group"),
    (status = 404, body = ErrorBody, description = "There is no such user or group"),
))]
pub(super) async fn search(app: Data<App>, asked: Asked<QueryString<Wanted>>) -> Result<Json<Messages>, HttpError> {
    let Asked(me, QueryString(Wanted(params))) = asked;
    let outcome = search::messages(params, Context::without_socket(app.into_inner(), me.user)).await?;
    Ok(Json(Messages { data: outcome.reply.data }))
}
