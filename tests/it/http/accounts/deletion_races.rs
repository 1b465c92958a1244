//! Requests that are in flight while an account is deleted: nothing that they store outlives the account.

use futures_util::future::join_all;
use rand::RngExt as _;
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};

use super::deletion_in_batches::waits_for_a_lock;
use super::{ME, with_token};
use crate::support::{TestServer, User, eventually};

/// Counts the rows that refer to deleted accounts and should not, over all tables.
const COUNT_LEFT_OVER: &str = "
    select (select count(*) from contacts c join users u on u.id in (c.user_id, c.contact_id) where u.deleted_at is not null)
         + (select count(*) from blocks b join users u on u.id in (b.user_id, b.blocked_id) where u.deleted_at is not null)
         + (select count(*) from notifications n join users u on u.id = n.user_id where u.deleted_at is not null)
         + (select count(*) from members m join users u on u.id = m.user_id where m.kind = 'group' and u.deleted_at is not null)
         + (select count(*) from sessions s join users u on u.id = s.user_id where u.deleted_at is not null)
         + (select count(*) from account_deletions)";

async fn count(server: &TestServer, select: &'static str) -> i64 {
    sqlx::query(select).fetch_one(&mut server.sql().await).await.expect("a count").get(0)
}

/// Sends a request for a row that refers to `other`, whose account row is locked, and deletes the account
/// of the asker meanwhile.
async fn delete_during_request(server: &TestServer, asker: &User, other: &User, kind: &str) {
    let mut client = server.connect(asker).await;
    let mut sql = server.sql().await;
    let mut lock = sql.begin().await.expect("a transaction");
    sqlx::query("select from users where id = $1 for update").bind(other.id).execute(&mut *lock).await.expect("a lock");
    client.send(kind, json!({ "userId": other.id })).await;
    waits_for_a_lock(server, 1).await;
    let request = server.http("DELETE", ME).bearer_auth(&asker.token);
    let deletion = tokio::spawn(async move { request.send().await.expect("an answer").status() });
    // The deletion either completes, or waits for the request that came first.
    let mut watch = server.sql().await;
    eventually("the deletion waits, or is done", async || {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        let waiting: i64 = sqlx::query(waiting).fetch_one(&mut watch).await.expect("a count").get(0);
        deletion.is_finished() || waiting >= 2
    })
    .await;
    lock.rollback().await.expect("the lock is free");
    assert_eq!(deletion.await.expect("no panic"), 204);
    // Whatever was in flight has finished.
    assert_eq!(client.wait_for_close().await.code, 4001);
}

#[tokio::test(flavor = "multi_thread")]
async fn add_contact_in_flight_does_not_outlive_a_deleted_account() {
    asked_in_flight("addContact").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn block_user_in_flight_does_not_outlive_a_deleted_account() {
    asked_in_flight("blockUser").await;
}

async fn asked_in_flight(kind: &str) {
    let server = TestServer::start().await;
    let older = server.create_user("Older").await;
    let askers = server.create_users("Asker", 2).await;
    let younger = server.create_user("Younger").await;
    for (asker, other) in askers.iter().zip([&older, &younger]) {
        delete_during_request(&server, asker, other, kind).await;
    }
    eventually("nothing is left over", async || count(&server, COUNT_LEFT_OVER).await == 0).await;
}

/// All users send all kinds of requests at once, and half of them delete their accounts meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn delete_me_leaves_no_rows_of_requests_in_flight() {
    const USERS: usize = 16;
    const REQUESTS: usize = 60;
    let server = TestServer::start().await;
    let other_node = server.second_node().await;
    let users = server.create_users("Person", USERS).await;
    let ids: Vec<i64> = users.iter().map(|user| user.id).collect();
    let mut clients = Vec::new();
    for (nth, user) in users.iter().enumerate() {
        clients.push(if nth % 2 == 0 { server.connect(user).await } else { other_node.connect(user).await });
    }
    let group = clients[0].new_group(&ids).await;
    let talk = clients.into_iter().map(async |mut client| {
        // Requests are sent without waiting; a deleted user gets no replies.
        for _ in 0..REQUESTS {
            let (kind, params) = any_request(&ids, group);
            let frame = json!({ "type": kind, "params": params, "id": 1 }).to_string();
            if !client.try_send(tokio_tungstenite::tungstenite::Message::text(frame)).await {
                return;
            }
        }
        client.send("ping", Value::Null).await;
        while client.try_next_frame().await.is_some_and(|frame| frame["type"] != "ping") {}
    });
    let go = users.iter().step_by(2).map(async |user| {
        // The deletions begin after the first requests, of whichever user, are done.
        eventually("some requests are done", async || count(&server, "select count(*) from contacts").await > 10).await;
        with_token(&server, "DELETE", ME, &user.token, Value::Null).await.no_content();
    });
    tokio::join!(join_all(talk), join_all(go));
    eventually("the deletions are done", async || count(&server, "select count(*) from account_deletions").await == 0)
        .await;
    assert_eq!(count(&server, COUNT_LEFT_OVER).await, 0);
    assert_eq!(count(&server, "select count(*) from users where deleted_at is not null").await, 8);
    // Every group that continues has an admin who still exists.
    let without_admin = "select count(*) from conversations c where c.kind = 'group' and c.ended_at is null
                         and not exists (select from members m join users u on u.id = m.user_id
                                         where m.conversation_id = c.id and m.is_admin and u.deleted_at is null)";
    assert_eq!(count(&server, without_admin).await, 0);
    other_node.server.stop().await;
}

fn any_request(ids: &[i64], group: i64) -> (&'static str, Value) {
    let mut random = rand::rng();
    let user = ids[random.random_range(0..ids.len())];
    match random.random_range(0..12) {
        0..=2 => ("addContact", json!({ "userId": user })),
        3..=5 => ("blockUser", json!({ "userId": user })),
        6 => ("sendNotification", json!({ "userId": user, "kind": "like" })),
        7 => ("newGroup", json!({ "groupName": "Tea", "userIds": [user] })),
        8 => ("addUserInGroup", json!({ "groupId": group, "userId": user })),
        9 => ("openConversation", json!({ "receiverId": user })),
        10 => ("removeContact", json!({ "userId": user })),
        _ => ("addGroupAdmin", json!({ "groupId": group, "userId": user })),
    }
}
