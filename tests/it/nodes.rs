//! Several nodes on one database are one system: what happens on one is seen on all, unchanged and in
//! one order.

mod faults;

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::postgres::PgListener;
use tokio::time::timeout;

use crate::support::{Client, DEADLINE, TestServer, User, eventually, steady};

/// The channel of the nodes of one database.
const CHANNEL: &str = "select 'hark_' || oid from pg_namespace where nspname = current_schema()";

/// Hears what the nodes say to each other.
struct Eavesdropper(PgListener);

impl Eavesdropper {
    async fn on(server: &TestServer) -> Self {
        let channel: String = sqlx::query_scalar(CHANNEL).fetch_one(&mut server.sql().await).await.expect("a name");
        let mut listener = PgListener::connect_with(&server.pool().await).await.expect("a connection");
        listener.listen(&channel).await.expect("ears");
        Self(listener)
    }

    async fn payload(&mut self) -> String {
        let heard = timeout(DEADLINE, self.0.recv()).await.expect("something in time").expect("a connection");
        heard.payload().to_owned()
    }

    /// Returns when something was said that holds these words.
    async fn hears(&mut self, words: &str) {
        while !self.payload().await.contains(words) {}
    }
}

/// The `item` of the next push of somebody's coming or going, without its moment.
async fn news(client: &mut Client) -> Value {
    steady(client.pushed("onlineInfo").await["item"].take())
}

