//! My lists of people: contacts, and those from whom I take nothing.

use std::borrow::Cow;

use super::{Context, Outcome};
use crate::delivery::{Audience, Push, WhenSlow};
use crate::error::Error;
use crate::model::{Page, Topic, UserId};
use crate::store::contacts;
use crate::wire::items::UserItem;
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// `{"type": "addContact", "params": {"userId": 2}}`
#[derive(Debug)]
pub struct AddContact {
    /// Whom.
    pub user_id: UserId,
}

impl FromFields for AddContact {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { user_id: fields.required("userId")? })
    }
}

/// `{"type": "removeContact", "params": {"userId": 2}}`
#[derive(Debug)]
pub struct RemoveContact {
    /// Whom.
    pub user_id: UserId,
}

impl FromFields for RemoveContact {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { user_id: fields.required("userId")? })
    }
}

/// `{"type": "listContacts", "params": {"limit": 20, "page": 1}}`
#[derive(Debug)]
pub struct ListContacts {
    /// Which page.
    pub page: Page,
}

impl FromFields for ListContacts {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { page: fields.page()? })
    }
}

/// `{"type": "blockUser", "params": {"userId": 2}}`
#[derive(Debug)]
pub struct BlockUser {
    /// Whom.
    pub user_id: UserId,
}

impl FromFields for BlockUser {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { user_id: fields.required("userId")? })
    }
}

/// `{"type": "unblockUser", "params": {"userId": 2}}`
#[derive(Debug)]
pub struct UnblockUser {
    /// Whom.
    pub user_id: UserId,
}

impl FromFields for UnblockUser {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { user_id: fields.required("userId")? })
    }
}

/// `{"type": "listBlocked", "params": {"limit": 20, "page": 1}}`
#[derive(Debug)]
pub struct ListBlocked {
    /// Which page.
    pub page: Page,
}

impl FromFields for ListBlocked {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { page: fields.page()? })
    }
}

/// Who has blocked me hears nothing of me, and I do not hear of that.
pub(super) async fn add(params: AddContact, context: Context) -> Result<Outcome, Error> {
    let AddContact { user_id } = params;
    let added = contacts::add(&context.app.db, context.user, user_id).await?;
    let own = changed("addContact", user_id, added.is_new.then_some(&added.name), &context);
    let told = (added.is_new && !added.is_blocked).then(|| Push {
        topic: Some(Topic::Contacts),
        ..push("addContact", user_id, context.user, &added.by_name, &context)
    });
    Ok(Outcome::with_pushes(Body::done(), told.into_iter().chain(own)))
}

pub(super) async fn remove(params: RemoveContact, context: Context) -> Result<Outcome, Error> {
    let RemoveContact { user_id } = params;
    let name = contacts::remove(&context.app.db, context.user, user_id).await?;
    Ok(Outcome::with_pushes(Body::done(), changed("removeContact", user_id, name.as_ref(), &context)))
}

pub(super) async fn list(params: ListContacts, context: Context) -> Result<Outcome, Error> {
    const LIST: &str = "contacts";
    let ListContacts { page } = params;
    let start = context.paging.start_of(LIST, page);
    let rows = contacts::list(&context.app.db, context.user, page.limit, start).await?;
    context.paging.record(LIST, page, rows.last().map(contacts::place));
    Ok(Body::rows(&rows).into())
}

/// Nobody is told whom I block, but my other sockets.
pub(super) async fn block(params: BlockUser, context: Context) -> Result<Outcome, Error> {
    let BlockUser { user_id } = params;
    let blocked = contacts::block(&context.app.db, context.user, user_id).await?;
    let name = blocked.is_new.then_some(&blocked.name);
    Ok(Outcome::with_pushes(Body::done(), changed("blockUser", user_id, name, &context)))
}

pub(super) async fn unblock(params: UnblockUser, context: Context) -> Result<Outcome, Error> {
    let UnblockUser { user_id } = params;
    let name = contacts::unblock(&context.app.db, context.user, user_id).await?;
    Ok(Outcome::with_pushes(Body::done(), changed("unblockUser", user_id, name.as_ref(), &context)))
}

pub(super) async fn list_blocked(params: ListBlocked, context: Context) -> Result<Outcome, Error> {
    const LIST: &str = "blocked";
    let ListBlocked { page } = params;
    let start = context.paging.start_of(LIST, page);
    let rows = contacts::list_blocked(&context.app.db, context.user, page.limit, start).await?;
    context.paging.record(LIST, page, rows.last().map(contacts::place));
    Ok(Body::rows(&rows).into())
}

/// Tells my other sockets that a list of mine has changed; `name` where it has.
fn changed(kind: &str, whom: UserId, name: Option<&String>, context: &Context) -> Option<Push> {
    name.map(|name| push(kind, context.user, whom, name, context))
}

fn push(kind: &str, to: UserId, about: UserId, name: &str, context: &Context) -> Push {
    Push {
        to: Audience::user(to),
        from: Some(context.origin()),
        topic: None,
        frame: reply::push(kind, &Body::item(&UserItem { user_id: about, user_name: Cow::Borrowed(name) })),
        // The lists say the same.
        when_slow: WhenSlow::Drop,
        message: None,
    }
}
