//! `getlatestMessageDialog`, `getlatestMessageGroup` and `listLastMessage`: rows, pages, order, and who may
//! read.

use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::support::{Client, TestServer};

fn rows(reply: &Value) -> &Vec<Value> {
    reply["params"]["data"].as_array().unwrap_or_else(|| panic!("rows: {reply}"))
}

fn column(reply: &Value, name: &str) -> Value {
    rows(reply).iter().map(|row| row[name].clone()).collect()
}

async fn send_private(client: &mut Client, to: i64, content: &str) {
    let reply = client.call("privateMessage", json!({ "receiverId": to, "content": content })).await;
    assert_eq!(reply["success"], true, "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn getlatest_message_dialog_rows_have_the_keys_of_the_first_protocol() {
    let server = TestServer::start().await;
    let (a, mut one) = server.connect_user("Patrick0").await;
    let (b, mut two) = server.connect_user("Patrick1").await;
    send_private(&mut one, b.id, "Message from 1").await;
    send_private(&mut two, a.id, "Message from 2").await;
    let history = one.call("getlatestMessageDialog", json!({ "receiverId": b.id, "limit": 5, "page": 1 })).await;
    assert_json_snapshot!(history, {
        ".params.data[].created_at" => "[time]", ".params.data[].updatedAt" => "[time]"
    }, @r#"
    {
      "id": 2,
      "params": {
        "data": [
          {
            "content": "Message from 2",
            "created_at": "[time]",
            "deletedAt": null,
            "messageId": 2,
            "reactions": [],
            "receiverName": "Patrick0",
            "receiver_id": 1,
            "receverName": "Patrick0",
            "replyTo": null,
            "senderName": "Patrick1",
            "sender_id": 2,
            "seq": 2,
            "updatedAt": "[time]"
          },
          {
            "content": "Message from 1",
            "created_at": "[time]",
            "deletedAt": null,
            "messageId": 1,
            "reactions": [],
            "receiverName": "Patrick1",
            "receiver_id": 2,
            "receverName": "Patrick1",
            "replyTo": null,
            "senderName": "Patrick0",
            "sender_id": 1,
            "seq": 1,
            "updatedAt": "[time]"
          }
        ],
        "message": null,
        "senderName": null
      },
      "success": true,
      "type": "getlatestMessageDialog"
    }
    "#);
    let time = rows(&history)[0]["created_at"].as_str().expect("a time");
    assert!(
        chrono::NaiveDateTime::parse_from_str(time, "%Y-%m-%dT%H:%M:%S%.3fZ").is_ok() && time.len() == 24,
        "{time}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn getlatest_message_group_rows_have_the_keys_of_the_first_protocol() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Patrick7").await;
    let group = client.call("newGroup", json!({ "groupName": "G" })).await["params"]["item"]["groupId"].clone();
    client.call("messageInGroup", json!({ "groupId": group, "content": "Message from 8" })).await;
    let history = client.call("getlatestMessageGroup", json!({ "groupId": group })).await;
    assert_json_snapshot!(history["params"]["data"], { "[].created_at" => "[time]", "[].updatedAt" => "[time]" }, @r#"
    [
      {
        "content": "Message from 8",
        "created_at": "[time]",
        "deletedAt": null,
        "group_id": 1,
        "messageId": 1,
        "reactions": [],
        "receiverName": null,
        "replyTo": null,
        "senderName": "Patrick7",
        "sender_id": 1,
        "seq": 1,
        "updatedAt": "[time]"
      }
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn list_last_message_has_one_row_for_each_conversation_newest_first() {
    let server = TestServer::start().await;
    let (me, mut client) = server.connect_user("Me").await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let group =
        client.call("newGroup", json!({ "groupName": "Club", "userIds": [ann.id] })).await["params"]["item"]["groupId"]
            .clone();
    let silent = client.call("newGroup", json!({ "groupName": "Silent" })).await;
    assert_eq!(silent["success"], true);
    send_private(&mut client, ann.id, "to ann").await;
    send_private(&mut ann_client, me.id, "from ann").await;
    send_private(&mut client, bob.id, "to bob").await;
    ann_client.call("messageInGroup", json!({ "groupId": group, "content": "in club" })).await;
    send_private(&mut bob_client, me.id, "from bob").await;
    send_private(&mut client, bob.id, "to bob again").await;

    let list = client.call("listLastMessage", json!({ "limit": 5, "page": 1 })).await;
    assert_json_snapshot!(list["params"]["data"], {
        "[].createdAt" => "[time]", "[].updatedAt" => "[time]"
    }, @r#"
    [
      {
        "content": "to bob again",
        "createdAt": "[time]",
        "deletedAt": null,
        "groupId": null,
        "groupName": null,
        "id": 6,
        "receiverId": 3,
        "receiverName": "Bob",
        "senderId": 1,
        "senderName": "Me",
        "seq": 3,
        "unreadCount": 1,
        "updatedAt": "[time]"
      },
      {
        "content": "in club",
        "createdAt": "[time]",
        "deletedAt": null,
        "groupId": 1,
        "groupName": "Club",
        "id": 4,
        "receiverId": null,
        "receiverName": null,
        "senderId": 2,
        "senderName": "Ann",
        "seq": 1,
        "unreadCount": 1,
        "updatedAt": "[time]"
      },
      {
        "content": "from ann",
        "createdAt": "[time]",
        "deletedAt": null,
        "groupId": null,
        "groupName": null,
        "id": 2,
        "receiverId": 1,
        "receiverName": "Me",
        "senderId": 2,
        "senderName": "Ann",
        "seq": 2,
        "unreadCount": 1,
        "updatedAt": "[time]"
      }
    ]
    "#);
    // Each user sees the same conversations from their own side.
    let theirs = bob_client.call("listLastMessage", json!({})).await;
    assert_eq!((column(&theirs, "content"), column(&theirs, "unreadCount")), (json!(["to bob again"]), json!([2])));
}

#[tokio::test(flavor = "multi_thread")]
async fn list_last_message_pages_cover_the_list_without_overlap() {
    let server = TestServer::start().await;
    let (me, mut client) = server.connect_user("Me").await;
    let others = server.create_users("Other", 7).await;
    for (nth, other) in others.iter().enumerate() {
        // Messages go in both directions, so that both sides of a pair occur.
        let mut theirs = server.connect(other).await;
        send_private(&mut theirs, me.id, &format!("hello {nth}")).await;
        if nth % 2 == 0 {
            send_private(&mut client, other.id, &format!("answer {nth}")).await;
        }
    }
    let all = client.call("listLastMessage", json!({ "limit": 100 })).await;
    assert_eq!(rows(&all).len(), 7);
    let mut paged = Vec::new();
    for page in 1..=5 {
        let part = client.call("listLastMessage", json!({ "limit": 2, "page": page })).await;
        paged.extend(rows(&part).clone());
    }
    assert_eq!(&paged, rows(&all));
}

#[tokio::test(flavor = "multi_thread")]
async fn getlatest_message_dialog_pages_cover_the_history_and_before_stays_stable() {
    let server = TestServer::start().await;
    let (a, mut one) = server.connect_user("A").await;
    let (b, mut two) = server.connect_user("B").await;
    for nth in 1..=25 {
        let (client, to) = if nth % 3 == 0 { (&mut two, a.id) } else { (&mut one, b.id) };
        send_private(client, to, &nth.to_string()).await;
    }
    let page = async |client: &mut Client, extra: Value| {
        let mut params = json!({ "receiverId": b.id });
        params.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        column(&client.call("getlatestMessageDialog", params).await, "seq")
    };
    let seqs = |from: i64, to: i64| (to..=from).rev().collect::<Value>();
    assert_eq!(page(&mut one, json!({})).await, seqs(25, 6), "20 rows by default");
    assert_eq!(page(&mut one, json!({ "limit": 10, "page": 1 })).await, seqs(25, 16));
    assert_eq!(page(&mut one, json!({ "limit": 10, "page": 3 })).await, seqs(5, 1));
    assert_eq!(page(&mut one, json!({ "limit": 10, "page": 4 })).await, json!([]));
    assert_eq!(page(&mut one, json!({ "limit": 100, "page": 9_007_199_254_740_991_i64 })).await, json!([]));
    assert_eq!(page(&mut one, json!({ "limit": 3, "before": 11 })).await, seqs(10, 8));
    send_private(&mut two, a.id, "26").await;
    assert_eq!(
        page(&mut one, json!({ "limit": 3, "before": 11 })).await,
        seqs(10, 8),
        "messages that arrive move nothing"
    );
    assert_eq!(page(&mut one, json!({ "before": 1 })).await, json!([]));
    assert_eq!(page(&mut one, json!({ "limit": 1, "before": 1_000 })).await, seqs(26, 26));
}

#[tokio::test(flavor = "multi_thread")]
async fn getlatest_message_dialog_and_group_are_for_members_only() {
    let server = TestServer::start().await;
    let (a, mut one) = server.connect_user("A").await;
    let (b, _) = server.connect_user("B").await;
    let (_, mut stranger) = server.connect_user("Stranger").await;
    send_private(&mut one, b.id, "secret").await;
    let group = one.call("newGroup", json!({ "groupName": "G" })).await["params"]["item"]["groupId"].clone();

    let own = stranger.call("getlatestMessageDialog", json!({ "receiverId": b.id })).await;
    assert_eq!(own["params"]["data"], json!([]), "a dialog is that of the asker");
    let nobody = stranger.call("getlatestMessageDialog", json!({ "receiverId": 404 })).await;
    assert_eq!(
        (&nobody["code"], &nobody["message"]),
        (&json!("not_found"), &json!("params.receiverId: there is no such user"))
    );
    let group_error = stranger.call("getlatestMessageGroup", json!({ "groupId": group })).await;
    assert_eq!(group_error["code"], "not_a_member");
    // The id of the dialog is not a group id.
    let dialog = stranger.call("getlatestMessageGroup", json!({ "groupId": 1 })).await;
    assert_eq!(dialog["code"], "not_found");
    let list = stranger.call("listLastMessage", json!({ "userId": a.id })).await;
    assert_eq!(list["params"]["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn getlatest_message_dialog_and_group_check_their_page_params() {
    let server = TestServer::start().await;
    let (me, mut client) = server.connect_user("Me").await;
    let cases = [
        (json!({ "limit": 0 }), "params.limit must be an integer from 1 to 100"),
        (json!({ "limit": 101 }), "params.limit must be an integer from 1 to 100"),
        (json!({ "limit": "5" }), "params.limit must be an integer from 1 to 100"),
        (json!({ "limit": 2.5 }), "params.limit must be an integer from 1 to 100"),
        (json!({ "page": 0 }), "params.page must be an integer from 1"),
        (json!({ "page": -1 }), "params.page must be an integer from 1"),
        (json!({ "page": 9_007_199_254_740_992_i64 }), "params.page must be an integer from 1"),
    ];
    for (params, sentence) in &cases {
        for kind in ["listLastMessage", "getlatestMessageDialog", "getlatestMessageGroup"] {
            let mut params = params.clone();
            params["receiverId"] = me.id.into();
            params["groupId"] = 1.into();
            let error = client.call(kind, params).await;
            assert_eq!((&error["code"], &error["message"]), (&json!("bad_params"), &json!(sentence)), "{kind}");
        }
    }
    let before = client.call("getlatestMessageDialog", json!({ "receiverId": me.id, "before": 0 })).await;
    assert_eq!(before["message"], "params.before must be an integer from 1");
    let both = client.call("getlatestMessageDialog", json!({ "receiverId": me.id, "before": 3, "page": 1 })).await;
    assert_eq!(both["message"], "params.before and page exclude each other");
    for kind in ["getlatestMessageDialog", "getlatestMessageGroup"] {
        let missing = client.call(kind, json!({})).await;
        assert_eq!(missing["code"], "bad_params", "{missing}");
    }
}
