//! Who is connected where, and how a push gets there. A push may be lost with a node; what it
//! told of is in the database, and `seq` shows that it was missed.

pub mod bus;
pub mod hub;
pub mod order;
pub mod outbox;

use std::sync::Arc;

use crate::model::{ConversationId, Seq, SessionId, UserId};
use crate::wire::reply::Frame;

/// What one node tells all nodes, itself included.
#[derive(Debug)]
pub enum Event {
    /// Something to say to people, wherever they are connected.
    Push(Push),
    /// A session has ended: its sockets close with 4001.
    SessionEnded {
        /// Whose it was.
        user: UserId,
        /// Which.
        session: SessionId,
    },
    /// All sessions of a user have ended but one, if any: their sockets close with 4001.
    SessionsEnded {
        /// Whose they were.
        user: UserId,
        /// The one that goes on.
        keep: Option<SessionId>,
    },
}

/// A frame for people.
#[derive(Clone, Debug)]
pub struct Push {
    /// Who gets it, on every socket.
    pub to: Arc<[UserId]>,
    /// Who of those does not: the one who caused it.
    pub except: Option<UserId>,
    /// The frame, encoded once.
    pub frame: Frame,
    /// Its place among the messages of a conversation, where it is one.
    pub place: Option<Place>,
}

/// A message's place in its conversation, so that every node delivers in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
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
    bus: bus::InProcess,
}

impl Delivery {
    /// Puts a node's hub on the bus.
    #[must_use]
    pub fn new(hub: hub::Hub, bus: bus::InProcess) -> Self {
        let hub = Arc::new(hub);
        bus.join(&hub);
        Self { hub, bus }
    }

    /// Tells every node. Never waits.
    pub fn publish(&self, event: &Event) {
        self.bus.publish(event);
    }
}
