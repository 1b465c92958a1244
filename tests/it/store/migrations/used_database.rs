//! The harness of the tests of migrations: a database that was in use when a migration comes. The schema is
//! built one migration at a time, and after each the rows are inserted that its tables make possible, so that
//! every later migration runs on a database with rows in it.

use hark::store::DatabaseTarget;
use serde_json::{Value, json};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, PgConnection};

use super::BASELINE;
use crate::support::{Client, TestServer, User, answer, database, eventually};

pub const ANN: i64 = 1;
pub const BOB: i64 = 2;
pub const CLEO: i64 = 3;
/// Has left the group before it got its last name. His username is Ann's with a Cyrillic letter.
pub const DAN: i64 = 4;
/// Has deleted her account, and the portions of the deletion are still to come.
pub const EVE: i64 = 5;
/// The group of Ann, Bob and Cleo.
pub const GROUP: i64 = 1;

/// The rows that are possible once a migration is there. A later migration that makes new rows possible gets an
/// entry of its own; what the entries insert stays in the form of its time, so none is changed for a later one.
const ROWS: [(i64, &str); 6] = [
    (
        20_261_122_000_002,
        "insert into users (email, username, username_key, username_skeleton, first_name, password_hash) values
             (null, 'Ann', 'ann', 'Ann', 'Ann', 'none'), ('bob@example.org', 'bob', 'bob', 'bob', null, 'none'),
             ('Cleo@example.org', null, null, null, null, 'none'), (null, '\u{430}nn', ' \u{430}nn', null, null, 'none');
         insert into users (deleted_at) values (now());
         insert into account_deletions (user_id) values (5);
         insert into sessions (user_id, expires_at, user_agent) values (1, now() + interval '1 day', 'old phone');",
    ),
    (
        20_261_122_000_003,
        "insert into contacts (user_id, contact_id) values (1, 2), (1, 5);
         insert into blocks (user_id, blocked_id) values (3, 4);
         insert into notifications (user_id, sender_id, kind, data, read_at) values
             (2, 1, 'first', null, '2026-11-20 12:00:00Z'), (2, 3, 'second', null, null);
         insert into notification_reads (user_id, up_to, read_at) values (2, 2, '2026-11-21 12:00:00Z');
         insert into notifications (user_id, sender_id, kind, data) values
             (2, 1, 'third', '{\"nth\": 3}'), (2, 3, 'fourth', null);",
    ),
    (
        20_261_122_000_004,
        "insert into conversations (kind, name) values ('group', 'Now');
         insert into members (conversation_id, user_id, kind, is_admin, added_by) values
             (1, 1, 'group', true, 1), (1, 2, 'group', false, 1), (1, 3, 'group', false, 1);",
    ),
    (
        // As write_messages stores them, which needs the clock of `sync`.
        20_261_122_000_005,
        "insert into conversations (kind, low_user_id, high_user_id, last_seq, low_sent, last_message_at)
             values ('dialog', 1, 3, 2, 1, now()), ('dialog', 1, 4, 2, 0, now());
         insert into members (conversation_id, user_id, kind, peer_id, own_read, read_seq, read_at) values
             (2, 1, 'dialog', 3, 1, 2, now()), (2, 3, 'dialog', 1, 0, 1, now());
         insert into members (conversation_id, user_id, kind, peer_id, is_spam, cleared_seq, own_cleared) values
             (3, 1, 'dialog', 4, true, 0, 0), (3, 4, 'dialog', 1, false, 1, 1);
         insert into messages (id, conversation_id, seq, sender_id, content, created_at, updated_at)
             select nextval('message_ids'), m.conversation, m.seq, m.sender, m.content, now(), now()
             from (values (2, 1, 1, 'from Ann'), (2, 2, 3, 'from Cleo'), (3, 1, 4, 'of Dan'), (3, 2, 4, 'of Dan too'))
                 m (conversation, seq, sender, content) order by m.conversation, m.seq;
         insert into reactions (message_id, user_id, reaction) values (2, 1, '+1');",
    ),
    (
        20_261_122_000_006,
        "insert into group_events (conversation_id, change, kind, user_id, group_name) values
             (1, current_change(), 'addUserInGroup', 4, 'Then'), (1, current_change(), 'leaveGroup', 4, 'Then');
         select write_messages('{1}', '{2}', '{null}', '{null}', '{1}', '{1}', '{2}', '{needle one}', '{a}', '{null}');",
    ),
    (
        20_261_122_000_007,
        "insert into message_words
             select m.id, format('''needle'' ''one'' ''#%s'' ''@1'' ''@2'' ''~0''', m.conversation_id)::tsvector
             from messages m where m.content = 'needle one';
         update search_progress set indexed_to = 5;",
    ),
];

