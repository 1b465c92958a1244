//! The processes of a round: started, killed and stopped.
//!
//! In the order of imports, the lowest first: `wait`, `signals` and `folder`, `postgres`, then `backups`, `pgbouncer`
//! and
//! `server`.

mod backups;
pub(crate) mod folder;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod server;
pub(crate) mod signals;
mod wait;
