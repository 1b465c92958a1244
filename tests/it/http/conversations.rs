//! Conversations and messages over HTTP: the same rows as the frames, and a send for programs.

use serde_json::{Value, json};

use crate::support::{Answer, TestServer, User, answer, steady};

async fn get(server: &TestServer, user: &User, path: &str) -> Answer {
    answer(server.http("GET", &format!("/api/v1/conversations{path}")).bearer_auth(&user.token)).await
}

async fn post(server: &TestServer, user: &User, path: &str, body: &Value) -> Answer {
    let request = server.http("POST", &format!("/api/v1/conversations{path}/messages"));
    answer(request.bearer_auth(&user.token).json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn get_conversations_over_http_returns_the_rows_of_the_frames() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let group = ann_client.new_group(&[bob.id]).await;
    for content in ["one", "two", "three"] {
        let message = bob_client.send_content(&json!({ "receiverId": ann.id }), content).await;
        bob_client.call_ok("replyMessage", json!({ "messageId": message, "content": "re" })).await;
        ann_client.call_ok("reactToMessage", json!({ "messageId": message, "reaction": "👍" })).await;
        bob_client.send_content(&json!({ "groupId": group }), content).await;
    }
    for (path, params) in [
        ("", json!({})),
        ("?limit=1", json!({ "limit": 1 })),
        ("?limit=1&page=2", json!({ "limit": 1, "page": 2 })),
        ("?filter=groups", json!({ "filter": "groups" })),
        ("?filter=spam&page=1", json!({ "filter": "spam" })),
    ] {
        let rows = ann_client.call_ok("listConversations", params).await["data"].take();
        assert_eq!(get(&server, &ann, path).await.ok(200), json!({ "data": rows }), "{path}");
    }
    for (path, target) in [
        (format!("/users/{}", bob.id), json!({ "receiverId": bob.id })),
        (format!("/groups/{group}"), json!({ "groupId": group })),
    ] {
        let item = ann_client.call_ok("getConversation", target.clone()).await["item"].take();
        assert_eq!(get(&server, &ann, &path).await.ok(200), item);
        let mut open = target.clone();
        open["limit"] = json!(100);
        let all = ann_client.call_ok("openConversation", open).await["data"].take();
        let of =
            async |query: &str| get(&server, &ann, &format!("{path}/messages{query}")).await.ok(200)["data"].take();
        assert_eq!(of("").await, all);
        assert_eq!(of("?limit=2&page=2").await[0], all[2]);
        assert_eq!(
            of("?limit=2&before=3").await,
            json!([all[all.as_array().expect("rows").len() - 2], all[all.as_array().expect("rows").len() - 1]])
        );
    }
    // Reading neither marks messages as read nor creates a dialog.
    let cleo = server.create_user("Cleo").await;
    assert_eq!(get(&server, &ann, &format!("/users/{}/messages", cleo.id)).await.ok(200), json!({ "data": [] }));
    get(&server, &ann, &format!("/users/{}", cleo.id)).await.refused(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn post_message_is_committed_and_pushed_once() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let group = ann_client.new_group(&[bob.id]).await;
    bob_client.expect_push("addUserInGroup").await;
    let path = format!("/users/{}", bob.id);
    let body = json!({ "content": "Hi", "clientMessageId": "h1" });
    let mut receipt = post(&server, &ann, &path, &body).await.ok(201);
    assert_eq!(
        steady(receipt.clone()),
        json!({ "messageId": 1, "seq": 1, "createdAt": "[time]", "clientMessageId": "h1", "duplicate": false })
    );
    let pushed = bob_client.expect_push("privateMessage").await;
    assert_eq!((&pushed["message"], &pushed["senderName"]), (&json!("Hi"), &json!("Ann")));
    assert_eq!(pushed["item"]["clientMessageId"], "h1");
    receipt["duplicate"] = json!(true);
    assert_eq!(post(&server, &ann, &path, &body).await.ok(201), receipt);
    // Over a socket it is the same send.
    let again = json!({ "receiverId": bob.id, "content": "Hi", "clientMessageId": "h1" });
    assert_eq!(ann_client.call_ok("privateMessage", again).await["item"], receipt);
    assert_eq!(bob_client.drain_push_types().await, [""; 0]);

    let reply = post(&server, &bob, &format!("/users/{}", ann.id), &json!({ "content": "Hello", "replyTo": 1 })).await;
    assert_eq!(reply.ok(201)["seq"], 2);
    assert_eq!(ann_client.expect_push("privateMessage").await["item"]["replyTo"]["content"], "Hi");
    assert_eq!(post(&server, &ann, &format!("/groups/{group}"), &json!({ "content": "All!" })).await.ok(201)["seq"], 1);
    assert_eq!(bob_client.expect_push("messageInGroup").await["item"]["groupId"], group);
    assert_eq!(ann_client.drain_push_types().await, [""; 0], "not to my own sockets unless they ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn post_message_is_refused_as_over_a_socket() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, cleo) = (server.create_user("Bob").await, server.create_user("Cleo").await);
    let mut bob_client = server.connect(&bob).await;
    let group = bob_client.new_group(&[cleo.id]).await;
    let foreign = bob_client.send_content(&json!({ "receiverId": cleo.id }), "private").await;
    let in_group = bob_client.send_content(&json!({ "groupId": group }), "ours").await;
    let hi = json!({ "content": "Hi" });
    let (to_bob, to_group) = (format!("/users/{}", bob.id), format!("/groups/{group}"));
    for path in [to_group.clone(), format!("{to_group}/messages")] {
        get(&server, &ann, &path).await.refused(403, "not_a_member");
    }
    post(&server, &ann, &to_group, &hi).await.refused(403, "not_a_member");
    for path in ["/users/99", "/groups/99", "/users/99/messages", "/groups/99/messages"] {
        get(&server, &ann, path).await.refused(404, "not_found");
    }
    for path in ["/users/99", "/groups/99"] {
        post(&server, &ann, path, &hi).await.refused(404, "not_found");
    }
    for path in
        ["/people/1", "/Users/1", "/users/0", "/users/-1", "/users/Bob", "/users/9007199254740993", "/groups/1.5"]
    {
        get(&server, &ann, path).await.refused(404, "not_found");
        get(&server, &ann, &format!("{path}/messages")).await.refused(404, "not_found");
        post(&server, &ann, path, &hi).await.refused(404, "not_found");
    }
    // A reply goes into the conversation of the path, to a message that the user may read.
    post(&server, &ann, &to_bob, &json!({ "content": "x", "replyTo": 99 })).await.refused(404, "not_found");
    post(&server, &ann, &to_bob, &json!({ "content": "x", "replyTo": foreign })).await.refused(404, "not_found");
    post(&server, &ann, &to_bob, &json!({ "content": "x", "replyTo": in_group })).await.refused(404, "not_found");
    assert_eq!(get(&server, &ann, &format!("{to_bob}/messages")).await.ok(200)["data"], json!([]));

    server.block(&bob, &ann).await;
    post(&server, &ann, &to_bob, &hi).await.refused(403, "blocked");
    ann_client.discard_pushes().await;
    assert_eq!(bob_client.drain_push_types().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn post_message_names_the_bad_field_after_it_has_checked_the_token() {
    let server = TestServer::start().await;
    let ann = server.create_user("Ann").await;
    let path = format!("/users/{}", ann.id);
    for (body, field) in [
        (json!({}), "content"),
        (json!({ "content": "" }), "content"),
        (json!({ "content": 1 }), "content"),
        (json!({ "content": "x".repeat(16_385) }), "content"),
        (json!({ "content": "x", "clientMessageId": "" }), "clientMessageId"),
        (json!({ "content": "x", "replyTo": "1" }), "replyTo"),
    ] {
        let sentence = post(&server, &ann, &path, &body).await.refused(400, "bad_params");
        assert!(sentence.starts_with(&format!("{field} ")), "{sentence}");
    }
    for body in ["", "{", "Hi"] {
        let request = server.http("POST", &format!("/api/v1/conversations{path}/messages")).bearer_auth(&ann.token);
        answer(request.body(body)).await.refused(400, "bad_json");
    }
    post(&server, &ann, &path, &json!([])).await.refused(400, "bad_params");
    for query in ["?limit=0", "?limit=101", "?limit=x", "?page=0", "?filter=read", "?filter="] {
        get(&server, &ann, query).await.refused(400, "bad_params");
    }
    for query in ["?limit=0", "?before=0", "?before=x", "?before=2&page=1"] {
        get(&server, &ann, &format!("{path}/messages{query}")).await.refused(400, "bad_params");
    }
    let large = server.http("POST", &format!("/api/v1/conversations{path}/messages")).bearer_auth(&ann.token);
    answer(large.json(&json!({ "content": "x".repeat(70_000) }))).await.refused(413, "too_large");
    for path in ["", &path, "/users/99", "/people/1", &format!("{path}/messages"), "?limit=0"] {
        let request = server.http("GET", &format!("/api/v1/conversations{path}"));
        answer(request).await.refused(401, "unauthorized");
    }
    let request = server.http("POST", &format!("/api/v1/conversations{path}/messages"));
    answer(request.bearer_auth("nonsense").body("{")).await.refused(401, "unauthorized");
    answer(server.http("PUT", &format!("/api/v1/conversations{path}/messages"))).await.refused(404, "not_found");
}