/// The migration that makes `sync`: Bob's cursor is of right after its rows.
const SYNC: i64 = 20_261_122_000_006;

/// What has happened since Bob's cursor was handed out.
const SINCE_CURSOR: &str = "
    select write_messages('{1,null}', '{2,null}', '{null,1}', '{null,null}', '{1,1,1,2,2}', '{1,1,2,1,2}',
        '{2,2,1,null,null}', '{two,three,four,needle five,six}', '{b,c,d,e,f}', '{null,5,null,null,null}');
    insert into group_events (conversation_id, change, kind, user_id, group_name) values
        (1, current_change(), 'renameGroup', null, 'Now'), (1, current_change(), 'addUserInGroup', 3, 'Now');
    insert into reactions (message_id, user_id, reaction) values (5, 1, '+1');
    insert into message_changes (conversation_id, seq, kind, change) values (4, 1, 'reactToMessage', current_change());
    update members set read_seq = 1, read_at = now(), delivered_seq = 2, delivered_at = now(), change = current_change()
        where conversation_id = 4 and user_id = 2;
";

/// What `sync` has for Bob since his cursor.
const MISSED: [&str; 10] = [
    "renameGroup",
    "addUserInGroup",
    "messageInGroup",
    "messageInGroup",
    "privateMessage",
    "privateMessage",
    "privateMessage",
    "reactToMessage",
    "readMessages",
    "deliveredMessages",
];

/// A database with rows in it.
pub struct UsedDatabase {
    pub address: DatabaseTarget,
    /// Where Bob's phone stood; empty before there is `sync`.
    cursor: String,
}

impl UsedDatabase {
    /// A database as servers of before this migration have left it.
    pub async fn before(version: i64) -> Self {
        let mut database = Self { address: database::create_empty().await, cursor: String::new() };
        database.upgrade_to(&hark::MIGRATOR, version - 1).await;
        database
    }

    /// A database as servers with the baseline have left it.
    pub async fn at_baseline() -> Self {
        Self::before(BASELINE + 1).await
    }

    /// Applies the migrations that are missing, one at a time, and inserts the rows that each makes possible.
    pub async fn upgrade(&mut self, migrator: &Migrator) {
        self.upgrade_to(migrator, i64::MAX).await;
    }

    async fn upgrade_to(&mut self, migrator: &Migrator, last: i64) {
        let mut sql = self.sql().await;
        // The first migration creates the table.
        let applied = sqlx::query_scalar("select version from _sqlx_migrations").fetch_all(&mut sql).await;
        let applied: Vec<i64> = applied.unwrap_or_default();
        for migration in migrator.iter().filter(|migration| migration.version <= last) {
            if applied.contains(&migration.version) {
                continue;
            }
            let done = migrator.run_to(migration.version, &mut sql).await;
            done.unwrap_or_else(|error| panic!("{} applies: {error}", migration.description));
            for (_, rows) in ROWS.iter().filter(|(version, _)| *version == migration.version) {
                run(&mut sql, rows).await;
            }
            if migration.version == SYNC {
                self.draw_cursor(&mut sql).await;
            }
        }
    }

    /// Draws an epoch as a server does, hands Bob a cursor, and goes on.
    async fn draw_cursor(&mut self, sql: &mut PgConnection) {
        run(sql, "select sync_change_clock()").await;
        let epoch = "insert into change_epochs (clock_id, timeline)
                     select c.clock_id, i.timeline from change_clock c, database_incarnation() i";
        run(sql, epoch).await;
        run(sql, "update change_epochs set start_xid = pg_snapshot_xmax(pg_current_snapshot())::text::bigint").await;
        run(sql, "insert into epochs_since_recovery select epoch from change_epochs").await;
        let cursor = "select epoch || '.' || pg_current_snapshot() from change_epochs";
        self.cursor = sqlx::query_scalar(cursor).fetch_one(&mut *sql).await.expect("a cursor");
        run(sql, SINCE_CURSOR).await;
    }

    /// A connection, for what a test looks at itself.
    pub async fn sql(&self) -> PgConnection {
        database::connect(&self.address).await
    }

    /// A server of this build, which applies the migrations that are missing.
    pub async fn serve(&self) -> TestServer {
        TestServer::on(self.address.clone(), |config| config.migrate = true).await
    }

