//! `typing`: pushed to subscribers who have the conversation open, for ten seconds at most.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, TestServer, User};

const NOTHING: [&str; 0] = [];

async fn send_typing(client: &mut Client, target: &Value, is_typing: bool) {
    let mut params = target.clone();
    params["isTyping"] = json!(is_typing);
    let reply = client.call_ok("typing", params).await;
    assert_eq!(reply, json!({ "data": null, "message": null, "senderName": null }));
    // The reply is a fence for the pushes that it caused.
    client.discard_pushes().await;
}

/// Subscribes to typing, and opens a conversation.
async fn watch(client: &mut Client, target: &Value) {
    client.subscribe(&["typing"]).await;
    client.call_ok("openConversation", target.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_is_pushed_to_subscribers_who_have_the_conversation_open() {
    let server = TestServer::start().await;
    let (ann, mut watching) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, mut third) = server.connect_user("Cleo").await;
    let (to_ann, to_bob) = (json!({ "receiverId": ann.id }), json!({ "receiverId": bob.id }));
    let (mut not_open, mut not_asked) = (server.connect(&ann).await, server.connect(&ann).await);
    let mut bobs_other = server.connect(&bob).await;
    watch(&mut watching, &to_bob).await;
    watch(&mut third, &to_bob).await;
    watch(&mut bobs_other, &to_ann).await;
    bobs_other.subscribe(&["typing", "own"]).await;
    not_open.subscribe(&["all"]).await;
    not_open.call_ok("openConversation", json!({ "receiverId": cleo.id })).await;
    not_asked.call_ok("openConversation", to_bob.clone()).await;

    send_typing(&mut bob_client, &to_ann, true).await;
    assert_eq!(
        watching.wait_for_push().await,
        json!({
            "type": "typing",
            "success": true,
            "params": {
                "data": null,
                "message": null,
                "senderName": null,
                "item": { "receiverId": bob.id, "userId": bob.id, "isTyping": true },
            },
        })
    );
    send_typing(&mut bob_client, &to_ann, false).await;
    assert_eq!(watching.expect_push("typing").await["item"]["isTyping"], false);
    for client in [&mut third, &mut not_asked, &mut bobs_other] {
        assert_eq!(client.drain_push_types().await, NOTHING);
    }
    let received = not_open.drain_push_types().await;
    assert!(received.iter().all(|kind| kind == "onlineInfo"), "{received:?}");

    watching.call_ok("closeConversation", to_bob).await;
    send_typing(&mut bob_client, &to_ann, true).await;
    assert_eq!(watching.drain_push_types().await, NOTHING, "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_ends_after_its_timeout() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut here) = server.connect_user("Ann").await;
    let mut there = second.connect(&ann).await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, mut cleo_client) = second.connect_user("Cleo").await;
    for client in [&mut here, &mut there] {
        watch(client, &json!({ "receiverId": bob.id })).await;
        client.call_ok("openConversation", json!({ "receiverId": cleo.id })).await;
    }
    let to_ann = json!({ "receiverId": ann.id });
    let typing = |user: &User, is_typing| json!({ "receiverId": user.id, "userId": user.id, "isTyping": is_typing });
    // Cleo stops by herself, so no later timeout may end her typing.
    for is_typing in [true, false] {
        send_typing(&mut cleo_client, &to_ann, is_typing).await;
        for client in [&mut here, &mut there] {
            assert_eq!(client.expect_push("typing").await["item"], typing(&cleo, is_typing));
        }
    }
    let began = Instant::now();
    send_typing(&mut bob_client, &to_ann, true).await;
    for client in [&mut here, &mut there] {
        for is_typing in [true, false] {
            assert_eq!(client.expect_push("typing").await["item"], typing(&bob, is_typing));
        }
    }
    let lasted = began.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&lasted), "{lasted:?}");
    for client in [&mut here, &mut there] {
        assert_eq!(client.drain_push_types().await, NOTHING);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_in_a_group_is_pushed_to_members_and_not_to_former_ones() {
    let server = TestServer::start().await;
    let (_, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    let (_, mut stranger) = server.connect_user("Dan").await;
    let mut cleos_other = server.connect(&cleo).await;
    let group = ann_client.new_group(&[bob.id, cleo.id]).await;
    let target = json!({ "groupId": group });
    for client in [&mut ann_client, &mut bob_client, &mut cleo_client] {
        watch(client, &target).await;
        client.discard_pushes().await;
    }
    stranger.subscribe(&["typing"]).await;
    assert_eq!(stranger.call_refused("openConversation", target.clone()).await, "not_a_member");
    assert_eq!(stranger.call_refused("typing", json!({ "groupId": group, "isTyping": true })).await, "not_a_member");

    send_typing(&mut ann_client, &target, true).await;
    let item = json!({ "groupId": group, "userId": 1, "isTyping": true });
    for client in [&mut bob_client, &mut cleo_client] {
        assert_eq!(client.expect_push("typing").await["item"], item);
    }
    // Cleo leaves on another socket than the one that has the group open.
    cleos_other.call_ok("leaveGroup", target.clone()).await;
    cleos_other.discard_pushes().await;
    send_typing(&mut ann_client, &target, false).await;
    bob_client.expect_push("leaveGroup").await;
    assert_eq!(bob_client.expect_push("typing").await["item"]["isTyping"], false);
    assert_eq!(cleo_client.drain_push_types().await, NOTHING);
    assert_eq!(cleo_client.call_refused("typing", json!({ "groupId": group, "isTyping": true })).await, "not_a_member");
    // Back in the group, it is not open before she opens it.
    ann_client.call_ok("addUserInGroup", json!({ "groupId": group, "userId": cleo.id })).await;
    send_typing(&mut ann_client, &target, true).await;
    assert_eq!(cleo_client.drain_push_types().await, ["addUserInGroup"]);
    cleo_client.call_ok("openConversation", target.clone()).await;
    send_typing(&mut ann_client, &target, false).await;
    assert_eq!(cleo_client.expect_push("typing").await["item"]["isTyping"], false);
    assert_eq!(stranger.drain_push_types().await, NOTHING);
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_of_a_blocked_user_is_not_pushed() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    watch(&mut ann_client, &json!({ "receiverId": bob.id })).await;
    server.block(&ann, &bob).await;
    for is_typing in [true, false] {
        let params = json!({ "receiverId": ann.id, "isTyping": is_typing });
        assert_eq!(bob_client.call_refused("typing", params).await, "blocked");
    }
    assert_eq!(ann_client.drain_push_types().await, NOTHING);
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_to_an_unknown_target_is_refused() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    assert_eq!(client.call_refused("typing", json!({ "receiverId": 99, "isTyping": true })).await, "not_found");
    assert_eq!(client.call_refused("typing", json!({ "groupId": 99, "isTyping": true })).await, "not_found");
    for params in [
        json!({ "isTyping": true }),
        json!({ "receiverId": ann.id }),
        json!({ "receiverId": ann.id, "groupId": 1, "isTyping": true }),
        json!({ "receiverId": ann.id, "isTyping": "true" }),
        json!({ "receiverId": ann.id, "isTyping": null }),
    ] {
        assert_eq!(client.call_refused("typing", params).await, "bad_params");
    }
    // Typing in notes to oneself is not pushed.
    watch(&mut client, &json!({ "receiverId": ann.id })).await;
    send_typing(&mut client, &json!({ "receiverId": ann.id }), true).await;
    assert_eq!(client.drain_push_types().await, NOTHING);
}
