//! `editMessage` and `deleteMessage`: permissions, pushes, and what stays.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, User, steady};

const NOTHING: [&str; 0] = [];

/// Connects two users of a dialog and a third who is not in it, all subscribed to `messages`.
pub async fn connect_three(server: &TestServer) -> [(User, Client); 3] {
    let mut users =
        [server.connect_user("Ann").await, server.connect_user("Bob").await, server.connect_user("Cleo").await];
    for (_, client) in &mut users {
        client.subscribe(&["messages"]).await;
    }
    users
}

pub async fn newest(client: &mut Client, target: &Value) -> Value {
    client.call_ok("getConversation", target.clone()).await["item"]["lastMessage"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn edit_message_is_pushed_to_both_sides() {
    let server = TestServer::start().await;
    let [(ann, mut ann_client), (bob, mut bob_client), (_, mut stranger)] = connect_three(&server).await;
    let mut anns_other = server.connect(&ann).await;
    anns_other.subscribe(&["own"]).await;
    let message = ann_client.send_content(&json!({ "receiverId": bob.id }), "Helo").await;
    for client in [&mut bob_client, &mut anns_other] {
        client.expect_push("privateMessage").await;
    }
    let reply = ann_client.call_ok("editMessage", json!({ "messageId": message, "content": "Hello" })).await;
    let item = &reply["item"];
    assert_eq!(
        steady(reply.clone()),
        json!({
            "data": null,
            "message": null,
            "senderName": null,
            "item": {
                "messageId": message,
                "seq": 1,
                "senderId": ann.id,
                "senderName": "Ann",
                "receiverId": bob.id,
                "receiverName": "Bob",
                "groupId": null,
                "groupName": null,
                "content": "Hello",
                "replyTo": null,
                "reactions": [],
                "createdAt": "[time]",
                "updatedAt": "[time]",
                "deletedAt": null,
                "clientMessageId": null,
            },
        })
    );
    assert!(item["updatedAt"].as_str() > item["createdAt"].as_str(), "{item}");
    assert_eq!(bob_client.expect_push("editMessage").await, reply);
    assert_eq!(anns_other.expect_push("editMessage").await, reply);
    assert_eq!(newest(&mut bob_client, &json!({ "receiverId": ann.id })).await, *item);
    let again = ann_client.call_ok("editMessage", json!({ "messageId": message, "content": "Hello!" })).await;
    assert!(again["item"]["updatedAt"].as_str() > item["updatedAt"].as_str(), "{again}");
    assert_eq!((ann_client.drain_push_types().await, stranger.drain_push_types().await), (vec![], vec![]));
    // A socket that did not subscribe gets no push; the history has the change.
    bob_client.discard_pushes().await;
    bob_client.subscribe(&[]).await;
    ann_client.call_ok("editMessage", json!({ "messageId": message, "content": "Bye" })).await;
    ann_client.discard_pushes().await;
    assert_eq!(bob_client.drain_push_types().await, NOTHING);
    let history = bob_client.call_ok("getlatestMessageDialog", json!({ "receiverId": ann.id })).await;
    assert_eq!((&history["data"][0]["content"], history["data"].as_array().map(Vec::len)), (&json!("Bye"), Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_message_keeps_the_place_and_removes_the_content() {
    let server = TestServer::start().await;
    let [(ann, mut ann_client), (bob, mut bob_client), (_, mut stranger)] = connect_three(&server).await;
    let first = ann_client.send_content(&json!({ "receiverId": bob.id }), "secret").await;
    ann_client.send_content(&json!({ "receiverId": bob.id }), "next").await;
    bob_client.call_ok("reactToMessage", json!({ "messageId": first, "reaction": "👍" })).await;
    bob_client.discard_pushes().await;
    ann_client.discard_pushes().await;
    let reply = ann_client.call_ok("deleteMessage", json!({ "messageId": first })).await;
    let item = &reply["item"];
    assert_eq!((&item["content"], &item["seq"], &item["reactions"]), (&json!(""), &json!(1), &json!([])));
    assert_eq!(item["deletedAt"], item["updatedAt"]);
    assert!(item["deletedAt"].is_string(), "{item}");
    assert_eq!(bob_client.expect_push("deleteMessage").await, reply);
    let history = bob_client.call_ok("getlatestMessageDialog", json!({ "receiverId": ann.id })).await;
    assert_eq!((&history["data"][1]["content"], &history["data"][1]["deletedAt"]), (&json!(""), &item["deletedAt"]));
    // A second deletion succeeds and pushes nothing.
    ann_client.call_ok("deleteMessage", json!({ "messageId": first })).await;
    ann_client.discard_pushes().await;
    assert_eq!((bob_client.drain_push_types().await, stranger.drain_push_types().await), (vec![], vec![]));
    for (kind, params) in [
        ("editMessage", json!({ "messageId": first, "content": "x" })),
        ("reactToMessage", json!({ "messageId": first, "reaction": "x" })),
        ("reactToMessage", json!({ "messageId": first, "reaction": null })),
    ] {
        assert_eq!(ann_client.call_refused(kind, params).await, "not_found", "{kind}");
    }
    let rows: i64 = sqlx::query_scalar("select count(*) from messages where content = 'secret'")
        .fetch_one(&mut server.sql().await)
        .await
        .expect("a count");
    assert_eq!(rows, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn edit_message_is_for_authors_and_delete_message_for_admins_too() {
    let server = TestServer::start().await;
    let [(ann, mut admin), (bob, mut author), (cleo, mut member)] = connect_three(&server).await;
    let (_, mut stranger) = server.connect_user("Dan").await;
    stranger.subscribe(&["messages"]).await;
    let group = admin.new_group(&[bob.id, cleo.id]).await;
    let target = json!({ "groupId": group });
    let message = author.send_content(&target, "mine").await;
    let edit = json!({ "messageId": message, "content": "yours" });
    let delete = json!({ "messageId": message });
    let react = json!({ "messageId": message, "reaction": "👍" });
    for client in [&mut admin, &mut member] {
        assert_eq!(client.call_refused("editMessage", edit.clone()).await, "not_author");
    }
    assert_eq!(member.call_refused("deleteMessage", delete.clone()).await, "not_author");
    for (kind, params) in [("editMessage", &edit), ("deleteMessage", &delete), ("reactToMessage", &react)] {
        assert_eq!(stranger.call_refused(kind, params.clone()).await, "not_a_member", "{kind}");
    }
    for client in [&mut admin, &mut author, &mut member, &mut stranger] {
        client.discard_pushes().await;
    }
    author.call_ok("editMessage", edit.clone()).await;
    member.call_ok("reactToMessage", react.clone()).await;
    admin.call_ok("deleteMessage", delete.clone()).await;
    admin.discard_pushes().await;
    assert_eq!(author.drain_push_types().await, ["reactToMessage", "deleteMessage"]);
    assert_eq!(member.drain_push_types().await, ["editMessage", "deleteMessage"]);
    assert_eq!(stranger.drain_push_types().await, NOTHING);

    // A former member can change nothing, not even their own messages, and gets no pushes.
    let message = author.send_content(&target, "last words").await;
    author.call_ok("leaveGroup", target.clone()).await;
    author.discard_pushes().await;
    for (kind, mut params) in [("editMessage", edit), ("deleteMessage", delete), ("reactToMessage", react)] {
        params["messageId"] = json!(message);
        assert_eq!(author.call_refused(kind, params).await, "not_a_member", "{kind}");
    }
    admin.call_ok("reactToMessage", json!({ "messageId": message, "reaction": "👋" })).await;
    admin.call_ok("deleteMessage", json!({ "messageId": message })).await;
    admin.discard_pushes().await;
    assert_eq!(author.drain_push_types().await, NOTHING);
    assert!(newest(&mut member, &target).await["deletedAt"].is_string());

    // A group ends with its last member, and then nothing in it can be changed.
    let message = admin.send_content(&target, "x").await;
    member.call_ok("leaveGroup", target.clone()).await;
    admin.call_ok("leaveGroup", target).await;
    assert_eq!(admin.call_refused("editMessage", json!({ "messageId": message, "content": "y" })).await, "not_found");
    assert_eq!(ann.name, "Ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn edit_message_delete_message_and_react_to_message_refuse_unreadable_messages() {
    let server = TestServer::start().await;
    let [(ann, mut ann_client), (bob, mut bob_client), (_, mut stranger)] = connect_three(&server).await;
    let (to_bob, to_ann) = (json!({ "receiverId": bob.id }), json!({ "receiverId": ann.id }));
    let message = ann_client.send_content(&to_bob, "Hi").await;
    let changes = |message: i64| {
        [
            ("editMessage", json!({ "messageId": message, "content": "x" })),
            ("deleteMessage", json!({ "messageId": message })),
            ("reactToMessage", json!({ "messageId": message, "reaction": "x" })),
        ]
    };
    for (kind, params) in changes(message).into_iter().chain(changes(99)) {
        assert_eq!(stranger.call_refused(kind, params).await, "not_found", "{kind}");
    }
    for (kind, params) in &changes(message)[..2] {
        assert_eq!(bob_client.call_refused(kind, params.clone()).await, "not_author", "{kind}");
    }
    ann_client.call_ok("removeConversation", to_bob.clone()).await;
    for (kind, params) in changes(message) {
        assert_eq!(ann_client.call_refused(kind, params).await, "not_found", "{kind}");
    }
    // The other side still has the message.
    bob_client.call_ok("reactToMessage", changes(message)[2].1.clone()).await;

    // A blocked user cannot write, and may still delete a message.
    let message = ann_client.send_content(&to_bob, "Hi again").await;
    let bobs = bob_client.send_content(&to_ann, "Go away").await;
    server.block(&bob, &ann).await;
    bob_client.discard_pushes().await;
    for (kind, params) in [&changes(message)[0], &changes(message)[2], &changes(bobs)[2]] {
        assert_eq!(ann_client.call_refused(kind, params.clone()).await, "blocked", "{kind}");
    }
    assert_eq!(bob_client.drain_push_types().await, NOTHING);
    ann_client.call_ok("reactToMessage", json!({ "messageId": bobs, "reaction": null })).await;
    ann_client.call_ok("deleteMessage", json!({ "messageId": message })).await;
    bob_client.call_ok("reactToMessage", changes(bobs)[2].1.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edit_message_delete_message_and_react_to_message_check_their_params() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let message = client.send_content(&json!({ "receiverId": ann.id }), "note").await;
    for (kind, params) in [
        ("editMessage", json!({ "messageId": message })),
        ("editMessage", json!({ "messageId": message, "content": "" })),
        ("editMessage", json!({ "messageId": message, "content": "x".repeat(16_385) })),
        ("editMessage", json!({ "messageId": message, "content": "a\u{0}b" })),
        ("editMessage", json!({ "content": "x" })),
        ("deleteMessage", json!({})),
        ("deleteMessage", json!({ "messageId": "1" })),
        ("deleteMessage", json!({ "messageId": 0 })),
        ("reactToMessage", json!({ "messageId": message })),
        ("reactToMessage", json!({ "messageId": message, "reaction": "" })),
        ("reactToMessage", json!({ "messageId": message, "reaction": "x".repeat(33) })),
        ("reactToMessage", json!({ "messageId": message, "reaction": 1 })),
        ("reactToMessage", json!({ "messageId": message, "reaction": "a\u{0}" })),
    ] {
        assert_eq!(client.call_refused(kind, params.clone()).await, "bad_params", "{kind} {params}");
    }
    client.call_ok("reactToMessage", json!({ "messageId": message, "reaction": "é".repeat(32) })).await;
    client.call_ok("editMessage", json!({ "messageId": message, "content": " '\"👍 " })).await;
    assert_eq!(newest(&mut client, &json!({ "receiverId": ann.id })).await["content"], " '\"👍 ");
}

#[tokio::test(flavor = "multi_thread")]
async fn edit_message_and_react_to_message_at_once_do_not_deadlock() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    let group = ann_client.new_group(&[bob.id]).await;
    let message = ann_client.send_content(&json!({ "groupId": group }), "0").await;
    let mut sockets = [
        (server.connect(&ann).await, true),
        (second.connect(&ann).await, true),
        (server.connect(&bob).await, false),
        (second.connect(&bob).await, false),
    ];
    futures_util::future::join_all(sockets.iter_mut().map(async |(client, is_ann)| {
        for nth in 1..=10 {
            if *is_ann {
                client.call_ok("editMessage", json!({ "messageId": message, "content": format!("{nth}") })).await;
            }
            let reaction = if nth % 3 == 0 { Value::Null } else { json!(format!("{nth}")) };
            client.call_ok("reactToMessage", json!({ "messageId": message, "reaction": reaction })).await;
            client.send_content(&json!({ "groupId": group }), "x").await;
        }
    }))
    .await;
    let history = ann_client.call_ok("getlatestMessageGroup", json!({ "groupId": group, "before": 2 })).await;
    assert_eq!(history["data"][0]["content"], "10");
    let mut reactions = history["data"][0]["reactions"].as_array().expect("reactions").clone();
    reactions.sort_by_key(|reaction| reaction["userId"].as_i64());
    assert_eq!(
        json!(reactions),
        json!([{ "userId": ann.id, "reaction": "10" }, { "userId": bob.id, "reaction": "10" }])
    );
}
