//! The socket: how one is opened, and its whole life.

mod connection;
mod in_flight;
mod incoming;
mod patience;
mod rate;
mod stream;
mod takeover;
mod upgrade;

pub use takeover::{Served, take_over};
pub use upgrade::upgrade;