    /// A server of this build on a schema that another program has brought up to date, perhaps to a later one.
    pub async fn serve_as_it_is(&self) -> TestServer {
        TestServer::on(self.address.clone(), |config| config.migrate = false).await
    }

    /// Checks that clients find everything as it was.
    pub async fn assert_kept(&self, server: &TestServer) {
        self.assert_conversations_kept(server).await;
        assert_notifications_kept(server).await;
        assert_accounts_kept(server).await;
    }

    /// Checks chat list, history, members, search and `sync`, and that all of them go on.
    pub async fn assert_conversations_kept(&self, server: &TestServer) {
        let (_, mut ann) = sign_in(server, ANN).await;
        let (_, mut bob) = sign_in(server, BOB).await;
        let (_, mut cleo) = sign_in(server, CLEO).await;
        let (_, mut dan) = sign_in(server, DAN).await;

        let missed = bob.call_ok("sync", json!({ "cursor": self.cursor })).await;
        assert_eq!(missed["item"]["complete"], true, "{missed}");
        assert_eq!(column(&missed, "type"), MISSED, "{missed}");

        let mut chats = bob.call_ok("listConversations", json!({})).await["data"].take();
        let chats = chats.as_array_mut().expect("rows");
        chats.sort_by_key(|row| row["groupId"].as_i64());
        assert_eq!(chats.len(), 2, "{chats:?}");
        assert_eq!((&chats[0]["unreadCount"], &chats[0]["readSeq"]), (&json!(2), &json!(1)), "{}", chats[0]);
        assert_eq!((&chats[1]["groupName"], &chats[1]["unreadCount"]), (&json!("Now"), &json!(1)), "{}", chats[1]);
        let history = bob.call_ok("getlatestMessageDialog", json!({ "receiverId": ANN })).await;
        assert_eq!(column(&history, "content"), ["four", "three", "two", "needle one"]);
        assert_eq!(history["data"][1]["replyTo"]["content"], "needle one");
        assert_eq!(history["data"][3]["reactions"][0]["userId"], ANN, "{history}");
        let history = cleo.call_ok("getlatestMessageDialog", json!({ "receiverId": ANN })).await;
        assert_eq!(column(&history, "content"), ["from Cleo", "from Ann"]);
        let chats = cleo.call_ok("listConversations", json!({ "filter": "unread" })).await;
        assert_eq!(column(&chats, "unreadCount"), [2], "the group and not the dialog, whose news are her own: {chats}");
        // Ann has read what Cleo wrote, and called spam what Dan wrote, who has cleared the first of it.
        let chats = ann.call_ok("listConversations", json!({})).await;
        let mut unread: Vec<Option<i64>> = column(&chats, "unreadCount").iter().map(|count| count.as_i64()).collect();
        unread.sort_unstable();
        assert_eq!(unread, [Some(0), Some(1), Some(1)], "{chats}");
        let spam = ann.call_ok("listConversations", json!({ "filter": "spam" })).await;
        assert_eq!(column(&spam, "unreadCount"), [2], "{spam}");
        let history = dan.call_ok("getlatestMessageDialog", json!({ "receiverId": ANN })).await;
        assert_eq!(column(&history, "content"), ["of Dan too"]);
        let members = cleo.call_ok("listGroupUsers", json!({ "groupId": GROUP })).await;
        assert_eq!(column(&members, "isAdmin"), [true, false, false], "{members}");

        let found = bob.call_ok("searchMessages", json!({ "query": "needle" })).await;
        assert_eq!(column(&found, "content"), ["needle five", "needle one"]);
        let new = ann.send_content(&json!({ "receiverId": BOB }), "needle seven").await;
        let mut sql = server.sql().await;
        eventually("the index has come to the new message", async || {
            let indexed_to = sqlx::query_scalar("select indexed_to from search_progress").fetch_one(&mut sql).await;
            indexed_to.is_ok_and(|indexed_to: i64| indexed_to >= new)
        })
        .await;
        let found = bob.call_ok("searchMessages", json!({ "query": "needle" })).await;
        assert_eq!(column(&found, "content"), ["needle seven", "needle five", "needle one"]);
        let repeat = json!({ "receiverId": BOB, "content": "two", "clientMessageId": "b" });
        assert_eq!(
            ann.call_ok("privateMessage", repeat).await["item"]["messageId"],
            6,
            "the key of a send is known for good"
        );
        bob.discard_pushes().await;

        let now = bob.call_ok("sync", json!({})).await;
        ann.call_ok("addUserInGroup", json!({ "groupId": GROUP, "userId": DAN })).await;
        let missed = bob.call_ok("sync", json!({ "cursor": now["item"]["cursor"] })).await;
        assert_eq!(column(&missed, "type"), ["addUserInGroup"], "{missed}");
        // Nobody reads in an old event what the group is called now.
        let names = "select string_agg(group_name, ',' order by id) from group_events where id <= 4";
        let names: String = sqlx::query_scalar(names).fetch_one(&mut sql).await.expect("names");
        assert_eq!(names, "Then,Then,Now,Now");

        // The deletion of Eve's account goes on.
        eventually("the deleted account is on no list", async || {
            let left: Vec<i64> =
                sqlx::query_scalar("select contact_id from contacts").fetch_all(&mut sql).await.expect("rows");
            left == [BOB]
        })
        .await;
    }
}

