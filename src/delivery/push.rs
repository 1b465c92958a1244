//! The vocabulary of delivery: an [`Event`] goes to every node, and most events are a [`Push`], a frame that
//! was encoded once and is shared by all sockets that get it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{ConversationId, GroupId, Origin, Seq, SessionKey, Target, Topic, UserId};
use crate::wire::reply::Frame;

/// What one node publishes to all nodes, itself included.
#[derive(Debug)]
pub enum Event {
    /// A frame for users, wherever they are connected.
    Push(Push),
    /// A user types in a conversation, or has stopped.
    Typing(TypingEvent),
    /// A user is no longer a member of a group: the group is closed and unmuted on all their sockets.
    MemberRemoved {
        /// The former member.
        user: UserId,
        /// The group.
        group: GroupId,
    },
    /// A user turned the notifications of a conversation off or on.
    MuteChanged {
        /// Whose notifications.
        user: UserId,
        /// The conversation, as they name it.
        target: Target,
        /// Whether they are off.
        muted: bool,
    },
    /// A session has ended: its sockets close with 4001.
    SessionEnded {
        /// Its user.
        user: UserId,
        /// The session.
        session: SessionKey,
    },
    /// All sessions of a user have ended except `keep`, if any: their sockets close with 4001.
    SessionsEnded {
        /// The user.
        user: UserId,
        /// The session that stays open.
        keep: Option<SessionKey>,
    },
}

/// A frame for users.
#[derive(Clone, Debug)]
pub struct Push {
    /// The users who get it.
    pub to: Audience,
    /// The socket that caused the push, which does not get it; other sockets of its user do only with the topic `own`.
    pub from: Option<Origin>,
    /// Only sockets that subscribed to this topic get it; `None` for all.
    pub topic: Option<Topic>,
    /// The frame, encoded once.
    pub frame: Frame,
    /// What happens to the push if a socket is a slow consumer.
    pub on_overflow: OverflowPolicy,
    /// Set if the push is a message.
    pub message: Option<Arc<PushedMessage>>,
}

/// What the push of a message carries besides its frame.
#[derive(Clone, Debug)]
pub struct PushedMessage {
    /// The position of the message, by which every node delivers in order.
    pub position: MessagePosition,
    /// For sockets that subscribed to notifications, do not have the conversation open and have not muted it.
    pub notification: Frame,
}

/// The position of a message in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagePosition {
    /// The conversation.
    pub conversation: ConversationId,
    /// The number of the message in it.
    pub seq: Seq,
    /// Whether the message before is so recent that it may still be on its way to this node.
    pub follows_recent: bool,
}

/// The users who get a push.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Audience {
    /// These users, on every socket.
    Users(Arc<[UserId]>),
    /// All users who watch the presence of a user: their contacts, and the users who have the dialog with them open.
    PresenceWatchers {
        /// The user who is watched.
        of: UserId,
        /// Their contacts, in the order of their ids. The hub finds those who have the dialog open.
        contacts: Arc<[UserId]>,
        /// Users whom they have blocked, in the order of their ids, and who get nothing.
        blocked: Arc<[UserId]>,
    },
}

impl Audience {
    /// One user.
    #[must_use]
    pub fn user(user: UserId) -> Self {
        Self::Users(Arc::from([user]))
    }
}

/// What happens to a push for a slow consumer: a socket whose outbox has used up its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OverflowPolicy {
    /// One `behind` replaces the further pushes of a conversation, up to this `seq`.
    MarkBehind(ConversationKey, Seq),
    /// Only the latest push with this key waits, also while there is room.
    KeepLatest(CoalesceKey),
    /// It is dropped: a list that the client can read has it.
    Drop,
}

/// A conversation, named in the same way for all who are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConversationKey {
    /// The dialog of two users, the lower id first; both are the same in notes to oneself.
    Dialog(UserId, UserId),
    /// A group.
    Group(GroupId),
}

impl ConversationKey {
    /// The conversation as `user`, who is in it, names it.
    #[must_use]
    pub fn seen_by(self, user: UserId) -> Target {
        match self {
            Self::Dialog(one, other) => Target::User(if one == user { other } else { one }),
            Self::Group(group) => Target::Group(group),
        }
    }

    /// The conversation that `user` names `target`.
    #[must_use]
    pub fn of(user: UserId, target: Target) -> Self {
        match target {
            Target::User(other) => Self::Dialog(user.min(other), user.max(other)),
            Target::Group(group) => Self::Group(group),
        }
    }
}

/// Pushes with the same key are coalesced: a later one replaces the one that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CoalesceKey {
    /// How far a user has read in a conversation.
    Read(ConversationKey, UserId),
    /// How far messages of a conversation were delivered to a user.
    Delivered(ConversationKey, UserId),
    /// Whether a user types in a conversation.
    Typing(ConversationKey, UserId),
    /// Whether a user is online.
    Presence(UserId),
}

/// A user types in a conversation, or has stopped.
#[derive(Clone, Debug)]
pub struct TypingEvent {
    /// The user who types.
    pub user: UserId,
    /// The conversation.
    pub conversation: ConversationKey,
    /// The push for those who have the conversation open.
    pub frame: Frame,
    /// The push that follows when the indicator times out; `None` if the user has stopped.
    pub timeout_frame: Option<Frame>,
}

impl TypingEvent {
    pub(super) fn on_overflow(&self) -> OverflowPolicy {
        OverflowPolicy::KeepLatest(CoalesceKey::Typing(self.conversation, self.user))
    }
}
