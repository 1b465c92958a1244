//! The write pipeline where a conversation is locked by somebody else: a migration, another node, an
//! administrator's transaction.

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

/// What a history says, oldest first, with the `seq` of each.
async fn history(client: &mut Client, group: i64) -> Vec<(i64, String)> {
    let reply = client.done("getlatestMessageGroup", json!({ "groupId": group, "limit": 100 })).await;
    let rows = reply["data"].as_array().expect("rows").iter().rev();
    rows.map(|row| (row["seq"].as_i64().expect("a seq"), row["content"].as_str().expect("a text").to_owned())).collect()
}

/// The `seq` of each message and its text, as they were sent.
fn in_order(texts: impl IntoIterator<Item = String>) -> Vec<(i64, String)> {
    (1..).zip(texts).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_does_not_wait_for_a_conversation_that_is_locked() {
    let server = TestServer::with(|config| config.writers = Some(1)).await;
    let (_, mut ann) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (cleo, _) = server.client("Cleo").await;
    let locked = ann.new_group(&[bob.id]).await;
    let mut sql = server.sql().await;
    lock(&mut sql, &[locked]).await;

    let waiting = ann.send("messageInGroup", json!({ "groupId": locked, "content": "Hi" })).await;
    // Dialogs, new ones too, groups and a second send to the locked one by somebody else.
    let later = bob_client.send("privateMessage", json!({ "receiverId": cleo.id, "content": "Hi" })).await;
    assert_eq!(bob_client.reply_to(later).await["success"], true);
    let free = bob_client.new_group(&[cleo.id]).await;
    bob_client.say(&json!({ "groupId": free }), "Hello").await;
    bob_client.send("messageInGroup", json!({ "groupId": locked, "content": "Hi too" })).await;

    unlock(&mut sql).await;
    let reply = ann.reply_to(waiting).await;
    assert_eq!((&reply["success"], &reply["params"]["item"]["seq"]), (&json!(true), &json!(1)), "{reply}");
    let reply = bob_client.reply().await;
    assert_eq!((&reply["success"], &reply["params"]["item"]["seq"]), (&json!(true), &json!(2)), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_to_locked_conversations_keep_their_order_and_their_repeats() {
    // More than a writer waits for, so that some are tried again with later batches.
    const GROUPS: usize = 5;
    const SENDS: usize = 12;
    let server = TestServer::with(|config| config.writers = Some(1)).await;
    let (bob, mut receiver) = server.client("Bob").await;
    let (_, mut ann) = server.client("Ann").await;
    let mut groups = Vec::new();
    for _ in 0..GROUPS {
        groups.push(ann.new_group(&[bob.id]).await);
        receiver.pushed("addUserInGroup").await;
    }
    let mut sql = server.sql().await;
    lock(&mut sql, &groups).await;
    let (_, mut other) = server.client("Other").await;
    for nth in 0..SENDS {
        for group in &groups {
            // Every third is a repeat of the one before it.
            let name = format!("{group} {}", nth - usize::from(nth % 3 == 2));
            let params = json!({ "groupId": group, "content": name, "clientMessageId": name });
            ann.send("messageInGroup", params).await;
        }
        // Batches go on in between.
        other.say(&json!({ "receiverId": bob.id }), "Are you there?").await;
    }
    unlock(&mut sql).await;
    let mut duplicates = 0;
    for _ in 0..SENDS * GROUPS {
        let reply = ann.reply().await;
        assert_eq!(reply["success"], true, "{reply}");
        duplicates += usize::from(reply["params"]["item"]["duplicate"] == true);
    }
    assert_eq!(duplicates, SENDS / 3 * GROUPS);
    let sent = |group: i64| (0..SENDS).filter(|nth| nth % 3 != 2).map(move |nth| format!("{group} {nth}"));
    for group in &groups {
        assert_eq!(history(&mut ann, *group).await, in_order(sent(*group)));
    }
    // They were pushed in the same order.
    receiver.told().await.into_iter().filter(|push| push["type"] == "messageInGroup").fold(
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
async fn a_send_to_a_conversation_that_stays_locked_is_overloaded_and_stores_nothing() {
    const GROUPS: usize = 4;
    let server = TestServer::with(|config| config.writers = Some(1)).await;
    let (_, mut ann) = server.client("Ann").await;
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
        let refusal = ann.reply().await;
        assert_eq!(refusal["code"], "overloaded", "{refusal}");
        // Keeps the transaction that holds the locks from being ended as one that nobody goes on with.
        sqlx::query("select 1").execute(&mut sql).await.expect("an answer");
    }
    unlock(&mut sql).await;
    for group in &groups {
        ann.say(&json!({ "groupId": group }), "Hello").await;
        assert_eq!(history(&mut ann, *group).await, in_order(["Hello".to_owned()]));
    }
}

/// The lock of something else that a batch needs, whose conversation nobody can tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_waits_for_a_locked_member_in_vain_fails_alone() {
    let server = TestServer::with(|config| config.writers = Some(1)).await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
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
    // One batch, behind the one that waits.
    bob_client.forget().await;
    let sends: Vec<Value> = [stuck, free].iter().map(|group| json!({ "groupId": group, "content": "Hi" })).collect();
    for params in sends {
        bob_client.send("messageInGroup", params).await;
    }
    let refusal = ann_client.reply().await;
    assert_eq!(refusal["code"], "overloaded", "{refusal}");
    for _ in 0..2 {
        let reply = bob_client.reply().await;
        assert_eq!(reply["success"], true, "{reply}");
    }
    unlock(&mut sql).await;
}
