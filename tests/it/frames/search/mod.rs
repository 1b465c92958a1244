//! `searchMessages`, and the same over HTTP: which messages are found, by whom, and in which order.

mod indexing;
mod limits;

use serde_json::{Value, json};
use sqlx::Row as _;

use crate::support::{Answer, Client, TestServer, User, answer, eventually};

async fn send_private(client: &mut Client, to: i64, content: &str) -> i64 {
    let reply = client.call("privateMessage", json!({ "receiverId": to, "content": content })).await;
    reply["params"]["item"]["messageId"].as_i64().unwrap_or_else(|| panic!("a receipt: {reply}"))
}

async fn send_in_group(client: &mut Client, group: i64, content: &str) {
    let reply = client.call("messageInGroup", json!({ "groupId": group, "content": content })).await;
    assert_eq!(reply["success"], true, "{reply}");
}

async fn new_group(client: &mut Client, users: &[i64]) -> i64 {
    let reply = client.call("newGroup", json!({ "groupName": "Book club", "userIds": users })).await;
    reply["params"]["item"]["groupId"].as_i64().unwrap_or_else(|| panic!("a group: {reply}"))
}

fn contents(reply: &Value) -> Vec<String> {
    let rows = reply["params"]["data"].as_array().unwrap_or_else(|| panic!("rows: {reply}"));
    rows.iter().map(|row| row["content"].as_str().expect("a content").to_owned()).collect()
}

async fn search(client: &mut Client, params: Value) -> Vec<String> {
    contents(&client.call("searchMessages", params).await)
}

async fn find(client: &mut Client, query: &str) -> Vec<String> {
    search(client, json!({ "query": query })).await
}

/// Waits until every message so far is in the index.
pub async fn wait_until_indexed(server: &TestServer) {
    let mut sql = server.sql().await;
    eventually("the index has caught up", async || {
        let row = sqlx::query("select indexed_to >= coalesce((select max(id) from messages), 0) from search_progress");
        row.fetch_one(&mut sql).await.expect("a row").get(0)
    })
    .await;
}

/// Runs `look` twice: while the newest messages may not be indexed yet, and once all of them are.
async fn before_and_after_indexing<F: AsyncFnMut()>(server: &TestServer, mut look: F) {
    look().await;
    wait_until_indexed(server).await;
    look().await;
}

