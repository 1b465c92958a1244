//! Seed 000, a template of chat, notifications and errors in rooms: each item of its document in
//! its order, through the frames and routes that stand for it here.

use serde_json::{Value, json};

use crate::support::{TestServer, answer};

const NOTHING: [&str; 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn its_endpoints_sign_in_and_bring_messages_and_users() {
    let server = TestServer::start().await;
    let account = json!({ "username": "leo", "email": "leo@example.org", "password": "a good one" });
    let by_username = json!({ "username": "leo", "password": "a good one" });

    // /auth/login and /auth/signup: theirs needs the second before the first, as ours does.
    let nobody_yet = answer(server.http("POST", "/api/v1/auth/login").json(&by_username)).await;
    nobody_yet.refused(401, "unauthorized");
    let leo = answer(server.http("POST", "/api/v1/auth/sign-up").json(&account)).await.ok(201);
    assert_eq!((&leo["username"], &leo["email"]), (&json!("leo"), &json!("leo@example.org")), "/auth/signup");
    answer(server.http("POST", "/api/v1/auth/sign-up").json(&account)).await.refused(409, "conflict");
    let login = answer(server.http("POST", "/api/v1/auth/login").json(&by_username)).await.ok(200);
    let token = login["token"].as_str().expect("a token");
    assert_eq!(login["id"], leo["id"], "/auth/login");
    let me = server.as_user(token, "GET", "/api/v1/users/me", Value::Null).await.ok(200);
    assert_eq!((&me["id"], &me["username"]), (&leo["id"], &json!("leo")), "/auth/login: whose token it is");

    // /user/messages, of a pair: for the two of them, and with a token.
    let (ann, mut ann_client) = server.client("Ann").await;
    let eve = server.user("Eve").await;
    ann_client.say(&json!({ "receiverId": leo["id"] }), "hola").await;
    let path = |user: &Value| format!("/api/v1/conversations/users/{user}/messages");
    let said = json!({ "content": "¿qué tal?" });
    server.as_user(token, "POST", &path(&json!(ann.id)), said).await.ok(201);
    let of_leo = server.as_user(token, "GET", &path(&json!(ann.id)), Value::Null).await.ok(200);
    let of_ann = server.as_user(&ann.token, "GET", &path(&leo["id"]), Value::Null).await.ok(200);
    assert_eq!(of_leo, of_ann, "/user/messages: both read the same");
    let rows = of_leo["data"].as_array().expect("rows");
    let rows: Vec<_> = rows.iter().map(|row| (row["senderId"].clone(), row["content"].clone())).collect();
    let expected = [(leo["id"].clone(), json!("¿qué tal?")), (json!(ann.id), json!("hola"))];
    assert_eq!(rows, expected, "/user/messages: who, what, the newest first");
    for user in [&leo["id"], &json!(ann.id)] {
        let others = server.as_user(&eve.token, "GET", &path(user), Value::Null).await.ok(200);
        assert_eq!(others["data"], json!([]), "/user/messages: not of other people");
        answer(server.http("GET", &path(user))).await.refused(401, "unauthorized");
    }

    // /user/users: with a token, and nothing but who they are.
    answer(server.http("GET", "/api/v1/users")).await.refused(401, "unauthorized");
    let list = server.as_user(&eve.token, "GET", "/api/v1/users", Value::Null).await.ok(200);
    let shown = json!({ "id": leo["id"], "username": "leo", "firstName": null, "lastName": null });
    assert_eq!(list["data"][0], shown, "/user/users");
    assert_eq!(list["data"].as_array().map(Vec::len), Some(3), "/user/users");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_socket_brings_messages_errors_and_notifications() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let mut anns_other = server.connect(&ann).await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (_, mut outsider) = server.client("Eve").await;
    outsider.subscribe(&["all"]).await;
    let group = ann_client.new_group(&[bob.id]).await;
    bob_client.pushed("addUserInGroup").await;

    // new-message: {message, room, user}. The user is who the token says; the room, one's own.
    let dialog = json!({ "receiverId": bob.id, "content": "hola", "user": 77, "senderId": bob.id });
    let receipt = ann_client.done("privateMessage", dialog).await["item"].take();
    assert_eq!((&receipt["seq"], &receipt["duplicate"]), (&json!(1), &json!(false)), "new-message");
    let room = json!({ "groupId": group, "content": "a todos", "user": 77, "senderId": bob.id });
    ann_client.done("messageInGroup", room).await;

    // message-${room}: to who is in it, and to nobody else.
    for (kind, content) in [("privateMessage", "hola"), ("messageInGroup", "a todos")] {
        let push = bob_client.pushed(kind).await;
        assert_eq!((&push["message"], &push["senderName"]), (&json!(content), &json!("Ann")), "message-${{room}}");
        let item = &push["item"];
        assert_eq!((&item["content"], &item["senderId"]), (&json!(content), &json!(ann.id)), "message-${{room}}");
        assert!(item["createdAt"].is_string(), "message-${{room}}: its date");
    }
    assert_eq!(outsider.kinds_told().await, NOTHING, "message-${{room}}: not to everybody who is connected");

    // error: to who asked, on the socket that asked.
    let error = outsider.call("messageInGroup", json!({ "groupId": group, "content": "let me in" })).await;
    let envelope = json!({ "error": true, "type": "messageInGroup", "message": "User is not a member of this group",
                           "code": "not_a_member", "id": error["id"] });
    assert_eq!(error, envelope, "error");
    assert_eq!(outsider.refused("privateMessage", json!({ "receiverId": 404, "content": "?" })).await, "not_found");
    assert_eq!(outsider.refused("privateMessage", json!({ "receiverId": bob.id })).await, "bad_params");
    assert_eq!(outsider.refused("new-message", json!({ "room": 1 })).await, "unknown_type");
    for client in [&mut ann_client, &mut anns_other, &mut bob_client] {
        assert_eq!(client.kinds_told().await, NOTHING, "error: nobody else hears of it");
    }

    // notification-${logged user id}: with the id of whom it is from, to who asked for them.
    let mut notified = server.connect(&bob).await;
    notified.subscribe(&["notifications"]).await;
    let message = ann_client.say(&json!({ "receiverId": bob.id }), "¿estás?").await;
    notified.pushed("privateMessage").await;
    let item = notified.pushed("notification").await["item"].take();
    assert_eq!((&item["kind"], &item["userId"]), (&json!("message"), &json!(ann.id)), "notification-${{user}}");
    assert_eq!(item["data"], json!({ "receiverId": ann.id, "messageId": message, "seq": 2 }), "notification-${{user}}");
    assert_eq!(bob_client.kinds_told().await, ["privateMessage"], "notification-${{user}}: not asked for");
    for client in [&mut ann_client, &mut anns_other, &mut outsider] {
        assert_eq!(client.kinds_told().await, NOTHING, "notification-${{user}}: it is not theirs");
    }
}
