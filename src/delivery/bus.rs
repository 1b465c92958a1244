//! What nodes say to each other. A word may be lost: it is a hint, and the database has the truth.

use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use super::Event;
use super::hub::Hub;
use super::presence::Presence;

/// The bus of the nodes that live in one process: one server, or two in a test.
#[derive(Clone, Debug, Default)]
pub struct InProcess {
    nodes: Arc<RwLock<Vec<Weak<Hub>>>>,
    presence: Arc<Presence>,
}

impl InProcess {
    /// Lets a node hear what is said from now on, until it is dropped.
    pub fn join(&self, hub: &Arc<Hub>) {
        let mut nodes = self.nodes.write();
        nodes.retain(|node| node.strong_count() > 0);
        nodes.push(Arc::downgrade(hub));
    }

    /// Says something to all nodes.
    pub fn publish(&self, event: &Event) {
        let nodes = self.nodes.read();
        let alone = nodes.len() == 1;
        for hub in nodes.iter().filter_map(Weak::upgrade) {
            hub.receive(event, alone);
        }
    }

    /// Who is there, on any node.
    #[must_use]
    pub fn presence(&self) -> &Arc<Presence> {
        &self.presence
    }
}
