//! The words of the field. A value of one of these types was checked once and is trusted after.

mod lists;
mod names;
mod texts;
mod topics;

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize, Serializer};

pub use self::lists::{ConversationFilter, HistoryPage, ListStart, MovingStart, Page, Place, Start};
pub use self::names::{TypedUsername, Username, username_key, username_look};
pub use self::texts::{
    ClientMessageId, Content, Cursor, Email, GroupName, NotificationData, NotificationKind, Password, PersonName,
    Reaction, SearchQuery, UserQuery,
};
pub use self::topics::{Topic, Topics};

/// Why a value was refused: the rest of a sentence that begins with the field's name, such as
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
    /// One place where a user is signed in; see [`SessionKey`].
    SessionId
}

/// A session among all that there are in any history of the database. After a restore its number may be
/// given again, to somebody else; the nonce is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionKey {
    /// Its number; a token's `sid`.
    pub id: SessionId,
    /// Drawn at random when it was opened; a token's `nonce`.
    pub nonce: i64,
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

/// To whom a message goes, as its sender names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Who.
    pub user: UserId,
    /// Where; over HTTP it is no socket's.
    pub socket: SocketId,
}

/// A socket, among all that there ever were on any node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
