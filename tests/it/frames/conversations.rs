//! `openConversation`, `closeConversation` and `getConversation`: permissions, what they return, what they
//! create.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{TestServer, steady};

const NOTHING: [&str; 0] = [];

fn contents(page: &Value) -> Vec<&str> {
    let rows = page["data"].as_array().unwrap_or_else(|| panic!("rows: {page}"));
    rows.iter().map(|row| row["content"].as_str().expect("a content")).collect()
}

async fn count(server: &TestServer, table: &str) -> i64 {
    let count = match table {
        "members" => "select count(*) from members",
        _ => "select count(*) from conversations",
    };
    sqlx::query_scalar(count).fetch_one(&mut server.sql().await).await.expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn open_conversation_creates_a_dialog_and_notifies_nobody() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    bob_client.subscribe(&["all"]).await;
    let opened = ann_client.call_ok("openConversation", json!({ "receiverId": bob.id })).await;
    assert_eq!(
        steady(opened),
        json!({
            "data": [],
            "message": null,
            "senderName": null,
            "item": {
                "kind": "dialog",
                "receiverId": bob.id,
                "receiverName": "Bob",
                "groupId": null,
                "groupName": null,
                "lastSeq": 0,
                "readSeq": 0,
                "unreadCount": 0,
                "spam": false,
                "role": "member",
                "lastMessage": null,
                "members": [
                    { "id": ann.id, "name": "Ann", "isAdmin": false, "joinedAt": "[time]", "readSeq": 0, "deliveredSeq": 0 },
                    { "id": bob.id, "name": "Bob", "isAdmin": false, "joinedAt": "[time]", "readSeq": 0, "deliveredSeq": 0 },
                ],
                "admins": [],
                "memberCount": 2,
                "messageCount": 0,
            },
        })
    );
    assert_eq!(bob_client.drain_push_types().await, NOTHING);
    // A dialog without messages is on no list.
    for client in [&mut ann_client, &mut bob_client] {
        assert_eq!(client.call_ok("listConversations", json!({})).await["data"], json!([]));
        assert_eq!(client.call_ok("listLastMessage", json!({})).await["data"], json!([]));
    }
    ann_client.send_content(&json!({ "receiverId": bob.id }), "Hi").await;
    bob_client.call_ok("openConversation", json!({ "receiverId": ann.id })).await;
    assert_eq!((count(&server, "conversations").await, count(&server, "members").await), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn open_conversation_returns_the_newest_messages() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    for nth in 1..=25 {
        ann_client.send_content(&json!({ "receiverId": bob.id }), &format!("{nth}")).await;
    }
    let opened = bob_client.call_ok("openConversation", json!({ "receiverId": ann.id, "limit": 2 })).await;
    assert_eq!(contents(&opened), ["25", "24"]);
    assert_eq!(opened["item"]["lastMessage"], opened["data"][0]);
    assert_eq!((&opened["item"]["unreadCount"], &opened["item"]["messageCount"]), (&json!(25), &json!(25)));
    assert_eq!(
        steady(opened["data"][0].clone()),
        json!({
            "messageId": 25,
            "seq": 25,
            "senderId": ann.id,
            "senderName": "Ann",
            "receiverId": bob.id,
            "receiverName": "Bob",
            "groupId": null,
            "groupName": null,
            "content": "25",
            "replyTo": null,
            "reactions": [],
            "createdAt": "[time]",
            "updatedAt": "[time]",
            "deletedAt": null,
            "clientMessageId": null,
        })
    );
    assert_eq!(contents(&bob_client.call_ok("openConversation", json!({ "receiverId": ann.id })).await).len(), 20);
    // Opening a conversation does not mark it as read.
    assert_eq!(bob_client.call_ok("getConversation", json!({ "receiverId": ann.id })).await["item"]["readSeq"], 0);
    for limit in [json!(0), json!(101), json!("2"), json!(-1)] {
        let params = json!({ "receiverId": ann.id, "limit": limit });
        assert_eq!(bob_client.call_refused("openConversation", params).await, "bad_params");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_conversation_from_both_sides_at_once_creates_one_dialog() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    for _ in 0..10 {
        let (ann, bob) = (server.create_user("Ann").await, server.create_user("Bob").await);
        let mut sockets = Vec::new();
        for node in [&server, &second] {
            sockets.push((node.connect(&ann).await, bob.id));
            sockets.push((node.connect(&bob).await, ann.id));
        }
        let before = (count(&server, "conversations").await, count(&server, "members").await);
        join_all(sockets.iter_mut().enumerate().map(async |(nth, (client, other))| {
            let target = json!({ "receiverId": *other });
            if nth == 3 {
                client.send_content(&target, "Hi").await;
            }
            client.call_ok("openConversation", target).await;
        }))
        .await;
        assert_eq!(
            (count(&server, "conversations").await, count(&server, "members").await),
            (before.0 + 1, before.1 + 2)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_conversation_with_oneself_is_a_dialog_of_notes() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let opened = client.call_ok("openConversation", json!({ "receiverId": ann.id })).await;
    assert_eq!((&opened["item"]["receiverId"], &opened["item"]["memberCount"]), (&json!(ann.id), &json!(1)));
    client.send_content(&json!({ "receiverId": ann.id }), "milk").await;
    let opened = client.call_ok("openConversation", json!({ "receiverId": ann.id })).await;
    assert_eq!(contents(&opened), ["milk"]);
    assert_eq!(opened["item"]["unreadCount"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_conversation_by_a_blocked_user_opens_an_existing_dialog_only() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let cleo = server.create_user("Cleo").await;
    bob_client.send_content(&json!({ "receiverId": ann.id }), "Hi").await;
    server.block(&bob, &ann).await;
    server.block(&cleo, &ann).await;
    assert_eq!(ann_client.call_refused("openConversation", json!({ "receiverId": cleo.id })).await, "blocked");
    assert_eq!(contents(&ann_client.call_ok("openConversation", json!({ "receiverId": bob.id })).await), ["Hi"]);
    assert_eq!(count(&server, "conversations").await, 1);
    // The user who blocks may open.
    let mut cleo_client = server.connect(&cleo).await;
    cleo_client.call_ok("openConversation", json!({ "receiverId": ann.id })).await;
    ann_client.call_ok("openConversation", json!({ "receiverId": cleo.id })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_get_remove_and_mark_spam_refuse_unknown_conversations_and_those_of_others() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let cleo = server.create_user("Cleo").await;
    let group = bob_client.new_group(&[cleo.id]).await;
    for kind in ["openConversation", "getConversation", "removeConversation", "markSpam"] {
        let with = |mut target: Value| {
            target["spam"] = json!(true);
            target
        };
        assert_eq!(client.call_refused(kind, with(json!({ "groupId": group }))).await, "not_a_member", "{kind}");
        assert_eq!(client.call_refused(kind, with(json!({ "groupId": 99 }))).await, "not_found", "{kind}");
        assert_eq!(client.call_refused(kind, with(json!({ "receiverId": 99 }))).await, "not_found", "{kind}");
        for target in [json!({}), json!({ "receiverId": bob.id, "groupId": group }), json!({ "receiverId": "Bob" })] {
            assert_eq!(client.call_refused(kind, with(target)).await, "bad_params", "{kind}");
        }
    }
    for kind in ["getConversation", "removeConversation", "markSpam"] {
        let refusal = client.call(kind, json!({ "receiverId": bob.id, "spam": true })).await;
        assert_eq!(refusal["code"], "not_found");
        assert_eq!(refusal["message"], "params.receiverId: there is no conversation with this user yet");
    }
    for params in [
        json!({ "groupId": group }),
        json!({ "groupId": group, "spam": "yes" }),
        json!({ "groupId": group, "spam": null }),
    ] {
        assert_eq!(bob_client.call_refused("markSpam", params).await, "bad_params");
    }
    assert_eq!(client.call_refused("closeConversation", json!({})).await, "bad_params");
    // Closing what is not open succeeds.
    client.call_ok("closeConversation", json!({ "groupId": 99 })).await;
    assert_eq!(count(&server, "conversations").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn get_conversation_of_a_group_shows_its_admins_and_its_first_hundred_members() {
    let server = TestServer::start().await;
    let users = server.create_users("U", 120).await;
    let ids: Vec<i64> = users.iter().map(|user| user.id).collect();
    let mut client = server.connect(&users[0]).await;
    let mut last = server.connect(&users[119]).await;
    let group = client.new_group(&ids[1..119]).await;
    client.call_ok("addUserInGroup", json!({ "groupId": group, "userId": ids[119] })).await;
    client.send_content(&json!({ "groupId": group }), "Hi all").await;
    let item = last.call_ok("getConversation", json!({ "groupId": group })).await["item"].take();
    assert_eq!(
        (&item["kind"], &item["groupId"], &item["groupName"]),
        (&json!("group"), &json!(group), &json!("Book club"))
    );
    assert_eq!(
        (&item["receiverId"], &item["receiverName"], &item["role"]),
        (&Value::Null, &Value::Null, &json!("member"))
    );
    assert_eq!((&item["admins"], &item["memberCount"]), (&json!([ids[0]]), &json!(120)));
    let members: Vec<_> =
        item["members"].as_array().expect("members").iter().map(|member| member["id"].clone()).collect();
    assert_eq!(json!(members), json!(ids[..100]), "the longest-standing of them");
    assert_eq!(item["members"][0]["isAdmin"], true);
    assert_eq!(item["lastMessage"]["content"], "Hi all");
    let item = client.call_ok("getConversation", json!({ "groupId": group })).await["item"].take();
    assert_eq!(item["role"], "admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn close_conversation_resumes_the_message_notifications_that_open_conversation_held_back() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let mut there = server.connect(&ann).await;
    for client in [&mut ann_client, &mut there] {
        client.subscribe(&["notifications"]).await;
    }
    ann_client.call_ok("openConversation", json!({ "receiverId": bob.id })).await;
    let message = bob_client.send_content(&json!({ "receiverId": ann.id }), "Hi").await;
    ann_client.expect_push("privateMessage").await;
    there.expect_push("privateMessage").await;
    assert_eq!(
        steady(there.expect_push("notification").await["item"].take()),
        json!({
            "notificationId": null,
            "kind": "message",
            "userId": bob.id,
            "userName": "Bob",
            "data": { "receiverId": bob.id, "messageId": message, "seq": 1 },
            "createdAt": "[time]",
            "readAt": null,
        })
    );
    assert_eq!(ann_client.drain_push_types().await, NOTHING);
    ann_client.call_ok("closeConversation", json!({ "receiverId": bob.id })).await;
    bob_client.send_content(&json!({ "receiverId": ann.id }), "Hi?").await;
    ann_client.expect_push("privateMessage").await;
    ann_client.expect_push("notification").await;
    // A user's own messages cause no notification to them.
    ann_client.send_content(&json!({ "receiverId": bob.id }), "Hello").await;
    bob_client.wait_for_push().await;
    there.expect_push("privateMessage").await;
    there.expect_push("notification").await;
    assert_eq!(there.drain_push_types().await, NOTHING);
}
