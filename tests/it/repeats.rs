//! Sends that are repeated, and first sends of a pair: what is meant once is stored once, at any time
//! and over any node.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_answers_with_the_first_receipt_and_pushes_nothing() {
    let server = TestServer::start().await;
    let (_, mut sender) = server.client("A").await;
    let (b, mut receiver) = server.client("B").await;
    let (c, mut bystander) = server.client("C").await;
    let params = json!({ "receiverId": b.id, "content": "once", "clientMessageId": "same" });
    let first = sender.call("privateMessage", params.clone()).await;
    // At any time, to anybody, by a group or a dialog: the id is the sender's own.
    let repeats = [params, json!({ "receiverId": c.id, "content": "other", "clientMessageId": "same" })];
    for params in repeats {
        let again = sender.call("privateMessage", params).await;
        let mut expected = first["params"]["item"].clone();
        expected["duplicate"] = true.into();
        assert_eq!(again["params"]["item"], expected);
    }
    // The same id of another sender is another message.
    let other = bystander
        .call("privateMessage", json!({ "receiverId": b.id, "content": "x", "clientMessageId": "same" }))
        .await;
    assert_eq!(other["params"]["item"]["duplicate"], false);
    assert_eq!(receiver.push().await["params"]["message"], "once");
    assert_eq!(receiver.push().await["params"]["message"], "x");
    let history = bystander.call("getlatestMessageDialog", json!({ "receiverId": b.id })).await;
    assert_eq!(history["params"]["data"].as_array().map(Vec::len), Some(1));
    assert!(bystander.pushes_so_far().is_empty());
    let list = bystander.call("listLastMessage", json!({})).await;
    assert_eq!(list["params"]["data"].as_array().map(Vec::len), Some(1), "a repeat makes no dialog: {list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_known_after_the_sender_has_left_the_group() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.client("Ann").await;
    let (bob_user, mut bob) = server.client("Bob").await;
    let group = ann.call("newGroup", json!({ "groupName": "G", "userIds": [bob_user.id] })).await;
    let params = json!({ "groupId": group["params"]["item"]["groupId"], "content": "hi", "clientMessageId": "k" });
    let first = bob.call("messageInGroup", params.clone()).await;
    bob.call("leaveGroup", json!({ "groupId": group["params"]["item"]["groupId"] })).await;
    let again = bob.call("messageInGroup", params).await;
    assert_eq!(again["params"]["item"]["messageId"], first["params"]["item"]["messageId"], "{again}");
    assert_eq!(again["params"]["item"]["duplicate"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_message_id_sent_by_fifty_tasks_at_once_is_one_message() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let sender = server.user("Sender").await;
    let (to, mut receiver) = server.client("Receiver").await;
    // Half of them over the other node, and nobody may have more than 20 sockets on one.
    let nodes = [&server, &second];
    let mut clients = Vec::new();
    for nth in 0..25 {
        clients.push(nodes[nth % 2].connect(&sender).await);
    }
    let params = json!({ "receiverId": to.id, "content": "once", "clientMessageId": "same" });
    let replies = join_all(clients.iter_mut().map(async |client| {
        let first = client.send("privateMessage", params.clone()).await;
        let second = client.send("privateMessage", params.clone()).await;
        [client.reply_to(first).await, client.reply_to(second).await]
    }))
    .await;
    let replies: Vec<_> = replies.into_iter().flatten().collect();
    assert_eq!(replies.len(), 50);
    let stored = replies.iter().filter(|reply| reply["params"]["item"]["duplicate"] == false).count();
    assert_eq!(stored, 1);
    let id = &replies[0]["params"]["item"]["messageId"];
    assert!(id.is_i64() && replies.iter().all(|reply| reply["params"]["item"]["messageId"] == *id));
    assert_eq!(receiver.push().await["params"]["item"]["messageId"], *id);
    let history = receiver.call("getlatestMessageDialog", json!({ "receiverId": sender.id })).await;
    assert_eq!(history["params"]["data"].as_array().map(Vec::len), Some(1));
    assert!(receiver.pushes_so_far().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_message_id_to_two_people_at_once_is_one_message() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let sender = server.user("Sender").await;
    let receivers = server.users("Receiver", 8).await;
    let mut clients = [server.connect(&sender).await, second.connect(&sender).await];
    let replies = join_all(clients.iter_mut().enumerate().map(async |(nth, client)| {
        let mut ids = Vec::new();
        for receiver in &receivers {
            let receiver = if nth == 0 { receiver } else { &receivers[0] };
            let params = json!({ "receiverId": receiver.id, "content": "x", "clientMessageId": "same" });
            ids.push(client.send("privateMessage", params).await);
        }
        let mut replies = Vec::new();
        for id in ids {
            replies.push(client.reply_to(id).await["params"]["item"].clone());
        }
        replies
    }))
    .await;
    let receipts: Vec<Value> = replies.into_iter().flatten().collect();
    assert_eq!(receipts.iter().filter(|receipt| receipt["duplicate"] == false).count(), 1, "{receipts:?}");
    assert!(receipts.iter().all(|receipt| receipt["messageId"] == receipts[0]["messageId"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_first_messages_at_once_make_one_dialog() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    for nth in 0..10 {
        let (a, b) = (server.user(&format!("A{nth}")).await, server.user(&format!("B{nth}")).await);
        let (mut ours, mut theirs) = (server.connect(&a).await, second.connect(&b).await);
        let (sent, received) = tokio::join!(
            ours.call("privateMessage", json!({ "receiverId": b.id, "content": "from a" })),
            theirs.call("privateMessage", json!({ "receiverId": a.id, "content": "from b" }))
        );
        let mut seqs = [sent["params"]["item"]["seq"].as_i64(), received["params"]["item"]["seq"].as_i64()];
        seqs.sort_unstable();
        assert_eq!(seqs, [Some(1), Some(2)], "{sent} {received}");
        let list = ours.call("listLastMessage", json!({})).await;
        assert_eq!(list["params"]["data"].as_array().map(Vec::len), Some(1), "{list}");
    }
}