async fn get(server: &TestServer, asker: &User, query: &str) -> Answer {
    answer(server.http("GET", &format!("/api/v1/messages/search?{query}")).bearer_auth(&asker.token)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn search_messages_finds_a_message_before_and_after_it_is_indexed() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    send_private(&mut ann, bob.id, "Who wants tea?").await;
    let mut seen = Vec::new();
    before_and_after_indexing(&server, async || {
        let reply = ann.call("searchMessages", json!({ "query": "TEA who" })).await;
        seen.push(reply["params"].clone());
    })
    .await;
    assert_eq!(seen[0], seen[1]);
    insta::assert_json_snapshot!(seen[0], { ".data[].createdAt" => "[time]", ".data[].updatedAt" => "[time]" }, @r#"
    {
      "data": [
        {
          "clientMessageId": null,
          "content": "Who wants tea?",
          "createdAt": "[time]",
          "deletedAt": null,
          "groupId": null,
          "groupName": null,
          "messageId": 1,
          "reactions": [],
          "receiverId": 2,
          "receiverName": "Bob",
          "replyTo": null,
          "senderId": 1,
          "senderName": "Ann",
          "seq": 1,
          "updatedAt": "[time]"
        }
      ],
      "message": null,
      "senderName": null
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn search_messages_works_in_every_language() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    let texts = [
        ("Съешь ещё этих мягких ФРАНЦУЗСКИХ булок", "франц съешь"),
        ("Η ΟΔΟΣ είναι μακριά", "οδος"),
        ("مرحبا بالعالم، كيف حالك؟", "بالعا"),
        ("नमस्ते दुनिया", "नमस्"),
        ("我们明天去北京大学", "北京大"),
        ("東京タワーに行きましょう", "タワー"),
        ("สวัสดีครับ ยินดีที่ได้รู้จัก", "ยินดี"),
        ("안녕하세요 여러분", "안녕"),
        ("Ça va très bien à Łódź", "łódź très"),
        ("cafe\u{301} noir", "café"),
        ("İstanbul'da yağmur", "istanbul"),
        ("Straße 42b", "straße 42"),
    ];
    for (text, _) in texts {
        send_private(&mut ann, bob.id, text).await;
    }
    before_and_after_indexing(&server, async || {
        for (text, query) in texts {
            assert_eq!(find(&mut ann, query).await, [text], "{query}");
        }
        assert!(find(&mut ann, "京大北").await.is_empty(), "side by side and in this order");
        assert!(find(&mut ann, "булок чай").await.is_empty(), "all of the words");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn search_messages_takes_any_query_as_words() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let texts = ["It's \"quoted\" \\ and & | ! odd:*", "plain", "🎉 party", "@1 #1 a1"];
    for text in texts {
        send_private(&mut client, ann.id, text).await;
    }
    before_and_after_indexing(&server, async || {
        for query in ["it's", "\"quoted\"", "quo\\", "odd:*", "!odd", "and & odd", "(odd | plain) odd", "'it", "s' od"]
        {
            let expected: &[&str] = if query.contains("plain") { &[] } else { &texts[..1] };
            assert_eq!(find(&mut client, query).await, expected, "{query}");
        }
        for nothing in ["🎉", "👨‍👩‍👧 !", "&", "'", "''", "\\", ":*", " ", "<->", "@", "#", "*", "\u{301}"]
        {
            assert!(find(&mut client, nothing).await.is_empty(), "{nothing}");
        }
        assert_eq!(
            find(&mut client, "a").await,
            [texts[3], texts[0]],
            "the index words for readers are not words of the message"
        );
        assert_eq!(find(&mut client, "@1").await, [texts[3]]);
        assert_eq!(find(&mut client, "🎉 PARTY!").await, [texts[2]]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn search_messages_finds_only_what_the_user_may_read() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (_, mut cleo_client) = server.connect_user("Cleo").await;
    let group = new_group(&mut ann_client, &[bob.id]).await;
    send_private(&mut ann_client, bob.id, "secret of two").await;
    send_private(&mut ann_client, ann.id, "secret note").await;
    send_in_group(&mut bob_client, group, "secret of the group").await;
    before_and_after_indexing(&server, async || {
        assert_eq!(find(&mut ann_client, "secret").await, ["secret of the group", "secret note", "secret of two"]);
        assert_eq!(find(&mut bob_client, "secret").await, ["secret of the group", "secret of two"]);
        assert!(find(&mut cleo_client, "secret").await.is_empty());
    })
    .await;

    bob_client.call("leaveGroup", json!({ "groupId": group })).await;
    assert_eq!(find(&mut bob_client, "secret").await, ["secret of two"]);
    let cleo = server.create_user("Cleo2").await;
    ann_client.call("addUserInGroup", json!({ "groupId": group, "userId": cleo.id })).await;
    let mut late = server.connect(&cleo).await;
    assert_eq!(find(&mut late, "secret").await, ["secret of the group"], "as the history, all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn search_messages_is_limited_to_a_given_conversation() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let (bob, _) = server.connect_user("Bob").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    let group = new_group(&mut client, &[bob.id]).await;
    send_private(&mut client, bob.id, "tea for two").await;
    send_private(&mut client, ann.id, "tea alone").await;
    send_in_group(&mut client, group, "tea for all").await;
    before_and_after_indexing(&server, async || {
        assert_eq!(search(&mut client, json!({ "query": "tea", "receiverId": bob.id })).await, ["tea for two"]);
        assert_eq!(search(&mut client, json!({ "query": "tea", "receiverId": ann.id })).await, ["tea alone"]);
        assert_eq!(search(&mut client, json!({ "query": "tea", "groupId": group })).await, ["tea for all"]);
        assert!(search(&mut client, json!({ "query": "tea", "receiverId": cleo.id })).await.is_empty());
    })
    .await;

    let refusals = [
        (json!({ "query": "tea", "groupId": group }), "not_a_member", "User is not a member of this group"),
        (json!({ "query": "tea", "groupId": 404 }), "not_found", "params.groupId: there is no such group"),
        (json!({ "query": "tea", "receiverId": 404 }), "not_found", "params.receiverId: there is no such user"),
        (
            json!({ "query": "tea", "receiverId": 1, "groupId": 1 }),
            "bad_params",
            "params.receiverId and params.groupId exclude each other",
        ),
        (json!({}), "bad_params", "params.query is required"),
        (json!({ "query": "" }), "bad_params", "params.query must be 1 to 254 characters"),
        (json!({ "query": 5 }), "bad_params", "params.query must be a string"),
        (json!({ "query": "x".repeat(255) }), "bad_params", "params.query must be 1 to 254 characters"),
        (json!({ "query": "a\0b" }), "bad_params", "params.query must not contain U+0000"),
        (json!({ "query": "tea", "limit": 0 }), "bad_params", "params.limit must be an integer from 1 to 100"),
        (json!({ "query": "tea", "page": 0 }), "bad_params", "params.page must be an integer from 1"),
    ];
    for (params, code, message) in refusals {
        let error = cleo_client.call("searchMessages", params).await;
        assert_eq!((&error["code"], &error["message"]), (&json!(code), &json!(message)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn search_messages_skips_a_cleared_history() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    send_private(&mut ann_client, bob.id, "tea one").await;
    send_private(&mut ann_client, bob.id, "tea two").await;
    send_private(&mut bob_client, ann.id, "tea three").await;
    sqlx::query("update members set cleared_seq = 2 where user_id = $1")
        .bind(ann.id)
        .execute(&mut server.sql().await)
        .await
        .expect("a member");
    before_and_after_indexing(&server, async || {
        assert_eq!(find(&mut ann_client, "tea").await, ["tea three"]);
        assert_eq!(find(&mut bob_client, "tea").await, ["tea three", "tea two", "tea one"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn search_messages_pages_hold_every_message_once_while_more_arrive() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut reader) = server.connect_user("Bob").await;
    for number in 0..25 {
        send_private(&mut ann, bob.id, &format!("tea {number}")).await;
        if number == 12 {
            wait_until_indexed(&server).await;
        }
    }
    let mut seen = Vec::new();
    for page in 1..=4 {
        seen.extend(search(&mut reader, json!({ "query": "te", "limit": 7, "page": page })).await);
        send_private(&mut ann, bob.id, &format!("tea after page {page}")).await;
    }
    let expected: Vec<String> = (0..25).rev().map(|number| format!("tea {number}")).collect();
    assert_eq!(seen, expected);
    wait_until_indexed(&server).await;
    let skipped = search(&mut reader, json!({ "query": "te", "limit": 10, "page": 3 })).await;
    assert_eq!(skipped, expected[16..], "20 rows on, four of which came later");
    assert!(search(&mut reader, json!({ "query": "te", "page": 1_000_000_000 })).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn search_messages_finds_the_largest_content_by_its_last_word() {
    let server = TestServer::start_with(|config| {
        config.limits.max_content_bytes = 1_000_000;
        config.limits.max_frame_bytes = 2_000_000;
    })
    .await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let words = (0..70_000).map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ");
    let texts = [words + " last", "哈".repeat(5000) + "好吧", "x".repeat(16_000) + "y"];
    for text in &texts {
        send_private(&mut client, ann.id, text).await;
    }
    let begins = "x".repeat(254);
    before_and_after_indexing(&server, async || {
        for (query, text) in [("last w69999", &texts[0]), ("哈好", &texts[1]), (&begins, &texts[2])] {
            assert!(find(&mut client, query).await == std::slice::from_ref(text), "{query}");
        }
        assert!(find(&mut client, "w70000").await.is_empty() && find(&mut client, "好哈").await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn search_messages_over_http_returns_the_same_rows() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    for number in 0..3 {
        send_private(&mut client, bob.id, &format!("tea {number}")).await;
    }
    let group = new_group(&mut client, &[]).await;
    let socket = client.call("searchMessages", json!({ "query": "tea", "limit": 2, "page": 2 })).await;
    let http = get(&server, &ann, "q=tea&limit=2&page=2").await.ok(200);
    assert_eq!(http, json!({ "data": socket["params"]["data"] }));
    assert_eq!(http["data"][0]["content"], "tea 0");
    let there = get(&server, &ann, &format!("q=te&receiverId={}", bob.id)).await.ok(200);
    assert_eq!(there["data"].as_array().expect("rows").len(), 3);
    assert_eq!(get(&server, &bob, "q=%F0%9F%8E%89").await.ok(200), json!({ "data": [] }));
    assert_eq!(get(&server, &ann, "limit=2").await.refused(400, "bad_params"), "q is required");
    assert_eq!(
        get(&server, &bob, &format!("q=tea&groupId={group}")).await.refused(403, "not_a_member"),
        "User is not a member of this group"
    );
    assert_eq!(
        get(&server, &ann, "q=a&receiverId=99").await.refused(404, "not_found"),
        "receiverId: there is no such user"
    );
    let nobody = User { token: "none".to_owned(), ..ann };
    assert_eq!(get(&server, &nobody, "q=tea").await.refused(401, "unauthorized"), "Not authorized");
}
