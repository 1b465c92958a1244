//! Idempotency of sends: a send that is repeated with its `clientMessageId`, and the first send of a pair,
//! are stored once, at any time and over any node.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{TestServer, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn repeat_returns_the_first_receipt_and_pushes_nothing() {
    let server = TestServer::start().await;
    let (_, mut sender) = server.connect_user("A").await;
    let (b, mut receiver) = server.connect_user("B").await;
    let (c, mut bystander) = server.connect_user("C").await;
    let params = json!({ "receiverId": b.id, "content": "once", "clientMessageId": "same" });
    let first = sender.call("privateMessage", params.clone()).await;
    // The id is the sender's own, so a repeat is known at any time and whatever its target.
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
    assert_eq!(receiver.wait_for_push().await["params"]["message"], "once");
    assert_eq!(receiver.wait_for_push().await["params"]["message"], "x");
    let history = bystander.call("getlatestMessageDialog", json!({ "receiverId": b.id })).await;
    assert_eq!(history["params"]["data"].as_array().map(Vec::len), Some(1));
    assert!(bystander.take_buffered_pushes().is_empty());
    let list = bystander.call("listLastMessage", json!({})).await;
    assert_eq!(list["params"]["data"].as_array().map(Vec::len), Some(1), "a repeat makes no dialog: {list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn repeat_is_recognized_after_the_sender_has_left_the_group() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob_user, mut bob) = server.connect_user("Bob").await;
    let group = ann.call("newGroup", json!({ "groupName": "G", "userIds": [bob_user.id] })).await;
    let params = json!({ "groupId": group["params"]["item"]["groupId"], "content": "hi", "clientMessageId": "k" });
    let first = bob.call("messageInGroup", params.clone()).await;
    bob.call("leaveGroup", json!({ "groupId": group["params"]["item"]["groupId"] })).await;
    let again = bob.call("messageInGroup", params).await;
    assert_eq!(again["params"]["item"]["messageId"], first["params"]["item"]["messageId"], "{again}");
    assert_eq!(again["params"]["item"]["duplicate"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_message_id_sent_by_fifty_tasks_at_once_is_one_message() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let sender = server.create_user("Sender").await;
    let (to, mut receiver) = server.connect_user("Receiver").await;
    // Half of them go over the other node, because a user may have at most 20 sockets on one.
    let nodes = [&server, &second];
    let mut clients = Vec::new();
    for nth in 0..25 {
        clients.push(nodes[nth % 2].connect(&sender).await);
    }
    let params = json!({ "receiverId": to.id, "content": "once", "clientMessageId": "same" });
    let replies = join_all(clients.iter_mut().map(async |client| {
        let first = client.send("privateMessage", params.clone()).await;
        let second = client.send("privateMessage", params.clone()).await;
        [client.wait_for_reply_to(first).await, client.wait_for_reply_to(second).await]
    }))
    .await;
    let replies: Vec<_> = replies.into_iter().flatten().collect();
    assert_eq!(replies.len(), 50);
    let stored = replies.iter().filter(|reply| reply["params"]["item"]["duplicate"] == false).count();
    assert_eq!(stored, 1);
    let id = &replies[0]["params"]["item"]["messageId"];
    assert!(id.is_i64() && replies.iter().all(|reply| reply["params"]["item"]["messageId"] == *id));
    assert_eq!(receiver.wait_for_push().await["params"]["item"]["messageId"], *id);
    let history = receiver.call("getlatestMessageDialog", json!({ "receiverId": sender.id })).await;
    assert_eq!(history["params"]["data"].as_array().map(Vec::len), Some(1));
    assert!(receiver.take_buffered_pushes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn client_message_id_to_two_users_at_once_is_one_message() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let sender = server.create_user("Sender").await;
    let receivers = server.create_users("Receiver", 8).await;
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
            replies.push(client.wait_for_reply_to(id).await["params"]["item"].clone());
        }
        replies
    }))
    .await;
    let receipts: Vec<Value> = replies.into_iter().flatten().collect();
    assert_eq!(receipts.iter().filter(|receipt| receipt["duplicate"] == false).count(), 1, "{receipts:?}");
    assert!(receipts.iter().all(|receipt| receipt["messageId"] == receipts[0]["messageId"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn first_messages_of_a_pair_at_once_create_one_dialog() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    for nth in 0..10 {
        let (a, b) = (server.create_user(&format!("A{nth}")).await, server.create_user(&format!("B{nth}")).await);
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

#[tokio::test(flavor = "multi_thread")]
async fn repeats_of_one_client_message_id_share_one_place_in_a_batch() {
    let server = TestServer::start_with(|config| config.writers = Some(1)).await;
    let (sender, mut first) = server.connect_user("Sender").await;
    let mut second = server.connect(&sender).await;
    let (to, mut receiver) = server.connect_user("Receiver").await;
    let mut sql = server.sql().await;
    // A lock holds up the writer, and the repeats queue up behind it.
    sqlx::raw_sql("begin; lock table messages in exclusive mode").execute(&mut sql).await.expect("a lock");
    let params = json!({ "receiverId": to.id, "content": "once", "clientMessageId": "same" });
    for client in [&mut first, &mut second] {
        for _ in 0..60 {
            client.send("privateMessage", params.clone()).await;
        }
    }
    eventually("the server has read all of them", async || {
        server.server.app().metrics.text().contains("hark_requests_total 120")
    })
    .await;
    sqlx::raw_sql("commit").execute(&mut sql).await.expect("the lock is free");
    let mut receipts: Vec<Value> = Vec::new();
    for client in [&mut first, &mut second] {
        for id in 1..=60 {
            receipts.push(client.wait_for_reply_to(id).await["params"]["item"].clone());
        }
    }
    assert_eq!(receipts.iter().filter(|receipt| receipt["duplicate"] == false).count(), 1);
    assert!(receipts.iter().all(|receipt| receipt["messageId"] == receipts[0]["messageId"]), "{receipts:?}");
    assert_eq!(receiver.wait_for_push().await["params"]["message"], "once");
    let text = server.server.app().metrics.text();
    let batches = text.lines().find_map(|line| line.strip_prefix("hark_batch_messages_count ")).expect("a count");
    assert!(batches.parse::<u32>().expect("a number") <= 3, "{batches} transactions for one message");
}

#[tokio::test(flavor = "multi_thread")]
async fn repeat_of_a_refused_send_to_another_user_is_overloaded() {
    let server = TestServer::start_with(|config| config.writers = Some(1)).await;
    let (_, mut sender) = server.connect_user("Sender").await;
    let to = server.create_user("Receiver").await;
    let mut sql = server.sql().await;
    sqlx::raw_sql("begin; lock table messages in exclusive mode").execute(&mut sql).await.expect("a lock");
    // The first send holds up the writer; the next three share a batch.
    let mut ids = vec![sender.send("privateMessage", json!({ "receiverId": to.id, "content": "x" })).await];
    for receiver in [404, 404, to.id] {
        let params = json!({ "receiverId": receiver, "content": "y", "clientMessageId": "same" });
        ids.push(sender.send("privateMessage", params).await);
    }
    eventually("the server has read all of them", async || {
        server.server.app().metrics.text().contains("hark_requests_total 4")
    })
    .await;
    sqlx::raw_sql("commit").execute(&mut sql).await.expect("the lock is free");
    let mut codes = Vec::new();
    for id in ids {
        codes.push(sender.wait_for_reply_to(id).await["code"].clone());
    }
    assert_eq!(json!(codes), json!([null, "not_found", "not_found", "overloaded"]));
    let again = json!({ "receiverId": to.id, "content": "y", "clientMessageId": "same" });
    assert_eq!(sender.call("privateMessage", again).await["params"]["item"]["duplicate"], false);
}
