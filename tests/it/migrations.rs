//! A database that was in use before the migrations of 2026-11-21: what is in it is read right afterwards.

use hark::store::Address;
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::support::{Client, TestServer, User, answer, database, eventually};

/// The last migration of before.
const BEFORE: i64 = 20_261_120_000_012;

const ANN: i64 = 1;
const BOB: i64 = 2;
const CLEO: i64 = 3;
const DAN: i64 = 4;
/// Cyrillic, beside Ann's Latin letters.
const LOOKS_LIKE_ANN: &str = "аnn";

/// What a server of before left behind. Dan has left the group before it got its last name; Eve has deleted
/// her account, and a contact was added at the same moment. The index claims more than there is, as after a
/// standby has taken over.
const ROWS: &str = "
    insert into users (email, username, first_name, password_hash) values
        (null, 'Ann', 'Ann', 'none'), ('bob@example.org', 'bob', null, 'none'),
        ('Cleo@example.org', null, null, 'none'), (null, 'аnn', null, 'none');
    insert into users (deleted_at) values (now());
    insert into contacts (user_id, contact_id) values (1, 2), (1, 5);
    insert into sessions (user_id, expires_at, user_agent) values (1, now() + interval '1 day', 'old phone');

    insert into conversations (kind, name, change) values ('group', 'Now', current_change());
    insert into members (conversation_id, user_id, kind, is_admin) values
        (1, 1, 'group', true), (1, 2, 'group', false), (1, 3, 'group', false);
    insert into group_events (conversation_id, change, kind, user_id) values
        (1, current_change(), 'addUserInGroup', 4), (1, current_change(), 'leaveGroup', 4),
        (1, current_change(), 'renameGroup', null), (1, current_change(), 'addUserInGroup', 3);

    select write_messages('{1}', '{2}', '{null}', '{null}', '{1}', '{1}', '{2}', '{needle one}', '{a}', '{null}');
    select write_messages('{1,null}', '{2,null}', '{null,1}', '{null,null}', '{1,1,1,2,2}', '{1,1,2,1,2}',
        '{2,2,1,null,null}', '{two,three,four,needle five,six}', '{b,c,d,e,f}', '{null,1,null,null,null}');
    update members set read_seq = 1, delivered_seq = 2 where conversation_id <> 1 and user_id = 2;
    insert into message_words
        select m.id, format('''needle'' ''one'' ''#%s'' ''@1'' ''@2'' ''~0''', m.conversation_id)::tsvector
        from messages m where m.content = 'needle one';
    update search_progress set indexed_to = 1000000;

    insert into notifications (user_id, sender_id, kind, data, read_at) values
        (2, 1, 'first', null, '2026-11-20 12:00:00Z'), (2, 1, 'second', '{\"nth\": 2}', null), (2, 3, 'third', null, null);
";

/// A database with these rows, and a cursor of Bob's from before them.
async fn used_before() -> (Address, String) {
    let database = database::create_empty().await;
    let mut sql = database::connect(&database).await;
    hark::MIGRATOR.run_to(BEFORE, &mut sql).await.expect("the migrations of before apply");
    let cursor = "select generation || '.' || pg_current_snapshot() from change_clock";
    let cursor = sqlx::query_scalar(cursor).fetch_one(&mut sql).await.expect("a cursor");
    sqlx::raw_sql(ROWS).execute(&mut sql).await.expect("the rows of before");
    (database, cursor)
}

async fn signed_in(server: &TestServer, id: i64) -> (User, Client) {
    let (token, session) = server.sign_in(id, server.server.app().tokens.expiry()).await;
    let user = User { id, name: String::new(), token, session };
    let client = server.connect(&user).await;
    (user, client)
}

