//! Account deletion: what it ends, and what other users keep.

use serde_json::{Value, json};
use sqlx::Row as _;

use super::{LOGIN, ME, PASSWORD, assert_closed_4001, assert_refused_everywhere, log_in, post, sign_up, with_token};
use crate::support::{Client, TestServer, User, answer};

async fn delete(server: &TestServer, user: &User) {
    with_token(server, "DELETE", ME, &user.token, Value::Null).await.no_content();
}

fn rows(reply: &Value) -> &Vec<Value> {
    reply["params"]["data"].as_array().unwrap_or_else(|| panic!("no rows: {reply}"))
}

/// Returns the admins of a group as the database has them.
async fn admins(server: &TestServer, group: i64) -> Vec<i64> {
    let select = "select user_id from members where conversation_id = $1 and is_admin order by user_id";
    let rows = sqlx::query(select).bind(group).fetch_all(&mut server.sql().await).await.expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

async fn new_group(socket: &mut Client, user_ids: &[i64]) -> i64 {
    let reply = socket.call("newGroup", json!({ "groupName": "friends", "userIds": user_ids })).await;
    reply["params"]["item"]["groupId"].as_i64().unwrap_or_else(|| panic!("no id: {reply}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_ends_every_session_and_every_socket() {
    let server = TestServer::start().await;
    let other_node = server.second_node().await;
    sign_up(&server, "patrick@example.org").await;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        tokens.push(log_in(&server, "patrick@example.org", PASSWORD).await);
    }
    let sockets = [
        Client::connect(server.server.address(), &tokens[0]).await,
        Client::connect(server.server.address(), &tokens[1]).await,
        Client::connect(other_node.server.address(), &tokens[1]).await,
    ];
    with_token(&server, "DELETE", ME, &tokens[0], Value::Null).await.no_content();
    for socket in sockets {
        assert_closed_4001(socket).await;
    }
    for token in &tokens {
        assert_refused_everywhere(&server, token).await;
        assert_refused_everywhere(&other_node, token).await;
    }
    let login = json!({ "email": "patrick@example.org", "password": PASSWORD });
    let gone = post(&server, LOGIN, &login).await;
    let never = post(&server, LOGIN, &json!({ "email": "nobody@example.org", "password": PASSWORD })).await;
    assert_eq!((gone.status, &gone.text), (401, &never.text));
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_clears_the_users_row() {
    let server = TestServer::start().await;
    let data = json!({ "email": "secret-mail@example.org", "username": "secret-name", "password": PASSWORD,
                       "firstName": "Secret-first", "lastName": "Secret-last" });
    post(&server, super::SIGN_UP, &data).await.ok(201);
    let token = log_in(&server, "secret-mail@example.org", PASSWORD).await;
    let old_client = with_token(&server, "DELETE", "/profile/destroy", &token, Value::Null).await;
    old_client.ok(200);

    let mut sql = server.sql().await;
    let row = sqlx::query("select to_jsonb(u)::text from users u").fetch_one(&mut sql).await.expect("the row stays");
    let row: String = row.get(0);
    let fields: Value = serde_json::from_str(&row).expect("JSON");
    for (column, value) in fields.as_object().expect("columns") {
        let kept = ["id", "name", "created_at", "updated_at", "deleted_at"].contains(&column.as_str());
        assert!(kept || value.is_null(), "{column} is {value}");
    }
    assert_eq!(fields["name"], "Deleted user");
    assert!(!row.to_lowercase().contains("secret") && !row.contains("argon2"), "{row}");
    let sessions = sqlx::query("select count(*) from sessions").fetch_one(&mut sql).await.expect("a count");
    assert_eq!(sessions.get::<i64, _>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_keeps_the_dialog_for_the_other_side_which_cannot_write_to_it() {
    let server = TestServer::start().await;
    let (patrick, mut leaving) = server.connect_user("Patrick").await;
    let (bob, mut staying) = server.connect_user("Bob").await;
    leaving.call("privateMessage", json!({ "receiverId": bob.id, "content": "It's me" })).await;
    staying.call("privateMessage", json!({ "receiverId": patrick.id, "content": "Hi" })).await;
    delete(&server, &patrick).await;

    let history = staying.call("getlatestMessageDialog", json!({ "receiverId": patrick.id })).await;
    let said: Vec<_> =
        rows(&history).iter().map(|row| (&row["senderName"], &row["receverName"], &row["content"])).collect();
    let (deleted, me) = (json!("Deleted user"), json!("Bob"));
    assert_eq!(said, [(&me, &deleted, &json!("Hi")), (&deleted, &me, &json!("It's me"))]);
    let list = staying.call("listLastMessage", json!({})).await;
    assert_eq!((rows(&list).len(), &rows(&list)[0]["receiverName"]), (1, &deleted));

    let refusal = staying.call("privateMessage", json!({ "receiverId": patrick.id, "content": "Still there?" })).await;
    assert_eq!(refusal["code"], "not_found", "{refusal}");
    let history = staying.call("getlatestMessageDialog", json!({ "receiverId": patrick.id })).await;
    assert_eq!(rows(&history).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_removes_the_user_from_lists_and_searches() {
    let server = TestServer::start().await;
    let (patrick, bob) = (server.create_user("Patrick").await, server.create_user("Bob").await);
    delete(&server, &patrick).await;
    for path in ["/api/v1/users", "/users/list", "/api/v1/users?q=patrick", "/api/v1/users?q=deleted"] {
        let found = with_token(&server, "GET", path, &bob.token, Value::Null).await.ok(200);
        let rows = found.get("data").unwrap_or(&found);
        let ids: Vec<_> = rows.as_array().expect("rows").iter().map(|row| row["id"].clone()).collect();
        assert!(!ids.contains(&json!(patrick.id)), "{path}: {found}");
    }
    let one = with_token(&server, "GET", &format!("/api/v1/users/{}", patrick.id), &bob.token, Value::Null).await;
    one.refused(404, "not_found");
    let mut socket = server.connect(&bob).await;
    let group = new_group(&mut socket, &[]).await;
    let added = socket.call("addUserInGroup", json!({ "groupId": group, "userId": patrick.id })).await;
    assert_eq!(added["code"], "not_found", "{added}");
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_frees_the_email_for_a_new_account_that_inherits_nothing() {
    let server = TestServer::start().await;
    let old = sign_up(&server, "patrick@example.org").await;
    let token = log_in(&server, "patrick@example.org", PASSWORD).await;
    let (bob, mut staying) = server.connect_user("Bob").await;
    let mut leaving = Client::connect(server.server.address(), &token).await;
    leaving.call("privateMessage", json!({ "receiverId": bob.id, "content": "Hi" })).await;
    with_token(&server, "DELETE", ME, &token, Value::Null).await.no_content();

    let new = sign_up(&server, "Patrick@Example.org").await;
    assert_ne!(new, old);
    let token = log_in(&server, "patrick@example.org", PASSWORD).await;
    let mut socket = Client::connect(server.server.address(), &token).await;
    assert_eq!(rows(&socket.call("listLastMessage", json!({})).await).len(), 0);
    let history = staying.call("getlatestMessageDialog", json!({ "receiverId": old })).await;
    assert_eq!(rows(&history)[0]["senderName"], "Deleted user");
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_of_the_last_admin_promotes_the_longest_standing_member() {
    let server = TestServer::start().await;
    let (patrick, mut creator) = server.connect_user("Patrick").await;
    let (late, bob) = (server.create_user("Late").await, server.create_user("Bob").await);
    let group = new_group(&mut creator, &[]).await;
    for user in [&bob, &late] {
        creator.call("addUserInGroup", json!({ "groupId": group, "userId": user.id })).await;
    }
    creator.call("messageInGroup", json!({ "groupId": group, "content": "Bye" })).await;
    assert_eq!(admins(&server, group).await, [patrick.id]);
    delete(&server, &patrick).await;
    assert_eq!(admins(&server, group).await, [bob.id]);

    let (mut sender, mut receiver) = (server.connect(&bob).await, server.connect(&late).await);
    let sent = sender.call("messageInGroup", json!({ "groupId": group, "content": "He is gone" })).await;
    assert_eq!(sent["success"], true, "{sent}");
    assert_eq!(receiver.wait_for_push().await["params"]["message"], "He is gone");
    let history = receiver.call("getlatestMessageGroup", json!({ "groupId": group })).await;
    let names: Vec<_> = rows(&history).iter().map(|row| &row["senderName"]).collect();
    assert_eq!(names, ["Bob", "Deleted user"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_of_the_last_member_ends_the_group() {
    let server = TestServer::start().await;
    let (patrick, mut socket) = server.connect_user("Patrick").await;
    let (_, mut bob) = server.connect_user("Bob").await;
    let group = new_group(&mut socket, &[]).await;
    delete(&server, &patrick).await;
    let history = bob.call("getlatestMessageGroup", json!({ "groupId": group })).await;
    assert_eq!(history["code"], "not_found", "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_twice_at_once_happens_once() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick").await;
    let ask = || with_token(&server, "DELETE", ME, &user.token, Value::Null);
    let (first, second) = tokio::join!(ask(), ask());
    for answer in [&first, &second] {
        assert!([204, 401].contains(&answer.status), "{answer:?}");
    }
    assert!(first.status == 204 || second.status == 204);
    assert_refused_everywhere(&server, &user.token).await;
}

/// Returns all rows of all tables that hold user data, as text.
async fn everything(server: &TestServer) -> String {
    let select = "select string_agg(row, ' ') from (
        select to_jsonb(t)::text from users t union all select to_jsonb(t)::text from sessions t
        union all select to_jsonb(t)::text from contacts t union all select to_jsonb(t)::text from blocks t
        union all select to_jsonb(t)::text from notifications t union all select to_jsonb(t)::text from members t
        union all select to_jsonb(t)::text from conversations t union all select to_jsonb(t)::text from messages t
        union all select to_jsonb(t)::text from reactions t union all select to_jsonb(t)::text from message_changes t
        union all select to_jsonb(t)::text from group_events t) rows (row)";
    sqlx::query(select).fetch_one(&mut server.sql().await).await.expect("the rows").get(0)
}

async fn run(server: &TestServer, statement: &'static str) {
    sqlx::query(statement).execute(&mut server.sql().await).await.expect("it runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_leaves_only_the_messages_sent_to_others() {
    let server = TestServer::start().await;
    let data = json!({ "email": "secret-mail@example.org", "username": "secret-name", "password": PASSWORD,
                       "firstName": "Secret-first", "lastName": "Secret-last" });
    let gone = post(&server, super::SIGN_UP, &data).await.ok(201)["id"].clone();
    let token = log_in(&server, "secret-mail@example.org", PASSWORD).await;
    let mut leaving = Client::connect(server.server.address(), &token).await;
    let (bob, mut staying) = server.connect_user("Bob").await;
    let cleo = server.create_user("Cleo").await;
    assert_eq!((&gone, bob.id, cleo.id), (&json!(1), 2, 3));
    leaving.call("privateMessage", json!({ "receiverId": bob.id, "content": "It's me" })).await;
    let group = new_group(&mut leaving, &[bob.id]).await;
    leaving.call("messageInGroup", json!({ "groupId": group, "content": "And here" })).await;
    staying.call("privateMessage", json!({ "receiverId": 1, "content": "Hi" })).await;
    run(&server, "update users set last_seen_at = now()").await;
    run(&server, "insert into contacts (user_id, contact_id) values (1, 2), (2, 1), (3, 1), (2, 3)").await;
    run(&server, "insert into blocks (user_id, blocked_id) values (1, 3), (3, 1), (3, 2)").await;
    run(
        &server,
        "insert into notifications (user_id, sender_id, kind, data) values
                  (1, 2, 'like', '\"to them\"'), (2, 1, 'like', '\"from them\"'), (2, 3, 'fake', null)",
    )
    .await;
    run(
        &server,
        "insert into reactions (message_id, user_id, reaction)
                  select id, 1, 'thumbs up' from messages where content = 'Hi'",
    )
    .await;

    with_token(&server, "DELETE", ME, &token, Value::Null).await.no_content();
    assert_closed_4001(leaving).await;
    let text = everything(&server).await.to_lowercase();
    for secret in ["secret", "argon2", "to them"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let select = "select (select array_agg(array[user_id, contact_id]) from contacts) = array[[2, 3]]::bigint[],
                         (select array_agg(array[user_id, blocked_id]) from blocks) = array[[3, 2]]::bigint[],
                         (select array_agg(sender_id order by id) from notifications) = array[1, 3]::bigint[],
                         (select count(*) from reactions where user_id = 1) = 1,
                         (select last_seen_at is null from users where id = 1),
                         (select last_seen_at is not null from users where id = 2)";
    let row = sqlx::query(select).fetch_one(&mut server.sql().await).await.expect("a row");
    assert_eq!((0..6).map(|nth| row.get::<bool, _>(nth)).collect::<Vec<_>>(), [true; 6]);

    for (kind, target, said) in [
        ("getlatestMessageDialog", json!({ "receiverId": 1 }), ["Hi", "It's me"].as_slice()),
        ("getlatestMessageGroup", json!({ "groupId": group }), &["And here"]),
    ] {
        let history = staying.call(kind, target).await;
        let last = rows(&history).last().expect("a row");
        assert_eq!(last["senderName"], "Deleted user", "{kind}");
        assert_eq!(rows(&history).iter().map(|row| &row["content"]).collect::<Vec<_>>(), said, "{kind}");
    }
    let export = with_token(&server, "GET", "/api/v1/users/me/export", &bob.token, Value::Null).await.ok(200);
    assert_eq!(export["notifications"][0]["userName"], "Deleted user");
    assert_eq!(admins(&server, group).await, [bob.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_of_users_who_know_each_other_works_at_once() {
    let server = TestServer::start().await;
    let users = server.create_users("U", 8).await;
    let mut socket = server.connect(&users[0]).await;
    let others: Vec<i64> = users[1..].iter().map(|user| user.id).collect();
    for _ in 0..3 {
        new_group(&mut socket, &others).await;
    }
    run(
        &server,
        "insert into contacts (user_id, contact_id) select a.id, b.id from users a join users b on a.id <> b.id",
    )
    .await;
    run(
        &server,
        "insert into blocks (user_id, blocked_id) select a.id, b.id from users a join users b on a.id <> b.id",
    )
    .await;
    futures_util::future::join_all(users.iter().map(|user| delete(&server, user))).await;
    let select =
        "select (select count(*) from contacts) + (select count(*) from blocks) + (select count(*) from members),
                         (select count(*) from conversations where ended_at is not null),
                         (select count(*) from group_events where kind = 'leaveGroup')";
    let row = sqlx::query(select).fetch_one(&mut server.sql().await).await.expect("a row");
    assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1), row.get::<i64, _>(2)), (0, 3, 24));
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_pushes_the_last_presence_to_contacts_once() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    ann_client.subscribe(&["presence"]).await;
    let bob = server.create_user("Bob").await;
    server.add_contact(&bob, &ann).await;
    let bob_client = server.connect(&bob).await;
    assert_eq!(ann_client.expect_push("onlineInfo").await["item"]["isOnline"], true);
    answer(server.http("DELETE", "/api/v1/users/me").bearer_auth(&bob.token)).await.no_content();
    let item = ann_client.expect_push("onlineInfo").await["item"].take();
    assert_eq!((&item["userId"], &item["isOnline"]), (&json!(bob.id), &json!(false)));
    assert_eq!(bob_client.wait_for_close().await.code, 4001);
    // The five seconds of grace pass for another user, and nothing more is pushed about Bob.
    let cleo = server.create_user("Cleo").await;
    server.add_contact(&cleo, &ann).await;
    let cleo_client = server.connect(&cleo).await;
    assert_eq!(ann_client.expect_push("onlineInfo").await["item"]["userId"], cleo.id);
    cleo_client.close().await;
    assert_eq!(ann_client.expect_push("onlineInfo").await["item"]["userId"], cleo.id);
}
