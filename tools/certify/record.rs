//! What was seen, in the order in which it was seen: all that the judge knows.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Microseconds since the recording began, by a clock that only goes forward.
pub(crate) type Micros = u64;
/// A socket of the run, over all servers.
pub(crate) type SocketId = u32;
/// A user's id.
pub(crate) type UserId = i64;

/// Something that was seen, and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When.
    pub(crate) at: Micros,
    /// What.
    pub(crate) seen: Seen,
}

/// What can be seen. Frames are kept as they went over the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Seen {
    /// The people are there, and what they do begins.
    Round(Round),
    /// The upgrade is done.
    Opened { socket: SocketId, user: UserId, server: usize },
    /// A socket has ended.
    Closed { socket: SocketId, code: Option<u16>, by: Side },
    /// A frame to the server, noted before it is written.
    Request { socket: SocketId, frame: Box<RawValue> },
    /// A frame from the server that answers one.
    Reply { socket: SocketId, frame: Box<RawValue> },
    /// A frame from the server that answers none.
    Push { socket: SocketId, frame: Box<RawValue> },
    /// What `/readyz` answers to a question that was asked at `asked`; no status where nobody does.
    Ready { server: usize, asked: Micros, status: Option<u16> },
    /// What a server's process holds in memory, in KiB.
    Memory { server: usize, kib: u64 },
    /// Something is done to the server.
    Fault { fault: String, phase: Phase },
    /// A ping of the protocol, sent right behind a request.
    Ping { socket: SocketId, number: u64 },
    /// A pong, with the number of its ping.
    Pong { socket: SocketId, number: u64 },
    /// One person floods the server with this from here on.
    Abuse { with: String },
    /// How many of these one person has put upon another in the end; who counts stops past a thousand.
    Burden { of: String, number: usize },
    /// A right login that was asked for at `asked`; no status where nobody answers.
    Login { asked: Micros, status: Option<u16> },
    /// A server was started in surroundings in which it is to work or to refuse; why not, where it did not start.
    Start { surroundings: String, is_to_work: bool, refusal: Option<String> },
    /// All that was acknowledged before is in a backup, which is taken now, or in a standby that stops here.
    Backup,
    /// The backup is in place of the data: what came after it is lost, and a new history begins.
    Restored,
    /// A token of `owner`, issued at `issued`, was shown to `route`; whose account answered, if one did.
    Token { owner: String, issued: Micros, route: String, opened: Option<String> },
    /// Stands for what belongs to a lost history, in the part of a record that outlived it.
    Lost,
    /// A fault that cannot be made here.
    NotMade { fault: String, why: String },
    /// From here on nobody writes, and the final truth is asked for.
    Quiet,
    /// The final list of somebody's conversations.
    Chats { user: UserId, rows: Vec<Chat> },
    /// A final history as somebody reads it, the oldest first.
    History { user: UserId, place: Place, rows: Vec<Message> },
    /// Who is in a conversation in the end, as somebody reads it.
    Members { user: UserId, place: Place, rows: Vec<Member> },
    /// All that `sync` tells somebody in the end of what came after a cursor.
    Synced { user: UserId, cursor: String, complete: bool, changes: Vec<Change> },
    /// A part of the final truth that the server does not tell.
    Untold { user: UserId, what: String },
}

/// What a round is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Its name.
    pub(crate) name: String,
    /// What its choices come from.
    pub(crate) seed: u64,
}

/// Who ended a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Side {
    /// We did.
    Client,
    /// The server did, or what is between.
    Server,
}

/// How far a fault has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Phase {
    /// It is about to be done.
    Begun,
    /// From here on PostgreSQL is away for certain.
    Away,
    /// From here on it may be back.
    Back,
    /// It is undone; what is left is to recover.
    Over,
}

/// A conversation, whoever looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Place {
    /// Of two people, the lower id first.
    Dialog(UserId, UserId),
    /// A group, by its id.
    Group(i64),
}

impl Place {
    /// The dialog of two people.
    pub(crate) fn dialog(one: UserId, other: UserId) -> Self {
        Self::Dialog(one.min(other), one.max(other))
    }

