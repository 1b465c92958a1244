//! Closes sockets of a node after its database was restarted or restored, or replaced by a standby.

use std::sync::Arc;

use crate::delivery::Delivery;
use crate::store::Db;

/// Registers for restarts and restores. After each, the sockets of sessions that no longer exist close, and the latest
/// `seq` of each conversation is dropped. After a restore all sockets close, because an id may belong to another user,
/// group or message now.
pub(super) fn close_sockets_on_restore(db: &Db, delivery: &Delivery) {
    let (hub, sessions_of) = (Arc::clone(&delivery.hub), Arc::clone(&delivery.hub));
    db.on_restart(
        move || sessions_of.sessions(),
        move |renewal| {
            hub.close_sessions(&renewal.ended_sessions);
            hub.reset_resequencer();
            if renewal.is_other_history {
                hub.disconnect_all();
            }
        },
    );
}
