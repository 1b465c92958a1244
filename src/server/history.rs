//! What becomes of the sockets of a node where the database is put back, or another one takes over.

use std::collections::HashSet;
use std::sync::Arc;

use crate::delivery::Delivery;
use crate::delivery::hub::Hub;
use crate::model::SessionKey;
use crate::store::epochs::Sockets;

/// The sockets of a node, as the database decides about them.
pub(super) struct Watched(Arc<Hub>);

impl Watched {
    pub(super) fn new(delivery: &Delivery) -> Self {
        Self(Arc::clone(&delivery.hub))
    }
}

impl Sockets for Watched {
    fn sessions(&self) -> Vec<SessionKey> {
        self.0.sessions()
    }

    fn close_ended(&self, ended: &HashSet<SessionKey>) {
        self.0.close_ended(ended);
    }

    fn forget_places(&self) {
        self.0.forget_places();
    }

    fn close_all(&self) {
        self.0.send_away();
    }
}
