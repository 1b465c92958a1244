//! The index of open conversations: on which sockets of this node each one is open.

use std::sync::Arc;

use super::sharded_map::ShardedMap;
use super::socket::Socket;
use crate::model::Target;

/// Maximum number of conversations that are open on one socket.
pub const MAX_OPEN_CONVERSATIONS: usize = 1_000;

/// For each target, as the user names it, the sockets on which it is open.
#[derive(Debug, Default)]
pub(super) struct OpenConversations(ShardedMap<Target, Vec<Arc<Socket>>>);

impl OpenConversations {
    /// Opens a conversation on a socket, and returns whether it was not open before; `Some(false)` also if the socket
    /// is closing, `None` if too many are open.
    pub(super) fn open(&self, socket: &Arc<Socket>, target: Target) -> Option<bool> {
        let mut open = socket.open.lock();
        if socket.outbox.is_closed() || open.contains(&target) {
            return Some(false);
        }
        if open.len() >= MAX_OPEN_CONVERSATIONS {
            return None;
        }
        open.insert(target);
        self.0.lock(target).entry(target).or_default().push(Arc::clone(socket));
        Some(true)
    }

    /// Closes a conversation on a socket.
    pub(super) fn close(&self, socket: &Arc<Socket>, target: Target) {
        // The lock is held over both changes, as in `open`, so that socket and index stay equal.
        let mut open = socket.open.lock();
        if open.remove(&target) {
            self.remove(socket, target);
        }
    }

    /// Closes all conversations of a socket whose connection has ended.
    pub(super) fn close_all(&self, socket: &Arc<Socket>) {
        for target in std::mem::take(&mut *socket.open.lock()) {
            self.remove(socket, target);
        }
    }

    /// Calls `visit` for each socket on which a conversation is open, under the lock of the conversation's shard.
    pub(super) fn for_each(&self, target: Target, visit: impl FnMut(&Arc<Socket>)) {
        self.0.lock(target).get(&target).into_iter().flatten().for_each(visit);
    }

    fn remove(&self, socket: &Arc<Socket>, target: Target) {
        let mut shard = self.0.lock(target);
        if let Some(sockets) = shard.get_mut(&target) {
            sockets.retain(|other| !Arc::ptr_eq(other, socket));
            if sockets.is_empty() {
                shard.remove(&target);
            }
        }
    }
}
