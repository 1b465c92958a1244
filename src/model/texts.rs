//! Texts that somebody gave, each checked once.

use std::fmt;

use serde_json::Value;

use super::Refusal;
use super::names::{can_be_shown, is_invisible};
use crate::config::Limits;

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text as it was given.
            #[must_use]
            pub fn into_string(self) -> String {
                self.0
            }
        }
    )*};
}

texts! {
    /// What a message says: 1 byte to the limit, as it was sent.
    Content
    /// A group's name: 1 character to the limit.
    GroupName
    /// The sender's own name for a message, so that a repeat is known: 1 to 64 characters.
    ClientMessageId
    /// An e-mail address, as far as a server can tell: something @ something, up to 254 bytes.
    Email
    /// A first or last name: up to 100 characters. Empty means none.
    PersonName
    /// Part of a name, or a whole e-mail address: 1 to 254 characters.
    UserQuery
    /// Words to look for in messages: 1 to 254 characters.
    SearchQuery
    /// What somebody thinks of a message: 1 to 32 characters, mostly an emoji.
    Reaction
    /// What a notification is about: a word of 1 to 32 letters, digits, `_` or `-`.
    NotificationKind
    /// What goes with a notification: any JSON up to 4096 bytes, as it was sent.
    NotificationData
    /// Where a client's knowledge ends, for `sync`; up to 16,384 characters: it lists the
    /// transactions that were under way.
    Cursor
}

/// PostgreSQL cannot hold U+0000 in a text.
fn no_nul(text: &str) -> Result<(), Refusal> {
    if text.contains('\0') { Err("must not contain U+0000".into()) } else { Ok(()) }
}

/// Characters are Unicode scalar values, as people who read the limits would count them.
pub(super) fn chars_within(text: &str, min: usize, max: usize) -> Result<(), Refusal> {
    no_nul(text)?;
    if (min..=max).contains(&text.chars().count()) {
        Ok(())
    } else if min == 0 {
        Err(format!("must be at most {max} characters").into())
    } else {
        Err(format!("must be {min} to {max} characters").into())
    }
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
        can_be_shown(&text)?;
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
        // What is before the @ is the name of who has no other.
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
        // Spaces alone are no name, as nothing is.
        if !text.chars().all(|c| c == ' ') {
            can_be_shown(&text)?;
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
    /// The kind of what the server says of a new message. No client may say so.
    pub const MESSAGE: &'static str = "message";

    /// # Errors
    /// No word, over 32 characters, or [`Self::MESSAGE`].
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
    /// Most bytes of it.
    pub const MAX_BYTES: usize = 4096;

    /// # Errors
    /// Over the limit, deeper than readers of JSON go, or with a text in it that none of ours may be.
    pub fn parse(json: String) -> Result<Self, Refusal> {
        if json.len() > Self::MAX_BYTES {
            return Err(format!("must be JSON of at most {} bytes", Self::MAX_BYTES).into());
        }
        // A lone surrogate is no text either; serde_json goes 128 levels deep.
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
    /// Most characters of it: two lists of some hundred transactions.
    pub const MAX_CHARS: usize = 16_384;

    /// # Errors
    /// Empty or over 16,384 characters; whether it is one of ours is for the store to say.
    pub fn parse(text: String, _: &Limits) -> Result<Self, Refusal> {
        chars_within(&text, 1, Self::MAX_CHARS)?;
        Ok(Self(text))
    }
}

/// A password on its way to be hashed. No log, error or `Debug` output shows it.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// A new password, held to the limits.
    ///
    /// # Errors
    /// Shorter or longer than the limits, in characters.
    pub fn parse(text: String, limits: &Limits) -> Result<Self, Refusal> {
        let (min, max) = (limits.min_password_chars, limits.max_password_chars);
        if (min..=max).contains(&text.chars().count()) {
            Ok(Self(text))
        } else {
            Err(format!("must be {min} to {max} characters").into())
        }
    }

    /// A password that somebody says is theirs: right or wrong is for the hash to say.
    #[must_use]
    pub fn claimed(text: String) -> Self {
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
