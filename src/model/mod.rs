//! The domain types: ids, texts, names, pages. A value of one of these types was validated when it was parsed, and
//! is not validated again.

mod changes;
mod group_events;
mod lists;
mod message_events;
mod names;
mod push_types;
mod texts;
mod topics;
mod validation;

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize, Serializer};

pub use self::changes::ChangeKind;
pub use self::group_events::GroupEventKind;
pub use self::lists::{ConversationFilter, HistoryPage, HistoryStart, ListPosition, ListStart, MovingListStart, Page};
pub use self::message_events::{MessageEvent, ReceiptEvent};
pub use self::names::{LoginUsername, Username, username_key, username_skeleton};
pub use self::push_types::PushType;
pub use self::texts::{
    ClientMessageId, Content, Cursor, Email, GroupName, NotificationData, NotificationKind, Password, PersonName,
    Reaction, SearchQuery, UserQuery,
};
pub use self::topics::{Topic, Topics};

/// Why a value is not valid: the rest of a sentence that begins with the name of the field, such as
/// `must be 1 to 64 characters`.
pub type Refusal = Cow<'static, str>;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// A user, whose account may be deleted.
    UserId
    /// A group, which is a conversation with a name and any number of members.
    GroupId
    /// A dialog or a group.
    ConversationId
    /// A message; ids are unique over all conversations.
    MessageId
    /// A notification from one user to another.
    NotificationId
    /// A session: one place where a user is signed in; see [`SessionKey`].
    SessionId
}

/// Identifies a session in every history of the database. After a restore its id may be assigned again, to
/// another user; the nonce is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionKey {
    /// The id; `sid` in the claims of a token.
    pub id: SessionId,
    /// A random number, drawn when the session was created; `nonce` in the claims of a token.
    pub nonce: i64,
}

/// The largest id: every JSON reader holds the integers up to 2^53 - 1 exactly.
pub const MAX_ID: i64 = (1 << 53) - 1;

/// The sequence number of a message in its conversation: 1, 2, 3 … without a gap.
pub type Seq = i64;

/// A time in UTC; serialised as RFC 3339 with milliseconds.
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

/// A conversation as one of its members names it: by the other user, or by the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Target {
    /// The dialog with this user; with oneself it is one's notes.
    User(UserId),
    /// The group with this id.
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

    /// The id of the group; `None` for a dialog.
    #[must_use]
    pub fn group(self) -> Option<GroupId> {
        match self {
            Self::User(_) => None,
            Self::Group(id) => Some(id),
        }
    }
}

/// The user and the socket that caused a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The user.
    pub user: UserId,
    /// The socket; [`SocketId::NONE`] for a request over HTTP.
    pub socket: SocketId,
}

/// Identifies a socket over all nodes and restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SocketId(pub u64);

impl SocketId {
    /// The origin is a request over HTTP.
    pub const NONE: Self = Self(0);
}

impl From<GroupId> for ConversationId {
    /// A group is the conversation with its id.
    fn from(group: GroupId) -> Self {
        Self(group.0)
    }
}
