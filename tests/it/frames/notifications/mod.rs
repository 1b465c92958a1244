//! `sendNotification`, `listNotifications` and `readNotifications`: permissions and pushes.

mod limits;
mod message_notifications;

use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::support::{Client, TestServer, User, answer, steady};

async fn connect_subscribed(server: &TestServer, user: &User, events: Value) -> Client {
    let mut client = server.connect(user).await;
    call_ok(&mut client, "subscribe", json!({ "events": events })).await;
    client
}

async fn call_ok(client: &mut Client, kind: &str, params: Value) -> Value {
    let reply = client.call(kind, params).await;
    assert_eq!(reply["success"], true, "{reply}");
    reply["params"].clone()
}

/// Returns what was pushed to `client` by the time that everything `cause` did is done.
async fn pushes_caused_by(cause: &mut Client, client: &mut Client) -> Vec<Value> {
    call_ok(cause, "getUser", json!({})).await;
    call_ok(client, "getUser", json!({})).await;
    client.take_buffered_pushes()
}

async fn list(client: &mut Client, params: Value) -> Vec<Value> {
    call_ok(client, "listNotifications", params).await["data"].as_array().expect("rows").clone()
}

async fn kinds(client: &mut Client, params: Value) -> Vec<String> {
    list(client, params).await.iter().map(|row| row["kind"].as_str().expect("a word").to_owned()).collect()
}

async fn refused(client: &mut Client, kind: &str, params: Value) -> (String, String) {
    let error = client.call(kind, params).await;
    let text = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("a refusal of {kind}: {error}")).to_owned();
    (text("code"), text("message"))
}

fn refusal(code: &str, message: &str) -> (String, String) {
    (code.to_owned(), message.to_owned())
}

