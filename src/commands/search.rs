//! Looking for messages by what they say.

use serde::Serialize;
use utoipa::ToSchema;

use super::items::message_item;
use super::{Context, Outcome};
use crate::error::Error;
use crate::model::{ListPosition, ListStart, MessageId, Page, SearchQuery, Target};
use crate::store::messages::StoredMessage;
use crate::store::{conversations, search};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::Body;

/// `{"type": "searchMessages", "params": {"query": "tea", "limit": 5, "page": 1}}`, or with a
/// `receiverId` or `groupId`, in that conversation alone; or `before`, the id of a message, for `page`.
#[derive(Debug)]
pub struct SearchMessages {
    /// What the messages say.
    pub query: SearchQuery,
    /// Where, if not everywhere.
    pub target: Option<Target>,
    /// Which page.
    pub page: Page,
    /// Older messages than this one alone.
    pub before: Option<MessageId>,
}

impl SearchMessages {
    /// The query is in the field of this name.
    ///
    /// # Errors
    /// `bad_params` where a field is missing or out of its range, or two exclude each other.
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

/// Where a search goes on that has stopped before its page was full, because it had looked at as much as
/// one request may.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct SearchItem {
    /// Messages from this one on have been looked at: the `before` of the next request.
    #[schema(value_type = i64)]
    pub before: MessageId,
}

pub(super) async fn messages(params: SearchMessages, context: Context) -> Result<Outcome, Error> {
    let (found, item) = find(params, context).await?;
    let rows = Body::rows(&found.iter().map(message_item).collect::<Vec<_>>());
    Ok(match item {
        Some(item) => Body { item: Body::item(&item).item, ..rows },
        None => rows,
    }
    .into())
}

/// What was found, and where the search goes on if it has stopped early. Also over HTTP.
///
/// # Errors
/// `not_found`, `not_a_member`, `overloaded` where too many searches of this person wait.
pub async fn find(params: SearchMessages, context: Context) -> Result<(Vec<StoredMessage>, Option<SearchItem>), Error> {
    let SearchMessages { query, target, page, before } = params;
    let db = &context.app.db;
    let within = match target {
        Some(target) => match conversations::visible_range(db, context.user, target).await? {
            Some(extent) => Some(extent.id),
            // The dialog has not begun.
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
    let found = search::page(db, context.user, within, &query, page.limit, start, max_bytes).await?;
    // The next page goes on where this one has ended, full or not; one that was not reached is none.
    if before.is_none() && !found.is_short_of_page {
        let end = found.stopped_at.or(found.messages.last().map(|message| message.id));
        context.paging.record(&list, page, end.map(place));
    }
    Ok((found.messages, found.stopped_at.map(|before| SearchItem { before })))
}
