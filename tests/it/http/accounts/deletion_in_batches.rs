//! Deletion of large accounts in batches, also while another transaction holds a lock on one of their
//! groups.

use hark::model::UserId;
use hark::store::users::deletion;
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};

use super::{ME, with_token};
use crate::support::{TestServer, User, eventually};

/// Inserts that many groups of two users directly into the database, and returns their ids.
async fn groups_of(server: &TestServer, number: i64, first: &User, second: &User) -> Vec<i64> {
    let insert = "with made as (
                      insert into conversations (kind, name) select 'group', 'Club ' || n from generate_series(1, $1) n
                      returning id
                  ), joined as (
                      insert into members (conversation_id, user_id, kind, is_admin)
                      select id, user_id, 'group', user_id = $2 from made, unnest(array[$2, $3]) as u (user_id)
                  )
                  select id from made order by id";
    let rows = sqlx::query(insert).bind(number).bind(first.id).bind(second.id);
    let rows = rows.fetch_all(&mut server.sql().await).await.expect("groups");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns how many of the rows that a deletion removes still refer to a user.
async fn rows_left(server: &TestServer, user: i64) -> i64 {
    let select = "select (select count(*) from members where user_id = $1 and kind = 'group')
                       + (select count(*) from contacts where $1 in (user_id, contact_id))
                       + (select count(*) from blocks where $1 in (user_id, blocked_id))
                       + (select count(*) from notifications where user_id = $1)
                       + (select count(*) from sessions where user_id = $1)
                       + (select count(*) from account_deletions where user_id = $1)";
    sqlx::query(select).bind(user).fetch_one(&mut server.sql().await).await.expect("a count").get(0)
}

