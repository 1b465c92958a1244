//! Invariants of the fields of HTTP bodies and query strings, for every type of a field.

use hark::error::{Code, Error};
use hark::model::{
    ClientMessageId, Content, ConversationFilter, Cursor, Email, GroupName, MessageId, NotificationData,
    NotificationKind, Password, PersonName, Reaction, SearchQuery, Topics, UserId, UserQuery, Username,
};
use hark::wire::params::{Fields, Param};

use super::frames::{LIMITS, check_sentence};

/// Parses a body, or a query string if it begins with a question mark.
///
/// # Panics
/// If an invariant does not hold.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(query) = text.strip_prefix('?') {
        let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let pairs: Vec<_> = query.split('&').filter_map(pair).collect();
        return check_fields(&Fields::of_query(&pairs, &LIMITS));
    }
    match Fields::of_body(text, &LIMITS) {
        Ok(fields) => check_fields(&fields),
        Err(error) => {
            assert!([Code::BadJson, Code::BadParams].contains(&error.code()), "{error}");
            check_sentence(&error);
        }
    }
}

/// Takes a field of every type.
fn check_fields(fields: &Fields<'_>) {
    is_within::<Content>(fields, "content", |content| (1..=LIMITS.max_content_bytes).contains(&content.as_str().len()));
    is_within::<ClientMessageId>(fields, "clientMessageId", |id| (1..=64).contains(&id.as_str().chars().count()));
    is_within::<GroupName>(fields, "groupName", |name| (1..=100).contains(&name.as_str().chars().count()));
    is_within::<Email>(fields, "email", |email| email.as_str().len() <= 254);
    is_within::<Username>(fields, "username", |name| (1..=64).contains(&name.as_str().chars().count()));
    is_within::<PersonName>(fields, "firstName", |name| name.as_str().chars().count() <= 100);
    is_within::<UserQuery>(fields, "q", |query| (1..=254).contains(&query.as_str().chars().count()));
    is_within::<SearchQuery>(fields, "query", |query| (1..=254).contains(&query.as_str().chars().count()));
    is_within::<Reaction>(fields, "reaction", |reaction| (1..=32).contains(&reaction.as_str().chars().count()));
    is_within::<NotificationKind>(fields, "kind", |kind| (1..=32).contains(&kind.as_str().len()));
    is_within::<NotificationData>(fields, "data", |data| data.as_str().len() <= NotificationData::MAX_BYTES);
    is_within::<Cursor>(fields, "cursor", |cursor| cursor.as_str().len() <= Cursor::MAX_CHARS);
    is_within::<UserId>(fields, "userId", |id| (1..=hark::model::MAX_ID).contains(&id.0));
    is_within::<MessageId>(fields, "messageId", |id| (1..=hark::model::MAX_ID).contains(&id.0));
    is_within::<Vec<UserId>>(fields, "userIds", |ids| ids.len() <= hark::wire::params::MAX_USERS_IN_A_LIST);
    is_within::<Password>(fields, "password", |_| true);
    is_within::<ConversationFilter>(fields, "filter", |_| true);
    is_within::<Topics>(fields, "events", |_| true);
    is_within::<bool>(fields, "spam", |_| true);
    let page = accepted(fields.page());
    assert!(page.is_none_or(|page| page.page >= 1 && (1..=LIMITS.max_page_rows).contains(&page.limit)));
    accepted(fields.history_page());
    accepted(fields.target());
    accepted(fields.optional_target());
    accepted(fields.seq("seq"));
}

fn is_within<T: Param>(fields: &Fields<'_>, name: &str, holds: impl Fn(&T) -> bool) {
    let value: Option<T> = accepted(fields.optional(name)).flatten();
    assert!(value.as_ref().is_none_or(holds), "{name} is out of its range");
    let required: Option<T> = accepted(fields.required(name));
    assert!(required.is_some() == value.is_some(), "{name}: required and optional disagree");
    let nullable: Option<Option<T>> = accepted(fields.nullable(name)).flatten();
    assert!(value.is_none() || matches!(nullable, Some(Some(_))), "{name}: required and optional disagree");
}

/// The value, or None if it was refused with a valid error.
fn accepted<T>(result: Result<T, Error>) -> Option<T> {
    result
        .map_err(|error| {
            assert_eq!(error.code(), Code::BadParams, "{error}");
            check_sentence(&error);
        })
        .ok()
}
