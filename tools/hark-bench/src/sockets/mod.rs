//! WebSocket connections to the server. `rpc_client` builds on `connection`.

pub(crate) mod connection;
pub(crate) mod rpc_client;
