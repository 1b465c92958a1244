//! `privateMessage` and `messageInGroup`: what the sender is told, what the others are.

use serde_json::json;

use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_private_message_reaches_its_receiver() {
    let server = TestServer::start().await;
    let (patrick, mut sender) = server.client("Patrick0").await;
    let (bob, mut receiver) = server.client("Bob").await;

    let reply = sender.call("privateMessage", json!({ "receiverId": bob.id, "content": "Hi" })).await;
    assert_eq!(reply["success"], true, "{reply}");
    let push = receiver.push().await;
    assert_eq!(push["params"]["message"], "Hi");
    assert_eq!(push["params"]["senderName"], patrick.name);
}