fn column<'a>(reply: &'a Value, of: &str) -> Vec<&'a Value> {
    reply["data"].as_array().expect("rows").iter().map(|row| &row[of]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_keep_what_was_there_before_them() {
    let (database, old_cursor) = used_before().await;
    let server = TestServer::on(database, |config| config.migrate = true).await;
    let (_, mut ann) = signed_in(&server, ANN).await;
    let (_, mut bob) = signed_in(&server, BOB).await;
    let (_, mut cleo) = signed_in(&server, CLEO).await;

    let mut chats = bob.done("listConversations", json!({})).await["data"].take();
    let chats = chats.as_array_mut().expect("rows");
    chats.sort_by_key(|row| row["groupId"].as_i64());
    assert_eq!(chats.len(), 2, "{chats:?}");
    assert_eq!((&chats[0]["unreadCount"], &chats[0]["readSeq"]), (&json!(2), &json!(1)), "{}", chats[0]);
    assert_eq!((&chats[1]["groupName"], &chats[1]["unreadCount"]), (&json!("Now"), &json!(1)), "{}", chats[1]);
    let history = bob.done("getlatestMessageDialog", json!({ "receiverId": ANN })).await;
    assert_eq!(column(&history, "content"), ["four", "three", "two", "needle one"]);
    assert_eq!(history["data"][1]["replyTo"]["content"], "needle one");
    let members = cleo.done("listGroupUsers", json!({ "groupId": 1 })).await;
    assert_eq!(column(&members, "isAdmin"), [true, false, false], "{members}");

    // The index goes on where it really was, not where it said.
    let found = bob.done("searchMessages", json!({ "query": "needle" })).await;
    assert_eq!(column(&found, "content"), ["needle five", "needle one"]);
    let new = ann.say(&json!({ "receiverId": BOB }), "needle seven").await;
    let mut sql = server.sql().await;
    eventually("the index has come to the new message", async || {
        let row = sqlx::query("select indexed_to from search_progress").fetch_one(&mut sql).await.expect("a row");
        row.get::<i64, _>(0) >= new
    })
    .await;
    let found = bob.done("searchMessages", json!({ "query": "needle" })).await;
    assert_eq!(column(&found, "content"), ["needle seven", "needle five", "needle one"]);
    bob.forget().await;

    // A cursor of before proves nothing, one of now does.
    let nothing = bob.done("sync", json!({ "cursor": old_cursor })).await;
    assert_eq!((&nothing["item"]["complete"], &nothing["data"]), (&json!(false), &json!([])));
    ann.done("addUserInGroup", json!({ "groupId": 1, "userId": DAN })).await;
    let told = bob.done("sync", json!({ "cursor": nothing["item"]["cursor"] })).await;
    assert_eq!(told["item"]["complete"], true);
    assert_eq!(column(&told, "type"), ["addUserInGroup"], "{told}");
    // Of a group that was renamed since, nobody reads in an old event what it is called now.
    let names = "select string_agg(group_name, ',' order by id) from group_events where id <= 4";
    let names: String = sqlx::query_scalar(names).fetch_one(&mut sql).await.expect("names");
    assert_eq!(names, ",,Now,Now");

    // Nothing refers to the deleted account but what stays.
    eventually("the deleted account is on no list", async || {
        let left: Vec<i64> =
            sqlx::query_scalar("select contact_id from contacts").fetch_all(&mut sql).await.expect("rows");
        left == [BOB]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_keep_notifications_read_and_unread() {
    let (database, _) = used_before().await;
    let server = TestServer::on(database, |config| config.migrate = true).await;
    let (_, mut bob) = signed_in(&server, BOB).await;
    let list = bob.done("listNotifications", json!({})).await;
    assert_eq!(column(&list, "kind"), ["third", "second", "first"]);
    assert_eq!(column(&list, "readAt"), [&Value::Null, &Value::Null, &json!("2026-11-20T12:00:00.000Z")]);
    assert_eq!(list["data"][1]["data"], json!({ "nth": 2 }));
    bob.done("readNotifications", json!({})).await;
    let list = bob.done("listNotifications", json!({})).await;
    assert_eq!(list["data"][2]["readAt"], "2026-11-20T12:00:00.000Z", "when it was read first");
    assert!(column(&list, "readAt").iter().all(|at| at.is_string()), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_keep_accounts_and_usernames() {
    let (database, _) = used_before().await;
    let server = TestServer::on(database, |config| config.migrate = true).await;
    let (ann, _) = signed_in(&server, ANN).await;
    for (id, username, email) in [
        (ANN, json!("Ann"), Value::Null),
        (BOB, json!("bob"), json!("bob@example.org")),
        (CLEO, Value::Null, json!("Cleo@example.org")),
        (DAN, json!(LOOKS_LIKE_ANN), Value::Null),
    ] {
        let (user, _) = signed_in(&server, id).await;
        let me = server.as_user(&user.token, "GET", "/api/v1/users/me", Value::Null).await.ok(200);
        assert_eq!((&me["username"], &me["email"]), (&username, &email), "{me}");
    }
    let taken = [json!({ "username": "ANN" }), json!({ "username": "BOB" }), json!({ "email": "cleo@EXAMPLE.org" })];
    for mut account in taken {
        account["password"] = json!("correct horse");
        answer(server.http("POST", "/api/v1/auth/sign-up").json(&account)).await.refused(409, "conflict");
    }
    // A session of before is on the list, and has a nonce that no token of before names.
    let sessions = server.as_user(&ann.token, "GET", "/api/v1/auth/sessions", Value::Null).await.ok(200);
    assert!(sessions.to_string().contains("old phone"), "{sessions}");
    let nonces = "select count(distinct nonce) = count(*) and min(abs(nonce)) > 1000 from sessions";
    assert!(sqlx::query_scalar::<_, bool>(nonces).fetch_one(&mut server.sql().await).await.expect("nonces"));
}
