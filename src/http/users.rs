//! Other people.

use actix_web::web::{Data, Json, Path};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ErrorBody, HttpError};
use super::extract::{Asked, QueryString, SignedIn};
use crate::app::{App, Identity};
use crate::commands::users::person_item;
use crate::error::{Error, Field};
use crate::model::{Page, UserId, UserQuery};
use crate::store::users;
use crate::wire::items::PersonItem;
use crate::wire::params::{Fields, FromFields};

/// A page of people.
#[derive(Serialize, ToSchema)]
pub(super) struct People {
    data: Vec<PersonItem>,
}

pub(super) struct Wanted {
    query: Option<UserQuery>,
    pub(super) page: Page,
}

impl FromFields for Wanted {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { query: fields.optional("q")?, page: fields.page()? })
    }
}

/// People: all, or those with a part of a name or a whole e-mail address
#[utoipa::path(get, path = "/api/v1/users", operation_id = "listUsers", tag = "users", security(("bearer" = [])), params(
    ("q" = Option<String>, Query, min_length = 1, max_length = 254, description = "Part of a name, or a whole e-mail address; finds everybody but me"),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Rows, 20 where left out"),
    ("page" = Option<i64>, Query, minimum = 1, description = "From 1"),
), responses(
    (status = 200, body = People, description = "Done"),
    (status = 400, body = ErrorBody, description = "The body or a field is not good; the message names it"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
))]
pub(super) async fn list(app: Data<App>, asked: Asked<QueryString<Wanted>>) -> Result<Json<People>, HttpError> {
    let Asked(me, QueryString(wanted)) = asked;
    Ok(Json(People { data: find(&app, me, wanted).await? }))
}

/// A page of people, as one of them sees them.
pub(super) async fn find(app: &App, me: Identity, wanted: Wanted) -> Result<Vec<PersonItem>, HttpError> {
    let (me, Wanted { query, page }) = (me.user, wanted);
    let found = match query {
        Some(query) => users::search(&app.db, me, &query, None, page).await?,
        None => users::list(&app.db, page).await?,
    };
    Ok(found.into_iter().map(|user| person_item(user, me)).collect())
}

/// One person
#[utoipa::path(get, path = "/api/v1/users/{id}", operation_id = "readUser", tag = "users", security(("bearer" = [])), params(
    ("id" = i64, Path, minimum = 1)
), responses(
    (status = 200, body = PersonItem, description = "Done"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
    (status = 404, body = ErrorBody, description = "There is none"),
))]
pub(super) async fn read(app: Data<App>, me: SignedIn, id: Path<String>) -> Result<Json<PersonItem>, HttpError> {
    let nobody = || Error::no_such_user(Field::Id);
    let id = id.parse().map_err(|_| nobody())?;
    let user = users::find(&app.db, UserId(id)).await?.ok_or_else(nobody)?;
    Ok(Json(person_item(user, me.0.user)))
}
