//! Who is connected where, and how a push gets there. A push may be lost with a node; what it
//! told of is in the database, and `seq` and `sync` show that it was missed.

pub mod bus;
pub mod hub;
pub mod outbox;
pub mod presence;
pub mod sequencer;
pub mod socket;
pub mod typing;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{ConversationId, GroupId, Origin, Seq, SessionKey, Target, Topic, UserId};
use crate::wire::reply::Frame;

/// What one node tells all nodes, itself included.
#[derive(Debug)]
pub enum Event {
    /// Something to say to people, wherever they are connected.
    Push(Push),
    /// Somebody writes in a conversation, or has stopped.
    Typing(typing::Typing),
    /// Somebody is no longer in a group: it is open and muted on none of their sockets.
    Left {
        /// Who.
        user: UserId,
        /// Which group.
        group: GroupId,
    },
    /// Somebody wants no notifications of a conversation, or wants them again.
    Muted {
        /// Who.
        user: UserId,
        /// Which conversation.
        target: Target,
        /// Whether they want none.
        muted: bool,
    },
    /// A session has ended: its sockets close with 4001.
    SessionEnded {
        /// Whose it was.
        user: UserId,
        /// Which.
        session: SessionKey,
    },
    /// All sessions of a user have ended but one, if any: their sockets close with 4001.
    SessionsEnded {
        /// Whose they were.
        user: UserId,
        /// The one that goes on.
        keep: Option<SessionKey>,
    },
}

/// A frame for people.
#[derive(Clone, Debug)]
pub struct Push {
    /// Who gets it.
    pub to: Audience,
    /// Who caused it: not that socket, and their other ones only where they asked for `own`.
    pub from: Option<Origin>,
    /// Only sockets that asked for this get it, but for those of who caused it.
    pub topic: Option<Topic>,
    /// The frame, encoded once.
    pub frame: Frame,
    /// What becomes of it where a socket reads too slowly.
    pub when_slow: WhenSlow,
    /// The message that it is, where it is one.
    pub message: Option<Arc<Message>>,
}

/// What a push of a message knows besides its frame.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its place in the conversation, so that every node delivers in that order.
    pub place: MessagePlace,
    /// The notification for who asked for them and does not have the conversation open.
    pub notification: Frame,
}

/// Who gets a push.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Audience {
    /// These, on every socket.
    Users(Arc<[UserId]>),
    /// Who is told of a person's coming and going.
    Acquaintances {
        /// The person.
        of: UserId,
        /// Their contacts, in the order of their ids. Who has them as an open dialog is found by the hub.
        contacts: Arc<[UserId]>,
        /// Whom they have blocked, in the order of their ids: never told.
        blocked: Arc<[UserId]>,
    },
}

impl Audience {
    /// One person.
    #[must_use]
    pub fn user(user: UserId) -> Self {
        Self::Users(Arc::from([user]))
    }
}

/// What becomes of a push for a socket whose budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WhenSlow {
    /// One `behind` for all of a conversation.
    Behind(Where, Seq),
    /// Only the latest of its kind waits, also while there is room.
    Latest(Subject),
    /// It is dropped: a list has it.
    Drop,
}

/// A conversation, as no side in particular names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Where {
    /// The dialog of two people; both the same in notes.
    Dialog(UserId, UserId),
    /// A group.
    Group(GroupId),
}

impl Where {
    /// As `user` names it, who is in it.
    #[must_use]
    pub fn seen_by(self, user: UserId) -> Target {
        match self {
            Self::Dialog(one, other) => Target::User(if one == user { other } else { one }),
            Self::Group(group) => Target::Group(group),
        }
    }

    /// The conversation that `user` calls `target`.
    #[must_use]
    pub fn of(user: UserId, target: Target) -> Self {
        match target {
            Target::User(other) => Self::Dialog(user.min(other), user.max(other)),
            Target::Group(group) => Self::Group(group),
        }
    }
}

/// What only the latest push of is worth having.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// How far somebody has read.
    Read(Where, UserId),
    /// How far messages have reached somebody.
    Delivered(Where, UserId),
    /// Whether somebody writes.
    Typing(Where, UserId),
    /// Whether somebody is there.
    Presence(UserId),
}

/// A message's place in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessagePlace {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Which place in it.
    pub seq: Seq,
    /// Whether the message before it may still be on its way here.
    pub close_to_previous: bool,
}

/// The way to everybody who is connected, on any node.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The sockets of this node.
    pub hub: Arc<hub::Hub>,
    presence: Arc<presence::Presence>,
    /// The way to the other nodes.
    pub bus: Arc<bus::Bus>,
}

impl Delivery {
    /// A node that knows of no other one yet.
    #[must_use]
    pub fn new(hub: hub::Hub) -> Self {
        let bus = Arc::<bus::Bus>::default();
        Self { hub: Arc::new(hub), presence: Arc::new(presence::Presence::new(Arc::clone(&bus))), bus }
    }

    /// Tells every node. Never waits.
    pub fn publish(&self, event: &Event) {
        let alone = self.bus.is_alone();
        if !alone {
            self.bus.publish(event);
        }
        self.hub.receive(event, alone);
    }

    /// Tells the sockets of this node, where the other ones tell theirs.
    pub fn publish_here(&self, event: &Event) {
        self.hub.receive(event, true);
    }

    /// Takes a socket in; see [`hub::Registration`].
    #[must_use]
    pub fn register(&self, user: UserId, session: SessionKey, expires_at: i64) -> hub::Registration {
        self.hub.register(user, session, expires_at, Arc::clone(&self.presence))
    }

    /// Who is there, on any node.
    #[must_use]
    pub fn presence(&self) -> &presence::Presence {
        &self.presence
    }
}
