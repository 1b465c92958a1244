//! `listConversations` and `listLastMessage`: rows, order, filters and paging.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::support::{Client, TestServer, answer, steady};

/// Returns the rows of a list as the names of their conversations.
async fn names(client: &mut Client, params: Value) -> Vec<String> {
    let rows = client.call_ok("listConversations", params).await["data"].take();
    let name = |row: &Value| {
        let name = if row["kind"] == "group" { &row["groupName"] } else { &row["receiverName"] };
        name.as_str().unwrap_or_else(|| panic!("a name: {row}")).to_owned()
    };
    rows.as_array().expect("rows").iter().map(name).collect()
}

async fn named_group(client: &mut Client, name: &str, user_ids: &[i64]) -> i64 {
    let made = client.call_ok("newGroup", json!({ "groupName": name, "userIds": user_ids })).await;
    made["item"]["groupId"].as_i64().expect("a group")
}

/// Runs a statement, for what no client can choose: the time at which something happened.
async fn run(server: &TestServer, statement: String) {
    sqlx::query(AssertSqlSafe(statement)).execute(&mut server.sql().await).await.expect("the statement runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn list_conversations_rows_have_all_fields() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    ann_client.send_content(&json!({ "receiverId": bob.id }), "Hi").await;
    ann_client.send_content(&json!({ "receiverId": bob.id }), "Bob?").await;
    bob_client.call_ok("readMessages", json!({ "receiverId": ann.id, "seq": 1 })).await;
    let group = named_group(&mut ann_client, "Book club", &[bob.id]).await;
    let reply = bob_client.call_ok("listConversations", json!({})).await;
    assert_eq!((&reply["message"], &reply["senderName"], reply.get("item")), (&Value::Null, &Value::Null, None));
    let mut rows = steady(reply["data"].clone());
    let message = rows[1]["lastMessage"].take();
    assert_eq!(
        rows,
        json!([
            {
                "kind": "group",
                "receiverId": null,
                "receiverName": null,
                "groupId": group,
                "groupName": "Book club",
                "lastSeq": 0,
                "readSeq": 0,
                "unreadCount": 0,
                "spam": false,
                "role": "member",
                "lastMessage": null,
            },
            {
                "kind": "dialog",
                "receiverId": ann.id,
                "receiverName": "Ann",
                "groupId": null,
                "groupName": null,
                "lastSeq": 2,
                "readSeq": 1,
                "unreadCount": 1,
                "spam": false,
                "role": "member",
                "lastMessage": null,
            },
        ])
    );
    assert_eq!(
        (&message["content"], &message["seq"], &message["senderId"]),
        (&json!("Bob?"), &json!(2), &json!(ann.id))
    );
    let rows = ann_client.call_ok("listConversations", json!({})).await["data"].take();
    assert_eq!((&rows[0]["role"], &rows[1]["receiverName"]), (&json!("admin"), &json!("Bob")));
}

#[tokio::test(flavor = "multi_thread")]
async fn list_conversations_filters_by_state_and_kind() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let users = server.create_users("U", 4).await;
    let mut others = Vec::new();
    for user in &users {
        others.push(server.connect(user).await);
    }
    let to_ann = json!({ "receiverId": ann.id });
    // U0 is read, U1 is unread, U2 is marked as spam, U3 was removed.
    for other in &mut others {
        other.send_content(&to_ann, "Hi").await;
    }
    client.call_ok("readMessages", json!({ "receiverId": users[0].id })).await;
    client.call_ok("markSpam", json!({ "receiverId": users[2].id, "spam": true })).await;
    client.call_ok("removeConversation", json!({ "receiverId": users[3].id })).await;
    named_group(&mut client, "Empty", &[]).await;
    let full = named_group(&mut others[0], "Full", &[ann.id]).await;
    others[0].send_content(&json!({ "groupId": full }), "Hi").await;
    let spam = named_group(&mut others[0], "Spam", &[ann.id]).await;
    client.call_ok("markSpam", json!({ "groupId": spam, "spam": true })).await;
    let gone = named_group(&mut others[0], "Gone", &[ann.id]).await;
    client.call_ok("leaveGroup", json!({ "groupId": gone })).await;

    let all = ["Full", "Empty", "U1", "U0"];
    assert_eq!(names(&mut client, json!({})).await, all);
    assert_eq!(names(&mut client, json!({ "filter": "all" })).await, all);
    assert_eq!(names(&mut client, json!({ "filter": null })).await, all);
    assert_eq!(names(&mut client, json!({ "filter": "unread" })).await, ["Full", "U1"]);
    assert_eq!(names(&mut client, json!({ "filter": "spam" })).await, ["Spam", "U2"]);
    assert_eq!(names(&mut client, json!({ "filter": "groups" })).await, ["Full", "Empty"]);
    assert_eq!(names(&mut client, json!({ "filter": "dialogs" })).await, ["U1", "U0"]);
    // `listLastMessage` leaves out groups without messages.
    let rows = client.call_ok("listLastMessage", json!({})).await["data"].take();
    let ids: Vec<_> = rows.as_array().expect("rows").iter().map(|row| (&row["groupId"], &row["senderId"])).collect();
    let (u0, u1) = (json!(users[0].id), json!(users[1].id));
    assert_eq!(ids, [(&json!(full), &u0), (&Value::Null, &u1), (&Value::Null, &u0)]);
    // The next message brings a removed conversation back, and leaves spam where it is.
    others[3].send_content(&to_ann, "Hi").await;
    others[2].send_content(&to_ann, "Hi").await;
    assert_eq!(names(&mut client, json!({ "filter": "dialogs" })).await, ["U3", "U1", "U0"]);
    assert_eq!(names(&mut client, json!({ "filter": "spam" })).await, ["U2", "Spam"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn list_conversations_checks_its_params() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Ann").await;
    for params in [
        json!({ "filter": "Unread" }),
        json!({ "filter": "" }),
        json!({ "filter": 1 }),
        json!({ "filter": ["spam"] }),
        json!({ "limit": 0 }),
        json!({ "limit": 101 }),
        json!({ "page": 0 }),
        json!({ "page": "1" }),
    ] {
        assert_eq!(client.call_refused("listConversations", params.clone()).await, "bad_params", "{params}");
    }
    let refusal = client.call("listConversations", json!({ "filter": "read" })).await;
    assert_eq!(refusal["message"], "params.filter must be all, unread, spam, groups or dialogs");
    assert_eq!(
        client.call_ok("listConversations", json!({ "page": 9_007_199_254_740_991_i64 })).await["data"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn list_conversations_pages_keep_one_order_for_equal_times() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    for user in server.create_users("U", 7).await {
        server.connect(&user).await.send_content(&json!({ "receiverId": ann.id }), "Hi").await;
    }
    named_group(&mut client, "G0", &[]).await;
    named_group(&mut client, "G1", &[]).await;
    run(&server, "update conversations set created_at = '2026-01-01', last_message_at = case when last_seq > 0 then '2026-01-01'::timestamptz end".to_owned()).await;
    let all = names(&mut client, json!({})).await;
    assert_eq!(all, ["G1", "G0", "U6", "U5", "U4", "U3", "U2", "U1", "U0"]);
    for limit in 1..=4 {
        let mut paged = Vec::new();
        for page in 1..=9 {
            paged.extend(names(&mut client, json!({ "limit": limit, "page": page })).await);
        }
        assert_eq!(paged, all, "{limit}");
        // A page that does not follow the previous one is counted from the start.
        let third = names(&mut client, json!({ "limit": 2, "page": 3 })).await;
        assert_eq!(third, all[4..6]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn list_conversations_keeps_dialogs_with_deleted_accounts() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    server.connect(&bob).await.send_content(&json!({ "receiverId": ann.id }), "Bye").await;
    client.send_content(&json!({ "receiverId": ann.id }), "note").await;
    answer(server.http("DELETE", "/api/v1/users/me").bearer_auth(&bob.token)).await.no_content();
    assert_eq!(names(&mut client, json!({})).await, ["Ann", "Deleted user"]);
    let item = client.call_ok("getConversation", json!({ "receiverId": bob.id })).await["item"].take();
    assert_eq!(
        (&item["receiverName"], &item["lastMessage"]["senderName"]),
        (&json!("Deleted user"), &json!("Deleted user"))
    );
    client.call_ok("openConversation", json!({ "receiverId": bob.id })).await;
    client.call_ok("readMessages", json!({ "receiverId": bob.id })).await;
    client.call_ok("removeConversation", json!({ "receiverId": bob.id })).await;
    assert_eq!(names(&mut client, json!({})).await, ["Ann"]);
}

/// Reads a list to its end, page by page, and runs `between` after each page.
async fn walk<F: AsyncFnMut(i64)>(client: &mut Client, kind: &str, limit: i64, mut between: F) -> Vec<i64> {
    let mut seen = Vec::new();
    for page in 1.. {
        let rows = client.call_ok(kind, json!({ "limit": limit, "page": page })).await["data"].take();
        let rows = rows.as_array().expect("rows");
        if rows.is_empty() {
            break;
        }
        // A conversation is identified by the user on the other side.
        seen.extend(rows.iter().map(|row| {
            let other = if kind == "listLastMessage" { &row["senderId"] } else { &row["receiverId"] };
            other.as_i64().unwrap_or_else(|| panic!("a user: {row}"))
        }));
        between(page).await;
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn list_conversations_and_list_last_message_pages_show_each_conversation_once_while_messages_arrive() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let users = server.create_users("U", 20).await;
    let mut others = Vec::new();
    for user in &users {
        others.push(server.connect(user).await);
    }
    let to_ann = json!({ "receiverId": ann.id });
    for kind in ["listConversations", "listLastMessage"] {
        for limit in [1, 3, 7] {
            for other in &mut others {
                other.send_content(&to_ann, "Hi").await;
            }
            let seen = walk(&mut client, kind, limit, async |page| {
                // One conversation that was already shown and two that are still to come move to the top.
                for nth in [20 - page, (page * 5) % 20, page % 4] {
                    others[usize::try_from(nth.max(0)).expect("a place")].send_content(&to_ann, "now").await;
                }
            })
            .await;
            let distinct: BTreeSet<_> = seen.iter().copied().collect();
            assert_eq!(distinct.len(), seen.len(), "no duplicates: {kind} by {limit}: {seen:?}");
            assert_eq!(distinct, users.iter().map(|user| user.id).collect(), "none missing: {kind} by {limit}");
        }
    }
}
