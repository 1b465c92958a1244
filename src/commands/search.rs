//! Looking for messages by what they say.

use super::{Context, Outcome};
use crate::error::Error;
use crate::model::{Page, Place, SearchQuery, Target};
use crate::store::messages::StoredMessage;
use crate::store::{conversations, search};
use crate::wire::items::MessageItem;
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::Body;

/// `{"type": "searchMessages", "params": {"query": "tea", "limit": 5, "page": 1}}`, or with a
/// `receiverId` or `groupId`, in that conversation alone.
#[derive(Debug)]
pub struct SearchMessages {
    /// What the messages say.
    pub query: SearchQuery,
    /// Where, if not everywhere.
    pub target: Option<Target>,
    /// Which page.
    pub page: Page,
}

impl FromFields for SearchMessages {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { query: fields.required("query")?, target: fields.optional_target()?, page: fields.page()? })
    }
}

/// Also over HTTP.
///
/// # Errors
/// `not_found`, `not_a_member`.
pub async fn messages(params: SearchMessages, context: Context) -> Result<Outcome, Error> {
    let SearchMessages { query, target, page } = params;
    let db = &context.app.db;
    let within = match target {
        Some(target) => match conversations::find(db, context.user, target).await? {
            Some(extent) => Some(extent.id),
            // The dialog has not begun.
            None => return Ok(Body::rows::<MessageItem<'_>>(&[]).into()),
        },
        None => None,
    };
    let list = format!("search {target:?} {}", query.as_str());
    let start = context.pages.start(&list, page);
    let found = search::page(db, context.user, within, &query, page.limit, start).await?;
    context.pages.end(&list, page, found.last().map(|message| Place { at: 0, id: message.id.0 }));
    Ok(Body::rows(&found.iter().map(StoredMessage::item).collect::<Vec<_>>()).into())
}
