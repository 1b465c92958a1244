//! Clients of a dating site with a REST and a socket interface: each item of that server's documentation in
//! its order, through the frames and routes that replace it here.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, answer};

const NOTHING: [&str; 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn rest_routes_sign_in_sign_out_and_list_users_and_chats() {
    let server = TestServer::start().await;
    let account = json!({ "username": "test1", "password": "123Wertyq" });
    let test1 = answer(server.http("POST", "/api/v1/auth/sign-up").json(&account)).await.ok(201);
    let (test2, mut test2_client) = server.connect_user("test2").await;
    let outsider = server.create_user("YoYo").await;
    let get = async |token: &str, path: &str| server.as_user(token, "GET", path, Value::Null).await;

    // Sign In
    let wrong = json!({ "username": "test1", "password": "123Wertyz" });
    answer(server.http("POST", "/api/v1/auth/login").json(&wrong)).await.refused(401, "unauthorized");
    let login = async || {
        let login = answer(server.http("POST", "/api/v1/auth/login").json(&account)).await.ok(200);
        assert_eq!(login["id"], test1["id"], "Sign In");
        login["token"].as_str().expect("a token").to_owned()
    };
    let (token, on_the_phone) = (login().await, login().await);

    // Log out: of this session with its sockets, and of no other.
    let socket = Client::connect(server.server.address(), &token).await;
    let mut phone = Client::connect(server.server.address(), &on_the_phone).await;
    server.as_user(&token, "DELETE", "/api/v1/auth/logout", Value::Null).await.no_content();
    assert_eq!(socket.wait_for_close().await.code, 4001, "Log out");
    get(&token, "/api/v1/users").await.refused(401, "unauthorized");
    phone.call_ok("getUser", json!({})).await;
    let token = login().await;

    // Users: all, and one by id.
    answer(server.http("GET", "/api/v1/users")).await.refused(401, "unauthorized");
    let users = get(&token, "/api/v1/users").await;
    assert!(!users.text.contains("argon2") && !users.text.contains("assword"), "Users: {}", users.text);
    let ids: Vec<_> = users.ok(200)["data"].as_array().expect("rows").iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, [test1["id"].clone(), json!(test2.id), json!(outsider.id)], "GET /api/users");
    let one = get(&test2.token, &format!("/api/v1/users/{}", test1["id"])).await.ok(200);
    let shown = json!({ "id": test1["id"], "username": "test1", "firstName": null, "lastName": null });
    assert_eq!(one, shown, "GET /api/users/<user_id>");
    get(&token, "/api/v1/users/404").await.refused(404, "not_found");

    // Chats: one's own, and one with its messages and its partner.
    phone.send_content(&json!({ "receiverId": test2.id }), "asdad").await;
    test2_client.send_content(&json!({ "receiverId": test1["id"] }), "asdd").await;
    let group = test2_client.call_ok("newGroup", json!({ "groupName": "kek", "userIds": [test1["id"]] })).await;
    let group = group["item"]["groupId"].clone();
    let chats = get(&token, "/api/v1/conversations").await.ok(200)["data"].take();
    let mut names: Vec<_> =
        chats.as_array().expect("rows").iter().map(|row| (row["receiverId"].clone(), row["groupId"].clone())).collect();
    names.sort_by_key(|(_, group)| group.is_null());
    assert_eq!(names, [(Value::Null, group.clone()), (json!(test2.id), Value::Null)], "GET /api/chats");
    let path = format!("/api/v1/conversations/users/{}", test2.id);
    let chat = get(&token, &path).await.ok(200);
    assert_eq!((&chat["receiverId"], &chat["memberCount"]), (&json!(test2.id), &json!(2)), "GET /api/chats/<chat_id>");
    let messages = get(&token, &format!("{path}/messages")).await.ok(200)["data"].take();
    let rows: Vec<_> =
        messages.as_array().expect("rows").iter().map(|row| (&row["senderName"], &row["content"])).collect();
    let expected = [(&json!("test2"), &json!("asdd")), (&json!("test1"), &json!("asdad"))];
    assert_eq!(rows, expected, "GET /api/chats/<chat_id>: its messages, the newest first");
    // That server showed any chat to anybody.
    assert_eq!(get(&outsider.token, "/api/v1/conversations").await.ok(200)["data"], json!([]), "GET /api/chats");
    get(&outsider.token, &path).await.refused(404, "not_found");
    assert_eq!(get(&outsider.token, &format!("{path}/messages")).await.ok(200)["data"], json!([]));
    for path in ["", "/messages"] {
        let path = format!("/api/v1/conversations/groups/{group}{path}");
        get(&outsider.token, &path).await.refused(403, "not_a_member");
        answer(server.http("GET", &path)).await.refused(401, "unauthorized");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_events_of_the_documentation_work() {
    let server = TestServer::start().await;
    let (ann, bob) = (server.create_user("YoYo").await, server.create_user("Bob").await);
    let (eve, mut outsider) = server.connect_user("Eve").await;
    outsider.subscribe(&["all"]).await;

    // connect, and /api/socket: with a token, in the upgrade.
    assert!(Client::try_connect(server.server.address(), "/", &[]).await.is_err(), "connect: without a token");
    let (mut ann_client, mut bob_client) = (server.connect(&ann).await, server.connect(&bob).await);
    // receive_message comes to every receiver; notification comes to sockets that subscribed.
    bob_client.subscribe(&["notifications"]).await;
    // connect_logged_user: needs no request, because the token identifies the user, and nobody can claim to
    // be another.
    assert_eq!(ann_client.call_ok("getUser", json!({})).await["item"]["id"], ann.id, "connect_logged_user");
    let of_another = json!({ "token": eve.token });
    assert_eq!(ann_client.call_refused("authenticate", of_another).await, "unauthorized", "connect_logged_user");
    assert_eq!(ann_client.call_ok("getUser", json!({})).await["item"]["id"], ann.id, "connect_logged_user");
    // join: one's own chats.
    let (to_ann, to_bob) = (json!({ "receiverId": ann.id }), json!({ "receiverId": bob.id }));
    let joined = ann_client.call_ok("openConversation", to_bob.clone()).await;
    assert_eq!((&joined["item"]["receiverId"], &joined["data"]), (&json!(bob.id), &json!([])), "join");
    bob_client.call_ok("openConversation", to_ann).await;
    let group = ann_client.new_group(&[bob.id]).await;
    bob_client.expect_push("addUserInGroup").await;
    assert_eq!(outsider.call_refused("openConversation", json!({ "groupId": group })).await, "not_a_member", "join");
    // message, whose author and date the client does not choose, and receive_message.
    let message = json!({ "text": "Hello", "content": "Hello", "receiverId": bob.id, "author": "Bob", "senderName": "Bob",
                          "creation_date": "2001-09-02T09:25:07.561Z", "createdAt": "2001-09-02T09:25:07.561Z" });
    let receipt = ann_client.call_ok("privateMessage", message).await["item"].take();
    let received = bob_client.expect_push("privateMessage").await;
    assert_eq!((&received["message"], &received["senderName"]), (&json!("Hello"), &json!("YoYo")), "receive_message");
    assert_eq!(received["item"]["senderId"], ann.id, "receive_message");
    assert_eq!(received["item"]["createdAt"], receipt["createdAt"], "receive_message: stored by then");
    assert_ne!(receipt["createdAt"], "2001-09-02T09:25:07.561Z", "message");
    assert_eq!(ann_client.call_ok("getlatestMessageDialog", to_bob).await["data"][0]["content"], "Hello", "message");
    assert_eq!(outsider.drain_push_types().await, NOTHING, "message: to its partner alone");
    // manage_notification, and notification: about history, like, dislike and fake.
    let forged =
        |kind: &str| json!({ "author": "Eve", "userName": "Eve", "from": eve.id, "userId": bob.id, "kind": kind });
    for kind in ["history", "like", "dislike", "fake"] {
        ann_client.call_ok("sendNotification", forged(kind)).await;
        let item = bob_client.expect_push("notification").await["item"].take();
        assert_eq!((&item["kind"], &item["userId"], &item["userName"]), (&json!(kind), &json!(ann.id), &json!("YoYo")));
    }
    for client in [&mut ann_client, &mut outsider] {
        assert_eq!(client.drain_push_types().await, NOTHING, "manage_notification: for its partner alone");
        assert_eq!(client.call_ok("listNotifications", json!({})).await["data"], json!([]), "manage_notification");
    }
    // notification, about a message: in a chat that is not open.
    bob_client.call_ok("closeConversation", json!({ "receiverId": ann.id })).await;
    ann_client.send_content(&json!({ "receiverId": bob.id }), "Still there?").await;
    bob_client.expect_push("privateMessage").await;
    assert_eq!(
        bob_client.expect_push("notification").await["item"]["kind"],
        "message",
        "notification: about a message"
    );
    // That server lost the notifications of users who were offline.
    bob_client.close().await;
    ann_client.call_ok("sendNotification", forged("like")).await;
    let rows = server.connect(&bob).await.call_ok("listNotifications", json!({})).await["data"].take();
    let kinds: Vec<_> =
        rows.as_array().expect("rows").iter().map(|row| row["kind"].as_str().expect("a word")).collect();
    assert_eq!(kinds, ["like", "fake", "dislike", "like", "history"], "notification: kept for an offline user");
}