async fn mark_spam(server: &TestServer, user: &User) {
    sqlx::query("update members set is_spam = true where user_id = $1")
        .bind(user.id)
        .execute(&mut server.sql().await)
        .await
        .expect("rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn send_notification_is_stored_pushed_and_listed() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    let mut bob_client = connect_subscribed(&server, &bob, json!(["notifications"])).await;

    let params = json!({ "userId": bob.id, "kind": "like", "data": { "photo": 3, "of": ["a", null, "é"] } });
    let reply = call_ok(&mut ann, "sendNotification", params).await;
    assert_json_snapshot!(steady(reply.clone()), @r#"
    {
      "data": null,
      "item": {
        "createdAt": "[time]",
        "notificationId": 1
      },
      "message": null,
      "senderName": null
    }
    "#);
    let push = bob_client.wait_for_push().await;
    assert_eq!(push["params"]["item"]["createdAt"], reply["item"]["createdAt"]);
    assert_json_snapshot!(steady(push.clone()), @r#"
    {
      "params": {
        "data": null,
        "item": {
          "createdAt": "[time]",
          "data": {
            "of": [
              "a",
              null,
              "é"
            ],
            "photo": 3
          },
          "kind": "like",
          "notificationId": 1,
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
    assert_eq!(list(&mut bob_client, json!({})).await, [push["params"]["item"].clone()]);
    assert_eq!(list(&mut ann, json!({})).await, [] as [Value; 0], "it is the receiver's");
}

#[tokio::test(flavor = "multi_thread")]
async fn list_notifications_returns_all_to_an_offline_user_and_only_subscribers_get_pushes() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut unsubscribed) = server.connect_user("Bob").await;
    let mut elsewhere = connect_subscribed(&second, &bob, json!(["notifications"])).await;
    let mut other = connect_subscribed(&server, &bob, json!(["contacts", "own", "messages"])).await;
    let mut own = connect_subscribed(&server, &ann, json!("all")).await;
    for kind in ["history", "like", "dislike", "fake", "Jahrestag", "a-b_c2"] {
        call_ok(&mut ann_client, "sendNotification", json!({ "userId": bob.id, "kind": kind, "data": null })).await;
        assert_eq!(elsewhere.wait_for_push().await["params"]["item"]["kind"], kind);
    }
    for client in [&mut unsubscribed, &mut other, &mut own] {
        assert!(pushes_caused_by(&mut ann_client, client).await.is_empty());
    }
    assert!(ann_client.take_buffered_pushes().is_empty());
    let mut back = server.connect(&bob).await;
    let all = ["a-b_c2", "Jahrestag", "fake", "dislike", "like", "history"];
    assert_eq!(kinds(&mut back, json!({})).await, all);
    let row = &list(&mut back, json!({ "limit": 1 })).await[0];
    assert_eq!((&row["data"], &row["readAt"]), (&Value::Null, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn send_notification_that_is_refused_stores_nothing() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    let gone = server.create_user("Gone").await;
    answer(server.http("DELETE", "/api/v1/users/me").bearer_auth(&gone.token)).await.no_content();
    let mut bob_client = connect_subscribed(&server, &bob, json!("all")).await;
    let like = |user: i64| json!({ "userId": user, "kind": "like" });

    let nobody = refusal("not_found", "params.userId: there is no such user");
    for user in [404, gone.id] {
        assert_eq!(refused(&mut ann_client, "sendNotification", like(user)).await, nobody);
    }
    let oneself = refusal("self", "params.userId must be somebody else");
    assert_eq!(refused(&mut ann_client, "sendNotification", like(ann.id)).await, oneself);
    call_ok(&mut bob_client, "blockUser", json!({ "userId": ann.id })).await;
    let blocked = refusal("blocked", "This user does not take anything from you");
    assert_eq!(refused(&mut ann_client, "sendNotification", like(bob.id)).await, blocked);
    assert!(pushes_caused_by(&mut ann_client, &mut bob_client).await.is_empty());
    assert_eq!(list(&mut bob_client, json!({})).await, [] as [Value; 0]);

    // A user may notify a user whom they block, and may be notified by them again once unblocked.
    call_ok(&mut bob_client, "sendNotification", like(ann.id)).await;
    assert_eq!(kinds(&mut ann_client, json!({})).await, ["like"]);
    call_ok(&mut bob_client, "unblockUser", json!({ "userId": ann.id })).await;
    call_ok(&mut ann_client, "sendNotification", like(bob.id)).await;
    assert_eq!(bob_client.wait_for_push().await["params"]["item"]["kind"], "like");
}

#[tokio::test(flavor = "multi_thread")]
async fn send_notification_takes_its_sender_from_the_token() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let forged = json!({ "userId": bob.id, "kind": "like", "senderId": 77, "userName": "Somebody", "from": 77,
                         "notificationId": 9, "createdAt": "2001-01-01T00:00:00.000Z", "data": { "userId": 77 } });
    call_ok(&mut ann_client, "sendNotification", forged).await;
    let row = &list(&mut bob_client, json!({})).await[0];
    assert_eq!((&row["userId"], &row["userName"], &row["notificationId"]), (&json!(ann.id), &json!("Ann"), &json!(1)));
    answer(server.http("DELETE", "/api/v1/users/me").bearer_auth(&ann.token)).await.no_content();
    assert_eq!(list(&mut bob_client, json!({})).await[0]["userName"], "Deleted user");
}

#[tokio::test(flavor = "multi_thread")]
async fn send_notification_checks_kind_and_data() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let word = "params.kind must be a word of 1 to 32 letters";
    let with = |kind: Value| json!({ "userId": bob.id, "kind": kind });
    let data = |bytes: usize| json!({ "userId": bob.id, "kind": "x", "data": "d".repeat(bytes - 2) });
    for (params, sentence) in [
        (json!({ "kind": "like" }), "params.userId is required"),
        (json!({ "userId": [], "kind": "like" }), "params.userId must be an integer from 1"),
        (json!({ "userId": bob.id }), "params.kind is required"),
        (with(json!(7)), "params.kind must be a string"),
        (with(json!("")), word),
        (with(json!("two words")), word),
        (with(json!("x".repeat(33))), word),
        (with(json!("a\0")), word),
        (with(json!("message")), "params.kind must not be message: that is what the server says of a new message"),
        (data(4097), "params.data must be JSON of at most 4096 bytes"),
    ] {
        assert_eq!(refused(&mut ann, "sendNotification", params).await, refusal("bad_params", sentence));
    }
    assert_eq!(list(&mut bob_client, json!({})).await, [] as [Value; 0]);
    // This JSON is nested too deeply for some readers, or contains what no text of ours may.
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for text in ["\"\\ud800\"", "{\"\\ud800\":1}", "\"a\\u0000b\"", "{\"x\":[\"\\u0000\"]}", "{\"\\u0000\":1}", &deep] {
        let request =
            format!(r#"{{"type":"sendNotification","params":{{"userId":{},"kind":"x","data":{text}}}}}"#, bob.id);
        ann.send_text(&request).await;
        let reply = ann.next_frame().await;
        assert_eq!(reply["code"], "bad_params", "{text}: {reply}");
    }
    // Any other JSON is returned unchanged, with long numbers in it.
    for text in ["3", "\"a'b\"", "[1e300, 12345678901234567890123]", "{\"a\":1,\"a\":2}", "false"] {
        let request =
            format!(r#"{{"type":"sendNotification","params":{{"userId":{},"kind":"x","data":{text}}}}}"#, bob.id);
        ann.send_text(&request).await;
        let reply = ann.next_frame().await;
        assert_eq!(reply["success"], true, "{reply}");
    }
    call_ok(&mut ann, "sendNotification", data(4096)).await;
    let rows = list(&mut bob_client, json!({})).await;
    assert_eq!(rows.len(), 6);
    assert_eq!((&rows[0]["data"], &rows[4]["data"]), (&data(4096)["data"], &json!("a'b")));
}

#[tokio::test(flavor = "multi_thread")]
async fn list_notifications_pages_stay_stable_while_more_arrive() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    for nth in 0..5 {
        call_ok(&mut ann, "sendNotification", json!({ "userId": bob.id, "kind": format!("k{nth}") })).await;
    }
    assert_eq!(kinds(&mut bob_client, json!({ "limit": 2, "page": 1 })).await, ["k4", "k3"]);
    call_ok(&mut ann, "sendNotification", json!({ "userId": bob.id, "kind": "k5" })).await;
    assert_eq!(kinds(&mut bob_client, json!({ "limit": 2, "page": 2 })).await, ["k2", "k1"]);
    assert_eq!(kinds(&mut bob_client, json!({ "limit": 2, "page": 3 })).await, ["k0"]);
    assert_eq!(kinds(&mut bob_client, json!({ "limit": 2, "page": 4 })).await, [""; 0]);
    assert_eq!(kinds(&mut bob_client, json!({ "limit": 3, "page": 2 })).await, ["k2", "k1", "k0"]);
    for (params, sentence) in [
        (json!({ "limit": 0 }), "params.limit must be an integer from 1 to 100"),
        (json!({ "page": -1 }), "params.page must be an integer from 1"),
    ] {
        assert_eq!(refused(&mut bob_client, "listNotifications", params).await, refusal("bad_params", sentence));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_notifications_is_idempotent_and_pushed_to_own_sockets() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut here) = server.connect_user("Bob").await;
    let mut there = connect_subscribed(&server, &bob, json!("own")).await;
    let mut without_own = connect_subscribed(&server, &bob, json!(["notifications"])).await;
    for kind in ["a", "b", "c"] {
        call_ok(&mut ann, "sendNotification", json!({ "userId": bob.id, "kind": kind })).await;
        without_own.wait_for_push().await;
    }
    let one = json!({ "notificationId": 2 });
    let read = call_ok(&mut here, "readNotifications", one.clone()).await;
    assert_json_snapshot!(steady(read.clone()), @r#"
    {
      "data": null,
      "item": {
        "notificationId": 2,
        "readAt": "[time]"
      },
      "message": null,
      "senderName": null
    }
    "#);
    let received = there.wait_for_push().await;
    assert_eq!((&received["type"], &received["params"]), (&json!("readNotifications"), &read));
    assert_eq!(
        call_ok(&mut here, "readNotifications", one.clone()).await,
        read,
        "a second time succeeds, and the first time counts"
    );
    assert!(pushes_caused_by(&mut here, &mut there).await.is_empty(), "and pushes nothing");

    let all = call_ok(&mut here, "readNotifications", json!({ "notificationId": null })).await;
    assert_eq!(all["item"]["notificationId"], Value::Null);
    assert_eq!(there.wait_for_push().await["params"], all);
    let rows = list(&mut here, json!({})).await;
    let read_at: Vec<_> = rows.iter().map(|row| &row["readAt"]).collect();
    assert_eq!(read_at, [&all["item"]["readAt"], &read["item"]["readAt"], &all["item"]["readAt"]]);
    call_ok(&mut here, "readNotifications", json!({})).await;
    assert_eq!(list(&mut here, json!({})).await, rows, "nothing was left to read");
    for client in [&mut there, &mut without_own, &mut ann] {
        assert!(pushes_caused_by(&mut here, client).await.is_empty());
    }
    assert!(here.take_buffered_pushes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn read_notifications_refuses_those_of_others() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    for user in [bob.id, cleo.id] {
        call_ok(&mut ann, "sendNotification", json!({ "userId": user, "kind": "like" })).await;
    }
    let nothing = refusal("not_found", "params.notificationId: there is no such notification");
    for client in [&mut ann, &mut cleo_client] {
        assert_eq!(refused(client, "readNotifications", json!({ "notificationId": 1 })).await, nothing);
        assert_eq!(refused(client, "readNotifications", json!({ "notificationId": 404 })).await, nothing);
    }
    let bad = refusal("bad_params", "params.notificationId must be an integer from 1");
    assert_eq!(refused(&mut ann, "readNotifications", json!({ "notificationId": "1" })).await, bad);
    call_ok(&mut ann, "readNotifications", json!({})).await;
    call_ok(&mut cleo_client, "readNotifications", json!({})).await;
    assert_eq!(list(&mut bob_client, json!({})).await[0]["readAt"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn read_notifications_of_all_from_all_sockets_at_once() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    for _ in 0..50 {
        call_ok(&mut ann, "sendNotification", json!({ "userId": bob.id, "kind": "like" })).await;
    }
    let mut clients = Vec::new();
    for nth in 0..6 {
        clients.push(if nth % 2 == 0 { &server } else { &second }.connect(&bob).await);
    }
    let reading = clients.iter_mut().map(|client| call_ok(client, "readNotifications", json!({})));
    futures_util::future::join_all(reading).await;
    let rows = list(&mut clients[0], json!({ "limit": 100 })).await;
    assert!(rows.iter().all(|row| row["readAt"] == rows[0]["readAt"] && row["readAt"] != Value::Null), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_deletes_notifications() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    call_ok(&mut ann_client, "sendNotification", json!({ "userId": bob.id, "kind": "like" })).await;
    call_ok(&mut bob_client, "sendNotification", json!({ "userId": ann.id, "kind": "like" })).await;
    answer(server.http("DELETE", "/api/v1/users/me").bearer_auth(&ann.token)).await.no_content();
    let left = sqlx::query_scalar::<_, i64>("select user_id from notifications");
    assert_eq!(left.fetch_all(&mut server.sql().await).await.expect("rows"), [bob.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn send_notification_from_a_spam_dialog_is_listed_and_not_pushed() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    call_ok(&mut ann, "privateMessage", json!({ "receiverId": bob.id, "content": "buy" })).await;
    mark_spam(&server, &bob).await;
    let mut bob_client = connect_subscribed(&server, &bob, json!("all")).await;
    call_ok(&mut ann, "sendNotification", json!({ "userId": bob.id, "kind": "buy" })).await;
    assert!(pushes_caused_by(&mut ann, &mut bob_client).await.is_empty());
    assert_eq!(kinds(&mut bob_client, json!({})).await, ["buy"]);
}
