//! Several nodes on one database behave as one system: what happens on one is seen on all, unchanged and in
//! one order.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{ClusterListener, next_presence, status};
use crate::delivery::ordering::{after_notices, new_group};
use crate::support::{Client, TestServer, eventually, steady};

#[tokio::test(flavor = "multi_thread")]
async fn pushes_of_every_type_reach_sockets_on_other_nodes() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = second.connect_user("Bob").await;
    let mut anns_other = second.connect(&ann).await;
    anns_other.subscribe(&["own"]).await;
    let (to_ann, to_bob) = (json!({ "receiverId": ann.id }), json!({ "receiverId": bob.id }));
    let message = ann_client.send_content(&to_bob, "Hi").await;
    assert_eq!(bob_client.expect_push("privateMessage").await["message"], "Hi");
    assert_eq!(anns_other.expect_push("privateMessage").await["message"], "Hi");
    bob_client.subscribe(&["receipts", "typing", "groups", "contacts", "messages", "notifications"]).await;
    let group = ann_client.new_group(&[]).await;

    let of_message = |key: &str, value: &str| json!({ "messageId": message, key: value });
    let of_bob = json!({ "groupId": group, "userId": bob.id });
    for (kind, params, pushed) in [
        ("privateMessage", json!({ "receiverId": bob.id, "content": "2" }), &["privateMessage", "notification"][..]),
        ("replyMessage", of_message("content", "3"), &["privateMessage", "notification"]),
        ("editMessage", of_message("content", "Hello"), &["editMessage"]),
        ("reactToMessage", of_message("reaction", "👍"), &["reactToMessage"]),
        ("deleteMessage", of_message("content", ""), &["deleteMessage"]),
        ("readMessages", to_bob.clone(), &["readMessages"]),
        ("addUserInGroup", of_bob.clone(), &["addUserInGroup"]),
        ("addGroupAdmin", of_bob.clone(), &["addGroupAdmin"]),
        ("renameGroup", json!({ "groupId": group, "groupName": "Chess" }), &["renameGroup"]),
        ("messageInGroup", json!({ "groupId": group, "content": "4" }), &["messageInGroup", "notification"]),
        ("removeUserFromGroup", of_bob, &["removeUserFromGroup"]),
        ("addContact", json!({ "userId": bob.id }), &["addContact"]),
        ("sendNotification", json!({ "userId": bob.id, "kind": "like" }), &["notification"]),
    ] {
        ann_client.call_ok(kind, params).await;
        for kind in pushed {
            bob_client.expect_push(kind).await;
        }
    }
    // Subscriptions and open conversations on Bob's node apply to pushes from the other one.
    bob_client.call_ok("openConversation", to_ann).await;
    ann_client.call_ok("typing", json!({ "receiverId": bob.id, "isTyping": true })).await;
    assert_eq!(bob_client.expect_push("typing").await["item"]["isTyping"], true);
    ann_client.send_content(&to_bob, "5").await;
    assert_eq!(bob_client.expect_push("privateMessage").await["message"], "5");
    assert_eq!(bob_client.drain_push_types().await, [""; 0], "no notification of what is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn private_message_of_any_content_crosses_nodes_unchanged() {
    let server = TestServer::start_with(|config| config.limits.max_frame_bytes = 1 << 20).await;
    let second = server.second_node().await;
    let (_, mut sender) = server.connect_user("Ann").await;
    let (bob, mut receiver) = second.connect_user("Bob").await;
    let most = 16_384;
    // Frames are longest where every byte is escaped.
    let contents = ["\u{1}", "\"\\", "👍🏽é\n", "\r\n\t", "x"].map(|text| {
        let mut content = text.repeat(most / text.len());
        content.push_str(&"y".repeat(most - content.len()));
        content
    });
    let target = json!({ "receiverId": bob.id });
    for (nth, content) in contents.iter().enumerate() {
        sender.send_content(&target, content).await;
        sender.send_content(&target, &nth.to_string()).await;
    }
    for (nth, content) in contents.iter().enumerate() {
        for expected in [content, &nth.to_string()] {
            let pushed = receiver.expect_push("privateMessage").await;
            assert!(pushed["message"] == json!(expected) && pushed["item"]["content"] == json!(expected), "{nth}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn message_in_group_from_all_nodes_has_one_order_on_all_nodes() {
    let first = TestServer::start().await;
    let nodes = [first.second_node().await, first.second_node().await, first];
    let users = nodes[0].create_users("U", 6).await;
    let mut clients = Vec::new();
    for (nth, user) in users.iter().enumerate() {
        clients.push(nodes[nth % 3].connect(user).await);
    }
    let ids: Vec<i64> = users[1..].iter().map(|user| user.id).collect();
    let group = clients[0].new_group(&ids).await;
    for client in &mut clients[1..] {
        for _ in 1..users.len() {
            client.expect_push("addUserInGroup").await;
        }
    }
    // Half of the members send, one on every node.
    let seen = join_all(clients.iter_mut().enumerate().map(async |(nth, client)| {
        let sends = if nth < 3 { 100 } else { 0 };
        for sent in 0..sends {
            let params = json!({ "groupId": group, "content": format!("{nth}/{sent}") });
            client.send("messageInGroup", params).await;
        }
        let mut seen = Vec::new();
        let mut receipts = 0;
        while receipts < sends || seen.len() < 300 - sends {
            let frame = client.next_frame().await;
            let item = &frame["params"]["item"];
            match frame.get("id") {
                Some(_) => receipts += 1,
                None => seen.push((item["seq"].as_i64().expect("a seq"), item["content"].clone())),
            }
        }
        seen
    }))
    .await;
    let whole = &seen[3];
    assert_eq!(whole.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=300).collect::<Vec<_>>());
    for (nth, seen) in seen.iter().enumerate() {
        let is_own = |content: &Value| content.as_str().is_some_and(|text| text.starts_with(&format!("{nth}/")));
        let expected: Vec<_> = whole.iter().filter(|(_, content)| !is_own(content)).collect();
        assert_eq!(seen.iter().collect::<Vec<_>>(), expected, "all but one's own, in the one order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_stays_online_for_a_user_who_reconnects_to_another_node() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut here) = server.connect_user("Ann").await;
    let mut there = second.connect(&ann).await;
    let (bob, eve) = (server.create_user("Bob").await, server.create_user("Eve").await);
    for user in [&bob, &eve] {
        server.add_contact(user, &ann).await;
    }
    let mut watching = [&mut here, &mut there];
    for client in &mut watching {
        client.subscribe(&["presence"]).await;
    }
    let bobs = server.connect(&bob).await;
    let eves = second.connect(&eve).await;
    for client in &mut watching {
        let mut received = [next_presence(client).await, next_presence(client).await];
        received.sort_by_key(|item| item["userId"].as_i64());
        assert_eq!(received, [status(&bob, true), status(&eve, true)]);
    }
    bobs.close().await;
    let mut back = second.connect(&bob).await;
    // Eve disconnects after Bob and does not come back: a push about him would come before hers.
    eves.close().await;
    for client in &mut watching {
        assert_eq!(next_presence(client).await, status(&eve, false));
    }
    back.call_ok("setPresence", json!({ "active": false })).await;
    let in_the_background = json!({ "userId": bob.id, "isOnline": true, "active": false, "lastSeenAt": "[time]" });
    for client in &mut watching {
        assert_eq!(next_presence(client).await, in_the_background);
        let row = client.call_ok("getOnlineInfo", json!({ "userIds": [bob.id] })).await["data"][0].take();
        assert_eq!(steady(row), in_the_background, "the same on every node");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_known_to_a_node_that_starts() {
    let server = TestServer::start().await;
    let ann = server.create_user("Ann").await;
    let mut there = Vec::new();
    for user in server.create_users("U", 100).await {
        server.add_contact(&user, &ann).await;
        there.push((user.id, server.connect(&user).await));
    }
    let second = server.second_node().await;
    let mut client = second.connect(&ann).await;
    let ids: Vec<i64> = there.iter().map(|(id, _)| *id).collect();
    let rows = client.call_ok("getOnlineInfo", json!({ "userIds": ids })).await["data"].take();
    assert!(rows.as_array().is_some_and(|rows| rows.iter().all(|row| row["isOnline"] == true)), "{rows}");
    // No push is sent about presence that has not changed.
    client.subscribe(&["presence"]).await;
    let newcomer = server.create_user("Bob").await;
    server.add_contact(&newcomer, &ann).await;
    let _bobs = server.connect(&newcomer).await;
    assert_eq!(next_presence(&mut client).await, status(&newcomer, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn single_node_sends_heartbeats_and_publishes_nothing() {
    let server = TestServer::start().await;
    let mut listening = ClusterListener::on(&server).await;
    let (ann_user, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    for _ in 0..10 {
        ann.send_content(&json!({ "receiverId": bob.id }), "Hi").await;
        bob_client.expect_push("privateMessage").await;
    }
    let is_alone = |payload: &str| payload.split_once('\n').is_some_and(|(_, body)| body.is_empty());
    for _ in 0..2 {
        let payload = listening.payload().await;
        assert!(is_alone(&payload), "{payload}");
    }
    let second = server.second_node().await;
    let mut bobs_other = second.connect(&bob).await;
    ann.send_content(&json!({ "receiverId": bob.id }), "to all of you").await;
    listening.wait_for("to all of you").await;
    bobs_other.expect_push("privateMessage").await;
    bobs_other.send_content(&json!({ "receiverId": ann_user.id }), "Hello").await;
    ann.expect_push("privateMessage").await;
    for node in [&server, &second] {
        let metrics = node.server.app().metrics.text();
        assert!(metrics.contains("hark_cluster_peers 1") && metrics.contains("hark_cluster_gaps_total 0"), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_cluster_neither_publishes_nor_listens() {
    let server = TestServer::start_with(|config| config.cluster = false).await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    ann.send_content(&json!({ "receiverId": bob.id }), "Hi").await;
    bob_client.expect_push("privateMessage").await;
    let listeners = "select count(*) from pg_stat_activity
                     where datname = current_database() and application_name = 'hark listening'";
    let count: i64 = sqlx::query_scalar(listeners).fetch_one(&mut server.sql().await).await.expect("a count");
    assert_eq!(count, 0);
    server.http("GET", "/readyz").send().await.expect("an answer").error_for_status().expect("it is ready");
    let with_cluster = server.second_node().await;
    let count: i64 = sqlx::query_scalar(listeners).fetch_one(&mut with_cluster.sql().await).await.expect("a count");
    assert_eq!(count, 1);
    eventually("it is ready", async || {
        with_cluster.http("GET", "/readyz").send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn member_cache_follows_changes_of_another_node() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    let cleo = server.create_user("Cleo").await;
    let mut bob_client = second.connect(&bob).await;
    let mut cleo_client = second.connect(&cleo).await;
    let group = new_group(&mut ann, std::slice::from_ref(&bob)).await;
    after_notices(&mut bob_client, 1).await;
    let say = async |client: &mut Client, content: &str| {
        let reply = client.call("messageInGroup", json!({ "groupId": group, "content": content })).await;
        assert_eq!(reply["success"], true, "{reply}");
    };

    // The second node caches the member list.
    say(&mut bob_client, "one").await;
    assert_eq!(ann.wait_for_push().await["params"]["message"], "one");
    // The first node changes it in both directions.
    ann.call("addUserInGroup", json!({ "groupId": group, "userId": cleo.id })).await;
    after_notices(&mut cleo_client, 1).await;
    after_notices(&mut bob_client, 1).await;
    say(&mut bob_client, "two").await;
    assert_eq!(cleo_client.wait_for_push().await["params"]["message"], "two");
    assert_eq!(ann.wait_for_push().await["params"]["message"], "two");

    ann.call("leaveGroup", json!({ "groupId": group })).await;
    say(&mut bob_client, "three").await;
    // A private message is the fence: had the third message been pushed, it would have come before it.
    bob_client.call("privateMessage", json!({ "receiverId": 1, "content": "fence" })).await;
    assert_eq!(ann.wait_for_push().await["params"]["message"], "fence");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_may_start_at_once_on_an_empty_database() {
    let (one, two) = TestServer::start_two_on_an_empty_database().await;
    let (_, mut sender) = one.connect_user("Sender").await;
    let (to, mut receiver) = two.connect_user("Receiver").await;
    sender.call("privateMessage", json!({ "receiverId": to.id, "content": "hi" })).await;
    assert_eq!(receiver.wait_for_push().await["params"]["message"], "hi");
}

#[tokio::test(flavor = "multi_thread")]
async fn session_that_ends_on_one_node_closes_its_sockets_on_the_other() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (user, _here) = server.connect_user("Ann").await;
    let there = second.connect(&user).await;
    let gone = reqwest::Client::new()
        .delete(server.url("/api/v1/auth/logout"))
        .bearer_auth(&user.token)
        .send()
        .await
        .expect("an answer");
    assert_eq!(gone.status(), 204);
    assert_eq!(there.wait_for_close().await.code, 4001);
}
