//! The socket: how one is opened, and its whole life. The only place that knows `actix_ws`.

mod body;
mod connection;
mod in_flight;
mod limit;
mod rate;
mod upgrade;

pub use upgrade::upgrade;
