//! The socket: how one is opened, and its whole life.

mod connection;
mod deadline;
mod decoder;
mod handoff;
mod io;
mod pipeline;
mod upgrade;

pub use handoff::{Served, take_over};
pub use upgrade::upgrade;
