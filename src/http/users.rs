//! Routes of other users: the list, the search, and one user.

use actix_web::web::{Data, Json, Path};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ErrorBody, HttpError};
use super::extract::{Authenticated, Caller, QueryString};
use crate::app::{App, Identity};
use crate::commands::users::person_item;
use crate::error::{Error, Field};
use crate::model::{Page, UserId, UserQuery};
use crate::store::users;
use crate::wire::items::PersonItem;
use crate::wire::params::{Fields, FromFields};

/// A page of users.
#[derive(Serialize, ToSchema)]
pub(super) struct UserPage {
    /// The users of the page.
    data: Vec<PersonItem>,
}

/// The parameters of a page of users: of all, or of those that a search finds.
pub(super) struct UserListParams {
    query: Option<UserQuery>,
    pub(super) page: Page,
}

impl FromFields for UserListParams {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { query: fields.optional("q")?, page: fields.page()? })
    }
}

/// List users, or search them by a part of a name or a whole e-mail address
#[utoipa::path(get, path = "/api/v1/users", operation_id = "listUsers", tag = "users", security(("bearer" = [])), params(
    ("q" = Option<String>, Query, description = "Part of a name, or a whole e-mail address; the result is without the caller"),
    ("limit" = Option<i64>, Query, description = "Rows of the page"),
    ("page" = Option<i64>, Query, description = "Number of the page, from 1"),
), responses(
    (status = 200, body = UserPage, description = "The users of the page"),
    (status = 400, body = ErrorBody, description = "A field is not valid; the message names it"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
))]
pub(super) async fn list(
    app: Data<App>,
    request: Authenticated<QueryString<UserListParams>>,
) -> Result<Json<UserPage>, HttpError> {
    let Authenticated(me, QueryString(params)) = request;
    Ok(Json(UserPage { data: find_page(&app, me, params).await? }))
}

/// Reads a page of users, as the caller sees them.
pub(super) async fn find_page(app: &App, me: Identity, params: UserListParams) -> Result<Vec<PersonItem>, HttpError> {
    let (me, UserListParams { query, page }) = (me.user, params);
    let found = match query {
        Some(query) => users::search(&app.db, me, &query, None, page).await?,
        None => users::list(&app.db, page).await?,
    };
    Ok(found.into_iter().map(|user| person_item(user, me)).collect())
}

/// Read one user
#[utoipa::path(get, path = "/api/v1/users/{id}", operation_id = "readUser", tag = "users", security(("bearer" = [])), params(
    ("id" = i64, Path, minimum = 1, description = "The id of the user")
), responses(
    (status = 200, body = PersonItem, description = "The user"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
    (status = 404, body = ErrorBody, description = "There is no such user"),
))]
pub(super) async fn read(app: Data<App>, me: Caller, id: Path<String>) -> Result<Json<PersonItem>, HttpError> {
    let no_such_user = || Error::no_such_user(Field::Id);
    let id = id.parse().map_err(|_| no_such_user())?;
    let user = users::find(&app.db, UserId(id)).await?.ok_or_else(no_such_user)?;
    Ok(Json(person_item(user, me.0.user)))
}
