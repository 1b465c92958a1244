//! The clients: devices of users that write, read, join and leave, reconnect, and repeat unconfirmed sends.
//!
//! In the order of imports, the lowest first: `connection` and `shared`, `setup` and `final_state`, `device_state`,
//! `actions`, `device`.

mod actions;
pub(crate) mod connection;
pub(crate) mod device;
mod device_state;
pub(crate) mod final_state;
pub(crate) mod setup;
pub(crate) mod shared;
