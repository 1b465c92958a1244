//! `sync`: a client gets every change that it missed, once, by pages of any size, and nothing of others.

mod convergence;
mod cursors;
mod former_members;
mod helpers;

use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};

use self::helpers::{DatabaseWriter, changes_for_user_since, changes_since, cursor, kinds, write};
use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn sync_returns_a_missed_message_once_in_its_current_state() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": "old" })).await;
    let before = cursor(&mut bob_client).await;
    let sent = ann_client
        .call("privateMessage", json!({ "receiverId": bob.id, "content": "Hi", "clientMessageId": "a1" }))
        .await;
    let push = loop {
        let push = bob_client.wait_for_push().await;
        if push["params"]["message"] == "Hi" {
            break push;
        }
    };
    let reply = bob_client.call("sync", json!({ "cursor": before })).await;
    assert_eq!(reply["params"]["data"], json!([{ "type": "privateMessage", "item": push["params"]["item"] }]));
    assert_eq!((&reply["params"]["item"]["more"], &reply["params"]["item"]["complete"]), (&json!(false), &json!(true)));
    let after = reply["params"]["item"]["cursor"].clone();
    assert_eq!(bob_client.call("sync", json!({ "cursor": after })).await["params"]["data"], json!([]));

    // Edited since: the older cursor returns the message as new, and the newer one as edited.
    let mut database = DatabaseWriter::of(&server).await;
    let dialog = database.dialog(ann.id, bob.id).await;
    database.edit(dialog, 2, "Hi!").await;
    let rows = changes_since(&mut bob_client, &before, 20).await.0;
    assert_eq!(kinds(&rows), ["privateMessage"]);
    assert_eq!(rows[0]["item"]["content"], "Hi!");
    let rows = changes_since(&mut bob_client, &after, 20).await.0;
    assert_eq!(kinds(&rows), ["editMessage"]);
    assert_eq!(
        (&rows[0]["item"]["content"], &rows[0]["item"]["messageId"]),
        (&json!("Hi!"), &sent["params"]["item"]["messageId"])
    );
    // The user's other devices get it too.
    assert_eq!(kinds(&changes_since(&mut ann_client, &before, 20).await.0), ["privateMessage"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_does_not_skip_what_commits_after_the_cursor_was_given_out() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let cleo = server.create_user("Cleo").await;
    // The dialog with Cleo exists already, so that the following takes no lock on her row.
    ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": "0" })).await;
    bob_client.call("privateMessage", json!({ "receiverId": cleo.id, "content": "0" })).await;

    let mut early = server.sql().await;
    let mut open = early.begin().await.expect("a transaction");
    write(&mut open, cleo.id, bob.id, "late").await;
    // The ids of its rows are all given: the next ones are higher, and become visible first.
    let first = cursor(&mut bob_client).await;
    ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": "1" })).await;
    let (rows, second) = changes_since(&mut bob_client, &first, 20).await;
    assert_eq!(contents(&rows), ["1"]);
    ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": "2" })).await;
    open.commit().await.expect("it commits");

    let (rows, third) = changes_since(&mut bob_client, &second, 20).await;
    assert_eq!(contents(&rows), ["2", "late"]);
    assert_eq!(changes_since(&mut bob_client, &third, 20).await.0, [] as [Value; 0]);
    assert_eq!(contents(&changes_since(&mut bob_client, &first, 1).await.0), ["1", "2", "late"]);
    assert_eq!(contents(&changes_for_user_since(&server, &ann, &first).await), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_is_not_delayed_by_a_long_transaction() {
    let server = TestServer::start().await;
    let (_, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let mut elsewhere = server.sql().await;
    let mut open = elsewhere.begin().await.expect("a transaction");
    sqlx::query("select pg_current_xact_id()").execute(&mut *open).await.expect("a number");
    let mut at = cursor(&mut bob_client).await;
    for nth in 0..3 {
        ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": nth.to_string() })).await;
        let (rows, next) = changes_since(&mut bob_client, &at, 20).await;
        assert_eq!(contents(&rows), [nth.to_string().as_str()], "what was returned is not returned again");
        at = next;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_returns_changes_of_other_nodes() {
    let server = TestServer::start().await;
    let other = server.second_node().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_here) = server.connect_user("Bob").await;
    let mut bob_there = other.connect(&bob).await;
    let here = cursor(&mut bob_here).await;
    ann.call("privateMessage", json!({ "receiverId": bob.id, "content": "1" })).await;
    let (rows, there) = changes_since(&mut bob_there, &here, 20).await;
    assert_eq!(contents(&rows), ["1"]);
    ann.call("privateMessage", json!({ "receiverId": bob.id, "content": "2" })).await;
    assert_eq!(contents(&changes_since(&mut bob_here, &there, 20).await.0), ["2"]);
    assert_eq!(contents(&changes_since(&mut bob_there, &here, 1).await.0), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_returns_changes_of_every_kind_by_pages_of_any_size() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    for nth in 1..=6 {
        ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": nth.to_string() })).await;
        cleo_client.call("privateMessage", json!({ "receiverId": ann.id, "content": nth.to_string() })).await;
    }
    let group = ann_client.call("newGroup", json!({ "groupName": "G", "userIds": [bob.id, cleo.id] })).await;
    let group = group["params"]["item"]["groupId"].as_i64().expect("a group");
    ann_client.call("messageInGroup", json!({ "groupId": group, "content": "1" })).await;
    let before = cursor(&mut bob_client).await;

    let mut database = DatabaseWriter::of(&server).await;
    let dialog = database.dialog(ann.id, bob.id).await;
    let of_others = database.dialog(ann.id, cleo.id).await;
    database.edit(dialog, 4, "four").await;
    database.edit(dialog, 2, "two").await;
    database.edit(of_others, 2, "two").await;
    database.read(dialog, ann.id, 3, 5).await;
    database.read(dialog, bob.id, 6, 6).await;
    database.read(of_others, ann.id, 3, 5).await;
    database.event(group, "renameGroup", None).await;
    database.event(group, "addGroupAdmin", Some(cleo.id)).await;
    database.read(group, cleo.id, 1, 1).await;
    database.change_settings(group, bob.id, true, Some(1)).await;
    ann_client.call("messageInGroup", json!({ "groupId": group, "content": "2" })).await;
    bob_client.call("messageInGroup", json!({ "groupId": group, "content": "3" })).await;
    bob_client.call("privateMessage", json!({ "receiverId": ann.id, "content": "7" })).await;
    cleo_client.call("privateMessage", json!({ "receiverId": ann.id, "content": "7" })).await;

    let (rows, after) = changes_since(&mut bob_client, &before, 100).await;
    let received: Vec<Value> = rows.iter().map(row_key).collect();
    let (of_dialog, of_group) = (json!({ "receiverId": ann.id }), json!({ "groupId": group }));
    let expected = [
        json!(["privateMessage", "7"]),
        json!(["editMessage", "four"]),
        json!(["editMessage", "two"]),
        json!(["readMessages", of_dialog, ann.id, 3]),
        json!(["deliveredMessages", of_dialog, ann.id, 5]),
        json!(["readMessages", of_dialog, bob.id, 6]),
        json!(["renameGroup", group]),
        json!(["addGroupAdmin", group, cleo.id]),
        json!(["messageInGroup", "2"]),
        json!(["messageInGroup", "3"]),
        json!(["readMessages", of_group, cleo.id, 1]),
        json!(["markSpam", of_group, true]),
        json!(["removeConversation", of_group, 1]),
    ];
    assert_eq!(received, expected);
    for limit in [1, 2, 3, 5, 12, 13] {
        assert_eq!(changes_since(&mut bob_client, &before, limit).await.0, rows, "limit {limit}");
    }
    assert_eq!(changes_since(&mut bob_client, &after, 100).await.0, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_leaves_out_a_cleared_history() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let before = cursor(&mut bob_client).await;
    for nth in 1..=5 {
        ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": nth.to_string() })).await;
    }
    let mut database = DatabaseWriter::of(&server).await;
    let dialog = database.dialog(ann.id, bob.id).await;
    database.change_settings(dialog, bob.id, false, Some(3)).await;
    database.edit(dialog, 2, "two").await;
    let (rows, after) = changes_since(&mut bob_client, &before, 2).await;
    assert_eq!(kinds(&rows), ["privateMessage", "privateMessage", "markSpam", "removeConversation"]);
    assert_eq!(contents(&rows), ["4", "5"]);
    assert_eq!(rows[3]["item"], json!({ "receiverId": ann.id, "clearedSeq": 3 }));
    database.edit(dialog, 3, "three").await;
    assert_eq!(changes_since(&mut bob_client, &after, 20).await.0, [] as [Value; 0]);
    assert_eq!(contents(&changes_since(&mut ann_client, &before, 20).await.0), ["1", "two", "three", "4", "5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_returns_nothing_of_conversations_of_others() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (_, mut stranger) = server.connect_user("Stranger").await;
    let group = ann_client.call("newGroup", json!({ "groupName": "G", "userIds": [bob.id] })).await;
    let group = group["params"]["item"]["groupId"].as_i64().expect("a group");
    let before = cursor(&mut stranger).await;
    let mut database = DatabaseWriter::of(&server).await;
    bob_client.call("privateMessage", json!({ "receiverId": ann.id, "content": "1" })).await;
    bob_client.call("messageInGroup", json!({ "groupId": group, "content": "1" })).await;
    let dialog = database.dialog(ann.id, bob.id).await;
    for conversation in [dialog, group] {
        database.edit(conversation, 1, "one").await;
        database.read(conversation, ann.id, 1, 1).await;
        database.change_settings(conversation, bob.id, true, Some(1)).await;
    }
    database.event(group, "addGroupAdmin", Some(bob.id)).await;
    // A client may choose where the pages continue, and gains no access by it.
    for conversation in [0, dialog, group] {
        for part in 1..=5 {
            let (epoch, now) = before.as_str().and_then(|cursor| cursor.split_once('.')).expect("a cursor");
            let before = format!("{epoch}.3:3:.{now}.{conversation}-{part}-0-0");
            assert_eq!(stranger.call("sync", json!({ "cursor": before })).await["params"]["data"], json!([]));
        }
    }
    assert_eq!(changes_since(&mut stranger, &before, 20).await.0, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_pages_through_a_backlog_while_others_send() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    let group = ann.call("newGroup", json!({ "groupName": "G", "userIds": [bob.id, cleo.id] })).await;
    let group = group["params"]["item"]["groupId"].as_i64().expect("a group");
    let mut at = cursor(&mut bob_client).await;
    for nth in 0..300 {
        let kind = if nth % 3 == 0 {
            ("privateMessage", json!({ "receiverId": bob.id, "content": nth.to_string() }))
        } else {
            ("messageInGroup", json!({ "groupId": group, "content": nth.to_string() }))
        };
        ann.call(kind.0, kind.1).await;
    }
    let mut received: Vec<String> = Vec::new();
    let mut pages = 0;
    loop {
        let reply = bob_client.call("sync", json!({ "cursor": at, "limit": 17 })).await;
        let rows = reply["params"]["data"].as_array().expect("rows").clone();
        received.extend(contents(&rows).into_iter().map(str::to_owned));
        at = reply["params"]["item"]["cursor"].clone();
        assert_eq!(reply["params"]["item"]["complete"], true);
        if reply["params"]["item"]["more"] == false && pages >= 40 {
            break;
        }
        if pages < 40 {
            cleo_client.call("messageInGroup", json!({ "groupId": group, "content": format!("c{pages}") })).await;
            cleo_client.call("privateMessage", json!({ "receiverId": bob.id, "content": format!("d{pages}") })).await;
        }
        pages += 1;
    }
    assert_eq!(received.len(), 300 + 40 * 2, "no duplicates: {received:?}");
    received.sort_unstable();
    received.dedup();
    assert_eq!(received.len(), 300 + 40 * 2, "nothing missing: {received:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_resumed_amid_a_backlog_returns_later_changes_too() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let before = cursor(&mut bob_client).await;
    for content in ["1", "2", "3"] {
        ann.call("privateMessage", json!({ "receiverId": bob.id, "content": content })).await;
    }
    let first = bob_client.call("sync", json!({ "cursor": before, "limit": 1 })).await;
    assert_eq!(contents(first["params"]["data"].as_array().expect("rows")), ["1"]);
    bob_client.close().await;
    ann.call("privateMessage", json!({ "receiverId": bob.id, "content": "4" })).await;
    // A client that reconnects reads until there is no more.
    let mut bob_client = server.connect(&bob).await;
    let rows = changes_since(&mut bob_client, &first["params"]["item"]["cursor"], 20).await.0;
    assert_eq!(contents(&rows), ["2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_polled_during_sends_misses_nothing() {
    let server = TestServer::start().await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let mut at = cursor(&mut bob_client).await;
    let mut senders = tokio::task::JoinSet::new();
    for user in server.create_users("Sender", 4).await {
        let mut client = server.connect(&user).await;
        let (to, from) = (bob.id, user.id);
        senders.spawn(async move {
            for nth in 0..50 {
                client.call("privateMessage", json!({ "receiverId": to, "content": format!("{from}/{nth}") })).await;
            }
        });
    }
    let mut received: Vec<String> = Vec::new();
    let mut all_is_sent = false;
    while !all_is_sent {
        while let Some(sender) = senders.try_join_next() {
            sender.expect("it sends");
        }
        // The flag is read before the last round, which then has everything.
        all_is_sent = senders.is_empty();
        let (rows, next) = changes_since(&mut bob_client, &at, 7).await;
        received.extend(contents(&rows).into_iter().map(str::to_owned));
        at = next;
    }
    assert_eq!(received.len(), 200, "no duplicates: {received:?}");
    received.sort_unstable();
    received.dedup();
    assert_eq!(received.len(), 200, "nothing missing: {received:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_returns_nothing_for_repeated_requests() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let send = json!({ "receiverId": bob.id, "content": "1", "clientMessageId": "a" });
    ann.call("privateMessage", send.clone()).await;
    let before = cursor(&mut bob_client).await;
    ann.call("privateMessage", send).await;
    assert_eq!(changes_since(&mut bob_client, &before, 20).await.0, [] as [Value; 0]);
    let row = sqlx::query("select count(*) from messages").fetch_one(&mut server.sql().await).await.expect("a count");
    assert_eq!(row.get::<i64, _>(0), 1);
}

/// Returns the contents of the messages among the rows.
fn contents(rows: &[Value]) -> Vec<&str> {
    rows.iter().filter_map(|row| row["item"]["content"].as_str()).collect()
}

/// Returns what distinguishes one row from another.
fn row_key(row: &Value) -> Value {
    let (kind, item) = (&row["type"], &row["item"]);
    if item["content"].is_string() {
        return json!([kind, item["content"]]);
    }
    let target = if item["receiverId"].is_null() {
        json!({ "groupId": item["groupId"] })
    } else {
        json!({ "receiverId": item["receiverId"] })
    };
    match kind.as_str().expect("a type") {
        "readMessages" | "deliveredMessages" => json!([kind, target, item["userId"], item["seq"]]),
        "markSpam" => json!([kind, target, item["spam"]]),
        "removeConversation" => json!([kind, target, item["clearedSeq"]]),
        "renameGroup" => json!([kind, item["groupId"]]),
        _ => json!([kind, item["groupId"], item["userId"]]),
    }
}
