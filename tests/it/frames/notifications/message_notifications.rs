//! Notifications of new messages, pushed to sockets that subscribed and do not have the conversation open.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Waker};

use hark::delivery::socket::Socket;
use hark::model::{Target, Topic, UserId};
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use super::{call_ok, connect_subscribed, list, mark_spam, pushes_caused_by};
use crate::support::{TestServer, steady};

/// Returns what the server has pushed to a socket that was not read yet.
fn queued_frames(socket: &Socket) -> String {
    let mut frames = VecDeque::new();
    let _ = socket.outbox.poll_take(&Context::from_waker(Waker::noop()), &mut frames);
    frames.iter().map(|frame| String::from_utf8_lossy(frame)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn private_message_is_followed_by_a_notification_to_subscribers() {
    let server = TestServer::start().await;
    let (ann, mut here) = server.connect_user("Ann").await;
    let mut own = connect_subscribed(&server, &ann, json!("all")).await;
    let (bob, mut unsubscribed) = server.connect_user("Bob").await;
    let mut other = connect_subscribed(&server, &bob, json!(["receipts", "groups", "own"])).await;
    let mut subscribed = connect_subscribed(&server, &bob, json!(["notifications"])).await;

    let sent = call_ok(&mut here, "privateMessage", json!({ "receiverId": bob.id, "content": "Hi" })).await;
    assert_eq!(subscribed.wait_for_push().await["type"], "privateMessage");
    let notification = subscribed.wait_for_push().await;
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
    for client in [&mut unsubscribed, &mut other, &mut own] {
        assert_eq!(client.wait_for_push().await["type"], "privateMessage");
        assert!(pushes_caused_by(&mut here, client).await.is_empty());
    }
    assert!(pushes_caused_by(&mut own, &mut here).await.is_empty());
    assert_eq!(list(&mut subscribed, json!({})).await, [] as [Value; 0], "it is not stored");

    // Notes to oneself cause no notification.
    call_ok(&mut unsubscribed, "privateMessage", json!({ "receiverId": bob.id, "content": "note" })).await;
    call_ok(&mut unsubscribed, "privateMessage", json!({ "receiverId": ann.id, "content": "fence" })).await;
    assert_eq!(here.wait_for_push().await["params"]["message"], "fence");
    assert!(pushes_caused_by(&mut unsubscribed, &mut subscribed).await.is_empty());
    // A repeat causes no notification either.
    for _ in 0..2 {
        let params = json!({ "receiverId": bob.id, "content": "once", "clientMessageId": "a" });
        call_ok(&mut here, "privateMessage", params).await;
    }
    call_ok(&mut here, "privateMessage", json!({ "receiverId": bob.id, "content": "last" })).await;
    let mut messages = Vec::new();
    while messages.last() != Some(&json!("last")) {
        messages.push(subscribed.wait_for_push().await["params"]["message"].clone());
    }
    assert_eq!(json!(messages), json!(["once", null, "last"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn message_in_group_is_followed_by_a_notification_to_every_other_member() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let users = server.create_users("U", 3).await;
    let members: Vec<i64> = users[..2].iter().map(|user| user.id).collect();
    let group = call_ok(&mut ann_client, "newGroup", json!({ "groupName": "G", "userIds": members })).await;
    let group = &group["item"]["groupId"];
    let mut clients = [
        connect_subscribed(&server, &users[0], json!(["notifications"])).await,
        connect_subscribed(&second, &users[1], json!(["notifications"])).await,
    ];
    let mut stranger = connect_subscribed(&server, &users[2], json!("all")).await;
    call_ok(&mut ann_client, "messageInGroup", json!({ "groupId": group, "content": "lol" })).await;
    for client in &mut clients {
        let mut push = client.wait_for_push().await;
        // Earlier pushes may reach the other node later.
        while push["type"] == "addUserInGroup" {
            push = client.wait_for_push().await;
        }
        assert_eq!(push["type"], "messageInGroup");
        let item = client.wait_for_push().await["params"]["item"].clone();
        assert_eq!((&item["kind"], &item["userId"]), (&json!("message"), &json!(ann.id)));
        assert_eq!(item["data"], json!({ "groupId": group, "messageId": 1, "seq": 1 }));
    }
    assert!(pushes_caused_by(&mut ann_client, &mut stranger).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn private_message_in_an_open_conversation_is_notified_on_other_sockets_only() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    let bob = server.create_user("Bob").await;
    // The socket opens before the other one, so that it gets pushes first.
    let app = server.server.app();
    let registration = app.delivery.register(UserId(bob.id), server.session_of(&bob.token), app.tokens.expiry());
    registration.confirm().expect("a place");
    let open: &Arc<Socket> = registration.socket();
    open.subscribe([Topic::Notifications].into_iter().collect());
    assert_eq!(app.delivery.hub.open_conversation(open, Target::User(UserId(ann.id))), Some(true));
    let mut elsewhere = connect_subscribed(&server, &bob, json!(["notifications"])).await;

    call_ok(&mut ann_client, "privateMessage", json!({ "receiverId": bob.id, "content": "seen" })).await;
    assert_eq!(elsewhere.wait_for_push().await["type"], "privateMessage");
    assert_eq!(elsewhere.wait_for_push().await["type"], "notification");
    let frames = queued_frames(open);
    assert!(frames.contains("privateMessage") && !frames.contains("\"notification\""), "{frames}");

    // Another conversation is not open there, and neither is one that was closed.
    call_ok(&mut cleo_client, "privateMessage", json!({ "receiverId": bob.id, "content": "unseen" })).await;
    assert_eq!(elsewhere.wait_for_push().await["type"], "privateMessage");
    assert_eq!(elsewhere.wait_for_push().await["type"], "notification");
    assert!(queued_frames(open).contains(&format!("\"data\":{{\"receiverId\":{}", cleo.id)));
    app.delivery.hub.close_conversation(open, Target::User(UserId(ann.id)));
    call_ok(&mut ann_client, "privateMessage", json!({ "receiverId": bob.id, "content": "unseen" })).await;
    assert_eq!(elsewhere.wait_for_push().await["type"], "privateMessage");
    assert_eq!(elsewhere.wait_for_push().await["type"], "notification");
    assert!(queued_frames(open).contains("\"notification\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn private_message_in_a_spam_dialog_comes_without_a_notification() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (_, mut cleo) = server.connect_user("Cleo").await;
    let bob = server.create_user("Bob").await;
    let group = call_ok(&mut ann, "newGroup", json!({ "groupName": "G", "userIds": [bob.id] })).await;
    let group = &group["item"]["groupId"];
    call_ok(&mut ann, "privateMessage", json!({ "receiverId": bob.id, "content": "buy" })).await;
    mark_spam(&server, &bob).await;
    let mut bob_client = connect_subscribed(&server, &bob, json!(["notifications"])).await;
    call_ok(&mut ann, "privateMessage", json!({ "receiverId": bob.id, "content": "buy" })).await;
    assert_eq!(bob_client.wait_for_push().await["type"], "privateMessage");
    call_ok(&mut ann, "messageInGroup", json!({ "groupId": group, "content": "buy" })).await;
    assert_eq!(bob_client.wait_for_push().await["type"], "messageInGroup");
    call_ok(&mut cleo, "privateMessage", json!({ "receiverId": bob.id, "content": "Hi" })).await;
    assert_eq!(bob_client.wait_for_push().await["params"]["message"], "Hi");
    assert_eq!(bob_client.wait_for_push().await["params"]["item"]["userName"], "Cleo");
}
