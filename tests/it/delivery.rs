//! Who gets what, in which order: many senders at once, and two nodes on one database.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Client, TestServer, User};

async fn new_group(client: &mut Client, members: &[User]) -> i64 {
    let ids: Vec<i64> = members.iter().map(|user| user.id).collect();
    let reply = client.call("newGroup", json!({ "groupName": "G", "userIds": ids })).await;
    reply["params"]["item"]["groupId"].as_i64().unwrap_or_else(|| panic!("a group: {reply}"))
}

/// Takes the notices of a group's making out of the way.
async fn after_notices(client: &mut Client, number: usize) {
    for _ in 0..number {
        assert_eq!(client.push().await["type"], "addUserInGroup");
    }
}

/// Everything that a member of a group sees of its messages: own receipts and pushes, as `seq`.
async fn seqs_seen(client: &mut Client, receipts: usize, pushes: usize) -> (Vec<i64>, Vec<i64>) {
    let (mut own, mut pushed) = (Vec::new(), Vec::new());
    while own.len() < receipts || pushed.len() < pushes {
        let frame = client.frame().await;
        let seq = frame["params"]["item"]["seq"].as_i64().unwrap_or_else(|| panic!("a seq: {frame}"));
        if frame.get("id").is_some() { own.push(seq) } else { pushed.push(seq) }
    }
    (own, pushed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sends_at_once_are_dense_and_in_one_order_for_all() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let users = server.users("U", 10).await;
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
async fn both_sides_of_many_dialogs_talk_at_once() {
    let server = TestServer::start().await;
    let users = server.users("U", 12).await;
    let mut clients = Vec::new();
    for user in &users {
        clients.push(server.connect(user).await);
    }
    // Everybody writes to the next three: pairs share batches, and locks, in every combination.
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
async fn a_node_knows_of_members_that_another_node_added_or_let_go() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (_, mut ann) = server.client("Ann").await;
    let bob = server.user("Bob").await;
    let cleo = server.user("Cleo").await;
    let mut bob_client = second.connect(&bob).await;
    let mut cleo_client = second.connect(&cleo).await;
    let group = new_group(&mut ann, std::slice::from_ref(&bob)).await;
    after_notices(&mut bob_client, 1).await;
    let say = async |client: &mut Client, content: &str| {
        let reply = client.call("messageInGroup", json!({ "groupId": group, "content": content })).await;
        assert_eq!(reply["success"], true, "{reply}");
    };

    // The second node caches its list.
    say(&mut bob_client, "one").await;
    assert_eq!(ann.push().await["params"]["message"], "one");
    // The first one changes it, each way.
    ann.call("addUserInGroup", json!({ "groupId": group, "userId": cleo.id })).await;
    after_notices(&mut cleo_client, 1).await;
    after_notices(&mut bob_client, 1).await;
    say(&mut bob_client, "two").await;
    assert_eq!(cleo_client.push().await["params"]["message"], "two");
    assert_eq!(ann.push().await["params"]["message"], "two");

    ann.call("leaveGroup", json!({ "groupId": group })).await;
    say(&mut bob_client, "three").await;
    // A private message is the fence: had the third been pushed, it would have come before it.
    bob_client.call("privateMessage", json!({ "receiverId": 1, "content": "fence" })).await;
    assert_eq!(ann.push().await["params"]["message"], "fence");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_amid_a_stream_of_messages_gets_none_past_it() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let group = new_group(&mut ann, std::slice::from_ref(&bob)).await;
    after_notices(&mut bob_client, 1).await;
    for _ in 0..50 {
        ann.send("messageInGroup", json!({ "groupId": group, "content": "stream" })).await;
    }
    let left = bob_client.call("leaveGroup", json!({ "groupId": group })).await;
    assert_eq!(left["success"], true, "{left}");
    let mut sent = Vec::new();
    while sent.len() < 50 {
        let frame = ann.frame().await;
        if frame.get("id").is_some() {
            sent.push(frame["params"]["item"]["seq"].as_i64());
        }
    }
    // What was pushed is the beginning of the stream, without a gap; then nothing more.
    ann.call("privateMessage", json!({ "receiverId": bob.id, "content": "fence" })).await;
    let mut pushed = Vec::new();
    loop {
        let push = bob_client.push().await;
        if push["params"]["message"] == "fence" {
            break;
        }
        pushed.push(push["params"]["item"]["seq"].as_i64());
    }
    assert_eq!(pushed, sent[..pushed.len()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_may_start_at_once_on_an_empty_database() {
    let (one, two) = TestServer::two_on_an_empty_database().await;
    let (_, mut sender) = one.client("Sender").await;
    let (to, mut receiver) = two.client("Receiver").await;
    sender.call("privateMessage", json!({ "receiverId": to.id, "content": "hi" })).await;
    assert_eq!(receiver.push().await["params"]["message"], "hi");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_on_one_node_closes_its_sockets_on_the_other() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (user, _here) = server.client("Ann").await;
    let there = second.connect(&user).await;
    let gone = reqwest::Client::new()
        .delete(server.url("/api/v1/auth/logout"))
        .bearer_auth(&user.token)
        .send()
        .await
        .expect("an answer");
    assert_eq!(gone.status(), 204);
    assert_eq!(there.closed().await.code, 4001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_a_thousand_hears_one_message() {
    let server = TestServer::with(|config| config.limits.max_sockets_per_user = 1000).await;
    let users = server.users("U", 1000).await;
    let mut sender = server.connect(&users[0]).await;
    let mut listeners = Vec::new();
    for user in users[1..].iter().step_by(10) {
        listeners.push(server.connect(user).await);
    }
    let group = new_group(&mut sender, &users[1..]).await;
    let sent = sender.call("messageInGroup", json!({ "groupId": group, "content": "all" })).await;
    assert_eq!(sent["params"]["item"]["seq"], 1);
    for listener in &mut listeners {
        // More than a hundred at once hear each of their own coming alone.
        after_notices(listener, 1).await;
        assert_eq!(listener.push().await["params"]["message"], "all");
    }
}