/// Checks that notifications are read or unread as they were, and can be read.
pub async fn assert_notifications_kept(server: &TestServer) {
    let (_, mut bob) = sign_in(server, BOB).await;
    let list = bob.call_ok("listNotifications", json!({})).await;
    assert_eq!(column(&list, "kind"), ["fourth", "third", "second", "first"]);
    let (by_itself, with_all) = (json!("2026-11-20T12:00:00.000Z"), json!("2026-11-21T12:00:00.000Z"));
    assert_eq!(column(&list, "readAt"), [&Value::Null, &Value::Null, &with_all, &by_itself]);
    assert_eq!(list["data"][1]["data"], json!({ "nth": 3 }));
    bob.call_ok("readNotifications", json!({})).await;
    let list = bob.call_ok("listNotifications", json!({})).await;
    assert_eq!(column(&list, "readAt")[2..], [&with_all, &by_itself], "when they were read first");
    assert!(column(&list, "readAt").iter().all(|at| at.is_string()), "{list}");
}

/// Checks that accounts have their names and addresses, and that sessions go on.
pub async fn assert_accounts_kept(server: &TestServer) {
    let (ann, _) = sign_in(server, ANN).await;
    for (id, username, email) in [
        (ANN, json!("Ann"), Value::Null),
        (BOB, json!("bob"), json!("bob@example.org")),
        (CLEO, Value::Null, json!("Cleo@example.org")),
        (DAN, json!("\u{430}nn"), Value::Null),
    ] {
        let (user, _) = sign_in(server, id).await;
        let me = server.as_user(&user.token, "GET", "/api/v1/users/me", Value::Null).await.ok(200);
        assert_eq!((&me["username"], &me["email"]), (&username, &email), "{me}");
    }
    let taken = [json!({ "username": "ANN" }), json!({ "username": "BOB" }), json!({ "email": "cleo@EXAMPLE.org" })];
    for mut account in taken {
        account["password"] = json!("correct horse");
        answer(server.http("POST", "/api/v1/auth/sign-up").json(&account)).await.refused(409, "conflict");
    }
    let mut sql = server.sql().await;
    let deleted: String = sqlx::query_scalar("select name from users where id = $1")
        .bind(EVE)
        .fetch_one(&mut sql)
        .await
        .expect("her row");
    assert_eq!(deleted, "Deleted user");
    // A session of before is on the list, and its nonce is no number that could be guessed.
    let sessions = server.as_user(&ann.token, "GET", "/api/v1/auth/sessions", Value::Null).await.ok(200);
    assert!(sessions.to_string().contains("old phone"), "{sessions}");
    let nonces = "select count(distinct nonce) = count(*) and min(abs(nonce)) > 1000 from sessions";
    assert!(sqlx::query_scalar::<_, bool>(nonces).fetch_one(&mut sql).await.expect("nonces"));
}

async fn sign_in(server: &TestServer, id: i64) -> (User, Client) {
    let (token, session) = server.sign_in(id, server.server.app().tokens.expiry()).await;
    let user = User { id, name: String::new(), token, session };
    let client = server.connect(&user).await;
    (user, client)
}

/// One key of all rows of a reply.
fn column<'a>(reply: &'a Value, key: &str) -> Vec<&'a Value> {
    reply["data"].as_array().expect("rows").iter().map(|row| &row[key]).collect()
}

async fn run(sql: &mut PgConnection, statements: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(statements)).execute(sql).await;
    done.unwrap_or_else(|error| panic!("{statements}: {error}"));
}
