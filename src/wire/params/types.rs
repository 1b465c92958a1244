//! The types of fields: how each is parsed, and its JSON Schema.

use serde_json::value::RawValue;
use serde_json::{Value as Schema, json};

use super::{Param, Value};
use crate::config::Limits;
use crate::model::{
    ClientMessageId, Content, ConversationFilter, Cursor, Email, GroupId, GroupName, LoginUsername, MAX_ID, MessageId,
    NotificationData, NotificationId, NotificationKind, Password, PersonName, Reaction, Refusal, SearchQuery, Topic,
    Topics, UserId, UserQuery, Username,
};

macro_rules! text_params {
    ($($name:ident: |$limits:ident| $schema:tt)*) => {$(
        impl Param for $name {
            fn parse(value: Value<'_>, limits: &Limits) -> Result<Self, Refusal> {
                $name::parse(value.text()?, limits)
            }

            fn schema($limits: &Limits) -> Schema {
                let mut schema = json!($schema);
                schema["type"] = json!("string");
                schema
            }
        }
    )*};
}

text_params! {
    Content: |limits| {
        "minLength": 1,
        "description": (format!("1 to {} bytes of UTF-8, as they are", limits.max_content_bytes)),
        "example": "Hi",
    }
    GroupName: |limits| { "minLength": 1, "maxLength": (limits.max_group_name_chars), "example": "Book club" }
    ClientMessageId: |_limits| { "minLength": 1, "maxLength": 64, "example": "a1" }
    Email: |_limits| { "maxLength": 254, "example": "patrick@example.org" }
    Username: |_limits| { "minLength": 1, "maxLength": 64, "example": "patrick" }
    LoginUsername: |_limits| { "minLength": 1, "maxLength": 64, "example": "patrick" }
    PersonName: |_limits| { "maxLength": 100, "example": "Patrick" }
    Password: |limits| {
        "minLength": (limits.min_password_chars),
        "maxLength": (limits.max_password_chars),
        "example": "correct horse",
    }
    UserQuery: |_limits| { "minLength": 1, "maxLength": 254, "example": "pat" }
    SearchQuery: |_limits| { "minLength": 1, "maxLength": 254, "example": "tea" }
    Reaction: |_limits| { "minLength": 1, "maxLength": 32, "example": "👍" }
    NotificationKind: |_limits| { "minLength": 1, "maxLength": 32, "example": "like" }
    Cursor: |_limits| { "minLength": 1, "maxLength": (Self::MAX_CHARS), "example": "4294967297.728:728:" }
}

macro_rules! id_params {
    ($($name:ident)*) => {$(
        impl Param for $name {
            fn parse(value: Value<'_>, _: &Limits) -> Result<Self, Refusal> {
                value.integer(1, MAX_ID).map($name)
            }

            fn schema(_: &Limits) -> Schema {
                json!({ "type": "integer", "minimum": 1, "example": 1 })
            }
        }
    )*};
}

id_params! { UserId GroupId MessageId NotificationId }

impl Param for String {
    fn parse(value: Value<'_>, _: &Limits) -> Result<Self, Refusal> {
        value.text()
    }

    fn schema(_: &Limits) -> Schema {
        json!({ "type": "string", "example": "eyJ0eXAiOiJKV1QifQ.eyJpZCI6MX0.c2lnbmF0dXJl" })
    }
}

impl Param for bool {
    fn parse(value: Value<'_>, _: &Limits) -> Result<Self, Refusal> {
        let text = match value {
            Value::Json(raw) => raw.get(),
            Value::Text(text) => text,
        };
        text.parse().map_err(|_| "must be true or false".into())
    }

    fn schema(_: &Limits) -> Schema {
        json!({ "type": "boolean", "example": true })
    }
}

impl Param for ConversationFilter {
    fn parse(value: Value<'_>, _: &Limits) -> Result<Self, Refusal> {
        let text = value.text()?;
        let filter = Self::ALL.into_iter().find(|filter| filter.name() == text);
        filter.ok_or_else(|| "must be all, unread, spam, groups or dialogs".into())
    }

    fn schema(_: &Limits) -> Schema {
        json!({ "type": "string", "enum": Self::ALL.map(Self::name), "example": "all" })
    }
}

/// A list of names or one name; `all` stands for all topics.
impl Param for Topics {
    fn parse(value: Value<'_>, _: &Limits) -> Result<Self, Refusal> {
        const ALL: &str = "all";
        let names: Vec<String> = match value {
            Value::Json(raw) if raw.get().starts_with('[') => serde_json::from_str(raw.get()).ok(),
            value => value.text().ok().map(|name| vec![name]),
        }
        .ok_or("must be a list of names of events")?;
        if names.iter().any(|name| name == ALL) {
            return Ok(Topic::ALL.into_iter().collect());
        }
        let topic = |name: &String| Topic::ALL.into_iter().find(|topic| topic.name() == name);
        names
            .iter()
            .map(topic)
            .collect::<Option<_>>()
            .ok_or_else(|| format!("must hold only {} or {ALL}", Topic::ALL.map(Topic::name).join(", ")).into())
    }

    fn schema(_: &Limits) -> Schema {
        let mut names = Topic::ALL.map(Topic::name).to_vec();
        names.push("all");
        json!({ "type": "array", "items": { "type": "string", "enum": names }, "example": ["all"] })
    }
}

impl Param for NotificationData {
    fn parse(value: Value<'_>, _: &Limits) -> Result<Self, Refusal> {
        match value {
            Value::Json(raw) => Self::parse(raw.get().to_owned()),
            Value::Text(text) => Self::parse(json!(text).to_string()),
        }
    }

    fn schema(_: &Limits) -> Schema {
        json!({ "description": format!("any JSON up to {} bytes", Self::MAX_BYTES), "example": { "photo": 3 } })
    }
}

/// Maximum number of users that one request may name.
pub const MAX_USERS_IN_A_LIST: usize = 1_000;

impl Param for Vec<UserId> {
    fn parse(value: Value<'_>, limits: &Limits) -> Result<Self, Refusal> {
        let refusal = || format!("must be a list of at most {MAX_USERS_IN_A_LIST} user ids");
        let Value::Json(raw) = value else { return Err(refusal().into()) };
        let ids: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| refusal())?;
        if ids.len() > MAX_USERS_IN_A_LIST {
            return Err(refusal().into());
        }
        ids.into_iter()
            .map(|id| UserId::parse(Value::Json(id), limits))
            .collect::<Result<_, _>>()
            .map_err(|_| refusal().into())
    }

    fn schema(limits: &Limits) -> Schema {
        json!({
            "type": "array",
            "items": UserId::schema(limits),
            "maxItems": MAX_USERS_IN_A_LIST,
            "example": [2, 3],
        })
    }
}
