//! The events of a history, in the order in which they happened. The checker knows nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Microseconds since the recording began, of a monotonic clock.
pub(crate) type Micros = u64;
/// The number of a socket, unique over all servers of a round.
pub(crate) type SocketId = u32;
/// A user's id.
pub(crate) type UserId = i64;

/// An event and its time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The time.
    pub(crate) at: Micros,
    /// The event.
    pub(crate) event: Event,
}

/// An event. Frames are recorded as they went over the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Event {
    /// The clients are set up, and the load begins.
    Round(Round),
    /// A socket was opened.
    Opened { socket: SocketId, user: UserId, server: usize },
    /// A socket has ended.
    Closed { socket: SocketId, code: Option<u16>, by: Side },
    /// A frame to the server, recorded before it is written.
    Request { socket: SocketId, frame: Box<RawValue> },
    /// A frame from the server that answers a request.
    Reply { socket: SocketId, frame: Box<RawValue> },
    /// A frame from the server that answers no request.
    Push { socket: SocketId, frame: Box<RawValue> },
    /// The status of a `/readyz` that was requested at `asked_at`; `None` without a response.
    Ready { server: usize, asked_at: Micros, status: Option<u16> },
    /// The resident memory of a server's process, in KiB.
    Memory { server: usize, kib: u64 },
    /// A fault enters a phase.
    Fault { fault: String, phase: Phase },
    /// A WebSocket ping, sent right after a request.
    Ping { socket: SocketId, number: u64 },
    /// A WebSocket pong, with the number of its ping.
    Pong { socket: SocketId, number: u64 },
    /// From here on one user floods the server with this kind of request.
    Abuse { kind: String },
    /// The number of rows of this kind that one user has imposed on another in the end; the count stops above a
    /// thousand.
    Imposed { kind: String, count: usize },
    /// The status of a valid login that was requested at `asked_at`; `None` without a response.
    Login { asked_at: Micros, status: Option<u16> },
    /// A server was started in an environment where it should start, or should refuse to; `refusal` is its last line of
    /// output where it did not start.
    Startup { environment: String, should_start: bool, refusal: Option<String> },
    /// A backup is taken, or a standby stops to follow: everything acknowledged so far is in it.
    Backup,
    /// The backup has replaced the data: everything after it is lost, and a new history begins.
    Restored,
    /// A token of `owner`, issued at `issued`, was used at `route`; `account` is the account that it opened.
    Token { owner: String, issued: Micros, route: String, account: Option<String> },
    /// Takes the place of an event of a lost history.
    Omitted,
    /// A fault that cannot be injected on this machine.
    Skipped { fault: String, reason: String },
    /// From here on no client writes, and the final state is read.
    Quiescent,
    /// The final chat list of a user.
    ChatList { user: UserId, rows: Vec<ChatListRow> },
    /// The final message history of a conversation as a user reads it, the oldest message first.
    History { user: UserId, conversation: Conversation, rows: Vec<Message> },
    /// The final members of a conversation as a user reads them.
    Members { user: UserId, conversation: Conversation, rows: Vec<Member> },
    /// All changes that `sync` returns to a user in the end for a cursor.
    Synced { user: UserId, cursor: String, complete: bool, changes: Vec<Change> },
    /// A part of the final state that could not be read.
    Unknown { user: UserId, reason: String },
}

/// The identity of a round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Its name.
    pub(crate) name: String,
    /// The seed of its random choices.
    pub(crate) seed: u64,
}

/// The side that ended a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Side {
    /// The client.
    Client,
    /// The server, or the network.
    Server,
}

/// A phase of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Phase {
    /// The fault is about to be injected.
    Started,
    /// From here on PostgreSQL is certainly down.
    DatabaseDown,
    /// From here on PostgreSQL may be up again.
    DatabaseUp,
    /// The fault is over, and the servers are ready again.
    Ended,
}

/// The identity of a conversation, the same for all of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Conversation {
    /// The dialog of two users, the lower id first.
    Dialog(UserId, UserId),
    /// The group with this id.
    Group(i64),
}

impl Conversation {
    /// The dialog of two users.
    pub(crate) fn dialog(one: UserId, other: UserId) -> Self {
        Self::Dialog(one.min(other), one.max(other))
    }

    /// The conversation that the target of a frame names, from the point of view of `user`.
    pub(crate) fn from_target(user: UserId, target: &Value) -> Option<Self> {
        match (target["groupId"].as_i64(), target["receiverId"].as_i64()) {
            (Some(group), _) => Some(Self::Group(group)),
            (None, receiver) => Some(Self::dialog(user, receiver?)),
        }
    }

