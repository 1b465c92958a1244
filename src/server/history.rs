//! What becomes of the sockets of a node where the database is put back, or another one takes over.

use std::sync::Arc;

use crate::delivery::Delivery;
use crate::store::Db;

/// Has the sockets hear of every restart and restore of the database.
pub(super) fn watch(db: &Db, delivery: &Delivery) {
    let (hub, sessions_of) = (Arc::clone(&delivery.hub), Arc::clone(&delivery.hub));
    db.on_restart(
        move || sessions_of.sessions(),
        move |renewal| {
            hub.close_ended(&renewal.ended_sessions);
            hub.forget_places();
            if renewal.is_other_history {
                hub.send_away();
            }
        },
    );
}
