//! The words of the field. A value of one of these types was checked once and is trusted after.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};

use crate::config::Limits;

/// Why a value was refused: the rest of a sentence that begins with the field's name, such as
/// `must be 1 to 64 characters`.
pub type Refusal = Cow<'static, str>;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl From<i64> for $name {
            fn from(id: i64) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// A person with an account, or who had one.
    UserId
    /// A group, which is a conversation with a name and any number of members.
    GroupId
    /// A dialog or a group.
    ConversationId
    /// A message, anywhere.
    MessageId
    /// What somebody let somebody know.
    NotificationId
    /// One place where a user is signed in; a token's `sid`.
    SessionId
}

/// Ids are integers that every JSON reader holds exactly: 1 to 2^53 - 1.
pub const MAX_ID: i64 = (1 << 53) - 1;

/// Place of a message in its conversation: 1, 2, 3 … without a gap.
pub type Seq = i64;

/// A moment in UTC; written as RFC 3339 with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub DateTime<Utc>);

impl From<DateTime<Utc>> for Timestamp {
    fn from(moment: DateTime<Utc>) -> Self {
        Self(moment)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

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
    /// A name to sign in with: 1 to 64 characters, no space and no @.
    Username
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
fn chars_within(text: &str, min: usize, max: usize) -> Result<(), Refusal> {
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
    /// Empty, over the limit, or with U+0000.
    pub fn parse(text: String, limits: &Limits) -> Result<Self, Refusal> {
        chars_within(&text, 1, limits.max_group_name_chars)?;
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
    /// Not something @ something, with a space or a control character, or over 254 bytes.
    pub fn parse(text: String, _: &Limits) -> Result<Self, Refusal> {
        let halves = text
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
        let clean = !text.chars().any(|c| c.is_whitespace() || c.is_control());
        if halves && clean && text.len() <= 254 {
            Ok(Self(text))
        } else {
            Err("must be an e-mail address of at most 254 bytes".into())
        }
    }
}

impl Username {
    /// # Errors
    /// Empty, over 64 characters, or with a space, a control character or an @.
    pub fn parse(text: String, _: &Limits) -> Result<Self, Refusal> {
        chars_within(&text, 1, 64)?;
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '@') {
            return Err("must not contain spaces or @".into());
        }
        Ok(Self(text))
    }
}

impl PersonName {
    /// # Errors
    /// Over 100 characters, or with a control character.
    pub fn parse(text: String, _: &Limits) -> Result<Self, Refusal> {
        chars_within(&text, 0, 100)?;
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters".into());
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
    /// Over the limit. `json` is JSON already.
    pub fn parse(json: String) -> Result<Self, Refusal> {
        if json.len() <= Self::MAX_BYTES {
            Ok(Self(json))
        } else {
            Err(format!("must be JSON of at most {} bytes", Self::MAX_BYTES).into())
        }
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

/// What a socket may ask to be told besides the pushes that every client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Who has read, and whom messages have reached.
    Receipts,
    /// Who is writing in a conversation that is open here.
    Typing,
    /// Who comes and goes.
    Presence,
    /// Admins, names, removals and ends of groups.
    Groups,
    /// Who has me as a contact now.
    Contacts,
    /// Edits, deletions and reactions.
    Messages,
    /// Notifications, and word of messages in conversations that are not open here.
    Notifications,
    /// What my other sockets do.
    Own,
}

impl Topic {
    /// All of them, in the order of the protocol.
    pub const ALL: [Self; 8] = [
        Self::Receipts,
        Self::Typing,
        Self::Presence,
        Self::Groups,
        Self::Contacts,
        Self::Messages,
        Self::Notifications,
        Self::Own,
    ];

    /// As it goes over the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Receipts => "receipts",
            Self::Typing => "typing",
            Self::Presence => "presence",
            Self::Groups => "groups",
            Self::Contacts => "contacts",
            Self::Messages => "messages",
            Self::Notifications => "notifications",
            Self::Own => "own",
        }
    }
}

/// A set of topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Topics(u8);

impl Topics {
    /// The set in one byte.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set that [`Self::bits`] gave.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether a topic is in it.
    #[must_use]
    pub fn has(self, topic: Topic) -> bool {
        self.0 & (1 << topic as u8) != 0
    }

    /// The topics in it.
    pub fn iter(self) -> impl Iterator<Item = Topic> {
        Topic::ALL.into_iter().filter(move |topic| self.has(*topic))
    }
}

impl FromIterator<Topic> for Topics {
    fn from_iter<I: IntoIterator<Item = Topic>>(topics: I) -> Self {
        Self(topics.into_iter().fold(0, |bits, topic| bits | 1 << topic as u8))
    }
}

/// Which of my conversations a list holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConversationFilter {
    /// All but spam and what I removed.
    #[default]
    All,
    /// Those of `All` with something unread.
    Unread,
    /// Spam alone.
    Spam,
    /// The groups of `All`.
    Groups,
    /// The dialogs of `All`.
    Dialogs,
}

impl ConversationFilter {
    /// All of them, in the order of the protocol.
    pub const ALL: [Self; 5] = [Self::All, Self::Unread, Self::Spam, Self::Groups, Self::Dialogs];

