//! `GET /api/v1/users/me/export`: all data of the user and none of others, streamed with backpressure.

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use hark::model::UserId;
use serde_json::{Value, json};
use sqlx::Row as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Client, TEST_TIMEOUT, TestServer, User, answer, eventually, steady};

const EXPORT: &str = "/api/v1/users/me/export";

async fn export(server: &TestServer, user: &User) -> Value {
    let answer = answer(server.http("GET", EXPORT).bearer_auth(&user.token)).await;
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"hark-export.json\"");
    answer.ok(200)
}

async fn run(server: &TestServer, statement: &'static str) {
    sqlx::query(statement).execute(&mut server.sql().await).await.expect("it runs");
}

/// Sends so many messages without waiting for each; their contents are their numbers, from 1.
async fn send(client: &mut Client, kind: &str, target: Value, number: usize) {
    let mut ids = Vec::new();
    for nth in 1..=number {
        let mut params = target.clone();
        params["content"] = json!(nth.to_string());
        ids.push(client.send(kind, params).await);
        if ids.len() == 50 {
            answers(client, &mut ids).await;
        }
    }
    answers(client, &mut ids).await;
}

async fn answers(client: &mut Client, ids: &mut Vec<u64>) {
    for id in ids.drain(..) {
        assert_eq!(client.wait_for_reply_to(id).await["success"], true);
    }
}

fn contents(conversation: &Value) -> Vec<&str> {
    let messages = conversation["messages"].as_array().expect("messages");
    messages.iter().map(|message| message["content"].as_str().expect("a content")).collect()
}

