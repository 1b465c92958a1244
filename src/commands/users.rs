//! Frames that list, read and search users.

use super::context::{Context, Outcome};
use crate::error::{Error, Field};
use crate::model::{GroupId, Page, Target, UserId, UserQuery};
use crate::store::conversations;
use crate::store::users::{self, User};
use crate::wire::items::PersonItem;
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::Body;

/// `{"type": "listUsers", "params": {"limit": 20, "page": 1}}`
#[derive(Debug)]
pub struct ListUsers {
    /// The page to list.
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
    /// The user to read; the asker if it is absent.
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
    /// A part of a name, or a whole e-mail address.
    pub query: UserQuery,
    /// The page to list.
    pub page: Page,
    /// Leaves out the members of this group, so that the rows are users who could be added to it.
    pub group_id: Option<GroupId>,
}

impl FromFields for SearchUsers {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { query: fields.required("query")?, page: fields.page()?, group_id: fields.optional("groupId")? })
    }
}

/// `listUsers`: a page in the order of sign-up.
pub(super) async fn list_users(params: ListUsers, context: Context) -> Result<Outcome, Error> {
    let found = users::list(&context.app.db, params.page).await?;
    Ok(rows(found, &context))
}

/// `getUser`: one user's names.
pub(super) async fn get_user(params: GetUser, context: Context) -> Result<Outcome, Error> {
    let user = users::find(&context.app.db, params.user_id.unwrap_or(context.user)).await?;
    let user = user.ok_or_else(|| Error::no_such_user(Field::UserId))?;
    Ok(Body::item(&person_item(user, context.user)).into())
}

/// `searchUsers`: a page of the users with a part of a name or an e-mail address.
pub(super) async fn search_users(params: SearchUsers, context: Context) -> Result<Outcome, Error> {
    let SearchUsers { query, page, group_id } = params;
    let db = &context.app.db;
    if let Some(group) = group_id {
        // The rows reveal who is a member, by leaving members out: the asker has to be one.
        conversations::visible_range(db, context.user, Target::Group(group)).await?;
    }
    let found = users::search(db, context.user, &query, group_id, page).await?;
    Ok(rows(found, &context))
}

/// The item of a user as `asker` reads it: the e-mail address is for its owner alone. Also used over HTTP.
#[must_use]
pub fn person_item(user: User, asker: UserId) -> PersonItem {
    let User { id, email, username, first_name, last_name, created_at: _, updated_at: _ } = user;
    PersonItem { id, first_name, last_name, username, email: email.filter(|_| id == asker) }
}

fn rows(found: Vec<User>, context: &Context) -> Outcome {
    let rows: Vec<PersonItem> = found.into_iter().map(|user| person_item(user, context.user)).collect();
    Body::rows(&rows).into()
}
