//! The database as a whole: the preflight checks, the schema, the availability, and the epochs, which
//! identify the history of the database that a node is on.

pub mod availability;
pub mod epochs;
pub mod migrations;
pub mod preflight;