fn status(user: &User, is_online: bool) -> Value {
    json!({ "userId": user.id, "isOnline": is_online, "active": is_online, "lastSeenAt": "[time]" })
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_pushed_crosses() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = second.client("Bob").await;
    let mut anns_other = second.connect(&ann).await;
    anns_other.subscribe(&["own"]).await;
    let (to_ann, to_bob) = (json!({ "receiverId": ann.id }), json!({ "receiverId": bob.id }));
    let message = ann_client.say(&to_bob, "Hi").await;
    assert_eq!(bob_client.pushed("privateMessage").await["message"], "Hi");
    assert_eq!(anns_other.pushed("privateMessage").await["message"], "Hi");
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
        ann_client.done(kind, params).await;
        for kind in pushed {
            bob_client.pushed(kind).await;
        }
    }
    // What Bob's socket asked for on his node holds for what comes from the other one.
    bob_client.done("openConversation", to_ann).await;
    ann_client.done("typing", json!({ "receiverId": bob.id, "isTyping": true })).await;
    assert_eq!(bob_client.pushed("typing").await["item"]["isTyping"], true);
    ann_client.say(&to_bob, "5").await;
    assert_eq!(bob_client.pushed("privateMessage").await["message"], "5");
    assert_eq!(bob_client.kinds_told().await, [""; 0], "no notification of what is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_message_holds_comes_as_it_was_sent() {
    let server = TestServer::with(|config| config.limits.max_frame_bytes = 1 << 20).await;
    let second = server.second_node().await;
    let (_, mut sender) = server.client("Ann").await;
    let (bob, mut receiver) = second.client("Bob").await;
    let most = 16_384;
    // The longest frames of all are those whose every byte is escaped.
    let contents = ["\u{1}", "\"\\", "👍🏽é\n", "\r\n\t", "x"].map(|text| {
        let mut content = text.repeat(most / text.len());
        content.push_str(&"y".repeat(most - content.len()));
        content
    });
    let target = json!({ "receiverId": bob.id });
    for (nth, content) in contents.iter().enumerate() {
        sender.say(&target, content).await;
        sender.say(&target, &nth.to_string()).await;
    }
    for (nth, content) in contents.iter().enumerate() {
        for expected in [content, &nth.to_string()] {
            let pushed = receiver.pushed("privateMessage").await;
            assert!(pushed["message"] == json!(expected) && pushed["item"]["content"] == json!(expected), "{nth}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_written_to_on_all_nodes_is_one_history_on_all_of_them() {
    let first = TestServer::start().await;
    let nodes = [first.second_node().await, first.second_node().await, first];
    let users = nodes[0].users("U", 6).await;
    let mut clients = Vec::new();
    for (nth, user) in users.iter().enumerate() {
        clients.push(nodes[nth % 3].connect(user).await);
    }
    let ids: Vec<i64> = users[1..].iter().map(|user| user.id).collect();
    let group = clients[0].new_group(&ids).await;
    for client in &mut clients[1..] {
        for _ in 1..users.len() {
            client.pushed("addUserInGroup").await;
        }
    }
    // Half of them write, on every node one.
    let seen = join_all(clients.iter_mut().enumerate().map(async |(nth, client)| {
        let sends = if nth < 3 { 100 } else { 0 };
        for sent in 0..sends {
            let params = json!({ "groupId": group, "content": format!("{nth}/{sent}") });
            client.send("messageInGroup", params).await;
        }
        let mut seen = Vec::new();
        let mut receipts = 0;
        while receipts < sends || seen.len() < 300 - sends {
            let frame = client.frame().await;
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
async fn who_comes_back_on_another_node_was_never_gone() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut here) = server.client("Ann").await;
    let mut there = second.connect(&ann).await;
    let (bob, eve) = (server.user("Bob").await, server.user("Eve").await);
    for user in [&bob, &eve] {
        server.contact(user, &ann).await;
    }
    let mut watching = [&mut here, &mut there];
    for client in &mut watching {
        client.subscribe(&["presence"]).await;
    }
    let bobs = server.connect(&bob).await;
    let eves = second.connect(&eve).await;
    for client in &mut watching {
        let mut told = [news(client).await, news(client).await];
        told.sort_by_key(|item| item["userId"].as_i64());
        assert_eq!(told, [status(&bob, true), status(&eve, true)]);
    }
    bobs.close().await;
    let mut back = second.connect(&bob).await;
    // Eve leaves after Bob, and for good: what there is to say of him would come before her.
    eves.close().await;
    for client in &mut watching {
        assert_eq!(news(client).await, status(&eve, false));
    }
    back.done("setPresence", json!({ "active": false })).await;
    let in_the_background = json!({ "userId": bob.id, "isOnline": true, "active": false, "lastSeenAt": "[time]" });
    for client in &mut watching {
        assert_eq!(news(client).await, in_the_background);
        let row = client.done("getOnlineInfo", json!({ "userIds": [bob.id] })).await["data"][0].take();
        assert_eq!(steady(row), in_the_background, "the same on every node");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_knows_who_is_there() {
    let server = TestServer::start().await;
    let ann = server.user("Ann").await;
    let mut there = Vec::new();
    for user in server.users("U", 100).await {
        server.contact(&user, &ann).await;
        there.push((user.id, server.connect(&user).await));
    }
    let second = server.second_node().await;
    let mut client = second.connect(&ann).await;
    let ids: Vec<i64> = there.iter().map(|(id, _)| *id).collect();
    let rows = client.done("getOnlineInfo", json!({ "userIds": ids })).await["data"].take();
    assert!(rows.as_array().is_some_and(|rows| rows.iter().all(|row| row["isOnline"] == true)), "{rows}");
    // And nobody is told what has been so all along.
    client.subscribe(&["presence"]).await;
    let newcomer = server.user("Bob").await;
    server.contact(&newcomer, &ann).await;
    let _bobs = server.connect(&newcomer).await;
    assert_eq!(news(&mut client).await, status(&newcomer, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_alone_gives_signs_of_life_and_says_nothing() {
    let server = TestServer::start().await;
    let mut listening = Eavesdropper::on(&server).await;
    let (ann_user, mut ann) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    for _ in 0..10 {
        ann.say(&json!({ "receiverId": bob.id }), "Hi").await;
        bob_client.pushed("privateMessage").await;
    }
    let is_alone = |payload: &str| payload.split_once('\n').is_some_and(|(_, body)| body.is_empty());
    for _ in 0..2 {
        let payload = listening.payload().await;
        assert!(is_alone(&payload), "{payload}");
    }
    let second = server.second_node().await;
    let mut bobs_other = second.connect(&bob).await;
    ann.say(&json!({ "receiverId": bob.id }), "to all of you").await;
    listening.hears("to all of you").await;
    bobs_other.pushed("privateMessage").await;
    bobs_other.say(&json!({ "receiverId": ann_user.id }), "Hello").await;
    ann.pushed("privateMessage").await;
    for node in [&server, &second] {
        let metrics = node.server.app().metrics.text();
        assert!(metrics.contains("hark_other_nodes 1") && metrics.contains("hark_missed_total 0"), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_bus_a_node_neither_speaks_nor_listens() {
    let server = TestServer::with(|config| config.bus = false).await;
    let (_, mut ann) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    ann.say(&json!({ "receiverId": bob.id }), "Hi").await;
    bob_client.pushed("privateMessage").await;
    let listeners = "select count(*) from pg_stat_activity
                     where datname = current_database() and application_name = 'hark listening'";
    let count: i64 = sqlx::query_scalar(listeners).fetch_one(&mut server.sql().await).await.expect("a count");
    assert_eq!(count, 0);
    server.http("GET", "/readyz").send().await.expect("an answer").error_for_status().expect("it is ready");
    let with_bus = server.second_node().await;
    let count: i64 = sqlx::query_scalar(listeners).fetch_one(&mut with_bus.sql().await).await.expect("a count");
    assert_eq!(count, 1);
    eventually("it is ready", async || {
        with_bus.http("GET", "/readyz").send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
}
