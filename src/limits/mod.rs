//! Limits: what one client, one network or one node may use. Rate limits (keyed, and of a socket), admission
//! control for upgrades, the memory budget, and fair queues.

pub mod admission;
pub mod fair_queue;
pub mod keyed_rate_limit;
pub mod memory;
pub mod socket_rate_limit;