async fn count(server: &TestServer, select: &'static str) -> i64 {
    sqlx::query(select).fetch_one(&mut server.sql().await).await.expect("a count").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_of_a_large_account_completes_before_it_is_answered() {
    let server = TestServer::start().await;
    let (ann, bob) = (server.create_user("Ann").await, server.create_user("Bob").await);
    groups_of(&server, 250, &ann, &bob).await;
    let insert = "with made as (
                      insert into users (email, password_hash)
                      select 'u' || n || '@example.org', '' from generate_series(1, 700) n returning id
                  ), notified as (
                      insert into notifications (user_id, sender_id, kind) select $1, id, 'like' from made
                  ), known as (
                      insert into contacts (user_id, contact_id)
                      select $1, id from made union all select id, $1 from made
                  )
                  insert into blocks (user_id, blocked_id) select $1, id from made union all select id, $1 from made";
    sqlx::query(insert).bind(ann.id).execute(&mut server.sql().await).await.expect("rows");
    with_token(&server, "DELETE", ME, &ann.token, Value::Null).await.no_content();
    assert_eq!(rows_left(&server, ann.id).await, 0);
    assert_eq!(count(&server, "select count(*) from group_events where kind = 'leaveGroup'").await, 250);
    // The longest-standing remaining member of each group became its admin.
    assert_eq!(count(&server, "select count(*) from members where is_admin").await, 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_neither_waits_for_a_locked_group_nor_delays_others() {
    let server = TestServer::start().await;
    let ann = server.create_user("Ann").await;
    let (bob, mut client) = server.connect_user("Bob").await;
    client.subscribe(&["groups"]).await;
    let groups = groups_of(&server, 3, &ann, &bob).await;
    let mut sql = server.sql().await;
    let mut lock = sql.begin().await.expect("a transaction");
    sqlx::query("select from conversations where id = $1 for update")
        .bind(groups[1])
        .execute(&mut *lock)
        .await
        .expect("a lock");

    with_token(&server, "DELETE", ME, &ann.token, Value::Null).await.no_content();
    // The other groups are notified and can be written to.
    for group in [groups[0], groups[2]] {
        for kind in ["leaveGroup", "addGroupAdmin"] {
            let push = client.expect_push(kind).await;
            assert_eq!(push["item"]["groupId"], group, "{push}");
        }
        client.send_content(&json!({ "groupId": group }), "Bye").await;
    }
    // No member sees the deleted user in the locked group.
    let locked = json!({ "groupId": groups[1] });
    let users = client.call_ok("listGroupUsers", locked.clone()).await;
    assert_eq!(users["data"].as_array().map(Vec::len), Some(1), "{users}");
    let conversation = client.call_ok("getConversation", locked).await;
    assert_eq!(conversation["item"]["memberCount"], 1, "{conversation}");
    assert_eq!(conversation["item"]["admins"], json!([]), "{conversation}");
    assert_ne!(rows_left(&server, ann.id).await, 0);

    lock.rollback().await.expect("the lock is free");
    let push = client.expect_push("leaveGroup").await;
    assert_eq!(push["item"]["groupId"], groups[1], "{push}");
    eventually("nothing refers to Ann", async || rows_left(&server, ann.id).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_is_completed_by_another_node_after_a_kill() {
    let server = TestServer::start().await;
    let other_node = server.second_node().await;
    let ann = server.create_user("Ann").await;
    let (bob, mut client) = server.connect_user("Bob").await;
    client.subscribe(&["groups"]).await;
    groups_of(&server, 250, &ann, &bob).await;
    server.add_contact(&bob, &ann).await;
    // This is all that a node does when it is killed after the first transaction.
    let name = deletion::start(&server.server.app().db, UserId(ann.id)).await.expect("an answer");
    assert_eq!(name.as_deref(), Some("Ann"));
    eventually("nothing refers to Ann", async || rows_left(&server, ann.id).await == 0).await;
    // Two nodes ran the deletion, and each group was left once.
    assert_eq!(count(&server, "select count(*) from group_events where kind = 'leaveGroup'").await, 250);
    for _ in 0..250 {
        let push = client.expect_push("leaveGroup").await;
        assert_eq!(push["message"], "User Deleted user has left the group.", "{push}");
        client.expect_push("addGroupAdmin").await;
    }
    other_node.server.stop().await;
}

/// The groups count as left: a request of the deleted user that was sent before, and runs after the
/// deletion, is not a member's.
#[tokio::test(flavor = "multi_thread")]
async fn delete_me_revokes_admin_rights_at_once() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let cleo = server.create_user("Cleo").await;
    let group = ann_client.new_group(&[bob.id]).await;
    bob_client.expect_push("addUserInGroup").await;
    // The lock holds up requests for the group, so that Ann's request is sent before her deletion and
    // answered after it.
    let mut sql = server.sql().await;
    let mut lock = sql.begin().await.expect("a transaction");
    sqlx::query("select from conversations where id = $1 for update")
        .bind(group)
        .execute(&mut *lock)
        .await
        .expect("a lock");
    ann_client.send("addUserInGroup", json!({ "groupId": group, "userId": cleo.id })).await;
    waits_for_a_lock(&server, 1).await;
    deletion::start(&server.server.app().db, UserId(ann.id)).await.expect("an answer").expect("a name");
    lock.rollback().await.expect("the lock is free");
    eventually("nothing refers to Ann", async || rows_left(&server, ann.id).await == 0).await;
    let users = bob_client.call_ok("listGroupUsers", json!({ "groupId": group })).await;
    assert_eq!(users["data"].as_array().map(Vec::len), Some(1), "{users}");
    assert_eq!((&users["data"][0]["id"], &users["data"][0]["isAdmin"]), (&json!(bob.id), &json!(true)), "{users}");
}

/// Waits until so many statements wait for locks of other transactions.
pub(super) async fn waits_for_a_lock(server: &TestServer, number: i64) {
    let mut sql = server.sql().await;
    eventually("a statement waits for a lock", async || {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        sqlx::query(waiting).fetch_one(&mut sql).await.expect("a count").get::<i64, _>(0) >= number
    })
    .await;
}
