//! Fan-out: which sockets get a push.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::ordering::{after_notices, new_group};
use crate::support::TestServer;
use crate::ws::assert_works;

#[tokio::test(flavor = "multi_thread")]
async fn push_goes_to_every_socket_of_a_user_and_a_reply_to_the_one_that_asked() {
    let server = TestServer::start().await;
    let (user, mut asking) = server.connect_user("Patrick0").await;
    let mut beside = server.connect(&user).await;
    let (receiver, first) = server.connect_user("Patrick1").await;
    let mut receivers = [first, server.connect(&receiver).await, server.connect(&receiver).await];

    let reply = asking.call("privateMessage", json!({ "receiverId": receiver.id, "content": "Hi" })).await;
    let mut pushed = HashSet::new();
    for receiver in &mut receivers {
        let push = receiver.wait_for_push().await;
        assert_eq!(push["params"]["item"]["messageId"], reply["params"]["item"]["messageId"]);
        pushed.insert(push.to_string());
    }
    assert_eq!(pushed.len(), 1, "all sockets get the same frame");
    asking.call("privateMessage", json!({ "receiverId": user.id, "content": "A note" })).await;
    let group = asking.call("newGroup", json!({ "groupName": "G", "userIds": [receiver.id] })).await;
    let group = &group["params"]["item"]["groupId"];
    asking.call("messageInGroup", json!({ "groupId": group, "content": "All" })).await;
    for receiver in &mut receivers {
        assert_eq!(receiver.wait_for_push().await["type"], "addUserInGroup");
        assert_eq!(receiver.wait_for_push().await["type"], "messageInGroup");
    }
    // The pushes above have been delivered, so a reply from now on follows anything pushed to these
    // sockets.
    for client in [&mut asking, &mut beside] {
        assert_works(client).await;
        assert_eq!(client.take_buffered_pushes(), Vec::<Value>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fan_out_of_one_message_reaches_a_group_of_a_thousand() {
    let server = TestServer::start_with(|config| config.limits.max_sockets_per_user = 1000).await;
    let users = server.create_users("U", 1000).await;
    let mut sender = server.connect(&users[0]).await;
    let mut listeners = Vec::new();
    for user in users[1..].iter().step_by(10) {
        listeners.push(server.connect(user).await);
    }
    let group = new_group(&mut sender, &users[1..]).await;
    let sent = sender.call("messageInGroup", json!({ "groupId": group, "content": "all" })).await;
    assert_eq!(sent["params"]["item"]["seq"], 1);
    for listener in &mut listeners {
        // In a group of more than a hundred, each new member is notified of the own joining alone.
        after_notices(listener, 1).await;
        assert_eq!(listener.wait_for_push().await["params"]["message"], "all");
    }
}
