//! Delivery: which users are connected to this node, and how a push reaches them. A push may be lost when a node
//! fails. Its content is in the database, and the client detects the loss by `seq` or `sync`.
//!
//! Files build on each other in one direction: the vocabulary in [`push`] and the map in `sharded_map` at the
//! bottom, the [`hub`] with its sockets and outboxes above, and the façade [`Delivery`] here.

pub mod hub;
pub mod open_conversations;
pub mod outbox;
pub mod peers;
pub mod presence;
pub mod push;
pub mod registration;
mod resequencer;
mod sharded_map;
pub mod socket;
mod typing;

use std::sync::Arc;

pub use self::push::{
    Audience, CoalesceKey, ConversationKey, Event, MessagePosition, OverflowPolicy, Push, PushedMessage, TypingEvent,
};

use self::hub::Hub;
use self::peers::Peers;
use self::presence::Presence;
use self::registration::Registration;
use crate::model::{SessionKey, UserId};

/// The façade: publishes events to connected users on any node.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The sockets of this node.
    pub hub: Arc<Hub>,
    /// Who is online, on any node.
    pub presence: Arc<Presence>,
    peers: Arc<dyn Peers>,
}

impl Delivery {
    /// Delivers to the sockets of a hub, and to those of other nodes by way of `peers`.
    #[must_use]
    pub fn new(hub: Hub, peers: Arc<dyn Peers>) -> Self {
        Self { hub: Arc::new(hub), presence: Arc::new(Presence::new(Arc::clone(&peers))), peers }
    }

    /// Publishes an event to every node. Never waits.
    pub fn publish(&self, event: &Event) {
        let is_single_node = self.peers.is_single_node();
        if !is_single_node {
            self.peers.publish(event);
        }
        self.hub.apply(event, is_single_node);
    }

    /// Publishes an event to the sockets of this node only, because every node produces it by itself.
    pub fn publish_locally(&self, event: &Event) {
        self.hub.apply(event, true);
    }

    /// Adds a socket to the hub. Called before its session is checked, so that a session ending during the check
    /// closes the socket. Dropping the registration removes the socket.
    #[must_use]
    pub fn register(&self, user: UserId, session: SessionKey, expires_at: i64) -> Registration {
        let socket = self.hub.add(user, session, expires_at);
        Registration::new(Arc::clone(&self.hub), Arc::clone(&self.presence), socket)
    }
}
