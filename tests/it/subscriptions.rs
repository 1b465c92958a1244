//! `subscribe`: which extra pushes a socket gets, and that nobody gets one that was not asked for.

use serde_json::{Value, json};

use crate::support::{Client, TestServer};

const NOTHING: [&str; 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_told_what_it_gets_from_now_on() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.client("Ann").await;
    let reply = ann.call("subscribe", json!({ "events": ["own", "receipts", "own"] })).await;
    assert_eq!(
        reply,
        json!({
            "type": "subscribe",
            "success": true,
            "params": {
                "data": null,
                "message": null,
                "senderName": null,
                "item": { "events": ["receipts", "own"] },
            },
            "id": 1,
        })
    );
    let mut events = async |events: Value| ann.done("subscribe", json!({ "events": events })).await["item"].take();
    assert_eq!(events(json!("typing")).await, json!({ "events": ["typing"] }));
    for name in ["receipts", "typing", "presence", "groups", "contacts", "messages", "notifications", "own"] {
        assert_eq!(events(json!([name])).await, json!({ "events": [name] }));
    }
    let all = ["receipts", "typing", "presence", "groups", "contacts", "messages", "notifications", "own"];
    for every in [json!("all"), json!(["all"]), json!(["typing", "all"])] {
        assert_eq!(events(every).await, json!({ "events": all }));
    }
    assert_eq!(events(json!([])).await, json!({ "events": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_list_of_events_changes_nothing() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.client("Ann").await;
    let (_, mut bob) = server.client("Bob").await;
    client.subscribe(&["receipts"]).await;
    for events in [json!(["receipts", "nonsense"]), json!("nonsense"), json!(""), json!("Own"), json!([1]), json!(7)] {
        let refusal = client.call("subscribe", json!({ "events": events })).await;
        assert_eq!(refusal["code"], "bad_params", "{events}: {refusal}");
        let message = refusal["message"].as_str().expect("a sentence");
        assert!(message.starts_with("params.events must "), "{message}");
    }
    for params in [json!({}), json!({ "events": null })] {
        let refusal = client.call("subscribe", params).await;
        assert_eq!(
            (&refusal["code"], &refusal["message"]),
            (&json!("bad_params"), &json!("params.events is required"))
        );
    }
    bob.say(&json!({ "receiverId": ann.id }), "Hi").await;
    client.pushed("privateMessage").await;
    client.say(&json!({ "receiverId": 2 }), "Hi").await;
    bob.pushed("privateMessage").await;
    bob.done("readMessages", json!({ "receiverId": ann.id })).await;
    assert_eq!(client.pushed("readMessages").await["item"]["userId"], 2, "it still gets what it asked for");
}

/// Does all that anybody is pushed anything for, to a dialog or a group.
async fn live(client: &mut Client, target: &Value) {
    let with = |more: Value| {
        let mut params = target.clone();
        params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        params
    };
    let (typing, not_spam) = (with(json!({ "isTyping": true })), with(json!({ "spam": false })));
    let spam = with(json!({ "spam": true }));
    client.done("openConversation", target.clone()).await;
    client.done("typing", typing).await;
    let message = client.say(target, "Hello").await;
    client.done("replyMessage", json!({ "messageId": message, "content": "Hello?" })).await;
    client.done("reactToMessage", json!({ "messageId": message, "reaction": "👍" })).await;
    client.done("editMessage", json!({ "messageId": message, "content": "Hi" })).await;
    client.done("deleteMessage", json!({ "messageId": message })).await;
    client.done("deliveredMessages", target.clone()).await;
    client.done("readMessages", target.clone()).await;
    client.done("setPresence", json!({ "active": false })).await;
    client.done("markSpam", spam).await;
    client.done("markSpam", not_spam).await;
    client.done("removeConversation", target.clone()).await;
    client.done("closeConversation", target.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_nothing_sees_only_what_every_client_knows() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let mut silent = server.connect(&ann).await;
    server.contact(&bob, &ann).await;
    let group = ann_client.new_group(&[bob.id]).await;
    for client in [&mut ann_client, &mut silent] {
        client.done("openConversation", json!({ "receiverId": bob.id })).await;
        client.done("openConversation", json!({ "groupId": group })).await;
    }
    live(&mut bob_client, &json!({ "receiverId": ann.id })).await;
    live(&mut bob_client, &json!({ "groupId": group })).await;
    live(&mut ann_client, &json!({ "receiverId": bob.id })).await;
    live(&mut ann_client, &json!({ "groupId": group })).await;
    ann_client.done("leaveGroup", json!({ "groupId": group })).await;
    server.connect(&bob).await.close().await;

    let known = ["privateMessage", "privateMessage", "messageInGroup", "messageInGroup"];
    assert_eq!(silent.kinds_told().await, known);
    assert_eq!(ann_client.kinds_told().await, known);
    assert_eq!(bob_client.kinds_told().await, [&["addUserInGroup"][..], &known, &["leaveGroup"]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_everything_sees_it_until_they_ask_for_nothing() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    ann_client.subscribe(&["all"]).await;
    ann_client.done("openConversation", json!({ "receiverId": bob.id })).await;
    live(&mut bob_client, &json!({ "receiverId": ann.id })).await;
    let mut told = ann_client.kinds_told().await;
    // Presence comes in its own time.
    told.retain(|kind| kind != "onlineInfo");
    assert_eq!(
        told,
        [
            "typing",
            "privateMessage",
            "privateMessage",
            "reactToMessage",
            "editMessage",
            "deleteMessage",
            "deliveredMessages",
            "readMessages",
        ]
    );
    ann_client.subscribe(&[]).await;
    ann_client.forget().await;
    live(&mut bob_client, &json!({ "receiverId": ann.id })).await;
    assert_eq!(ann_client.kinds_told().await, ["privateMessage", "privateMessage"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_topic_brings_its_own_pushes_and_no_others() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let topics: [(&str, &[&str]); 7] = [
        ("receipts", &["deliveredMessages", "readMessages"]),
        ("typing", &["typing"]),
        ("groups", &[]),
        ("contacts", &[]),
        ("messages", &["reactToMessage", "editMessage", "deleteMessage"]),
        // What is open here is no news.
        ("notifications", &[]),
        ("own", &[]),
    ];
    for (topic, kinds) in topics {
        ann_client.subscribe(&[topic]).await;
        ann_client.done("openConversation", json!({ "receiverId": bob.id })).await;
        live(&mut bob_client, &json!({ "receiverId": ann.id })).await;
        let told = ann_client.kinds_told().await;
        let extra: Vec<&str> = told.iter().map(String::as_str).filter(|kind| *kind != "privateMessage").collect();
        assert_eq!(extra, kinds, "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_i_do_reaches_my_other_sockets_only_with_own() {
    let server = TestServer::start().await;
    let (ann, mut here) = server.client("Ann").await;
    let bob = server.user("Bob").await;
    let (mut there, mut everything_else) = (server.connect(&ann).await, server.connect(&ann).await);
    here.subscribe(&["all"]).await;
    there.subscribe(&["own"]).await;
    let others = ["receipts", "typing", "groups", "contacts", "messages", "notifications"];
    everything_else.subscribe(&others).await;
    let group = here.new_group(&[bob.id]).await;
    live(&mut here, &json!({ "receiverId": bob.id })).await;
    live(&mut here, &json!({ "groupId": group })).await;
    here.done("leaveGroup", json!({ "groupId": group })).await;

    assert_eq!(here.kinds_told().await, NOTHING, "nothing goes back to where it came from");
    assert_eq!(everything_else.kinds_told().await, NOTHING, "it did not ask for what I do myself");
    let in_one = |send| {
        let rest = ["reactToMessage", "editMessage", "deleteMessage", "deliveredMessages", "readMessages"];
        [&[send; 2][..], &rest, &["markSpam", "markSpam", "removeConversation"]].concat()
    };
    let expected =
        [vec!["newGroup", "addUserInGroup"], in_one("privateMessage"), in_one("messageInGroup"), vec!["leaveGroup"]];
    assert_eq!(there.kinds_told().await, expected.concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn my_sends_over_http_reach_all_my_sockets_with_own() {
    let server = TestServer::start().await;
    let (ann, mut silent) = server.client("Ann").await;
    let (bob, _bob_client) = server.client("Bob").await;
    let mut own = server.connect(&ann).await;
    own.subscribe(&["own"]).await;
    let path = format!("/api/v1/conversations/users/{}/messages", bob.id);
    let request = server.http("POST", &path).bearer_auth(&ann.token).json(&json!({ "content": "Hi" }));
    crate::support::answer(request).await.ok(201);
    assert_eq!(own.pushed("privateMessage").await["message"], "Hi");
    assert_eq!(silent.kinds_told().await, NOTHING);
}
