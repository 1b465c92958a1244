//! Into how many groups people may be put, by whom, and what it costs to be in very many.

use serde_json::{Value, json};
use sqlx::Row as _;

use super::new_group;
use crate::search::indexed;
use crate::support::{Client, TestServer, User, answer, eventually};

/// The code and the sentence of a refusal.
async fn refusal(client: &mut Client, kind: &str, params: Value) -> (String, String) {
    let reply = client.call(kind, params).await;
    let text = |name: &str| reply[name].as_str().unwrap_or_else(|| panic!("a refusal: {reply}")).to_owned();
    (text("code"), text("message"))
}

async fn groups_of(server: &TestServer, user: &User) -> i64 {
    let row = sqlx::query("select count(*) from members where user_id = $1 and kind = 'group'").bind(user.id);
    row.fetch_one(&mut server.sql().await).await.expect("a row").get(0)
}

fn with(users: &[&User]) -> Value {
    json!({ "groupName": "Tea", "userIds": users.iter().map(|user| user.id).collect::<Vec<_>>() })
}

#[tokio::test(flavor = "multi_thread")]
async fn new_group_and_add_user_in_group_by_who_is_blocked_are_refused() {
    let server = TestServer::start().await;
    let (mallory, mut client) = server.client("Mallory").await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let bob = server.user("Bob").await;
    let shared = new_group(&mut client, &[ann.id]).await;
    server.block(&ann, &mallory).await;
    // The group is of both: she may go on writing there.
    client.done("messageInGroup", json!({ "groupId": shared, "content": "Hi" })).await;
    ann_client.done("leaveGroup", json!({ "groupId": shared })).await;
    let add = json!({ "groupId": shared, "userId": ann.id });
    let (code, message) = refusal(&mut client, "addUserInGroup", add.clone()).await;
    assert_eq!((code.as_str(), message.as_str()), ("blocked", "This user does not take anything from you"));
    let (code, message) = refusal(&mut client, "newGroup", with(&[&bob, &ann])).await;
    assert_eq!(code, "blocked");
    assert_eq!(message, format!("params.userIds: user {} does not take anything from you", ann.id));
    assert_eq!((groups_of(&server, &ann).await, groups_of(&server, &bob).await), (0, 0));
    // It goes one way, and ends.
    let mine = new_group(&mut ann_client, &[mallory.id]).await;
    ann_client.done("dropGroup", json!({ "groupId": mine })).await;
    ann_client.done("unblockUser", json!({ "userId": mallory.id })).await;
    client.done("addUserInGroup", add).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_group_from_many_sockets_at_once_makes_no_more_than_one_user_may_have() {
    let server = TestServer::with(|config| {
        config.limits.max_groups_per_user = 7;
        config.limits.max_requests_at_once = 20;
    })
    .await;
    let ann = server.user("Ann").await;
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let mut socket = server.connect(&ann).await;
        sockets.push(tokio::spawn(async move {
            let mut replies = Vec::new();
            for _ in 0..3 {
                replies.push(socket.call("newGroup", json!({ "groupName": "Tea" })).await);
            }
            replies
        }));
    }
    let mut made = 0;
    for socket in sockets {
        for reply in socket.await.expect("replies") {
            if reply["success"] == true {
                made += 1;
            } else {
                assert_eq!(reply["code"], "conflict", "{reply}");
                assert_eq!(reply["message"], "You are in 7 groups, as many as one may be in; leave one first");
            }
        }
    }
    assert_eq!((made, groups_of(&server, &ann).await), (7, 7));
    let (_, mut bob) = server.client("Bob").await;
    let (code, message) = refusal(&mut bob, "newGroup", with(&[&ann])).await;
    assert_eq!(code, "conflict");
    assert_eq!(message, format!("params.userIds: user {} is in as many groups as one may be in", ann.id));
    let mut client = server.connect(&ann).await;
    let group =
        sqlx::query("select min(conversation_id) from members where user_id = $1 and kind = 'group'").bind(ann.id);
    let group: i64 = group.fetch_one(&mut server.sql().await).await.expect("a row").get(0);
    client.done("leaveGroup", json!({ "groupId": group })).await;
    bob.done("newGroup", with(&[&ann])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_put_a_user_into_few_groups_and_take_no_place_from_people_the_user_knows() {
    let server = TestServer::with(|config| {
        config.limits.max_groups_from_strangers = 5;
        config.limits.max_groups_from_one_stranger = 3;
        config.limits.max_requests_at_once = 20;
    })
    .await;
    let ann = server.user("Ann").await;
    let mut ann_client = server.connect(&ann).await;
    let mallory = server.user("Mallory").await;
    let mut sockets = Vec::new();
    for _ in 0..6 {
        let (mut socket, params) = (server.connect(&mallory).await, with(&[&ann]));
        sockets.push(tokio::spawn(async move {
            // She leaves each at once: what counts is who put Ann there.
            let reply = socket.call("newGroup", params).await;
            if reply["success"] == true {
                socket.done("leaveGroup", json!({ "groupId": reply["params"]["item"]["groupId"] })).await;
            }
            reply
        }));
    }
    let mut put = 0;
    for socket in sockets {
        let reply = socket.await.expect("a reply");
        put += i64::from(reply["success"] == true);
        assert!(reply["success"] == true || reply["code"] == "conflict", "{reply}");
    }
    assert_eq!((put, groups_of(&server, &ann).await), (3, 3), "from one stranger");
    let (_, mut second) = server.client("Second").await;
    for _ in 0..2 {
        new_group(&mut second, &[ann.id]).await;
    }
    let (third, mut third_client) = server.client("Third").await;
    let group = new_group(&mut third_client, &[]).await;
    let add = json!({ "groupId": group, "userId": ann.id });
    let (code, message) = refusal(&mut third_client, "addUserInGroup", add.clone()).await;
    assert_eq!(code, "conflict");
    let full = "does not know you, and is in as many groups of strangers as one may be in";
    assert_eq!(message, format!("params.userId: user {} {full}", ann.id));
    // Who is a contact, or was written to, is no stranger; having written to Ann makes nobody known.
    third_client.done("privateMessage", json!({ "receiverId": ann.id, "content": "Hi" })).await;
    assert_eq!(third_client.refused("addUserInGroup", add.clone()).await, "conflict");
    ann_client.done("privateMessage", json!({ "receiverId": third.id, "content": "Who are you?" })).await;
    third_client.done("addUserInGroup", add).await;
    let (friend, mut friend_client) = server.client("Friend").await;
    server.contact(&ann, &friend).await;
    for _ in 0..5 {
        new_group(&mut friend_client, &[ann.id]).await;
    }
    new_group(&mut ann_client, &[]).await;
    assert_eq!(groups_of(&server, &ann).await, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_has_no_more_members_than_it_may_have() {
    let server = TestServer::with(|config| config.limits.max_group_members = 3).await;
    let (_, mut ann) = server.client("Ann").await;
    let others = server.users("Other", 3).await;
    let (code, message) = refusal(&mut ann, "newGroup", with(&others.iter().collect::<Vec<_>>())).await;
    assert_eq!((code.as_str(), message.as_str()), ("conflict", "params.userIds: a group has at most 3 members"));
    let group = new_group(&mut ann, &[others[0].id, others[1].id]).await;
    let add = json!({ "groupId": group, "userId": others[2].id });
    let (code, message) = refusal(&mut ann, "addUserInGroup", add).await;
    assert_eq!((code.as_str(), message.as_str()), ("conflict", "params.groupId: a group has at most 3 members"));
    assert_eq!(groups_of(&server, &others[2]).await, 0);
}

/// Puts people into so many new groups, behind the server's back.
async fn put_into_groups(server: &TestServer, users: &[&User], number: i32) {
    let mut sql = server.sql().await;
    sqlx::query(
        "with made as (insert into conversations (kind, name) select 'group', 'G' || n from generate_series(1, $1) n returning id)
         insert into members (conversation_id, user_id, kind)
         select made.id, u.id, 'group' from made cross join unnest($2::bigint[]) u (id)",
    )
    .bind(number)
    .bind(users.iter().map(|user| user.id).collect::<Vec<_>>())
    .execute(&mut sql)
    .await
    .expect("groups");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_in_twenty_thousand_groups_is_answered() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let cursor = client.done("sync", json!({})).await["item"]["cursor"].clone();
    put_into_groups(&server, &[&ann, &bob], 20_000).await;
    let crowd = put_crowd(&server, 1_000).await;
    let said = bob_client.done("privateMessage", json!({ "receiverId": ann.id, "content": "tea for two" })).await;
    for query in ["tea", "t"] {
        let found = client.done("searchMessages", json!({ "query": query })).await;
        assert_eq!(found["data"][0]["messageId"], said["item"]["messageId"], "{found}");
    }
    indexed(&server).await;
    let found = client.done("searchMessages", json!({ "query": "tea" })).await;
    assert_eq!(found["data"][0]["messageId"], said["item"]["messageId"], "{found}");
    assert!(
        client.done("searchMessages", json!({ "query": "coffee" })).await["data"].as_array().is_some_and(Vec::is_empty)
    );

    let known = client.done("getOnlineInfo", json!({ "userIds": crowd })).await;
    assert!(known["data"].as_array().is_some_and(Vec::is_empty), "{known}");
    let known = client.done("getOnlineInfo", json!({ "userIds": [bob.id] })).await;
    assert_eq!(known["data"][0]["isOnline"], true);
    assert_eq!(client.done("listConversations", json!({ "limit": 100 })).await["data"][0]["receiverId"], bob.id);
    assert_eq!(client.done("sync", json!({ "cursor": cursor })).await["item"]["complete"], true);
    for filter in ["unread", "groups", "spam"] {
        client.done("listConversations", json!({ "filter": filter })).await;
    }
}

/// The ids of so many people who know nobody, each in a few groups.
async fn put_crowd(server: &TestServer, number: i32) -> Vec<i64> {
    let rows = sqlx::query(
        "with people as (
             insert into users (email, password_hash) select 'crowd' || n || '@example.org', 'none' from generate_series(1, $1) n returning id
         ), places as (
             insert into members (conversation_id, user_id, kind)
             select g.id, p.id, 'group' from people p cross join unnest($2::bigint[]) g (id)
         )
         select id from people",
    )
    .bind(number)
    .bind(elsewhere(server).await)
    .fetch_all(&mut server.sql().await)
    .await
    .expect("people");
    rows.into_iter().map(|row| row.get(0)).collect()
}

async fn elsewhere(server: &TestServer) -> Vec<i64> {
    let made = sqlx::query(
        "insert into conversations (kind, name) select 'group', 'Else' from generate_series(1, 5) returning id",
    );
    let rows = made.fetch_all(&mut server.sql().await).await.expect("groups");
    rows.into_iter().map(|row| row.get(0)).collect()
}

/// Requests of this node that wait for a lock, those of a person alone where `of_people`.
async fn waiting(server: &TestServer, of_people: bool) -> i64 {
    let waiting = sqlx::query(
        "select count(*) from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock' and (not $1 or query like '%added_at%')",
    );
    waiting.bind(of_people).fetch_one(&mut server.sql().await).await.expect("a row").get(0)
}

/// Sends a request that waits for a lock over every one of twenty sockets.
async fn wait_on_all_sockets(server: &TestServer, lock: &mut sqlx::PgConnection) -> Vec<Client> {
    let mallory = server.user("Mallory").await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(server.connect(&mallory).await);
    }
    for statement in ["begin", "lock table contacts in access exclusive mode"] {
        sqlx::query(statement).execute(&mut *lock).await.expect("a lock");
    }
    for socket in &mut sockets {
        socket.send("listContacts", json!({})).await;
    }
    sockets
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_who_waits_on_every_socket_leaves_connections_to_others() {
    let server = TestServer::with(|config| config.database_connections = 8).await;
    let (_, mut ann) = server.client("Ann").await;
    let mut lock = server.sql().await;
    let sockets = wait_on_all_sockets(&server, &mut lock).await;
    eventually("two of them wait in the database", async || waiting(&server, true).await == 2).await;
    // Nothing of hers waits for the lock.
    ann.done("getUser", json!({})).await;
    ann.done("listConversations", json!({})).await;
    assert!(waiting(&server, true).await <= 2, "whoever waits leaves connections free");
    sqlx::query("rollback").execute(&mut lock).await.expect("an end");
    for mut socket in sockets {
        let reply = socket.reply().await;
        assert!(reply["success"] == true || reply["code"] == "overloaded", "{reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readyz_answers_while_users_hold_all_connections() {
    let server = TestServer::with(|config| config.database_connections = 2).await;
    let mut lock = server.sql().await;
    let sockets = wait_on_all_sockets(&server, &mut lock).await;
    eventually("all connections wait", async || waiting(&server, false).await >= 2).await;
    answer(server.http("GET", "/readyz")).await.ok(200);
    assert!(waiting(&server, false).await >= 2, "they still do");
    sqlx::query("rollback").execute(&mut lock).await.expect("an end");
    drop(sockets);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_group_that_is_refused_locks_nobody() {
    let server = TestServer::start().await;
    let (mallory, mut client) = server.client("Mallory").await;
    let ann = server.user("Ann").await;
    server.block(&ann, &mallory).await;
    // Who had to wait for Ann's row would hold those of everybody before her.
    let mut sql = server.sql().await;
    let lock = format!("begin; select from users where id = {} for update", ann.id);
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut sql).await.expect("a lock");
    assert_eq!(client.refused("newGroup", with(&[&ann])).await, "blocked");
    sqlx::raw_sql("rollback").execute(&mut sql).await.expect("the lock is free");
}
