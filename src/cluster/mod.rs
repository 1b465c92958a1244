//! The cluster: what several nodes on one database send each other, so that they are one system. Messages wait
//! in a queue that is bounded in bytes and leave in batches; no sender waits. The transport is LISTEN and NOTIFY
//! of PostgreSQL: `store/notify` implements it, and `server/cluster_loops` connects it to this module.
//!
//! Every node numbers its batches. So its peers detect a gap, whatever the reason: they could not listen, the
//! queue was full, or the node published nothing before its first peer joined. After a gap a node asks for presence
//! snapshots, and marks the sockets as behind that may have missed a message.

mod message;
mod node;
mod payload;
mod peer;
mod peer_tracker;
mod send_queue;

pub use self::node::{Batch, ClusterNode};
pub use self::payload::MAX_PAYLOAD_BYTES;
pub use self::peer_tracker::{Gap, PeerTracker};
