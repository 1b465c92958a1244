//! WebSocket connections: the upgrade, the handoff from HTTP, and the life of an open socket.
//!
//! [`upgrade`] authenticates the client and answers the handshake; [`hand_off`] takes the connection out of
//! HTTP; `connection` serves it, with `decoder` and `io` for its bytes, `pipeline` for requests in flight and
//! `deadline` for their time limits.

mod connection;
mod deadline;
mod decoder;
mod handoff;
mod io;
mod pipeline;
mod upgrade;

pub use handoff::{SocketTask, hand_off};
pub use upgrade::upgrade;
