//! Texts from clients, each validated when it is parsed.

use std::fmt;

use serde_json::Value;

use super::Refusal;
use super::validation::{chars_within, check_display_name, is_invisible, no_nul};
use crate::config::Limits;

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text as it was sent.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text as it was sent.
            #[must_use]
            pub fn into_string(self) -> String {
                self.0
            }
        }
    )*};
}

texts! {
    /// The content of a message: 1 byte to `max_content_bytes` of the settings, unchanged.
    Content
    /// The name of a group: 1 character to `max_group_name_chars` of the settings.
    GroupName
    /// The idempotency key of a send, chosen by the sender: 1 to 64 characters.
    ClientMessageId
    /// An e-mail address: something @ something, up to 254 bytes. Whether mail arrives there is not checked.
    Email
    /// A first or last name: up to 100 characters. An empty one is the same as none.
    PersonName
    /// A search for users, by a part of a name or a whole e-mail address: 1 to 254 characters.
    UserQuery
    /// A full-text search in messages: 1 to 254 characters.
    SearchQuery
    /// A reaction to a message, usually an emoji: 1 to 32 characters.
    Reaction
    /// The kind of a notification: a word of 1 to 32 letters, digits, `_` or `-`.
    NotificationKind
    /// The data of a notification: any JSON up to 4096 bytes, unchanged.
    NotificationData
    /// A cursor of `sync`: up to 16,384 characters, because it lists the transactions that were in progress.
    Cursor
}

impl Content {
    /// # Errors
    /// Empty, over the limit in bytes of UTF-8, or with U+0000.
    pub fn parse(text: String, limits: &Limits) -> Result<Self, Refusal> {
        no_nul(&text)?;
        if (1..=limits.max_content_bytes).contains(&text.len()) {
            Ok(Self(text))
        } else {
            Err(format!("must be 1 to {} bytes", limits.max_content_bytes).into())
        }
    }
}

impl GroupName {
    /// # Errors
    /// Empty or empty-looking, over the limit, or with control characters.
    pub fn parse(text: String, limits: &Limits) -> Result<Self, Refusal> {
        chars_within(&text, 1, limits.max_group_name_chars)?;
        check_display_name(&text)?;
        Ok(Self(text))
    }
}

impl ClientMessageId {
    /// # Errors
    /// Empty, over 64 characters, or with U+0000.
    pub fn parse(text: String, _: &Limits) -> Result<Self, Refusal> {
        chars_within(&text, 1, 64)?;
        Ok(Self(text))
    }
}

impl Email {
    /// # Errors
    /// Not something @ something, with a space or a character that cannot be seen, or over 254 bytes.
    pub fn parse(text: String, _: &Limits) -> Result<Self, Refusal> {
        let halves = text
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
        // The part before the @ is the display name of a user without another.
        let clean = !text.chars().any(|c| c.is_whitespace() || c.is_control() || is_invisible(c));
        if halves && clean && text.len() <= 254 {
            Ok(Self(text))
        } else {
            Err("must be an e-mail address of at most 254 bytes".into())
        }
    }
}

impl PersonName {
    /// # Errors
    /// Over 100 characters, with a control character, or with characters of which none can be seen.
    pub fn parse(text: String, _: &Limits) -> Result<Self, Refusal> {
        chars_within(&text, 0, 100)?;
        // A name of spaces is the same as none.
        if !text.chars().all(|c| c == ' ') {
            check_display_name(&text)?;
        }
        Ok(Self(text))
    }

    /// The name, unless it is empty.
    #[must_use]
    pub fn non_empty(self) -> Option<String> {
        Some(self.0).filter(|name| !name.trim().is_empty())
    }
}

impl UserQuery {
    /// # Errors
    /// Empty, over 254 characters, or with U+0000.
    pub fn parse(text: String, _: &Limits) -> Result<Self, Refusal> {
        chars_within(&text, 1, 254)?;
        Ok(Self(text))
    }
}

impl SearchQuery {
    /// # Errors
    /// Empty, over 254 characters, or with U+0000.
    pub fn parse(text: String, _: &Limits) -> Result<Self, Refusal> {
        chars_within(&text, 1, 254)?;
        Ok(Self(text))
    }
}

impl Reaction {
    /// # Errors
    /// Empty, over 32 characters, or with U+0000.
    pub fn parse(text: String, _: &Limits) -> Result<Self, Refusal> {
        chars_within(&text, 1, 32)?;
        Ok(Self(text))
    }
}

impl NotificationKind {
    /// The kind of the notification that the server sends for a new message. Clients cannot use it.
    pub const MESSAGE: &'static str = "message";

    /// # Errors
    /// Not a word, over 32 characters, or [`Self::MESSAGE`].
    pub fn parse(text: String, _: &Limits) -> Result<Self, Refusal> {
        let is_word = text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        if !is_word || !(1..=32).contains(&text.chars().count()) {
            return Err("must be a word of 1 to 32 letters".into());
        }
        if text == Self::MESSAGE {
            return Err("must not be message: that is what the server says of a new message".into());
        }
        Ok(Self(text))
    }
}

impl NotificationData {
    /// Maximum size of the JSON, in bytes.
    pub const MAX_BYTES: usize = 4096;

    /// # Errors
    /// Over the limit, nested more than 128 levels deep, or with a string that PostgreSQL cannot store.
    pub fn parse(json: String) -> Result<Self, Refusal> {
        if json.len() > Self::MAX_BYTES {
            return Err(format!("must be JSON of at most {} bytes", Self::MAX_BYTES).into());
        }
        // serde_json refuses lone surrogates, and more than 128 levels.
        let value: Value =
            serde_json::from_str(&json).map_err(|_| "must be JSON of at most 128 levels, without lone surrogates")?;
        if has_nul(&value) { Err("must not contain U+0000".into()) } else { Ok(Self(json)) }
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

impl Cursor {
    /// Maximum number of characters: enough for two lists of some hundred transactions.
    pub const MAX_CHARS: usize = 16_384;

    /// # Errors
    /// Empty or over 16,384 characters. The store decides whether it is a cursor at all.
    pub fn parse(text: String, _: &Limits) -> Result<Self, Refusal> {
        chars_within(&text, 1, Self::MAX_CHARS)?;
        Ok(Self(text))
    }
}

/// A password on its way to be hashed. No log, error or `Debug` output shows it.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// A new password.
    ///
    /// # Errors
    /// Shorter or longer than the settings allow, in characters.
    pub fn parse(text: String, limits: &Limits) -> Result<Self, Refusal> {
        let (min, max) = (limits.min_password_chars, limits.max_password_chars);
        if (min..=max).contains(&text.chars().count()) {
            Ok(Self(text))
        } else {
            Err(format!("must be {min} to {max} characters").into())
        }
    }

    /// A password to be verified, of any length: older ones may be outside of today's limits.
    #[must_use]
    pub fn to_verify(text: String) -> Self {
        Self(text)
    }

    /// The password itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(password)")
    }
}
