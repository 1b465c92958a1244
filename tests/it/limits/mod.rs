//! Limits that protect the server and its other users from one client.

mod admission;
mod flood;
mod many_connections;
mod memory;
mod rate_limit;
