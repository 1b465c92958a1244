//! The writer where another transaction holds the lock of a conversation: a migration, another node, or an
//! administrator.

use serde_json::{Value, json};
use sqlx::{PgConnection, Row as _};

use crate::support::{Client, TestServer, eventually};

/// Locks conversations until the connection ends its transaction.
async fn lock(sql: &mut PgConnection, conversations: &[i64]) {
    sqlx::raw_sql("begin").execute(&mut *sql).await.expect("a transaction");
    let select = "select from conversations where id = any($1) for update";
    sqlx::query(select).bind(conversations).execute(sql).await.expect("a lock");
}

async fn unlock(sql: &mut PgConnection) {
    sqlx::raw_sql("rollback").execute(sql).await.expect("the lock is free");
}

/// Returns a history, oldest first, with the `seq` of each message.
async fn history(client: &mut Client, group: i64) -> Vec<(i64, String)> {
    let reply = client.call_ok("getlatestMessageGroup", json!({ "groupId": group, "limit": 100 })).await;
    let rows = reply["data"].as_array().expect("rows").iter().rev();
    rows.map(|row| (row["seq"].as_i64().expect("a seq"), row["content"].as_str().expect("a text").to_owned())).collect()
}

/// Numbers texts by `seq` in the order in which they were sent.
fn in_order(texts: impl IntoIterator<Item = String>) -> Vec<(i64, String)> {
    (1..).zip(texts).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn writer_does_not_delay_sends_to_other_conversations_than_a_locked_one() {
    let server = TestServer::start_with(|config| config.writers = Some(1)).await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, _) = server.connect_user("Cleo").await;
    let locked = ann.new_group(&[bob.id]).await;
    let mut sql = server.sql().await;
    lock(&mut sql, &[locked]).await;

    let waiting = ann.send("messageInGroup", json!({ "groupId": locked, "content": "Hi" })).await;
    // The sends go to dialogs, new ones too, to groups, and from another user to the locked one.
    let later = bob_client.send("privateMessage", json!({ "receiverId": cleo.id, "content": "Hi" })).await;
    assert_eq!(bob_client.wait_for_reply_to(later).await["success"], true);
    let free = bob_client.new_group(&[cleo.id]).await;
    bob_client.send_content(&json!({ "groupId": free }), "Hello").await;
    bob_client.send("messageInGroup", json!({ "groupId": locked, "content": "Hi too" })).await;

    unlock(&mut sql).await;
    let reply = ann.wait_for_reply_to(waiting).await;
    assert_eq!((&reply["success"], &reply["params"]["item"]["seq"]), (&json!(true), &json!(1)), "{reply}");
    let reply = bob_client.wait_for_reply().await;
    assert_eq!((&reply["success"], &reply["params"]["item"]["seq"]), (&json!(true), &json!(2)), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writer_keeps_the_order_and_repeats_of_sends_to_locked_conversations() {
    // These are more than a writer waits for, so that some are retried with later batches.
    const GROUPS: usize = 5;
    const SENDS: usize = 12;
    let server = TestServer::start_with(|config| config.writers = Some(1)).await;
    let (bob, mut receiver) = server.connect_user("Bob").await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let mut groups = Vec::new();
    for _ in 0..GROUPS {
        groups.push(ann.new_group(&[bob.id]).await);
        receiver.expect_push("addUserInGroup").await;
    }
    let mut sql = server.sql().await;
    lock(&mut sql, &groups).await;
    let (_, mut other) = server.connect_user("Other").await;
    for nth in 0..SENDS {
        for group in &groups {
            // Every third send is a repeat of the one before it.
            let name = format!("{group} {}", nth - usize::from(nth % 3 == 2));
            let params = json!({ "groupId": group, "content": name, "clientMessageId": name });
            ann.send("messageInGroup", params).await;
        }
        // Other batches continue meanwhile.
        other.send_content(&json!({ "receiverId": bob.id }), "Are you there?").await;
    }
    unlock(&mut sql).await;
    let mut duplicates = 0;
    for _ in 0..SENDS * GROUPS {
        let reply = ann.wait_for_reply().await;
        assert_eq!(reply["success"], true, "{reply}");
        duplicates += usize::from(reply["params"]["item"]["duplicate"] == true);
    }
    assert_eq!(duplicates, SENDS / 3 * GROUPS);
    let sent = |group: i64| (0..SENDS).filter(|nth| nth % 3 != 2).map(move |nth| format!("{group} {nth}"));
    for group in &groups {
        assert_eq!(history(&mut ann, *group).await, in_order(sent(*group)));
    }
    // The pushes came in the same order.
    receiver.drain_pushes().await.into_iter().filter(|push| push["type"] == "messageInGroup").fold(
        std::collections::HashMap::<i64, i64>::new(),
        |mut seqs, push| {
            let item = &push["params"]["item"];
            let last = seqs.entry(item["groupId"].as_i64().expect("a group")).or_default();
            assert_eq!(item["seq"], *last + 1, "{push}");
            *last += 1;
            seqs
        },
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn writer_refuses_sends_to_a_conversation_that_stays_locked_as_overloaded() {
    const GROUPS: usize = 4;
    let server = TestServer::start_with(|config| config.writers = Some(1)).await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let mut groups = Vec::new();
    for _ in 0..GROUPS {
        groups.push(ann.new_group(&[]).await);
    }
    let mut sql = server.sql().await;
    lock(&mut sql, &groups).await;
    for group in &groups {
        ann.send("messageInGroup", json!({ "groupId": group, "content": "Hi" })).await;
    }
    for _ in &groups {
        let refusal = ann.wait_for_reply().await;
        assert_eq!(refusal["code"], "overloaded", "{refusal}");
        // The statement keeps the transaction that holds the locks from being ended as idle.
        sqlx::query("select 1").execute(&mut sql).await.expect("an answer");
    }
    unlock(&mut sql).await;
    for group in &groups {
        ann.send_content(&json!({ "groupId": group }), "Hello").await;
        assert_eq!(history(&mut ann, *group).await, in_order(["Hello".to_owned()]));
    }
}

/// The lock is not that of a conversation, so the writer cannot know whose send waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn writer_fails_only_the_send_that_waits_for_a_locked_member() {
    let server = TestServer::start_with(|config| config.writers = Some(1)).await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let stuck = ann_client.new_group(&[bob.id]).await;
    let free = ann_client.new_group(&[bob.id]).await;
    let mut sql = server.sql().await;
    sqlx::raw_sql("begin").execute(&mut sql).await.expect("a transaction");
    let select = "select from members where conversation_id = $1 and user_id = $2 for update";
    sqlx::query(select).bind(stuck).bind(ann.id).execute(&mut sql).await.expect("a lock");
    ann_client.send("messageInGroup", json!({ "groupId": stuck, "content": "Hi" })).await;
    eventually("a writer waits", async || {
        let waiting = "select exists (select from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock')";
        sqlx::query(waiting).fetch_one(&mut server.sql().await).await.expect("a row").get(0)
    })
    .await;
    // These share one batch, behind the one that waits.
    bob_client.discard_pushes().await;
    let sends: Vec<Value> = [stuck, free].iter().map(|group| json!({ "groupId": group, "content": "Hi" })).collect();
    for params in sends {
        bob_client.send("messageInGroup", params).await;
    }
    let refusal = ann_client.wait_for_reply().await;
    assert_eq!(refusal["code"], "overloaded", "{refusal}");
    for _ in 0..2 {
        let reply = bob_client.wait_for_reply().await;
        assert_eq!(reply["success"], true, "{reply}");
    }
    unlock(&mut sql).await;
}
