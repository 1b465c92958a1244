//! `subscribe`, which selects the extra pushes of a socket, and `authenticate`, which replaces its token.

use hark::auth::tokens::now;
use hark::model::UserId;
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::support::{Client, TestServer, User, eventually};
use crate::ws::assert_works;
use crate::ws::upgrade::{bad_tokens, bearer, log_out, not_authorized, open};

const NOTHING: [&str; 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_replies_with_the_subscribed_events() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
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
    let mut events = async |events: Value| ann.call_ok("subscribe", json!({ "events": events })).await["item"].take();
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
async fn subscribe_with_bad_params_changes_nothing() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let (_, mut bob) = server.connect_user("Bob").await;
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
    bob.send_content(&json!({ "receiverId": ann.id }), "Hi").await;
    client.expect_push("privateMessage").await;
    client.send_content(&json!({ "receiverId": 2 }), "Hi").await;
    bob.expect_push("privateMessage").await;
    bob.call_ok("readMessages", json!({ "receiverId": ann.id })).await;
    assert_eq!(client.expect_push("readMessages").await["item"]["userId"], 2, "it still gets what it asked for");
}

/// Does everything that causes a push, to a dialog or a group.
async fn cause_every_push(client: &mut Client, target: &Value) {
    let with = |more: Value| {
        let mut params = target.clone();
        params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        params
    };
    let (typing, not_spam) = (with(json!({ "isTyping": true })), with(json!({ "spam": false })));
    let spam = with(json!({ "spam": true }));
    client.call_ok("openConversation", target.clone()).await;
    client.call_ok("typing", typing).await;
    let message = client.send_content(target, "Hello").await;
    client.call_ok("replyMessage", json!({ "messageId": message, "content": "Hello?" })).await;
    client.call_ok("reactToMessage", json!({ "messageId": message, "reaction": "👍" })).await;
    client.call_ok("editMessage", json!({ "messageId": message, "content": "Hi" })).await;
    client.call_ok("deleteMessage", json!({ "messageId": message })).await;
    client.call_ok("deliveredMessages", target.clone()).await;
    client.call_ok("readMessages", target.clone()).await;
    client.call_ok("setPresence", json!({ "active": false })).await;
    client.call_ok("markSpam", spam).await;
    client.call_ok("markSpam", not_spam).await;
    client.call_ok("removeConversation", target.clone()).await;
    client.call_ok("closeConversation", target.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_is_required_for_every_extra_push() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let mut silent = server.connect(&ann).await;
    server.add_contact(&bob, &ann).await;
    let group = ann_client.new_group(&[bob.id]).await;
    for client in [&mut ann_client, &mut silent] {
        client.call_ok("openConversation", json!({ "receiverId": bob.id })).await;
        client.call_ok("openConversation", json!({ "groupId": group })).await;
    }
    cause_every_push(&mut bob_client, &json!({ "receiverId": ann.id })).await;
    cause_every_push(&mut bob_client, &json!({ "groupId": group })).await;
    cause_every_push(&mut ann_client, &json!({ "receiverId": bob.id })).await;
    cause_every_push(&mut ann_client, &json!({ "groupId": group })).await;
    ann_client.call_ok("leaveGroup", json!({ "groupId": group })).await;
    server.connect(&bob).await.close().await;

    let known = ["privateMessage", "privateMessage", "messageInGroup", "messageInGroup"];
    assert_eq!(silent.drain_push_types().await, known);
    assert_eq!(ann_client.drain_push_types().await, known);
    assert_eq!(bob_client.drain_push_types().await, [&["addUserInGroup"][..], &known, &["leaveGroup"]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_to_all_holds_until_subscribe_to_nothing() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    ann_client.subscribe(&["all"]).await;
    ann_client.call_ok("openConversation", json!({ "receiverId": bob.id })).await;
    cause_every_push(&mut bob_client, &json!({ "receiverId": ann.id })).await;
    let mut received = ann_client.drain_push_types().await;
    // Presence is pushed at its own time.
    received.retain(|kind| kind != "onlineInfo");
    assert_eq!(
        received,
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
    ann_client.discard_pushes().await;
    cause_every_push(&mut bob_client, &json!({ "receiverId": ann.id })).await;
    assert_eq!(ann_client.drain_push_types().await, ["privateMessage", "privateMessage"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_to_one_event_brings_only_its_pushes() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let topics: [(&str, &[&str]); 7] = [
        ("receipts", &["deliveredMessages", "readMessages"]),
        ("typing", &["typing"]),
        ("groups", &[]),
        ("contacts", &[]),
        ("messages", &["reactToMessage", "editMessage", "deleteMessage"]),
        // A conversation that is open here is not notified.
        ("notifications", &[]),
        ("own", &[]),
    ];
    for (topic, kinds) in topics {
        ann_client.subscribe(&[topic]).await;
        ann_client.call_ok("openConversation", json!({ "receiverId": bob.id })).await;
        cause_every_push(&mut bob_client, &json!({ "receiverId": ann.id })).await;
        let received = ann_client.drain_push_types().await;
        let extra: Vec<&str> = received.iter().map(String::as_str).filter(|kind| *kind != "privateMessage").collect();
        assert_eq!(extra, kinds, "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_to_own_brings_the_users_own_changes() {
    let server = TestServer::start().await;
    let (ann, mut here) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    let (mut there, mut everything_else) = (server.connect(&ann).await, server.connect(&ann).await);
    here.subscribe(&["all"]).await;
    there.subscribe(&["own"]).await;
    let others = ["receipts", "typing", "groups", "contacts", "messages", "notifications"];
    everything_else.subscribe(&others).await;
    let group = here.new_group(&[bob.id]).await;
    cause_every_push(&mut here, &json!({ "receiverId": bob.id })).await;
    cause_every_push(&mut here, &json!({ "groupId": group })).await;
    here.call_ok("leaveGroup", json!({ "groupId": group })).await;

    assert_eq!(here.drain_push_types().await, NOTHING, "nothing goes back to where it came from");
    assert_eq!(everything_else.drain_push_types().await, NOTHING, "it did not ask for what I do myself");
    let in_one = |send| {
        let rest = ["reactToMessage", "editMessage", "deleteMessage", "deliveredMessages", "readMessages"];
        [&[send; 2][..], &rest, &["markSpam", "markSpam", "removeConversation"]].concat()
    };
    let expected =
        [vec!["newGroup", "addUserInGroup"], in_one("privateMessage"), in_one("messageInGroup"), vec!["leaveGroup"]];
    assert_eq!(there.drain_push_types().await, expected.concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_to_own_brings_sends_over_http() {
    let server = TestServer::start().await;
    let (ann, mut silent) = server.connect_user("Ann").await;
    let (bob, _bob_client) = server.connect_user("Bob").await;
    let mut own = server.connect(&ann).await;
    own.subscribe(&["own"]).await;
    let path = format!("/api/v1/conversations/users/{}/messages", bob.id);
    let request = server.http("POST", &path).bearer_auth(&ann.token).json(&json!({ "content": "Hi" }));
    crate::support::answer(request).await.ok(201);
    assert_eq!(own.expect_push("privateMessage").await["message"], "Hi");
    assert_eq!(silent.drain_push_types().await, NOTHING);
}

#[tokio::test(flavor = "multi_thread")]
async fn authenticate_keeps_a_socket_open_past_its_first_expiry() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    let soon = now() + 3;
    let (token, _) = server.sign_in(user.id, soon).await;
    let later = server.server.app().tokens.sign(UserId(user.id), None, None, server.session_of(&token), soon + 600);
    let mut clients = [open(&server, &[bearer(&token)]).await, open(&server, &[bearer(&token)]).await];
    let fresh = [later.expect("a token"), user.token];
    for (client, token) in clients.iter_mut().zip(fresh) {
        let reply = client.call("authenticate", json!({ "token": token })).await;
        assert_eq!(reply["success"], true, "{reply}");
    }
    eventually("the old end is more than a second ago", async || now() > soon + 1).await;
    for client in &mut clients {
        assert_works(client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authenticate_with_an_invalid_token_changes_nothing() {
    let server = TestServer::start().await;
    let user = server.create_user("Bob").await;
    let other = server.create_user("Eve").await;
    let soon = now() + 4;
    let (token, _) = server.sign_in(user.id, soon).await;
    let mut client = open(&server, &[bearer(&token)]).await;
    let mut bad = bad_tokens(&server).await;
    bad.push(("another user's", other.token.clone()));
    bad.push(("empty", String::new()));
    bad.push(("with U+0000", "a\0b".to_owned()));
    for (why, token) in bad {
        let error = client.call("authenticate", json!({ "token": token })).await;
        let id = error["id"].clone();
        let expected = json!({ "error": true, "type": "authenticate", "message": "Not authorized", "code": "unauthorized", "id": id });
        assert_eq!(error, expected, "{why}");
    }
    // The socket has not become the other user's, and it does not live longer than before.
    let notes = client.call("privateMessage", json!({ "receiverId": user.id, "content": "Mine" })).await;
    assert_eq!(notes["params"]["item"]["seq"], 1, "{notes}");
    log_out(&server, &other.token).await;
    assert_works(&mut client).await;
    assert_eq!(client.wait_for_close().await, not_authorized());
    assert!(now() >= soon);
}

#[tokio::test(flavor = "multi_thread")]
async fn authenticate_moves_a_socket_to_the_session_of_its_token() {
    let server = TestServer::start().await;
    let User { id, token: old, .. } = server.create_user("Patrick0").await;
    let (new, _) = server.sign_in(id, now() + 3600).await;
    let mut client = open(&server, &[bearer(&old)]).await;
    let reply = client.call("authenticate", json!({ "token": new })).await;
    assert_json_snapshot!(reply, @r#"
    {
      "id": 1,
      "params": {
        "data": null,
        "message": null,
        "senderName": null
      },
      "success": true,
      "type": "authenticate"
    }
    "#);
    log_out(&server, &old).await;
    assert_works(&mut client).await;
    log_out(&server, &new).await;
    assert_eq!(client.wait_for_close().await, not_authorized());
}
