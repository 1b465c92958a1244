//! An open socket's place in the hub, held by its connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::hub::Hub;
use super::presence::Presence;
use super::socket::Socket;
use crate::wire::close::Close;

/// Keeps a socket in the hub; dropping it removes the socket.
#[derive(Debug)]
pub struct Registration {
    hub: Arc<Hub>,
    presence: Arc<Presence>,
    socket: Arc<Socket>,
}

impl Registration {
    pub(super) fn new(hub: Arc<Hub>, presence: Arc<Presence>, socket: Arc<Socket>) -> Self {
        Self { hub, presence, socket }
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Counts the socket against the socket limit of its user, once its session was found open.
    ///
    /// # Errors
    /// The reason to close it: the user has too many sockets, or the server shuts down.
    pub fn confirm(&self) -> Result<(), Close> {
        self.hub.confirm(&self.socket, || self.presence.connected(self.socket.user))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.hub.remove(&self.socket);
        if self.socket.is_confirmed.load(Ordering::Relaxed) {
            self.presence.disconnected(self.socket.user, self.socket.is_active());
        }
    }
}
