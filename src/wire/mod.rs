//! The wire format: requests are parsed ([`frame`], [`params`]), replies, pushes and close frames are encoded
//! ([`reply`], [`items`], [`close`]). No input panics here.

pub mod close;
pub mod frame;
pub mod items;
pub mod params;
pub mod reply;
pub mod schema;
