//! Limits of groups: how many groups a user may be in, who may add whom, and the cost of very many groups.

use serde_json::{Value, json};
use sqlx::Row as _;

use super::new_group;
use crate::frames::search::wait_until_indexed;
use crate::support::{Client, TestServer, User, answer, eventually};

/// Returns the code and the sentence of a refusal.
async fn refusal(client: &mut Client, kind: &str, params: Value) -> (String, String) {
    let reply = client.call(kind, params).await;
    let text = |name: &str| reply[name].as_str().unwrap_or_else(|| panic!("a refusal: {reply}")).to_owned();
    (text("code"), text("message"))
}

async fn groups_of(server: &TestServer, user: &User) -> i64 {
    let row = sqlx::query("select count(*) from members where user_id = $1 and kind = 'group'").bind(user.id);
    row.fetch_one(&mut server.sql().await).await.expect("a row").get(0)
}

fn with_users(users: &[&User]) -> Value {
    json!({ "groupName": "Tea", "userIds": users.iter().map(|user| user.id).collect::<Vec<_>>() })
}

#[tokio::test(flavor = "multi_thread")]
async fn new_group_and_add_user_in_group_by_a_blocked_user_are_refused() {
    let server = TestServer::start().await;
    let (mallory, mut client) = server.connect_user("Mallory").await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    let shared = new_group(&mut client, &[ann.id]).await;
    server.block(&ann, &mallory).await;
    // The group belongs to both: Mallory may still write there.
    client.call_ok("messageInGroup", json!({ "groupId": shared, "content": "Hi" })).await;
    ann_client.call_ok("leaveGroup", json!({ "groupId": shared })).await;
    let add = json!({ "groupId": shared, "userId": ann.id });
    let (code, message) = refusal(&mut client, "addUserInGroup", add.clone()).await;
    assert_eq!((code.as_str(), message.as_str()), ("blocked", "This user does not take anything from you"));
    let (code, message) = refusal(&mut client, "newGroup", with_users(&[&bob, &ann])).await;
    assert_eq!(code, "blocked");
    assert_eq!(message, format!("params.userIds: user {} does not take anything from you", ann.id));
    assert_eq!((groups_of(&server, &ann).await, groups_of(&server, &bob).await), (0, 0));
    // The block works in one direction, and ends.
    let mine = new_group(&mut ann_client, &[mallory.id]).await;
    ann_client.call_ok("dropGroup", json!({ "groupId": mine })).await;
    ann_client.call_ok("unblockUser", json!({ "userId": mallory.id })).await;
    client.call_ok("addUserInGroup", add).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_group_from_many_sockets_at_once_keeps_the_limit_of_a_user() {
    let server = TestServer::start_with(|config| {
        config.limits.max_groups_per_user = 7;
        config.limits.max_requests_at_once = 20;
    })
    .await;
    let ann = server.create_user("Ann").await;
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
    let (_, mut bob) = server.connect_user("Bob").await;
    let (code, message) = refusal(&mut bob, "newGroup", with_users(&[&ann])).await;
    assert_eq!(code, "conflict");
    assert_eq!(message, format!("params.userIds: user {} is in as many groups as one may be in", ann.id));
    let mut client = server.connect(&ann).await;
    let group =
        sqlx::query("select min(conversation_id) from members where user_id = $1 and kind = 'group'").bind(ann.id);
    let group: i64 = group.fetch_one(&mut server.sql().await).await.expect("a row").get(0);
    client.call_ok("leaveGroup", json!({ "groupId": group })).await;
    bob.call_ok("newGroup", with_users(&[&ann])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn add_user_in_group_by_strangers_has_few_places_of_its_own() {
    let server = TestServer::start_with(|config| {
        config.limits.max_groups_from_strangers = 5;
        config.limits.max_groups_from_one_stranger = 3;
        config.limits.max_requests_at_once = 20;
    })
    .await;
    let ann = server.create_user("Ann").await;
    let mut ann_client = server.connect(&ann).await;
    let mallory = server.create_user("Mallory").await;
    let mut sockets = Vec::new();
    for _ in 0..6 {
        let (mut socket, params) = (server.connect(&mallory).await, with_users(&[&ann]));
        sockets.push(tokio::spawn(async move {
            // Each stranger leaves at once: the places are counted by who added Ann.
            let reply = socket.call("newGroup", params).await;
            if reply["success"] == true {
                socket.call_ok("leaveGroup", json!({ "groupId": reply["params"]["item"]["groupId"] })).await;
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
    let (_, mut second) = server.connect_user("Second").await;
    for _ in 0..2 {
        new_group(&mut second, &[ann.id]).await;
    }
    let (third, mut third_client) = server.connect_user("Third").await;
    let group = new_group(&mut third_client, &[]).await;
    let add = json!({ "groupId": group, "userId": ann.id });
    let (code, message) = refusal(&mut third_client, "addUserInGroup", add.clone()).await;
    assert_eq!(code, "conflict");
    let full = "does not know you, and is in as many groups of strangers as one may be in";
    assert_eq!(message, format!("params.userId: user {} {full}", ann.id));
    // A contact, or a user whom Ann wrote to, is no stranger; having written to Ann does not make a user
    // known.
    third_client.call_ok("privateMessage", json!({ "receiverId": ann.id, "content": "Hi" })).await;
    assert_eq!(third_client.call_refused("addUserInGroup", add.clone()).await, "conflict");
    ann_client.call_ok("privateMessage", json!({ "receiverId": third.id, "content": "Who are you?" })).await;
    third_client.call_ok("addUserInGroup", add).await;
    let (friend, mut friend_client) = server.connect_user("Friend").await;
    server.add_contact(&ann, &friend).await;
    for _ in 0..5 {
        new_group(&mut friend_client, &[ann.id]).await;
    }
    new_group(&mut ann_client, &[]).await;
    assert_eq!(groups_of(&server, &ann).await, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn add_user_in_group_keeps_the_limit_of_members() {
    let server = TestServer::start_with(|config| config.limits.max_group_members = 3).await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let others = server.create_users("Other", 3).await;
    let (code, message) = refusal(&mut ann, "newGroup", with_users(&others.iter().collect::<Vec<_>>())).await;
    assert_eq!((code.as_str(), message.as_str()), ("conflict", "params.userIds: a group has at most 3 members"));
    let group = new_group(&mut ann, &[others[0].id, others[1].id]).await;
    let add = json!({ "groupId": group, "userId": others[2].id });
    let (code, message) = refusal(&mut ann, "addUserInGroup", add).await;
    assert_eq!((code.as_str(), message.as_str()), ("conflict", "params.groupId: a group has at most 3 members"));
    assert_eq!(groups_of(&server, &others[2]).await, 0);
}

/// Inserts so many new groups with these users directly into the database.
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
async fn frames_of_a_user_in_twenty_thousand_groups_are_answered() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let cursor = client.call_ok("sync", json!({})).await["item"]["cursor"].clone();
    put_into_groups(&server, &[&ann, &bob], 20_000).await;
    let crowd = put_crowd(&server, 1_000).await;
    let sent = bob_client.call_ok("privateMessage", json!({ "receiverId": ann.id, "content": "tea for two" })).await;
    for query in ["tea", "t"] {
        let found = client.call_ok("searchMessages", json!({ "query": query })).await;
        assert_eq!(found["data"][0]["messageId"], sent["item"]["messageId"], "{found}");
    }
    wait_until_indexed(&server).await;
    let found = client.call_ok("searchMessages", json!({ "query": "tea" })).await;
    assert_eq!(found["data"][0]["messageId"], sent["item"]["messageId"], "{found}");
    assert!(
        client.call_ok("searchMessages", json!({ "query": "coffee" })).await["data"]
            .as_array()
            .is_some_and(Vec::is_empty)
    );

    let known = client.call_ok("getOnlineInfo", json!({ "userIds": crowd })).await;
    assert!(known["data"].as_array().is_some_and(Vec::is_empty), "{known}");
    let known = client.call_ok("getOnlineInfo", json!({ "userIds": [bob.id] })).await;
    assert_eq!(known["data"][0]["isOnline"], true);
    assert_eq!(client.call_ok("listConversations", json!({ "limit": 100 })).await["data"][0]["receiverId"], bob.id);
    assert_eq!(client.call_ok("sync", json!({ "cursor": cursor })).await["item"]["complete"], true);
    for filter in ["unread", "groups", "spam"] {
        client.call_ok("listConversations", json!({ "filter": filter })).await;
    }
}

/// Creates so many users without contacts, each in a few groups, and returns their ids.
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

/// Returns how many requests of this node wait for a lock, only those of users where `of_people`.
async fn waiting_requests(server: &TestServer, of_people: bool) -> i64 {
    let waiting_requests = sqlx::query(
        "select count(*) from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock' and (not $1 or query like '%added_at%')",
    );
    waiting_requests.bind(of_people).fetch_one(&mut server.sql().await).await.expect("a row").get(0)
}

/// Sends a request that waits for a lock over each of twenty sockets.
async fn wait_on_all_sockets(server: &TestServer, lock: &mut sqlx::PgConnection) -> Vec<Client> {
    let mallory = server.create_user("Mallory").await;
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
async fn requests_that_wait_on_every_socket_of_one_user_leave_connections_to_others() {
    let server = TestServer::start_with(|config| config.database_connections = 8).await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let mut lock = server.sql().await;
    let sockets = wait_on_all_sockets(&server, &mut lock).await;
    eventually("two of them wait in the database", async || waiting_requests(&server, true).await == 2).await;
    // None of her requests waits for the lock.
    ann.call_ok("getUser", json!({})).await;
    ann.call_ok("listConversations", json!({})).await;
    assert!(waiting_requests(&server, true).await <= 2, "waiting requests leave connections free");
    sqlx::query("rollback").execute(&mut lock).await.expect("an end");
    for mut socket in sockets {
        let reply = socket.wait_for_reply().await;
        assert!(reply["success"] == true || reply["code"] == "overloaded", "{reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readyz_answers_while_users_hold_all_database_connections() {
    let server = TestServer::start_with(|config| config.database_connections = 2).await;
    let mut lock = server.sql().await;
    let sockets = wait_on_all_sockets(&server, &mut lock).await;
    eventually("all connections wait", async || waiting_requests(&server, false).await >= 2).await;
    answer(server.http("GET", "/readyz")).await.ok(200);
    assert!(waiting_requests(&server, false).await >= 2, "they still do");
    sqlx::query("rollback").execute(&mut lock).await.expect("an end");
    drop(sockets);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_group_that_is_refused_locks_nobody() {
    let server = TestServer::start().await;
    let (mallory, mut client) = server.connect_user("Mallory").await;
    let ann = server.create_user("Ann").await;
    server.block(&ann, &mallory).await;
    // A request that waited for Ann's row would hold the rows of everybody before her.
    let mut sql = server.sql().await;
    let lock = format!("begin; select from users where id = {} for update", ann.id);
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut sql).await.expect("a lock");
    assert_eq!(client.call_refused("newGroup", with_users(&[&ann])).await, "blocked");
    sqlx::raw_sql("rollback").execute(&mut sql).await.expect("the lock is free");
}