    /// As it goes over the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Unread => "unread",
            Self::Spam => "spam",
            Self::Groups => "groups",
            Self::Dialogs => "dialogs",
        }
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

/// A page of a list: `limit` rows, `page` from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows, 1 to the limit.
    pub limit: i64,
    /// Number of the page, from 1.
    pub page: i64,
}

impl Page {
    /// Rows of the pages before this one.
    #[must_use]
    pub fn offset(self) -> i64 {
        (self.page - 1).saturating_mul(self.limit)
    }
}

/// The place of a row in a list that moves while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When it came there, in microseconds since 1970; 0 in lists that go by id alone.
    pub at: i64,
    /// Its id, which decides between rows of one moment.
    pub id: i64,
}

/// Where a page of a list that moves while it is read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListStart {
    /// Below this row, as the list is read.
    pub below: Option<Place>,
    /// After so many rows.
    pub skipped: i64,
}

/// Where a page begins of a list whose rows move to its top while somebody pages through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovingStart {
    /// Where it begins, but for the rows that have moved.
    pub start: ListStart,
    /// Rows above this one have moved since the first page was read.
    pub moved_above: Option<Place>,
    /// The rows that have been read, by their ids.
    pub shown: Vec<i64>,
}

/// Where a page of a history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The page of this number, from 1, counted from the newest message.
    Page(i64),
    /// Below this `seq`, which stays put while messages arrive.
    Before(Seq),
}

/// A page of a history, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Rows, 1 to the limit.
    pub limit: i64,
    /// Where it begins.
    pub start: Start,
}

/// To whom a message goes, as its sender names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The dialog with this user; oneself for notes.
    User(UserId),
    /// A group.
    Group(GroupId),
}

impl Target {
    /// The other side of a dialog.
    #[must_use]
    pub fn user(self) -> Option<UserId> {
        match self {
            Self::User(id) => Some(id),
            Self::Group(_) => None,
        }
    }

    /// The group.
    #[must_use]
    pub fn group(self) -> Option<GroupId> {
        match self {
            Self::User(_) => None,
            Self::Group(id) => Some(id),
        }
    }
}

/// Who caused something, and on which of their sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who.
    pub user: UserId,
    /// Where; over HTTP it is no socket's.
    pub socket: SocketId,
}

/// A socket, among all that there ever were on any node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u64);

impl SocketId {
    /// What came over no socket.
    pub const NONE: Self = Self(0);
}

impl From<GroupId> for ConversationId {
    /// A group is the conversation with its id.
    fn from(group: GroupId) -> Self {
        Self(group.0)
    }
}
