//! `sync`: whatever was missed, once, by pages of any size, and nothing of others.

mod cursors;
mod former_members;
mod model;
mod support;

use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};

use self::support::{Behind, cursor, kinds, missed, missed_by, write};
use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_missed_as_it_is_now_and_once() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": "old" })).await;
    let before = cursor(&mut bob_client).await;
    let sent = ann_client
        .call("privateMessage", json!({ "receiverId": bob.id, "content": "Hi", "clientMessageId": "a1" }))
        .await;
    let push = loop {
        let push = bob_client.push().await;
        if push["params"]["message"] == "Hi" {
            break push;
        }
    };
    let reply = bob_client.call("sync", json!({ "cursor": before })).await;
    assert_eq!(reply["params"]["data"], json!([{ "type": "privateMessage", "item": push["params"]["item"] }]));
    assert_eq!((&reply["params"]["item"]["more"], &reply["params"]["item"]["complete"]), (&json!(false), &json!(true)));
    let after = reply["params"]["item"]["cursor"].clone();
    assert_eq!(bob_client.call("sync", json!({ "cursor": after })).await["params"]["data"], json!([]));

    // Edited since: the old cursor has it as new, the later one as edited.
    let mut behind = Behind::of(&server).await;
    let dialog = behind.dialog(ann.id, bob.id).await;
    behind.edit(dialog, 2, "Hi!").await;
    let rows = missed(&mut bob_client, &before, 20).await.0;
    assert_eq!(kinds(&rows), ["privateMessage"]);
    assert_eq!(rows[0]["item"]["content"], "Hi!");
    let rows = missed(&mut bob_client, &after, 20).await.0;
    assert_eq!(kinds(&rows), ["editMessage"]);
    assert_eq!(
        (&rows[0]["item"]["content"], &rows[0]["item"]["messageId"]),
        (&json!("Hi!"), &sent["params"]["item"]["messageId"])
    );
    // My other devices read it too.
    assert_eq!(kinds(&missed(&mut ann_client, &before, 20).await.0), ["privateMessage"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commits_after_the_cursor_was_handed_out_is_not_skipped() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let cleo = server.user("Cleo").await;
    // The dialog with Cleo is there already, so that what follows takes no lock on her row.
    ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": "0" })).await;
    bob_client.call("privateMessage", json!({ "receiverId": cleo.id, "content": "0" })).await;

    let mut early = server.sql().await;
    let mut open = early.begin().await.expect("a transaction");
    write(&mut open, cleo.id, bob.id, "late").await;
    // Its numbers are all given: the next ones are higher, and are seen first.
    let first = cursor(&mut bob_client).await;
    ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": "1" })).await;
    let (rows, second) = missed(&mut bob_client, &first, 20).await;
    assert_eq!(contents(&rows), ["1"]);
    ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": "2" })).await;
    open.commit().await.expect("it commits");

    let (rows, third) = missed(&mut bob_client, &second, 20).await;
    assert_eq!(contents(&rows), ["2", "late"]);
    assert_eq!(missed(&mut bob_client, &third, 20).await.0, [] as [Value; 0]);
    assert_eq!(contents(&missed(&mut bob_client, &first, 1).await.0), ["1", "2", "late"]);
    assert_eq!(contents(&missed_by(&server, &ann, &first).await), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_goes_on_and_on_holds_nobody_up() {
    let server = TestServer::start().await;
    let (_, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let mut elsewhere = server.sql().await;
    let mut open = elsewhere.begin().await.expect("a transaction");
    sqlx::query("select pg_current_xact_id()").execute(&mut *open).await.expect("a number");
    let mut at = cursor(&mut bob_client).await;
    for nth in 0..3 {
        ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": nth.to_string() })).await;
        let (rows, next) = missed(&mut bob_client, &at, 20).await;
        assert_eq!(contents(&rows), [nth.to_string().as_str()], "what was seen is not told again");
        at = next;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_commits_another_tells() {
    let server = TestServer::start().await;
    let other = server.second_node().await;
    let (_, mut ann) = server.client("Ann").await;
    let (bob, mut bob_here) = server.client("Bob").await;
    let mut bob_there = other.connect(&bob).await;
    let here = cursor(&mut bob_here).await;
    ann.call("privateMessage", json!({ "receiverId": bob.id, "content": "1" })).await;
    let (rows, there) = missed(&mut bob_there, &here, 20).await;
    assert_eq!(contents(&rows), ["1"]);
    ann.call("privateMessage", json!({ "receiverId": bob.id, "content": "2" })).await;
    assert_eq!(contents(&missed(&mut bob_here, &there, 20).await.0), ["2"]);
    assert_eq!(contents(&missed(&mut bob_there, &here, 1).await.0), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_can_change_is_told_and_pages_of_any_size_say_the_same() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (cleo, mut cleo_client) = server.client("Cleo").await;
    for nth in 1..=6 {
        ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": nth.to_string() })).await;
        cleo_client.call("privateMessage", json!({ "receiverId": ann.id, "content": nth.to_string() })).await;
    }
    let group = ann_client.call("newGroup", json!({ "groupName": "G", "userIds": [bob.id, cleo.id] })).await;
    let group = group["params"]["item"]["groupId"].as_i64().expect("a group");
    ann_client.call("messageInGroup", json!({ "groupId": group, "content": "1" })).await;
    let before = cursor(&mut bob_client).await;

    let mut behind = Behind::of(&server).await;
    let dialog = behind.dialog(ann.id, bob.id).await;
    let of_others = behind.dialog(ann.id, cleo.id).await;
    behind.edit(dialog, 4, "four").await;
    behind.edit(dialog, 2, "two").await;
    behind.edit(of_others, 2, "two").await;
    behind.read(dialog, ann.id, 3, 5).await;
    behind.read(dialog, bob.id, 6, 6).await;
    behind.read(of_others, ann.id, 3, 5).await;
    behind.event(group, "renameGroup", None).await;
    behind.event(group, "addGroupAdmin", Some(cleo.id)).await;
    behind.read(group, cleo.id, 1, 1).await;
    behind.wish(group, bob.id, true, Some(1)).await;
    ann_client.call("messageInGroup", json!({ "groupId": group, "content": "2" })).await;
    bob_client.call("messageInGroup", json!({ "groupId": group, "content": "3" })).await;
    bob_client.call("privateMessage", json!({ "receiverId": ann.id, "content": "7" })).await;
    cleo_client.call("privateMessage", json!({ "receiverId": ann.id, "content": "7" })).await;

    let (rows, after) = missed(&mut bob_client, &before, 100).await;
    let told: Vec<Value> = rows.iter().map(short).collect();
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
    assert_eq!(told, expected);
    for limit in [1, 2, 3, 5, 12, 13] {
        assert_eq!(missed(&mut bob_client, &before, limit).await.0, rows, "limit {limit}");
    }
    assert_eq!(missed(&mut bob_client, &after, 100).await.0, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cleared_is_not_told() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let before = cursor(&mut bob_client).await;
    for nth in 1..=5 {
        ann_client.call("privateMessage", json!({ "receiverId": bob.id, "content": nth.to_string() })).await;
    }
    let mut behind = Behind::of(&server).await;
    let dialog = behind.dialog(ann.id, bob.id).await;
    behind.wish(dialog, bob.id, false, Some(3)).await;
    behind.edit(dialog, 2, "two").await;
    let (rows, after) = missed(&mut bob_client, &before, 2).await;
    assert_eq!(kinds(&rows), ["privateMessage", "privateMessage", "markSpam", "removeConversation"]);
    assert_eq!(contents(&rows), ["4", "5"]);
    assert_eq!(rows[3]["item"], json!({ "receiverId": ann.id, "clearedSeq": 3 }));
    behind.edit(dialog, 3, "three").await;
    assert_eq!(missed(&mut bob_client, &after, 20).await.0, [] as [Value; 0]);
    assert_eq!(contents(&missed(&mut ann_client, &before, 20).await.0), ["1", "two", "three", "4", "5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_conversations_of_others_nobody_hears() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (_, mut stranger) = server.client("Stranger").await;
    let group = ann_client.call("newGroup", json!({ "groupName": "G", "userIds": [bob.id] })).await;
    let group = group["params"]["item"]["groupId"].as_i64().expect("a group");
    let before = cursor(&mut stranger).await;
    let mut behind = Behind::of(&server).await;
    bob_client.call("privateMessage", json!({ "receiverId": ann.id, "content": "1" })).await;
    bob_client.call("messageInGroup", json!({ "groupId": group, "content": "1" })).await;
    let dialog = behind.dialog(ann.id, bob.id).await;
    for conversation in [dialog, group] {
        behind.edit(conversation, 1, "one").await;
        behind.read(conversation, ann.id, 1, 1).await;
        behind.wish(conversation, bob.id, true, Some(1)).await;
    }
    behind.event(group, "addGroupAdmin", Some(bob.id)).await;
    // Where the pages are said to go on is the client's to say, and opens no door.
    for conversation in [0, dialog, group] {
        for part in 1..=5 {
            let (epoch, now) = before.as_str().and_then(|cursor| cursor.split_once('.')).expect("a cursor");
            let before = format!("{epoch}.3:3:.{now}.{conversation}-{part}-0-0");
            assert_eq!(stranger.call("sync", json!({ "cursor": before })).await["params"]["data"], json!([]));
        }
    }
    assert_eq!(missed(&mut stranger, &before, 20).await.0, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_paged_through_while_others_go_on() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (cleo, mut cleo_client) = server.client("Cleo").await;
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
    let mut told: Vec<String> = Vec::new();
    let mut pages = 0;
    loop {
        let reply = bob_client.call("sync", json!({ "cursor": at, "limit": 17 })).await;
        let rows = reply["params"]["data"].as_array().expect("rows").clone();
        told.extend(contents(&rows).into_iter().map(str::to_owned));
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
    assert_eq!(told.len(), 300 + 40 * 2, "nothing twice: {told:?}");
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 300 + 40 * 2, "nothing missing: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_in_the_middle_of_a_backlog_gets_what_came_meanwhile() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let before = cursor(&mut bob_client).await;
    for content in ["1", "2", "3"] {
        ann.call("privateMessage", json!({ "receiverId": bob.id, "content": content })).await;
    }
    let first = bob_client.call("sync", json!({ "cursor": before, "limit": 1 })).await;
    assert_eq!(contents(first["params"]["data"].as_array().expect("rows")), ["1"]);
    bob_client.close().await;
    ann.call("privateMessage", json!({ "receiverId": bob.id, "content": "4" })).await;
    // As a client does that comes back: until there is no more.
    let mut bob_client = server.connect(&bob).await;
    let rows = missed(&mut bob_client, &first["params"]["item"]["cursor"], 20).await.0;
    assert_eq!(contents(&rows), ["2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_at_once_loses_nothing_to_who_asks_all_the_time() {
    let server = TestServer::start().await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let mut at = cursor(&mut bob_client).await;
    let mut senders = tokio::task::JoinSet::new();
    for user in server.users("Sender", 4).await {
        let mut client = server.connect(&user).await;
        let (to, from) = (bob.id, user.id);
        senders.spawn(async move {
            for nth in 0..50 {
                client.call("privateMessage", json!({ "receiverId": to, "content": format!("{from}/{nth}") })).await;
            }
        });
    }
    let mut told: Vec<String> = Vec::new();
    let mut all_is_sent = false;
    while !all_is_sent {
        while let Some(sender) = senders.try_join_next() {
            sender.expect("it sends");
        }
        // Looked at before the last round, which then has all of it.
        all_is_sent = senders.is_empty();
        let (rows, next) = missed(&mut bob_client, &at, 7).await;
        told.extend(contents(&rows).into_iter().map(str::to_owned));
        at = next;
    }
    assert_eq!(told.len(), 200, "nothing twice: {told:?}");
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 200, "nothing missing: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_repeated_changes_nothing() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let send = json!({ "receiverId": bob.id, "content": "1", "clientMessageId": "a" });
    ann.call("privateMessage", send.clone()).await;
    let before = cursor(&mut bob_client).await;
    ann.call("privateMessage", send).await;
    assert_eq!(missed(&mut bob_client, &before, 20).await.0, [] as [Value; 0]);
    let row = sqlx::query("select count(*) from messages").fetch_one(&mut server.sql().await).await.expect("a count");
    assert_eq!(row.get::<i64, _>(0), 1);
}

/// What the messages among the rows say.
fn contents(rows: &[Value]) -> Vec<&str> {
    rows.iter().filter_map(|row| row["item"]["content"].as_str()).collect()
}

/// What tells one row from another.
fn short(row: &Value) -> Value {
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
