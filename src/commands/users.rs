//! Who there is.

use super::{Context, Outcome};
use crate::error::{Error, Field};
use crate::model::{GroupId, Page, Target, UserId, UserQuery};
use crate::store::{conversations, users};
use crate::wire::items::PersonItem;
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::Body;

/// `{"type": "listUsers", "params": {"limit": 20, "page": 1}}`
#[derive(Debug)]
pub struct ListUsers {
    /// Which page.
    pub page: Page,
}

impl FromFields for ListUsers {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { page: fields.page()? })
    }
}

/// `{"type": "getUser", "params": {"userId": 2}}`
#[derive(Debug)]
pub struct GetUser {
    /// Whom; oneself where it is left out.
    pub user_id: Option<UserId>,
}

impl FromFields for GetUser {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { user_id: fields.optional("userId")? })
    }
}

/// `{"type": "searchUsers", "params": {"query": "pat", "limit": 20, "page": 1, "groupId": 1}}`
#[derive(Debug)]
pub struct SearchUsers {
    /// Part of a name, or a whole e-mail address.
    pub query: UserQuery,
    /// Which page.
    pub page: Page,
    /// Without the members of this group: whom one could add to it.
    pub group_id: Option<GroupId>,
}

impl FromFields for SearchUsers {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { query: fields.required("query")?, page: fields.page()?, group_id: fields.optional("groupId")? })
    }
}

pub(super) async fn list(params: ListUsers, context: Context) -> Result<Outcome, Error> {
    let found = users::list(&context.app.db, params.page).await?;
    Ok(rows(found, &context))
}

pub(super) async fn get(params: GetUser, context: Context) -> Result<Outcome, Error> {
    let user = users::find(&context.app.db, params.user_id.unwrap_or(context.user)).await?;
    let user = user.ok_or_else(|| Error::no_such_user(Field::UserId))?;
    Ok(Body::item(&user.seen_by(context.user)).into())
}

pub(super) async fn search(params: SearchUsers, context: Context) -> Result<Outcome, Error> {
    let SearchUsers { query, page, group_id } = params;
    let db = &context.app.db;
    if let Some(group) = group_id {
        // Who is missing from the result tells who is a member.
        conversations::visible_range(db, context.user, Target::Group(group)).await?;
    }
    let found = users::search(db, context.user, &query, group_id, page).await?;
    Ok(rows(found, &context))
}

fn rows(found: Vec<users::User>, context: &Context) -> Outcome {
    let rows: Vec<PersonItem> = found.into_iter().map(|user| user.seen_by(context.user)).collect();
    Body::rows(&rows).into()
}
