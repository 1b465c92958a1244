//! `typing`: seen by those who have the conversation open and asked for it, for ten seconds at most.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, TestServer, User};

const NOTHING: [&str; 0] = [];

async fn types(client: &mut Client, target: &Value, is_typing: bool) {
    let mut params = target.clone();
    params["isTyping"] = json!(is_typing);
    let reply = client.done("typing", params).await;
    assert_eq!(reply, json!({ "data": null, "message": null, "senderName": null }));
    // What it caused is on its way once the next reply is there.
    client.forget().await;
}

/// Asks for typing, and opens a conversation.
async fn watch(client: &mut Client, target: &Value) {
    client.subscribe(&["typing"]).await;
    client.done("openConversation", target.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_is_seen_by_who_has_it_open_and_asked() {
    let server = TestServer::start().await;
    let (ann, mut watching) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (cleo, mut third) = server.client("Cleo").await;
    let (to_ann, to_bob) = (json!({ "receiverId": ann.id }), json!({ "receiverId": bob.id }));
    let (mut not_open, mut not_asked) = (server.connect(&ann).await, server.connect(&ann).await);
    let mut bobs_other = server.connect(&bob).await;
    watch(&mut watching, &to_bob).await;
    watch(&mut third, &to_bob).await;
    watch(&mut bobs_other, &to_ann).await;
    bobs_other.subscribe(&["typing", "own"]).await;
    not_open.subscribe(&["all"]).await;
    not_open.done("openConversation", json!({ "receiverId": cleo.id })).await;
    not_asked.done("openConversation", to_bob.clone()).await;

    types(&mut bob_client, &to_ann, true).await;
    assert_eq!(
        watching.push().await,
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
    types(&mut bob_client, &to_ann, false).await;
    assert_eq!(watching.pushed("typing").await["item"]["isTyping"], false);
    for client in [&mut third, &mut not_asked, &mut bobs_other] {
        assert_eq!(client.kinds_told().await, NOTHING);
    }
    let told = not_open.kinds_told().await;
    assert!(told.iter().all(|kind| kind == "onlineInfo"), "{told:?}");

    watching.done("closeConversation", to_bob).await;
    types(&mut bob_client, &to_ann, true).await;
    assert_eq!(watching.kinds_told().await, NOTHING, "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_ends_by_itself() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut here) = server.client("Ann").await;
    let mut there = second.connect(&ann).await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (cleo, mut cleo_client) = second.client("Cleo").await;
    for client in [&mut here, &mut there] {
        watch(client, &json!({ "receiverId": bob.id })).await;
        client.done("openConversation", json!({ "receiverId": cleo.id })).await;
    }
    let to_ann = json!({ "receiverId": ann.id });
    let typing = |user: &User, is_typing| json!({ "receiverId": user.id, "userId": user.id, "isTyping": is_typing });
    // Cleo stops by herself; hers is no end that could come later.
    for is_typing in [true, false] {
        types(&mut cleo_client, &to_ann, is_typing).await;
        for client in [&mut here, &mut there] {
            assert_eq!(client.pushed("typing").await["item"], typing(&cleo, is_typing));
        }
    }
    let began = Instant::now();
    types(&mut bob_client, &to_ann, true).await;
    for client in [&mut here, &mut there] {
        for is_typing in [true, false] {
            assert_eq!(client.pushed("typing").await["item"], typing(&bob, is_typing));
        }
    }
    let lasted = began.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&lasted), "{lasted:?}");
    for client in [&mut here, &mut there] {
        assert_eq!(client.kinds_told().await, NOTHING);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_sees_who_types_and_who_has_left_sees_nothing() {
    let server = TestServer::start().await;
    let (_, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (cleo, mut cleo_client) = server.client("Cleo").await;
    let (_, mut stranger) = server.client("Dan").await;
    let mut cleos_other = server.connect(&cleo).await;
    let group = ann_client.new_group(&[bob.id, cleo.id]).await;
    let target = json!({ "groupId": group });
    for client in [&mut ann_client, &mut bob_client, &mut cleo_client] {
        watch(client, &target).await;
        client.forget().await;
    }
    stranger.subscribe(&["typing"]).await;
    assert_eq!(stranger.refused("openConversation", target.clone()).await, "not_a_member");
    assert_eq!(stranger.refused("typing", json!({ "groupId": group, "isTyping": true })).await, "not_a_member");

    types(&mut ann_client, &target, true).await;
    let item = json!({ "groupId": group, "userId": 1, "isTyping": true });
    for client in [&mut bob_client, &mut cleo_client] {
        assert_eq!(client.pushed("typing").await["item"], item);
    }
    // Cleo leaves on another socket than the one that has it open.
    cleos_other.done("leaveGroup", target.clone()).await;
    cleos_other.forget().await;
    types(&mut ann_client, &target, false).await;
    bob_client.pushed("leaveGroup").await;
    assert_eq!(bob_client.pushed("typing").await["item"]["isTyping"], false);
    assert_eq!(cleo_client.kinds_told().await, NOTHING);
    assert_eq!(cleo_client.refused("typing", json!({ "groupId": group, "isTyping": true })).await, "not_a_member");
    // Back in the group it is not open before she opens it.
    ann_client.done("addUserInGroup", json!({ "groupId": group, "userId": cleo.id })).await;
    types(&mut ann_client, &target, true).await;
    assert_eq!(cleo_client.kinds_told().await, ["addUserInGroup"]);
    cleo_client.done("openConversation", target.clone()).await;
    types(&mut ann_client, &target, false).await;
    assert_eq!(cleo_client.pushed("typing").await["item"]["isTyping"], false);
    assert_eq!(stranger.kinds_told().await, NOTHING);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_blocked_is_not_seen_typing() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    watch(&mut ann_client, &json!({ "receiverId": bob.id })).await;
    server.block(&ann, &bob).await;
    for is_typing in [true, false] {
        let params = json!({ "receiverId": ann.id, "isTyping": is_typing });
        assert_eq!(bob_client.refused("typing", params).await, "blocked");
    }
    assert_eq!(ann_client.kinds_told().await, NOTHING);
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_to_nobody_is_refused() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.client("Ann").await;
    assert_eq!(client.refused("typing", json!({ "receiverId": 99, "isTyping": true })).await, "not_found");
    assert_eq!(client.refused("typing", json!({ "groupId": 99, "isTyping": true })).await, "not_found");
    for params in [
        json!({ "isTyping": true }),
        json!({ "receiverId": ann.id }),
        json!({ "receiverId": ann.id, "groupId": 1, "isTyping": true }),
        json!({ "receiverId": ann.id, "isTyping": "true" }),
        json!({ "receiverId": ann.id, "isTyping": null }),
    ] {
        assert_eq!(client.refused("typing", params).await, "bad_params");
    }
    // Typing a note is nobody's business.
    watch(&mut client, &json!({ "receiverId": ann.id })).await;
    types(&mut client, &json!({ "receiverId": ann.id }), true).await;
    assert_eq!(client.kinds_told().await, NOTHING);
}
