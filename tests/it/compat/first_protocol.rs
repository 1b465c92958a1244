//! Clients of the first protocol, whose frames and paths Hark keeps: each item of its documentation in its
//! order with the documentation's own frames, and each fault of its server.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, answer};

/// Sends a frame as an old client does: it knows no `id`, and reads the next frame.
async fn ask(client: &mut Client, frame: &str) -> Value {
    client.send_text(frame).await;
    client.next_frame().await
}

/// Returns the keys of an object in alphabetical order.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("an object: {value}")).keys().map(String::as_str).collect()
}

async fn http(server: &TestServer, method: reqwest::Method, path: &str, token: &str, body: Value) -> (u16, Value) {
    let request = reqwest::Client::new().request(method, server.url(path)).bearer_auth(token).body(body.to_string());
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn account_routes_of_the_documentation_work() {
    use reqwest::Method;
    let server = TestServer::start().await;
    // 1.1 User registration.
    let account = json!({ "userEmail": "email@mail.com0", "password": "12345678", "firstName": "Patrick0" });
    let (status, user) = http(&server, Method::POST, "/auth/sing-up", "", account.clone()).await;
    assert_eq!((status, &user["email"]), (201, &json!("email@mail.com0")), "{user}");
    // 1.2 User authorization.
    let (status, login) = http(&server, Method::POST, "/auth/login", "", account).await;
    assert_eq!(status, 201, "{login}");
    let token = login["token"].as_str().expect("a token");

    // 1.3 Updating user data.
    let (status, changed) =
        http(&server, Method::PATCH, "/profile/update", token, json!({ "firstName": "Patrick" })).await;
    assert_eq!((status, &changed["firstName"]), (201, &json!("Patrick")));
    let passwords = json!({ "oldPassword": "12345678", "newPassword": "87654321", "repeatNewPassword": "87654321" });
    assert_eq!(http(&server, Method::PATCH, "/profile/change-password", token, passwords).await.0, 201);
    let (status, list) = http(&server, Method::GET, "/users/list", token, Value::Null).await;
    assert_eq!((status, keys(&list[0])), (200, vec!["email", "firstName", "id", "lastName", "username"]));
    // 1.4 Deleting a user.
    assert_eq!(http(&server, Method::DELETE, "/profile/destroy", token, Value::Null).await.0, 200);
    assert_eq!(http(&server, Method::GET, "/users/list", token, Value::Null).await.0, 401);
}

/// The status codes are those of the first server's Swagger page, and every response has a body that can be
/// parsed.
#[tokio::test(flavor = "multi_thread")]
async fn compatibility_paths_answer_with_their_status_codes() {
    use reqwest::Method;
    let server = TestServer::start_with(|config| config.limits.max_page_rows = 21).await;
    let path = |method: Method, path: &'static str, token: &str, body: Value| {
        let token = token.to_owned();
        let server = &server;
        async move {
            let (status, body) = http(server, method, path, &token, body).await;
            assert!(path.starts_with("/users/list") || body["message"].is_string(), "{path}: {body}");
            (status, body)
        }
    };
    let admin =
        json!({ "userEmail": "admin@example.com", "password": "12345678", "firstName": "Don", "lastName": "Stell" });
    let credentials = json!({ "email": "admin@example.com", "password": "12345678" });
    assert_eq!(path(Method::POST, "/auth/sing-up", "", admin.clone()).await.0, 201);
    let (status, taken) = path(Method::POST, "/auth/sing-up", "", admin.clone()).await;
    assert_eq!((status, &taken["code"]), (400, &json!("conflict")), "{taken}");
    // An invalid token is 401; a wrong password is another status.
    let wrong = json!({ "email": "admin@example.com", "password": "wrong horse" });
    let nobody = json!({ "email": "nobody@example.com", "password": "12345678" });
    let refusals =
        [path(Method::POST, "/auth/login", "", wrong).await, path(Method::POST, "/auth/login", "", nobody).await];
    assert_eq!((refusals[0].0, &refusals[0]), (404, &refusals[1]));
    let (status, login) = path(Method::POST, "/auth/login", "", credentials).await;
    assert_eq!(status, 201, "{login}");
    let token = login["token"].as_str().expect("a token");

    server.create_user("Bob").await;
    let other = json!({ "userEmail": "pete@example.com", "password": "12345678" });
    assert_eq!(path(Method::POST, "/auth/sing-up", "", other).await.0, 201);
    let (status, taken) = path(Method::PATCH, "/profile/update", token, json!({ "email": "pete@example.com" })).await;
    assert_eq!((status, &taken["message"]), (400, &json!("email is taken")));
    // A form is sent with its empty field: the address stays.
    let form = json!({ "firstName": "Derek", "lastName": "Jordan", "email": "" });
    let (status, changed) = path(Method::PATCH, "/profile/update", token, form).await;
    assert_eq!(
        (status, &changed["firstName"], &changed["email"]),
        (201, &json!("Derek"), &json!("admin@example.com")),
        "{changed}"
    );
    path(Method::PATCH, "/profile/update", token, json!({ "email": "derek" })).await;

    let passwords =
        |old: &str, repeat: &str| json!({ "oldPassword": old, "newPassword": "87654321", "repeatNewPassword": repeat });
    let change = |body: Value| path(Method::PATCH, "/profile/change-password", token, body);
    let (status, refusal) = change(passwords("wrong horse", "87654321")).await;
    assert_eq!((status, &refusal["message"]), (400, &json!("oldPassword is wrong")));
    assert_eq!(change(passwords("12345678", "87654322")).await.0, 400);
    assert_eq!(change(passwords("12345678", "87654321")).await.0, 201);
    for (method, at) in [
        (Method::PATCH, "/profile/update"),
        (Method::PATCH, "/profile/change-password"),
        (Method::DELETE, "/profile/destroy"),
    ] {
        assert_eq!(path(method, at, "no token", json!({})).await.0, 401, "{at}");
    }
    // The list has all users in the order of sign-up, up to the largest page, which is more than the
    // default of /api/v1.
    server.create_users("User", 20).await;
    for (at, ids) in [("/users/list", 21), ("/users/list?page=2", 2), ("/users/list?limit=5", 5)] {
        let (status, list) = path(Method::GET, at, token, Value::Null).await;
        let rows = list.as_array().expect("a bare array");
        assert_eq!((status, rows.len(), rows.is_sorted_by_key(|row| row["id"].as_i64())), (200, ids, true), "{at}");
    }
    assert_eq!(path(Method::DELETE, "/profile/destroy", token, Value::Null).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_the_documentation_are_answered_as_it_says() {
    let server = TestServer::start().await;
    let (_, mut patrick0) = server.connect_user("Patrick0").await;
    let (_, mut patrick1) = server.connect_user("Patrick1").await;
    let (patrick7, mut third) = server.connect_user("Patrick7").await;
    let empty = json!({ "data": null, "message": null, "senderName": null });
    // The examples expect a group 1, with a message in it and one between two users.
    assert_eq!(patrick1.new_group(&[patrick7.id]).await, 1);
    third.expect_push("addUserInGroup").await;
    third.send_content(&json!({ "groupId": 1 }), "Message from 8").await;
    patrick1.expect_push("messageInGroup").await;
    patrick0.send_content(&json!({ "receiverId": 2 }), "Message from 1").await;
    patrick1.expect_push("privateMessage").await;

    // 1. Connection, with the token in the header; 401 without a good one.
    for headers in [vec![], vec![("authorization", "Bearer 1eyJhbGciOiJIUzI1NiJ9.e30.x".to_owned())]] {
        let error = Client::try_connect(server.server.address(), "/", &headers).await.err().expect("no upgrade");
        let tokio_tungstenite::tungstenite::Error::Http(response) = *error else { panic!("an answer, not {error}") };
        assert_eq!(response.status(), 401);
    }
    // 2. List of recent chats with latest messages.
    let list = ask(&mut patrick1, r#"{"type": "listLastMessage", "params": {"limit": 5, "page": 1}}"#).await;
    for key in [
        "id",
        "senderId",
        "senderName",
        "receiverId",
        "receiverName",
        "groupId",
        "groupName",
        "content",
        "createdAt",
        "updatedAt",
        "deletedAt",
    ] {
        assert!(list["params"]["data"][0].get(key).is_some(), "{key} in {list}");
    }
    assert_eq!(list["params"]["data"].as_array().map(Vec::len), Some(2), "a row a chat: {list}");
    // 3. Recent private messages.
    let dialog =
        ask(&mut patrick1, r#"{"type": "getlatestMessageDialog", "params": {"receiverId":1, "limit": 5, "page": 1}}"#)
            .await;
    let row = &dialog["params"]["data"][0];
    for (key, value) in [
        ("sender_id", json!(1)),
        ("receiver_id", json!(2)),
        ("receverName", json!("Patrick1")),
        ("content", json!("Message from 1")),
    ] {
        assert_eq!(row[key], value, "{key} in {dialog}");
    }
    assert!(row["created_at"].is_string(), "{dialog}");
    // 4. Recent messages in the group.
    let group =
        ask(&mut patrick1, r#"{"type": "getlatestMessageGroup", "params": {"groupId": 1, "limit": 5, "page": 1}}"#)
            .await;
    let row = &group["params"]["data"][0];
    for (key, value) in [
        ("sender_id", json!(patrick7.id)),
        ("senderName", json!("Patrick7")),
        ("group_id", json!(1)),
        ("content", json!("Message from 8")),
    ] {
        assert_eq!(row[key], value, "{key} in {group}");
    }
    assert!(row["created_at"].is_string(), "{group}");
    // 5. Creating a group. The reply has its id, which the first server did not return.
    let made = ask(&mut patrick1, r#"{"type": "newGroup", "params": {"groupName": "new name"}}"#).await;
    assert_eq!((&made["type"], &made["success"]), (&json!("newGroup"), &json!(true)));
    let item =
        json!({ "groupId": made["params"]["item"]["groupId"].as_i64().expect("an id"), "groupName": "new name" });
    assert_eq!(made["params"], json!({ "data": null, "message": null, "senderName": null, "item": item }));
    // 6. Adding users to a group.
    let added = ask(&mut patrick1, r#"{"type": "addUserInGroup", "params": {"groupId": 1, "userId": 1}}"#).await;
    assert_eq!(added, json!({ "type": "addUserInGroup", "success": true, "params": empty }));
    for client in [&mut patrick0, &mut third] {
        let push = &client.next_frame().await["params"];
        let received = (&push["message"], &push["senderName"]);
        assert_eq!(received, (&json!("User Patrick0 added in group."), &json!("Patrick1")), "{push}");
    }
    // 7. Leave the group.
    let left = ask(&mut patrick0, r#"{"type": "leaveGroup", "params": {"groupId": 1}}"#).await;
    assert_eq!(left, json!({ "type": "leaveGroup", "success": true, "params": empty }));
    for client in [&mut patrick1, &mut third] {
        let push = &client.next_frame().await["params"];
        let received = (&push["message"], &push["senderName"]);
        assert_eq!(received, (&json!("User Patrick0 has left the group."), &json!("Patrick0")), "{push}");
    }
    // 8. Message in group, which a former member does not get.
    let sent = ask(&mut patrick1, r#"{"type": "messageInGroup", "params": {"groupId": 1, "content": "lol"}}"#).await;
    assert_eq!(
        (&sent["type"], &sent["success"], &sent["params"]["data"]),
        (&json!("messageInGroup"), &json!(true), &Value::Null)
    );
    assert_eq!(third.next_frame().await["params"]["message"], "lol");
    // 8. Private message, and 9. the push to its receiver.
    let sent = ask(&mut patrick0, r#"{"type": "privateMessage", "params": {"receiverId": 2, "content":"Hi"}}"#).await;
    assert_eq!((&sent["type"], &sent["success"]), (&json!("privateMessage"), &json!(true)));
    let push = patrick1.next_frame().await;
    assert_eq!((keys(&push), &push["type"]), (vec!["params", "success", "type"], &json!("privateMessage")));
    assert_eq!(
        (&push["params"]["data"], &push["params"]["message"], &push["params"]["senderName"]),
        (&Value::Null, &json!("Hi"), &json!("Patrick0"))
    );
    // 10. Error.
    let error = ask(&mut patrick0, r#"{"type": "addUserInGroup", "params": {"groupId": 1, "userId": 1}}"#).await;
    assert_eq!(
        error,
        json!({ "error": true, "type": "addUserInGroup", "message": "User is not a member of this group", "code": "not_a_member" })
    );
    // The documentation links to this page.
    let page = answer(server.http("GET", "/api/")).await;
    assert!(page.status == 200 && page.text.contains("swagger-ui"), "{page:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn apostrophe_neither_breaks_the_insert_nor_ends_the_process() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("O'Neil").await;
    let text = "it's '; drop table messages; --";
    for kind in ["privateMessage", "newGroup", "messageInGroup"] {
        let reply =
            client.call(kind, json!({ "receiverId": 1, "groupId": 2, "groupName": text, "content": text })).await;
        assert_eq!(reply["success"], true, "{reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn success_is_not_reported_without_the_insert() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("A").await;
    let b = server.create_user("B").await;
    let mut sql = server.sql().await;
    sqlx::query("alter table messages add constraint no_more check (content <> 'refused')")
        .execute(&mut sql)
        .await
        .expect("a constraint");
    let ids = [
        client.send("privateMessage", json!({ "receiverId": b.id, "content": "fine" })).await,
        client.send("privateMessage", json!({ "receiverId": b.id, "content": "refused" })).await,
        client.send("privateMessage", json!({ "receiverId": b.id, "content": "fine too" })).await,
    ];
    let good = client.wait_for_reply_to(ids[0]).await;
    assert_eq!(good["params"]["item"]["seq"], 1, "{good}");
    let error = client.wait_for_reply_to(ids[1]).await;
    assert_eq!(error["code"], "internal", "{error}");
    // No detail of the database is shown, even in an error that should never happen.
    let sentence = error["message"].as_str().expect("a sentence");
    assert!(
        sentence.contains("request id") && !sentence.contains("no_more") && !sentence.contains("constraint"),
        "{sentence}"
    );
    assert_eq!(client.wait_for_reply_to(ids[2]).await["params"]["item"]["seq"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn dialog_is_listed_once_whoever_wrote() {
    let server = TestServer::start().await;
    let (a, mut one) = server.connect_user("A").await;
    let (b, mut two) = server.connect_user("B").await;
    one.call("privateMessage", json!({ "receiverId": b.id, "content": "there" })).await;
    two.call("privateMessage", json!({ "receiverId": a.id, "content": "and back" })).await;
    for client in [&mut one, &mut two] {
        let list = client.call("listLastMessage", json!({})).await;
        assert_eq!(list["params"]["data"].as_array().map(Vec::len), Some(1), "{list}");
        assert_eq!(list["params"]["data"][0]["content"], "and back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_has_an_order_and_pages_that_do_not_overlap() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("A").await;
    let b = server.create_user("B").await;
    for nth in 1..=9 {
        client.call("privateMessage", json!({ "receiverId": b.id, "content": nth.to_string() })).await;
    }
    let mut contents = Vec::new();
    for page in 1..=3 {
        let part = client.call("getlatestMessageDialog", json!({ "receiverId": b.id, "limit": 3, "page": page })).await;
        contents.extend(part["params"]["data"].as_array().expect("rows").iter().map(|row| row["content"].clone()));
    }
    assert_eq!(json!(contents), json!(["9", "8", "7", "6", "5", "4", "3", "2", "1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_account_leaves_the_history_of_others() {
    let server = TestServer::start().await;
    let (a, mut leaving) = server.connect_user("A").await;
    let (b, mut staying) = server.connect_user("B").await;
    leaving.call("privateMessage", json!({ "receiverId": b.id, "content": "remember me" })).await;
    assert_eq!(http(&server, reqwest::Method::DELETE, "/profile/destroy", &a.token, Value::Null).await.0, 200);
    let history = staying.call("getlatestMessageDialog", json!({ "receiverId": a.id })).await;
    let row = &history["params"]["data"][0];
    assert_eq!((&row["content"], &row["senderName"]), (&json!("remember me"), &json!("Deleted user")));
    let list = staying.call("listLastMessage", json!({})).await;
    assert_eq!(list["params"]["data"][0]["senderName"], "Deleted user");
}

#[tokio::test(flavor = "multi_thread")]
async fn list_of_users_needs_a_token_and_never_shows_a_hash() {
    let server = TestServer::start().await;
    let user = server.create_user("A").await;
    server.create_user("B").await;
    for (path, rows) in [("/users/list", ""), ("/api/v1/users", "/data")] {
        assert_eq!(http(&server, reqwest::Method::GET, path, "", Value::Null).await.0, 401);
        let (status, list) = http(&server, reqwest::Method::GET, path, &user.token, Value::Null).await;
        let rows = list.pointer(rows).and_then(Value::as_array);
        assert_eq!((status, rows.map(Vec::len)), (200, Some(2)), "{list}");
        let text = list.to_string().to_lowercase();
        assert!(!text.contains("password") && !text.contains("hash") && !text.contains("argon2"), "{text}");
    }
}