    /// The target that names this conversation in a request of `user`.
    pub(crate) fn target(self, user: UserId) -> Value {
        match self {
            Self::Group(group) => json!({ "groupId": group }),
            Self::Dialog(low, high) => json!({ "receiverId": if user == low { high } else { low } }),
        }
    }
}

impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialog(low, high) => write!(f, "the dialog of {low} and {high}"),
            Self::Group(group) => write!(f, "group {group}"),
        }
    }
}

/// A message: the fields that are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message {
    /// The id, unique in the database.
    pub(crate) id: i64,
    /// The number in the conversation.
    pub(crate) seq: i64,
    /// The sender.
    pub(crate) sender: UserId,
    /// The content; empty after a deletion.
    pub(crate) content: String,
    /// Whether it was deleted.
    pub(crate) deleted: bool,
    /// At most one reaction of each user, ordered by user.
    pub(crate) reactions: Vec<(UserId, String)>,
}

impl Message {
    /// Parses the item of a push or the row of a page.
    pub(crate) fn parse(row: &Value) -> Option<Self> {
        let sender = row.get("senderId").or_else(|| row.get("sender_id"))?.as_i64()?;
        let reaction = |one: &Value| Some((one["userId"].as_i64()?, one["reaction"].as_str()?.to_owned()));
        let mut reactions: Vec<_> = row["reactions"].as_array()?.iter().filter_map(reaction).collect();
        reactions.sort_unstable();
        Some(Self {
            id: row["messageId"].as_i64()?,
            seq: row["seq"].as_i64()?,
            sender,
            content: row["content"].as_str()?.to_owned(),
            deleted: !row["deletedAt"].is_null(),
            reactions,
        })
    }

    /// The conversation of the item of a push.
    pub(crate) fn conversation(item: &Value) -> Option<Conversation> {
        Conversation::from_target(item["senderId"].as_i64()?, item)
    }
}

/// A row of the chat list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChatListRow {
    /// The conversation.
    pub(crate) conversation: Conversation,
    /// The `seq` of the newest message.
    pub(crate) last_seq: i64,
    /// The user's read marker.
    pub(crate) read_seq: i64,
    /// The `unreadCount`.
    pub(crate) unread: i64,
}

/// A member of a conversation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Member {
    /// The user.
    pub(crate) user: UserId,
    /// The read marker.
    pub(crate) read_seq: i64,
    /// The delivered marker.
    pub(crate) delivered_seq: i64,
}

/// A row of `sync`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Change {
    /// A message with its current content.
    Message(Conversation, Message),
    /// A user joined or left a group.
    Member { group: i64, user: UserId, is_in: bool },
    /// A group was deleted.
    Dropped { group: i64 },
    /// The current read marker (`read`) or delivered marker of a user.
    Marker { conversation: Conversation, user: UserId, seq: i64, read: bool },
    /// A change that is not checked: of names, admins, or the user's own settings.
    Other,
}

impl Change {
    /// Parses a row that `user` received.
    pub(crate) fn parse(user: UserId, row: &Value) -> Option<Self> {
        let item = &row["item"];
        let member =
            |is_in| Some(Self::Member { group: item["groupId"].as_i64()?, user: item["userId"].as_i64()?, is_in });
        match row["type"].as_str()? {
            "privateMessage" | "messageInGroup" | "editMessage" | "deleteMessage" | "reactToMessage" => {
                Some(Self::Message(Message::conversation(item)?, Message::parse(item)?))
            }
            "addUserInGroup" => member(true),
            "leaveGroup" | "removeUserFromGroup" => member(false),
            "dropGroup" => Some(Self::Dropped { group: item["groupId"].as_i64()? }),
            frame_type @ ("readMessages" | "deliveredMessages") => Some(Self::Marker {
                conversation: Conversation::from_target(user, item)?,
                user: item["userId"].as_i64()?,
                seq: item["seq"].as_i64()?,
                read: frame_type == "readMessages",
            }),
            _ => Some(Self::Other),
        }
    }

    /// Parses the rows of a reply to `sync`.
    ///
    /// # Errors
    /// A sentence with the first row that cannot be parsed.
    pub(crate) fn parse_all(user: UserId, reply: &Value) -> Result<Vec<Self>, String> {
        let rows = reply["params"]["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        rows.iter()
            .map(|row| Self::parse(user, row).ok_or_else(|| format!("sync returned an invalid row: {row}")))
            .collect()
    }
}
