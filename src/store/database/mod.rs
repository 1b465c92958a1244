//! The database as a whole: the checks before it is used, its schema, its availability, and which history
//! of it this node is on.

pub mod availability;
pub mod epochs;
pub mod migrations;
pub mod preflight;
