//! The other nodes, as far as delivery knows of them. `cluster` implements [`Peers`]; the trait is here, so that
//! delivery does not depend on how nodes reach each other.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::push::Event;
use crate::model::UserId;

/// The random id of one run of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeId(u64);

impl NodeId {
    /// A random id.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Parses the hexadecimal form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Sends to the other nodes what happens on this one. No method waits: presence calls them under a lock, so that
/// peers receive changes of one user in the order in which they happened.
pub trait Peers: fmt::Debug + Send + Sync {
    /// Whether there is no other node. Called for every push, so it must be cheap.
    fn is_single_node(&self) -> bool;

    /// Publishes an event.
    fn publish(&self, event: &Event);

    /// Publishes how a user is connected to this node: `active` is whether the app is in the foreground, and is
    /// `None` without a socket. `is_activity_change` is true if no socket was opened or closed.
    fn publish_presence(&self, user: UserId, active: Option<bool>, is_activity_change: bool);

    /// Publishes that no node announces the presence of a user any more.
    fn publish_presence_suppressed(&self, user: UserId);
}

/// The peers of a node that runs alone.
#[derive(Debug)]
pub struct NoPeers;

impl Peers for NoPeers {
    fn is_single_node(&self) -> bool {
        true
    }

    fn publish(&self, _: &Event) {}

    fn publish_presence(&self, _: UserId, _: Option<bool>, _: bool) {}

    fn publish_presence_suppressed(&self, _: UserId) {}
}
