//! Why a command has no results.

use std::io;
use std::path::PathBuf;

use crate::accounts::AccountPoolError;
use crate::sockets::connection::ConnectError;
use crate::sockets::rpc_client::RpcError;

/// A failure of a command. What goes wrong during a measurement is part of its results instead.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{0} is no address of a server, such as http://127.0.0.1:3000")]
    Address(String),
    #[error(transparent)]
    Accounts(#[from] AccountPoolError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error("newGroup is answered without params.item.groupId")]
    NoGroupId,
    #[error("the server sends what is no JSON: {0}")]
    InvalidJson(#[from] serde_json::Error),
    #[error("cannot read or write {0}: {1}")]
    File(PathBuf, io::Error),
    #[error("{0} has no markers between which the tables go")]
    NoMarkers(PathBuf),
    /// Options that contradict each other, or a step of the standard benchmark that failed.
    #[error("{0}")]
    Message(String),
}
