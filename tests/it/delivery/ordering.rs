//! Order of delivery: many senders at once, on two nodes, and members who leave meanwhile.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Client, TestServer, User};

pub async fn new_group(client: &mut Client, members: &[User]) -> i64 {
    let ids: Vec<i64> = members.iter().map(|user| user.id).collect();
    let reply = client.call("newGroup", json!({ "groupName": "G", "userIds": ids })).await;
    reply["params"]["item"]["groupId"].as_i64().unwrap_or_else(|| panic!("a group: {reply}"))
}

/// Reads the notices that the creation of a group pushes.
pub async fn after_notices(client: &mut Client, number: usize) {
    for _ in 0..number {
        assert_eq!(client.wait_for_push().await["type"], "addUserInGroup");
    }
}

/// Returns every `seq` that a member of a group sees: of the own receipts, and of the pushes.
async fn seqs_seen(client: &mut Client, receipts: usize, pushes: usize) -> (Vec<i64>, Vec<i64>) {
    let (mut own, mut pushed) = (Vec::new(), Vec::new());
    while own.len() < receipts || pushed.len() < pushes {
        let frame = client.next_frame().await;
        let seq = frame["params"]["item"]["seq"].as_i64().unwrap_or_else(|| panic!("a seq: {frame}"));
        if frame.get("id").is_some() { own.push(seq) } else { pushed.push(seq) }
    }
    (own, pushed)
}

#[tokio::test(flavor = "multi_thread")]
async fn message_in_group_of_a_thousand_sends_at_once_is_dense_and_in_one_order() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let users = server.create_users("U", 10).await;
    let mut clients = Vec::new();
    for (nth, user) in users.iter().enumerate() {
        clients.push(if nth % 2 == 0 { &server } else { &second }.connect(user).await);
    }
    let group = new_group(&mut clients[0], &users[1..]).await;
    for client in &mut clients[1..] {
        after_notices(client, 9).await;
    }

    let seen = join_all(clients.iter_mut().map(async |client| {
        for nth in 0..100 {
            client.send("messageInGroup", json!({ "groupId": group, "content": format!("{nth}") })).await;
        }
        seqs_seen(client, 100, 900).await
    }))
    .await;
    for (own, pushed) in seen {
        assert!(own.is_sorted(), "sends of one socket keep their order: {own:?}");
        assert!(pushed.is_sorted(), "pushes come in the order of seq: {pushed:?}");
        let mut all = [own, pushed].concat();
        all.sort_unstable();
        assert_eq!(all, (1..=1000).collect::<Vec<i64>>());
    }
    let last = clients[3].call("getlatestMessageGroup", json!({ "groupId": group, "limit": 1 })).await;
    assert_eq!(last["params"]["data"][0]["seq"], 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn private_message_in_both_directions_of_many_dialogs_at_once() {
    let server = TestServer::start().await;
    let users = server.create_users("U", 12).await;
    let mut clients = Vec::new();
    for user in &users {
        clients.push(server.connect(user).await);
    }
    // Every user writes to the next three: pairs share batches and locks in every combination.
    let seen = join_all(clients.iter_mut().enumerate().map(async |(nth, client)| {
        for _ in 0..10 {
            for step in 1..=3 {
                let to = users[(nth + step) % users.len()].id;
                client.send("privateMessage", json!({ "receiverId": to, "content": "hi" })).await;
            }
        }
        seqs_seen(client, 30, 30).await
    }))
    .await;
    assert_eq!(seen.len(), 12);
    for (nth, client) in clients.iter_mut().enumerate() {
        let to = users[(nth + 1) % users.len()].id;
        let history = client.call("getlatestMessageDialog", json!({ "receiverId": to })).await;
        let seqs: Vec<_> =
            history["params"]["data"].as_array().expect("rows").iter().map(|row| row["seq"].clone()).collect();
        assert_eq!(json!(seqs), (1..=10).rev().collect::<Value>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_group_amid_messages_ends_their_pushes() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let group = new_group(&mut ann, std::slice::from_ref(&bob)).await;
    after_notices(&mut bob_client, 1).await;
    for _ in 0..50 {
        ann.send("messageInGroup", json!({ "groupId": group, "content": "stream" })).await;
    }
    let left = bob_client.call("leaveGroup", json!({ "groupId": group })).await;
    assert_eq!(left["success"], true, "{left}");
    let mut sent = Vec::new();
    while sent.len() < 50 {
        let frame = ann.next_frame().await;
        if frame.get("id").is_some() {
            sent.push(frame["params"]["item"]["seq"].as_i64());
        }
    }
    // The pushed messages are the beginning of the stream without a gap, and nothing follows.
    ann.call("privateMessage", json!({ "receiverId": bob.id, "content": "fence" })).await;
    let mut pushed = Vec::new();
    loop {
        let push = bob_client.wait_for_push().await;
        if push["params"]["message"] == "fence" {
            break;
        }
        pushed.push(push["params"]["item"]["seq"].as_i64());
    }
    assert_eq!(pushed, sent[..pushed.len()]);
}
