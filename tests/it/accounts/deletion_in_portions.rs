//! Large accounts, and groups that somebody else has locked: a deletion holds nobody up for long.

use hark::model::UserId;
use hark::store::account_deletions;
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};

use super::{ME, with_token};
use crate::support::{TestServer, User, eventually};

/// Makes that many groups of two people, behind the server's back, and gives back their ids.
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

/// How many rows refer to a user that a deletion is to delete.
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
async fn delete_me_takes_a_large_account_out_of_everything_before_it_answers() {
    let server = TestServer::start().await;
    let (ann, bob) = (server.user("Ann").await, server.user("Bob").await);
    groups_of(&server, 250, &ann, &bob).await;
    let insert = "with made as (
                      insert into users (email, password_hash)
                      select 'u' || n || '@example.org', '' from generate_series(1, 700) n returning id
                  ), told as (
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
    // The longest-standing member of each became its admin.
    assert_eq!(count(&server, "select count(*) from members where is_admin").await, 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_does_not_wait_for_a_locked_group_nor_hold_up_another_one() {
    let server = TestServer::start().await;
    let ann = server.user("Ann").await;
    let (bob, mut client) = server.client("Bob").await;
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
    // The other groups know, and can be written to.
    for group in [groups[0], groups[2]] {
        for kind in ["leaveGroup", "addGroupAdmin"] {
            let push = client.pushed(kind).await;
            assert_eq!(push["item"]["groupId"], group, "{push}");
        }
        client.say(&json!({ "groupId": group }), "Bye").await;
    }
    // In the one that is locked nobody sees somebody who is gone.
    let locked = json!({ "groupId": groups[1] });
    let users = client.done("listGroupUsers", locked.clone()).await;
    assert_eq!(users["data"].as_array().map(Vec::len), Some(1), "{users}");
    let conversation = client.done("getConversation", locked).await;
    assert_eq!(conversation["item"]["memberCount"], 1, "{conversation}");
    assert_eq!(conversation["item"]["admins"], json!([]), "{conversation}");
    assert_ne!(rows_left(&server, ann.id).await, 0);

    lock.rollback().await.expect("the lock is free");
    let push = client.pushed("leaveGroup").await;
    assert_eq!(push["item"]["groupId"], groups[1], "{push}");
    eventually("nothing refers to Ann", async || rows_left(&server, ann.id).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_is_finished_by_another_node_where_its_own_is_killed() {
    let server = TestServer::start().await;
    let other_node = server.second_node().await;
    let ann = server.user("Ann").await;
    let (bob, mut client) = server.client("Bob").await;
    client.subscribe(&["groups"]).await;
    groups_of(&server, 250, &ann, &bob).await;
    server.contact(&bob, &ann).await;
    // All that a node does which is killed after the first transaction.
    let name = account_deletions::begin(&server.server.app().db, UserId(ann.id)).await.expect("an answer");
    assert_eq!(name.as_deref(), Some("Ann"));
    eventually("nothing refers to Ann", async || rows_left(&server, ann.id).await == 0).await;
    // Two nodes, and each group was left once.
    assert_eq!(count(&server, "select count(*) from group_events where kind = 'leaveGroup'").await, 250);
    for _ in 0..250 {
        let push = client.pushed("leaveGroup").await;
        assert_eq!(push["message"], "User Deleted user has left the group.", "{push}");
        client.pushed("addGroupAdmin").await;
    }
    other_node.server.stop().await;
}

/// The groups are as good as left: whoever asked before and is carried out after the deletion is no member.
#[tokio::test(flavor = "multi_thread")]
async fn delete_me_ends_what_an_admin_may_at_once() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let cleo = server.user("Cleo").await;
    let group = ann_client.new_group(&[bob.id]).await;
    bob_client.pushed("addUserInGroup").await;
    // Holds up whoever wants the group, so that Ann asks before and is answered after her end.
    let mut sql = server.sql().await;
    let mut lock = sql.begin().await.expect("a transaction");
    sqlx::query("select from conversations where id = $1 for update")
        .bind(group)
        .execute(&mut *lock)
        .await
        .expect("a lock");
    ann_client.send("addUserInGroup", json!({ "groupId": group, "userId": cleo.id })).await;
    waits_for_a_lock(&server, 1).await;
    account_deletions::begin(&server.server.app().db, UserId(ann.id)).await.expect("an answer").expect("a name");
    lock.rollback().await.expect("the lock is free");
    eventually("nothing refers to Ann", async || rows_left(&server, ann.id).await == 0).await;
    let users = bob_client.done("listGroupUsers", json!({ "groupId": group })).await;
    assert_eq!(users["data"].as_array().map(Vec::len), Some(1), "{users}");
    assert_eq!((&users["data"][0]["id"], &users["data"][0]["isAdmin"]), (&json!(bob.id), &json!(true)), "{users}");
}

/// Until so many statements wait for locks of somebody else.
pub(super) async fn waits_for_a_lock(server: &TestServer, number: i64) {
    let mut sql = server.sql().await;
    eventually("somebody waits for a lock", async || {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        sqlx::query(waiting).fetch_one(&mut sql).await.expect("a count").get::<i64, _>(0) >= number
    })
    .await;
}
