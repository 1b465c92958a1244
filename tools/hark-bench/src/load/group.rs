//! The groups that a load sends into.

use hark_harness::accounts::Account;
use serde_json::json;

use crate::error::BenchError;
use crate::sockets::connection::Connector;
use crate::sockets::rpc_client::RpcClient;

/// Creates a group of all `members`, with the first one as its admin, and returns its id.
pub(crate) async fn create_group(connector: &Connector, members: &[Account]) -> Result<i64, BenchError> {
    let mut admin = RpcClient::new(connector.connect(&members[0].token).await?);
    let reply = admin.call("newGroup", &json!({ "groupName": "Load" })).await?;
    let reply: serde_json::Value = serde_json::from_slice(&reply)?;
    let group = reply["params"]["item"]["groupId"].as_i64().ok_or(BenchError::NoGroupId)?;
    let additions: Vec<_> =
        members[1..].iter().map(|member| json!({ "groupId": group, "userId": member.id })).collect();
    admin.call_all("addUserInGroup", &additions).await?;
    Ok(group)
}
