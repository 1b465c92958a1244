//! Word of new messages: to who asked for notifications, and does not have the conversation open.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Waker};

use hark::delivery::socket::Socket;
use hark::model::{Target, Topic, UserId};
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use super::{call_it_spam, list, ok, pushed, subscribed};
use crate::support::{TestServer, steady};

/// What the server has pushed to a socket that nobody reads yet.
fn waiting(socket: &Socket) -> String {
    let mut frames = VecDeque::new();
    let _ = socket.outbox.poll_take(&Context::from_waker(Waker::noop()), &mut frames);
    frames.iter().map(|frame| String::from_utf8_lossy(frame)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_notified_after_it_to_who_asked_and_nowhere_else() {
    let server = TestServer::start().await;
    let (ann, mut here) = server.client("Ann").await;
    let mut own = subscribed(&server, &ann, json!("all")).await;
    let (bob, mut deaf) = server.client("Bob").await;
    let mut other = subscribed(&server, &bob, json!(["receipts", "groups", "own"])).await;
    let mut told = subscribed(&server, &bob, json!(["notifications"])).await;

    let sent = ok(&mut here, "privateMessage", json!({ "receiverId": bob.id, "content": "Hi" })).await;
    assert_eq!(told.push().await["type"], "privateMessage");
    let notification = told.push().await;
    assert_eq!(notification["params"]["item"]["data"]["messageId"], sent["item"]["messageId"]);
    assert_json_snapshot!(steady(notification), @r#"
    {
      "params": {
        "data": null,
        "item": {
          "createdAt": "[time]",
          "data": {
            "messageId": 1,
            "receiverId": 1,
            "seq": 1
          },
          "kind": "message",
          "notificationId": null,
          "readAt": null,
          "userId": 1,
          "userName": "Ann"
        },
        "message": null,
        "senderName": null
      },
      "success": true,
      "type": "notification"
    }
    "#);
    for client in [&mut deaf, &mut other, &mut own] {
        assert_eq!(client.push().await["type"], "privateMessage");
        assert!(pushed(&mut here, client).await.is_empty());
    }
    assert!(pushed(&mut own, &mut here).await.is_empty());
    assert_eq!(list(&mut told, json!({})).await, [] as [Value; 0], "it is not stored");

    // Notes are nobody's news.
    ok(&mut deaf, "privateMessage", json!({ "receiverId": bob.id, "content": "note" })).await;
    ok(&mut deaf, "privateMessage", json!({ "receiverId": ann.id, "content": "fence" })).await;
    assert_eq!(here.push().await["params"]["message"], "fence");
    assert!(pushed(&mut deaf, &mut told).await.is_empty());
    // Neither is a repeat.
    for _ in 0..2 {
        let params = json!({ "receiverId": bob.id, "content": "once", "clientMessageId": "a" });
        ok(&mut here, "privateMessage", params).await;
    }
    ok(&mut here, "privateMessage", json!({ "receiverId": bob.id, "content": "last" })).await;
    let mut messages = Vec::new();
    while messages.last() != Some(&json!("last")) {
        messages.push(told.push().await["params"]["message"].clone());
    }
    assert_eq!(json!(messages), json!(["once", null, "last"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_a_group_is_notified_to_every_other_member_over_any_node() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let users = server.users("U", 3).await;
    let members: Vec<i64> = users[..2].iter().map(|user| user.id).collect();
    let group = ok(&mut ann_client, "newGroup", json!({ "groupName": "G", "userIds": members })).await;
    let group = &group["item"]["groupId"];
    let mut clients = [
        subscribed(&server, &users[0], json!(["notifications"])).await,
        subscribed(&second, &users[1], json!(["notifications"])).await,
    ];
    let mut stranger = subscribed(&server, &users[2], json!("all")).await;
    ok(&mut ann_client, "messageInGroup", json!({ "groupId": group, "content": "lol" })).await;
    for client in &mut clients {
        let mut push = client.push().await;
        // What was said before they came may reach the other node after it.
        while push["type"] == "addUserInGroup" {
            push = client.push().await;
        }
        assert_eq!(push["type"], "messageInGroup");
        let item = client.push().await["params"]["item"].clone();
        assert_eq!((&item["kind"], &item["userId"]), (&json!("message"), &json!(ann.id)));
        assert_eq!(item["data"], json!({ "groupId": group, "messageId": 1, "seq": 1 }));
    }
    assert!(pushed(&mut ann_client, &mut stranger).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_an_open_conversation_is_notified_on_the_other_sockets_alone() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (cleo, mut cleo_client) = server.client("Cleo").await;
    let bob = server.user("Bob").await;
    // Before the other one, so that it is pushed to first.
    let app = server.server.app();
    let registration = app.delivery.register(UserId(bob.id), server.session_of(&bob.token), app.tokens.expiry());
    registration.confirm().expect("a place");
    let open: &Arc<Socket> = registration.socket();
    open.subscribe([Topic::Notifications].into_iter().collect());
    assert_eq!(app.delivery.hub.open(open, Target::User(UserId(ann.id))), Some(true));
    let mut elsewhere = subscribed(&server, &bob, json!(["notifications"])).await;

    ok(&mut ann_client, "privateMessage", json!({ "receiverId": bob.id, "content": "seen" })).await;
    assert_eq!(elsewhere.push().await["type"], "privateMessage");
    assert_eq!(elsewhere.push().await["type"], "notification");
    let frames = waiting(open);
    assert!(frames.contains("privateMessage") && !frames.contains("\"notification\""), "{frames}");

    // Another conversation is not open there, and neither is one that was closed.
    ok(&mut cleo_client, "privateMessage", json!({ "receiverId": bob.id, "content": "unseen" })).await;
    assert_eq!(elsewhere.push().await["type"], "privateMessage");
    assert_eq!(elsewhere.push().await["type"], "notification");
    assert!(waiting(open).contains(&format!("\"data\":{{\"receiverId\":{}", cleo.id)));
    app.delivery.hub.close(open, Target::User(UserId(ann.id)));
    ok(&mut ann_client, "privateMessage", json!({ "receiverId": bob.id, "content": "unseen" })).await;
    assert_eq!(elsewhere.push().await["type"], "privateMessage");
    assert_eq!(elsewhere.push().await["type"], "notification");
    assert!(waiting(open).contains("\"notification\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_from_spam_comes_without_a_notification() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.client("Ann").await;
    let (_, mut cleo) = server.client("Cleo").await;
    let bob = server.user("Bob").await;
    let group = ok(&mut ann, "newGroup", json!({ "groupName": "G", "userIds": [bob.id] })).await;
    let group = &group["item"]["groupId"];
    ok(&mut ann, "privateMessage", json!({ "receiverId": bob.id, "content": "buy" })).await;
    call_it_spam(&server, &bob).await;
    let mut bob_client = subscribed(&server, &bob, json!(["notifications"])).await;
    ok(&mut ann, "privateMessage", json!({ "receiverId": bob.id, "content": "buy" })).await;
    assert_eq!(bob_client.push().await["type"], "privateMessage");
    ok(&mut ann, "messageInGroup", json!({ "groupId": group, "content": "buy" })).await;
    assert_eq!(bob_client.push().await["type"], "messageInGroup");
    ok(&mut cleo, "privateMessage", json!({ "receiverId": bob.id, "content": "Hi" })).await;
    assert_eq!(bob_client.push().await["params"]["message"], "Hi");
    assert_eq!(bob_client.push().await["params"]["item"]["userName"], "Cleo");
}
