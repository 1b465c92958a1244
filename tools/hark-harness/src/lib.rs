//! What a tool needs to run a Hark server and to speak its protocol.
//!
//! - [`accounts`]: sign-up and login over HTTP
//! - [`envelope`]: the JSON around each request and error
//! - [`frames`]: the client's side of WebSocket framing (RFC 6455)
//! - [`server`]: the process of a server
//!
//! The files import nothing from each other, and nothing from the server: a tool sees what a client sees.

pub mod accounts;
pub mod envelope;
pub mod frames;
pub mod server;
