//! What happens to the sockets of a node when its database was restarted or restored, or another one took over.

use std::sync::Arc;

use crate::delivery::Delivery;
use crate::store::Db;

/// Registers for restarts and restores. After each, sockets of sessions that are gone close, and the latest `seq` of
/// each conversation is forgotten. After a restore all sockets close, because every id may mean something else now.
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
