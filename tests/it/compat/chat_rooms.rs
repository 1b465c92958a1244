//! Clients of a chat template with rooms, notifications and error events: each item of that server's
//! documentation in its order, through the frames and routes that replace it here.

use serde_json::{Value, json};

use crate::support::{TestServer, answer};

const NOTHING: [&str; 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn rest_routes_sign_in_and_list_messages_and_users() {
    let server = TestServer::start().await;
    let account = json!({ "username": "leo", "email": "leo@example.org", "password": "a good one" });
    let by_username = json!({ "username": "leo", "password": "a good one" });

    // /auth/login and /auth/signup: the second comes before the first, as here.
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

    // /user/messages, of a pair: for the two users only, and with a token.
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let eve = server.create_user("Eve").await;
    ann_client.send_content(&json!({ "receiverId": leo["id"] }), "hola").await;
    let path = |user: &Value| format!("/api/v1/conversations/users/{user}/messages");
    let said = json!({ "content": "¿qué tal?" });
    server.as_user(token, "POST", &path(&json!(ann.id)), said).await.ok(201);
    let of_leo = server.as_user(token, "GET", &path(&json!(ann.id)), Value::Null).await.ok(200);
    let of_ann = server.as_user(&ann.token, "GET", &path(&leo["id"]), Value::Null).await.ok(200);
    assert_eq!(of_leo, of_ann, "/user/messages: both read the same");
    let rows = of_leo["data"].as_array().expect("rows");
    let rows: Vec<_> = rows.iter().map(|row| (row["senderId"].clone(), row["content"].clone())).collect();
    let expected = [(leo["id"].clone(), json!("¿qué tal?")), (json!(ann.id), json!("hola"))];
    assert_eq!(rows, expected, "/user/messages: sender and content, the newest first");
    for user in [&leo["id"], &json!(ann.id)] {
        let others = server.as_user(&eve.token, "GET", &path(user), Value::Null).await.ok(200);
        assert_eq!(others["data"], json!([]), "/user/messages: not of other users");
        answer(server.http("GET", &path(user))).await.refused(401, "unauthorized");
    }

    // /user/users: with a token, and only public data.
    answer(server.http("GET", "/api/v1/users")).await.refused(401, "unauthorized");
    let list = server.as_user(&eve.token, "GET", "/api/v1/users", Value::Null).await.ok(200);
    let shown = json!({ "id": leo["id"], "username": "leo", "firstName": null, "lastName": null });
    assert_eq!(list["data"][0], shown, "/user/users");
    assert_eq!(list["data"].as_array().map(Vec::len), Some(3), "/user/users");
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_events_of_the_documentation_work() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let mut anns_other = server.connect(&ann).await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (_, mut outsider) = server.connect_user("Eve").await;
    outsider.subscribe(&["all"]).await;
    let group = ann_client.new_group(&[bob.id]).await;
    bob_client.expect_push("addUserInGroup").await;

    // new-message: {message, room, user}. The user comes from the token, and the room must be one's own.
    let dialog = json!({ "receiverId": bob.id, "content": "hola", "user": 77, "senderId": bob.id });
    let receipt = ann_client.call_ok("privateMessage", dialog).await["item"].take();
    assert_eq!((&receipt["seq"], &receipt["duplicate"]), (&json!(1), &json!(false)), "new-message");
    let room = json!({ "groupId": group, "content": "a todos", "user": 77, "senderId": bob.id });
    ann_client.call_ok("messageInGroup", room).await;

    // message-${room}: to the members of the conversation, and to nobody else.
    for (kind, content) in [("privateMessage", "hola"), ("messageInGroup", "a todos")] {
        let push = bob_client.expect_push(kind).await;
        assert_eq!((&push["message"], &push["senderName"]), (&json!(content), &json!("Ann")), "message-${{room}}");
        let item = &push["item"];
        assert_eq!((&item["content"], &item["senderId"]), (&json!(content), &json!(ann.id)), "message-${{room}}");
        assert!(item["createdAt"].is_string(), "message-${{room}}: its date");
    }
    assert_eq!(outsider.drain_push_types().await, NOTHING, "message-${{room}}: not to every connected socket");

    // error: to the socket that sent the request.
    let error = outsider.call("messageInGroup", json!({ "groupId": group, "content": "let me in" })).await;
    let envelope = json!({ "error": true, "type": "messageInGroup", "message": "User is not a member of this group",
                           "code": "not_a_member", "id": error["id"] });
    assert_eq!(error, envelope, "error");
    assert_eq!(
        outsider.call_refused("privateMessage", json!({ "receiverId": 404, "content": "?" })).await,
        "not_found"
    );
    assert_eq!(outsider.call_refused("privateMessage", json!({ "receiverId": bob.id })).await, "bad_params");
    assert_eq!(outsider.call_refused("new-message", json!({ "room": 1 })).await, "unknown_type");
    for client in [&mut ann_client, &mut anns_other, &mut bob_client] {
        assert_eq!(client.drain_push_types().await, NOTHING, "error: not sent to anybody else");
    }

    // notification-${logged user id}: with the id of the sender, to sockets that subscribed.
    let mut notified = server.connect(&bob).await;
    notified.subscribe(&["notifications"]).await;
    let message = ann_client.send_content(&json!({ "receiverId": bob.id }), "¿estás?").await;
    notified.expect_push("privateMessage").await;
    let item = notified.expect_push("notification").await["item"].take();
    assert_eq!((&item["kind"], &item["userId"]), (&json!("message"), &json!(ann.id)), "notification-${{user}}");
    assert_eq!(item["data"], json!({ "receiverId": ann.id, "messageId": message, "seq": 2 }), "notification-${{user}}");
    assert_eq!(bob_client.drain_push_types().await, ["privateMessage"], "notification-${{user}}: not asked for");
    for client in [&mut ann_client, &mut anns_other, &mut outsider] {
        assert_eq!(client.drain_push_types().await, NOTHING, "notification-${{user}}: it is not theirs");
    }
}
