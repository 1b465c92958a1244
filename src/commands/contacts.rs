//! Frames of the two lists that each user keeps: contacts, and blocked users.

use std::borrow::Cow;

use super::context::{Context, Outcome};
use crate::delivery::{Audience, OverflowPolicy, Push};
use crate::error::Error;
use crate::model::{Page, PushType, Topic, UserId};
use crate::store::contacts::{self, ListedUser};
use crate::wire::items::{ListedPersonItem, PersonItem, UserItem};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::{self, Body};

/// `{"type": "addContact", "params": {"userId": 2}}`
#[derive(Debug)]
pub struct AddContact {
    /// The user to add.
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
    /// The contact to remove.
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
    /// The page to list.
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
    /// The user to block.
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
    /// The user to unblock.
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
    /// The page to list.
    pub page: Page,
}

impl FromFields for ListBlocked {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { page: fields.page()? })
    }
}

/// `addContact`: pushed to the contact, unless one of the two has blocked the other. The reply does not reveal that.
pub(super) async fn add_contact(params: AddContact, context: Context) -> Result<Outcome, Error> {
    let AddContact { user_id } = params;
    let added = contacts::add(&context.app.db, context.user, user_id).await?;
    let own = own_push(PushType::AddContact, user_id, added.is_new.then_some(&added.name), &context);
    let contact_push = (added.is_new && !added.is_blocked).then(|| Push {
        topic: Some(Topic::Contacts),
        ..push(PushType::AddContact, user_id, context.user, &added.by_name, &context)
    });
    Ok(Outcome::with_pushes(Body::done(), contact_push.into_iter().chain(own)))
}

/// `removeContact`: pushed to the other sockets of the asker.
pub(super) async fn remove_contact(params: RemoveContact, context: Context) -> Result<Outcome, Error> {
    let RemoveContact { user_id } = params;
    let name = contacts::remove(&context.app.db, context.user, user_id).await?;
    Ok(Outcome::with_pushes(Body::done(), own_push(PushType::RemoveContact, user_id, name.as_ref(), &context)))
}

/// `listContacts`: a page in the order in which the contacts were added.
pub(super) async fn list_contacts(params: ListContacts, context: Context) -> Result<Outcome, Error> {
    const LIST: &str = "contacts";
    let ListContacts { page } = params;
    let start = context.paging.start_of(LIST, page);
    let listed = contacts::list(&context.app.db, context.user, page.limit, start).await?;
    context.paging.record(LIST, page, listed.last().map(contacts::list_position));
    Ok(listed_rows(listed).into())
}

/// `blockUser`: pushed to the other sockets of the asker alone, and not to the blocked user.
pub(super) async fn block_user(params: BlockUser, context: Context) -> Result<Outcome, Error> {
    let BlockUser { user_id } = params;
    let blocked = contacts::block(&context.app.db, context.user, user_id).await?;
    let name = blocked.is_new.then_some(&blocked.name);
    Ok(Outcome::with_pushes(Body::done(), own_push(PushType::BlockUser, user_id, name, &context)))
}

/// `unblockUser`: pushed to the other sockets of the asker.
pub(super) async fn unblock_user(params: UnblockUser, context: Context) -> Result<Outcome, Error> {
    let UnblockUser { user_id } = params;
    let name = contacts::unblock(&context.app.db, context.user, user_id).await?;
    Ok(Outcome::with_pushes(Body::done(), own_push(PushType::UnblockUser, user_id, name.as_ref(), &context)))
}

/// `listBlocked`: a page in the order in which the users were blocked.
pub(super) async fn list_blocked(params: ListBlocked, context: Context) -> Result<Outcome, Error> {
    const LIST: &str = "blocked";
    let ListBlocked { page } = params;
    let start = context.paging.start_of(LIST, page);
    let listed = contacts::list_blocked(&context.app.db, context.user, page.limit, start).await?;
    context.paging.record(LIST, page, listed.last().map(contacts::list_position));
    Ok(listed_rows(listed).into())
}

/// The item of a user on one of the two lists. Also used by the export.
#[must_use]
pub fn listed_person_item(listed: ListedUser) -> ListedPersonItem {
    let ListedUser { id, first_name, last_name, username, added_at } = listed;
    ListedPersonItem { person: PersonItem { id, first_name, last_name, username, email: None }, added_at }
}

fn listed_rows(listed: Vec<ListedUser>) -> Body {
    Body::rows(&listed.into_iter().map(listed_person_item).collect::<Vec<_>>())
}

/// The push of a changed list to the other sockets of the asker; `name` is that of the user whom the change is about,
/// if there was one.
fn own_push(push_type: PushType, about: UserId, name: Option<&String>, context: &Context) -> Option<Push> {
    name.map(|name| push(push_type, context.user, about, name, context))
}

fn push(push_type: PushType, to: UserId, about: UserId, name: &str, context: &Context) -> Push {
    Push {
        to: Audience::user(to),
        from: Some(context.origin()),
        topic: None,
        frame: reply::push(push_type, &Body::item(&UserItem { user_id: about, user_name: Cow::Borrowed(name) })),
        // `listContacts` and `listBlocked` show the current state.
        on_overflow: OverflowPolicy::Drop,
        message: None,
    }
}
