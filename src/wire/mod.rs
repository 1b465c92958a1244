//! What goes over the wire: bytes to requests, replies and pushes to bytes. No input panics here.

pub mod close;
pub mod frame;
pub mod items;
pub mod params;
pub mod reply;
pub mod schema;