fn numbers(from: usize, to: usize) -> Vec<String> {
    (from..=to).map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn export_contains_all_conversations_to_the_last_message() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    // The three are a dialog of three pages, notes of one full page, and a group with two pages of another
    // user's messages.
    send(&mut ann_client, "privateMessage", json!({ "receiverId": bob.id }), 230).await;
    send(&mut bob_client, "privateMessage", json!({ "receiverId": ann.id }), 5).await;
    send(&mut ann_client, "privateMessage", json!({ "receiverId": ann.id }), 100).await;
    let group = bob_client.call("newGroup", json!({ "groupName": "G", "userIds": [ann.id] })).await;
    let group = group["params"]["item"]["groupId"].as_i64().expect("an id");
    send(&mut bob_client, "messageInGroup", json!({ "groupId": group }), 150).await;
    let empty = ann_client.call("newGroup", json!({ "groupName": "Empty" })).await;
    let empty = empty["params"]["item"]["groupId"].clone();
    // These are not Ann's: a dialog of others, a group of others, and a group that she has left.
    send(&mut cleo_client, "privateMessage", json!({ "receiverId": bob.id }), 3).await;
    cleo_client.call("newGroup", json!({ "groupName": "Theirs", "userIds": [bob.id] })).await;
    let left = cleo_client.call("newGroup", json!({ "groupName": "Left", "userIds": [ann.id] })).await;
    ann_client.call("leaveGroup", json!({ "groupId": left["params"]["item"]["groupId"] })).await;

    let export = export(&server, &ann).await;
    let conversations = export["conversations"].as_array().expect("conversations");
    let heads: Vec<_> = conversations
        .iter()
        .map(|conversation| {
            json!([conversation["kind"], conversation["receiverId"], conversation["groupId"], conversation["lastSeq"]])
        })
        .collect();
    assert_eq!(
        json!(heads),
        json!([
            ["dialog", bob.id, null, 235],
            ["dialog", ann.id, null, 100],
            ["group", null, group, 150],
            ["group", null, empty, 0]
        ])
    );
    assert_eq!(contents(&conversations[0]), [numbers(1, 230), numbers(1, 5)].concat());
    assert_eq!(contents(&conversations[1]), numbers(1, 100));
    assert_eq!(contents(&conversations[2]), numbers(1, 150));
    assert_eq!(contents(&conversations[3]), [""; 0]);
    for conversation in &conversations[..3] {
        let seqs: Vec<_> =
            conversation["messages"].as_array().expect("messages").iter().map(|m| m["seq"].clone()).collect();
        assert_eq!(json!(seqs), json!((1..=seqs.len()).collect::<Vec<_>>()));
    }
    let mut head = steady(conversations[2].clone());
    head["messages"] = json!([head["messages"][0]]);
    insta::assert_json_snapshot!(head, @r#"
    {
      "clearedSeq": 0,
      "deliveredSeq": 0,
      "groupId": 3,
      "groupName": "G",
      "joinedAt": "[time]",
      "kind": "group",
      "lastSeq": 150,
      "messages": [
        {
          "clientMessageId": null,
          "content": "1",
          "createdAt": "[time]",
          "deletedAt": null,
          "groupId": 3,
          "groupName": "G",
          "messageId": 336,
          "reactions": [],
          "receiverId": null,
          "receiverName": null,
          "replyTo": null,
          "senderId": 2,
          "senderName": "Bob",
          "seq": 1,
          "updatedAt": "[time]"
        }
      ],
      "readSeq": 0,
      "receiverId": null,
      "receiverName": null,
      "role": "member",
      "spam": false,
      "unreadCount": 150
    }
    "#);
    assert!(!export.to_string().contains("Theirs") && !export.to_string().contains(&cleo.name));
}

#[tokio::test(flavor = "multi_thread")]
async fn export_contains_the_users_lists_and_nothing_private_of_others() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    for (user, email) in [(&ann, "ann@example.org"), (&bob, "bob-secret@example.org")] {
        let data = json!({ "email": email, "username": format!("u{}", user.id) });
        answer(server.http("PATCH", "/api/v1/users/me").bearer_auth(&user.token).json(&data)).await.ok(200);
    }
    run(&server, "update users set password_hash = '$argon2id$secret' || id").await;
    run(&server, "insert into contacts (user_id, contact_id) values (1, 2), (2, 1)").await;
    run(
        &server,
        "insert into notifications (user_id, sender_id, kind, data) values
                  (1, 2, 'like', '{\"photo\": 3}'), (1, 2, 'fake', null), (2, 1, 'dislike', '\"not mine\"')",
    )
    .await;
    for content in ["first", "cleared", "kept"] {
        bob_client.call("privateMessage", json!({ "receiverId": ann.id, "content": content })).await;
        ann_client.wait_for_push().await;
    }
    run(&server, "update members set cleared_seq = 2 where user_id = 1").await;
    run(&server, "insert into blocks (user_id, blocked_id) values (1, 2)").await;

    let export = export(&server, &ann).await;
    let text = export.to_string();
    for secret in ["argon2", "bob-secret", "not mine", "cleared\"", "first\"", &ann.token, &bob.token] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert_eq!(contents(&export["conversations"][0]), ["kept"]);
    let me = answer(server.http("GET", "/api/v1/users/me").bearer_auth(&ann.token)).await.ok(200);
    assert_eq!(export["account"], me);
    let sessions = answer(server.http("GET", "/api/v1/auth/sessions").bearer_auth(&ann.token)).await.ok(200);
    assert_eq!(export["sessions"], sessions["data"]);
    let lists = json!({ "contacts": export["contacts"], "blocked": export["blocked"], "notifications": export["notifications"] });
    insta::assert_json_snapshot!(steady(lists), @r#"
    {
      "blocked": [
        {
          "addedAt": "[time]",
          "firstName": "Bob",
          "id": 2,
          "lastName": null,
          "username": "u2"
        }
      ],
      "contacts": [
        {
          "addedAt": "[time]",
          "firstName": "Bob",
          "id": 2,
          "lastName": null,
          "username": "u2"
        }
      ],
      "notifications": [
        {
          "createdAt": "[time]",
          "data": {
            "photo": 3
          },
          "kind": "like",
          "notificationId": 1,
          "readAt": null,
          "userId": 2,
          "userName": "Bob"
        },
        {
          "createdAt": "[time]",
          "data": null,
          "kind": "fake",
          "notificationId": 2,
          "readAt": null,
          "userId": 2,
          "userName": "Bob"
        }
      ]
    }
    "#);
    // The export of the other side follows.
    let bobs = self::export(&server, &bob).await;
    assert_eq!((&bobs["blocked"], bobs["contacts"].as_array().map(Vec::len)), (&json!([]), Some(1)));
    assert_eq!(bobs["notifications"][0]["data"], "not mine");
    assert_eq!(contents(&bobs["conversations"][0]), ["first", "cleared", "kept"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn export_contains_lists_of_more_than_a_page() {
    let server = TestServer::start().await;
    let ann = server.create_user("Ann").await;
    run(&server, "insert into users (email) select n || '@x' from generate_series(1, 250) n").await;
    run(&server, "insert into contacts (user_id, contact_id) select 1, id from users where id > 1").await;
    run(&server, "insert into blocks (user_id, blocked_id) select 1, id from users where id > 1 order by id limit 100")
        .await;
    run(&server, "insert into notifications (user_id, sender_id, kind) select 1, id, 'like' from users where id > 1 order by id limit 201").await;
    let export = export(&server, &ann).await;
    for (list, key, number) in [("contacts", "id", 250), ("blocked", "id", 100), ("notifications", "userId", 201)] {
        let ids: Vec<_> = export[list].as_array().expect("rows").iter().map(|row| row[key].clone()).collect();
        assert_eq!(json!(ids), json!((2..number + 2).collect::<Vec<i64>>()), "{list}");
    }
    assert_eq!(export["conversations"], json!([]));
}

/// Inserts 16 MB of messages, far more than the buffers of both ends hold.
const INSERT_MANY: &str = "insert into messages (id, conversation_id, seq, sender_id, content, created_at, updated_at)
                    select nextval('message_ids'), 1, n, 1, repeat('x', 16000), now(), now() from generate_series(2, 1000) n";

async fn insert_many_messages(server: &TestServer, user: &User) {
    let mut client = server.connect(user).await;
    client.call("privateMessage", json!({ "receiverId": user.id, "content": "note" })).await;
    run(server, INSERT_MANY).await;
    run(server, "update conversations set last_seq = 1000").await;
}

/// Returns how many statements the server has running or left open, besides this one.
async fn busy_connections(server: &TestServer) -> i64 {
    let select = "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle' and pid <> pg_backend_pid()";
    sqlx::query(select).fetch_one(&mut server.sql().await).await.expect("a count").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn export_to_a_slow_reader_holds_no_database_connection() {
    // There are as many readers as the server has connections.
    let server = TestServer::start_with(|config| config.database_connections = 2).await;
    let ann = server.create_user("Ann").await;
    insert_many_messages(&server, &ann).await;
    let mut readers = Vec::new();
    for _ in 0..2 {
        let mut response = server.http("GET", EXPORT).bearer_auth(&ann.token).send().await.expect("an answer");
        let first = response.chunk().await.expect("a chunk").expect("a beginning");
        assert!(first.starts_with(br#"{"account":{"id":1,"#), "{first:?}");
        readers.push(response);
    }
    eventually("the export waits for its readers", async || busy_connections(&server).await == 0).await;
    // The server still answers all other users.
    let (_, mut client) = server.connect_user("Bob").await;
    assert_eq!(client.call("listLastMessage", json!({})).await["success"], true);
    let mut bytes = 0;
    let mut response = readers.pop().expect("a reader");
    while let Some(chunk) = response.chunk().await.expect("a chunk") {
        bytes += chunk.len();
    }
    assert!(bytes > 999 * 16_000, "{bytes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn export_breaks_off_when_its_session_ends() {
    let server = TestServer::start().await;
    let ann = server.create_user("Ann").await;
    insert_many_messages(&server, &ann).await;
    let mut response = server.http("GET", EXPORT).bearer_auth(&ann.token).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    answer(server.http("DELETE", "/api/v1/auth/logout").bearer_auth(&ann.token)).await.no_content();
    let mut bytes = 0;
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes += chunk.len(),
            Ok(None) => panic!("an end as if it were whole"),
            Err(error) => break error,
        }
    };
    assert!(bytes < 999 * 16_000, "{bytes} {error}");
    answer(server.http("GET", EXPORT).bearer_auth(&ann.token)).await.refused(401, "unauthorized");
    answer(server.http("GET", EXPORT)).await.refused(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn export_takes_turns_with_other_requests_of_its_user() {
    let server = TestServer::start_with(|config| config.limits.max_requests_at_once = 1).await;
    let (ann, bob) = (server.create_user("Ann").await, server.create_user("Bob").await);
    let requests = &server.server.app().request_queue;
    let _turn = requests.acquire(UserId(ann.id)).await.expect("the only turn");
    // As many requests wait as may, so the next one is refused at once.
    let mut waiting = Vec::new();
    loop {
        let mut turn = Box::pin(requests.acquire(UserId(ann.id)));
        if let Some(refused) = turn.as_mut().now_or_never() {
            refused.expect_err("no turn was given back");
            break;
        }
        waiting.push(turn);
    }
    answer(server.http("GET", EXPORT).bearer_auth(&ann.token)).await.refused(503, "overloaded");
    export(&server, &bob).await;
}

/// Begins an export and reads only its status.
async fn begin_export(server: &TestServer, user: &User) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(server.server.address()).await.expect("a connection");
    socket2::SockRef::from(&stream).set_recv_buffer_size(16_384).expect("a small buffer");
    let head = format!("GET {EXPORT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", user.token);
    stream.write_all(head.as_bytes()).await.expect("an open connection");
    let mut status = [0; 12];
    timeout(TEST_TIMEOUT, stream.read_exact(&mut status)).await.expect("an answer").expect("an open connection");
    (stream, String::from_utf8_lossy(&status).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_that_nobody_reads_are_limited_in_number_and_memory() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let (_, mut neighbour) = server.connect_user("Neighbour").await;
    // An answer is larger than the kernel's buffers.
    for _ in 0..500 {
        let content = "x".repeat(16_000);
        client.call_ok("privateMessage", json!({ "receiverId": ann.id, "content": content })).await;
    }
    let begun: Vec<_> = join_all((0..5).map(|_| begin_export(&server, &ann))).await;
    let count = |status: &str| begun.iter().filter(|(_, said)| said == status).count();
    assert_eq!((count("HTTP/1.1 200"), count("HTTP/1.1 503")), (2, 3));
    let metrics = server.server.app().metrics.text();
    let taken = metrics.lines().find_map(|line| line.strip_prefix("hark_request_memory_bytes ")).expect("a gauge");
    assert!(taken.parse::<usize>().expect("a number") < 2 * 400_000, "{taken} bytes");
    assert_eq!(client.call("listUsers", json!({})).await["success"], true);
    assert_eq!(neighbour.call("listUsers", json!({})).await["success"], true);
    // A closed connection frees its place.
    drop(begun);
    let export = export(&server, &ann).await;
    assert_eq!(contents(&export["conversations"][0]).len(), 500);
}