    /// What the target of a frame names, as `user` writes or reads it.
    pub(crate) fn of_target(user: UserId, target: &Value) -> Option<Self> {
        match (target["groupId"].as_i64(), target["receiverId"].as_i64()) {
            (Some(group), _) => Some(Self::Group(group)),
            (None, receiver) => Some(Self::dialog(user, receiver?)),
        }
    }

    /// The target of a request by `user`.
    pub(crate) fn target(self, user: UserId) -> Value {
        match self {
            Self::Group(group) => json!({ "groupId": group }),
            Self::Dialog(low, high) => json!({ "receiverId": if user == low { high } else { low } }),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialog(low, high) => write!(f, "the dialog of {low} and {high}"),
            Self::Group(group) => write!(f, "group {group}"),
        }
    }
}

/// A message, as far as it is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message {
    /// Which, anywhere.
    pub(crate) id: i64,
    /// Its place in the conversation.
    pub(crate) seq: i64,
    /// Who wrote it.
    pub(crate) sender: UserId,
    /// What it says.
    pub(crate) content: String,
    /// Whether it was deleted.
    pub(crate) deleted: bool,
    /// One a user, by user.
    pub(crate) reactions: Vec<(UserId, String)>,
}

impl Message {
    /// Out of the item of a push or the row of a history.
    pub(crate) fn read(row: &Value) -> Option<Self> {
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

    /// Where the item of a push belongs.
    pub(crate) fn place(item: &Value) -> Option<Place> {
        Place::of_target(item["senderId"].as_i64()?, item)
    }
}

/// A row of the list of conversations.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Chat {
    /// Which.
    pub(crate) place: Place,
    /// `seq` of its newest message.
    pub(crate) last_seq: i64,
    /// Read up to here.
    pub(crate) read_seq: i64,
    /// What is to be judged.
    pub(crate) unread: i64,
}

/// Somebody in a conversation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Member {
    /// Who.
    pub(crate) user: UserId,
    /// Read up to here.
    pub(crate) read_seq: i64,
    /// Arrived up to here.
    pub(crate) delivered_seq: i64,
}

/// A row of `sync`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Change {
    /// A message, as it is now.
    Message(Place, Message),
    /// Somebody is in a group from here on, or no longer.
    Member { group: i64, user: UserId, is_in: bool },
    /// A group is no more.
    Ended { group: i64 },
    /// Somebody has read up to here, or messages have reached them.
    Marker { place: Place, user: UserId, seq: i64, read: bool },
    /// What is not judged: names, admins, one's own wishes.
    Other,
}

impl Change {
    /// Out of a row that `user` was told.
    pub(crate) fn read(user: UserId, row: &Value) -> Option<Self> {
        let item = &row["item"];
        let member =
            |is_in| Some(Self::Member { group: item["groupId"].as_i64()?, user: item["userId"].as_i64()?, is_in });
        match row["type"].as_str()? {
            "privateMessage" | "messageInGroup" | "editMessage" | "deleteMessage" | "reactToMessage" => {
                Some(Self::Message(Message::place(item)?, Message::read(item)?))
            }
            "addUserInGroup" => member(true),
            "leaveGroup" | "removeUserFromGroup" => member(false),
            "dropGroup" => Some(Self::Ended { group: item["groupId"].as_i64()? }),
            kind @ ("readMessages" | "deliveredMessages") => Some(Self::Marker {
                place: Place::of_target(user, item)?,
                user: item["userId"].as_i64()?,
                seq: item["seq"].as_i64()?,
                read: kind == "readMessages",
            }),
            _ => Some(Self::Other),
        }
    }

    /// The rows of a reply to `sync`; none that cannot be read is left out in silence.
    pub(crate) fn read_all(user: UserId, reply: &Value) -> Result<Vec<Self>, String> {
        let rows = reply["params"]["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        rows.iter().map(|row| Self::read(user, row).ok_or_else(|| format!("a row of sync is not one: {row}"))).collect()
    }
}
