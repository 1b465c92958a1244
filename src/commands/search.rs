//! Full-text search over messages.

use serde::Serialize;
use utoipa::ToSchema;

use super::context::{Context, Outcome};
use super::items::message_item;
use crate::error::Error;
use crate::model::{ListPosition, ListStart, MessageId, Page, SearchQuery, Target};
use crate::store::messages::StoredMessage;
use crate::store::{conversations, search};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::Body;

/// `{"type": "searchMessages", "params": {"query": "tea", "limit": 5, "page": 1}}`. With a `receiverId` or `groupId` it
/// searches that conversation alone. `before`, the id of a message, may stand in the place of `page`.
#[derive(Debug)]
pub struct SearchMessages {
    /// The words that the messages have to contain.
    pub query: SearchQuery,
    /// The conversation to search, if not all of them.
    pub target: Option<Target>,
    /// The page to list.
    pub page: Page,
    /// Finds only messages older than this one.
    pub before: Option<MessageId>,
}

impl SearchMessages {
    /// Reads the parameters; the query is in the field named `query`, which differs over HTTP.
    ///
    /// # Errors
    /// `bad_params` if a field is missing or out of its range, or two exclude each other.
    pub fn from_fields_with(query: &str, fields: &Fields<'_>) -> Result<Self, Error> {
        let (query, target) = (fields.required(query)?, fields.optional_target()?);
        let (page, before) = (fields.page()?, fields.optional("before")?);
        if before.is_some() && fields.seq("page")?.is_some() {
            return Err(fields.refuse("before", "and page exclude each other"));
        }
        Ok(Self { query, target, page, before })
    }
}

impl FromFields for SearchMessages {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Self::from_fields_with("query", fields)
    }
}

/// Where to continue a search that has stopped before its page was full, because it had used up the budget of one
/// request.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct SearchItem {
    /// Messages from this one on were searched: the `before` of the next request.
    #[schema(value_type = i64)]
    pub before: MessageId,
}

/// `searchMessages`: a page, newest first; the item says where to continue if the search has stopped early.
pub(super) async fn search_messages(params: SearchMessages, context: Context) -> Result<Outcome, Error> {
    let (found, item) = find(params, context).await?;
    let rows = Body::rows(&found.iter().map(message_item).collect::<Vec<_>>());
    Ok(match item {
        Some(item) => Body { item: Body::item(&item).item, ..rows },
        None => rows,
    }
    .into())
}

/// Runs a search. Returns the messages, and where to continue if it has stopped early. Also used over HTTP.
///
/// # Errors
/// `not_found`, `not_a_member`; `overloaded` if too many searches of this user are queued.
pub async fn find(params: SearchMessages, context: Context) -> Result<(Vec<StoredMessage>, Option<SearchItem>), Error> {
    let SearchMessages { query, target, page, before } = params;
    let db = &context.app.db;
    let within = match target {
        Some(target) => match conversations::visible_range(db, context.user, target).await? {
            Some(extent) => Some(extent.id),
            // The dialog does not exist yet.
            None => return Ok((Vec::new(), None)),
        },
        None => None,
    };
    let list = format!("search {target:?} {}", query.as_str());
    let place = |id: MessageId| ListPosition { at: 0, id: id.0 };
    let start = match before {
        Some(before) => ListStart { below: Some(place(before)), skipped: 0 },
        None => context.paging.start_of(&list, page),
    };
    let max_bytes = context.app.config.limits.search_bytes;
    let found = search::find_page(db, context.user, within, &query, page.limit, start, max_bytes).await?;
    // The next page starts where this one has ended, full or not; a page that was not reached has no end.
    if before.is_none() && !found.is_short_of_page {
        let end = found.stopped_at.or(found.messages.last().map(|message| message.id));
        context.paging.record(&list, page, end.map(place));
    }
    Ok((found.messages, found.stopped_at.map(|before| SearchItem { before })))
}
