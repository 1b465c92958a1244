//! The timeline that is kept, the one that is lost, and what must hold after a restore.

use hark::store::DatabaseTarget;
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::support::{Client, TestServer, User, eventually};

/// A sequence runs ahead of what is on the disk by less than this.
const LOST_USERS: usize = 70;
/// The number of messages of the lost timeline in each of two conversations.
const LOST_MESSAGES: usize = 30;

/// The state at the time of the backup.
pub struct Baseline {
    pub server: TestServer,
    pub ann: User,
    pub bob: User,
    pub cleo: User,
    pub group: i64,
    /// Bob's first cursor.
    pub early: Value,
}

/// What only the lost timeline has known.
pub struct LostTimeline {
    pub users: Vec<User>,
    /// Bob's cursors.
    pub cursors: Vec<Value>,
    /// Sockets of users who signed up in the lost timeline, and of those who did before.
    pub newcomer: Client,
    pub bob: Client,
}

impl Baseline {
    pub async fn on(database: DatabaseTarget) -> Self {
        let server = TestServer::on(database, |config| config.migrate = true).await;
        let (ann, mut ann_client) = server.connect_user("Ann").await;
        let (bob, mut bob_client) = server.connect_user("Bob").await;
        let cleo = server.create_user("Cleo").await;
        let group = ann_client.new_group(&[bob.id]).await;
        let early = cursor(&mut bob_client).await;
        ann_client.send_content(&json!({ "groupId": group }), "before").await;
        let last = ann_client.send_content(&json!({ "receiverId": bob.id }), "before").await;
        wait_until_indexed(&server, last).await;
        Self { server, ann, bob, cleo, group, early }
    }

    /// Makes the changes of the lost timeline.
    pub async fn make_lost_changes(&self) -> LostTimeline {
        wait_until_ready(&self.server).await;
        let server = &self.server;
        let users = server.create_users("Lost", LOST_USERS).await;
        let newcomer = server.connect(&users[0]).await;
        let (mut ann, mut bob) = (server.connect(&self.ann).await, server.connect(&self.bob).await);
        ann.call_ok("addUserInGroup", json!({ "groupId": self.group, "userId": self.cleo.id })).await;
        let since = cursor(&mut bob).await;
        let mut last = 0;
        for nth in 0..LOST_MESSAGES {
            ann.send_content(&json!({ "groupId": self.group }), &format!("lost {nth}")).await;
            last = ann.send_content(&json!({ "receiverId": self.bob.id }), &format!("lost {nth}")).await;
        }
        wait_until_indexed(server, last).await;
        let cursors = vec![cursor(&mut bob).await, cursor_amid_backlog(&mut bob, &since).await];
        // The server does this periodically: it notes how far the database was.
        server.server.app().db.verify_history().await.expect("it is there");
        LostTimeline { users, cursors, newcomer, bob }
    }

    /// Asserts what must hold after the restore. Whether `early` is valid depends on how the restore was
    /// done.
    pub async fn assert_restored(&self, lost: LostTimeline, early_is_good: bool) {
        let server = &self.server;
        assert_eq!(lost.newcomer.wait_for_close().await.code, 4001, "a session that is not there any more");
        assert_eq!(lost.bob.wait_for_close().await.code, 1001, "what was open may be another one's");
        wait_until_ready(server).await;
        self.assert_old_tokens_invalid(&lost.users).await;

        let (mut ann, mut bob, mut cleo) =
            (server.connect(&self.ann).await, server.connect(&self.bob).await, server.connect(&self.cleo).await);
        ann.call_ok("removeUserFromGroup", json!({ "groupId": self.group, "userId": self.bob.id })).await;
        ann.send_content(&json!({ "groupId": self.group }), "for Ann alone").await;
        for client in [&mut bob, &mut cleo] {
            let received = client.drain_pushes().await;
            assert!(received.iter().all(|push| push["type"] != "messageInGroup"), "not in the group: {received:?}");
        }

        let one = ann.send_content(&json!({ "receiverId": self.bob.id }), "needle one").await;
        wait_until_indexed(server, one).await;
        let two = ann.send_content(&json!({ "receiverId": self.bob.id }), "needle two").await;
        wait_until_indexed(server, two).await;
        let found = bob.call_ok("searchMessages", json!({ "query": "needle" })).await;
        assert_eq!(contents(found["data"].as_array().expect("rows")), ["needle two", "needle one"]);

        // The transaction ids move past those in the lost cursors: by these alone the cursors would seem to
        // be of the past.
        let others = "do $$ begin for nth in 1..2000 loop perform pg_current_xact_id(); commit; end loop; end $$";
        sqlx::raw_sql(others).execute(&mut server.sql().await).await.expect("transactions that change nothing");
        for cursor in &lost.cursors {
            let reply = bob.call_ok("sync", json!({ "cursor": cursor })).await;
            assert_eq!((&reply["item"]["complete"], &reply["data"]), (&json!(false), &json!([])), "{cursor}");
        }
        if early_is_good {
            let received = contents_since(&mut bob, &self.early).await;
            assert_eq!(
                received,
                ["before", "needle one", "needle two"],
                "all of it, and of the group no more than the end"
            );
        } else {
            let reply = bob.call_ok("sync", json!({ "cursor": self.early })).await;
            assert_eq!(reply["item"]["complete"], false);
        }
    }

    /// Asserts that users who sign up now, with ids that were given before, are not taken for the previous
    /// users.
    pub async fn assert_old_tokens_invalid(&self, lost: &[User]) {
        let server = &self.server;
        let (victim, mut client) = server.connect_user("Victim").await;
        let same = |user: &&User| (user.id, user.session) == (victim.id, victim.session);
        let thief = lost.iter().find(same).unwrap_or_else(|| panic!("{victim:?} has numbers of their own"));
        for (method, path) in
            [("GET", "/api/v1/users/me"), ("POST", "/api/v1/auth/refresh"), ("DELETE", "/api/v1/auth/logout")]
        {
            assert_eq!(server.as_user(&thief.token, method, path, Value::Null).await.status, 401, "{path}");
        }
        assert_eq!(client.call_refused("authenticate", json!({ "token": thief.token })).await, "unauthorized");
        let headers = [("authorization", format!("Bearer {}", thief.token))];
        assert!(Client::try_connect(server.server.address(), "/", &headers).await.is_err());
        // The user whose id it was notices nothing.
        client.call_ok("getUser", json!({})).await;
        assert_eq!(server.as_user(&victim.token, "GET", "/api/v1/users/me", Value::Null).await.status, 200);
    }
}

/// Returns the current cursor of a client.
pub async fn cursor(client: &mut Client) -> Value {
    client.call_ok("sync", json!({})).await["item"]["cursor"].take()
}

/// Returns the cursor after the first row of a backlog.
pub async fn cursor_amid_backlog(client: &mut Client, since: &Value) -> Value {
    let reply = client.call_ok("sync", json!({ "cursor": since, "limit": 1 })).await;
    assert_eq!((&reply["item"]["more"], &reply["item"]["complete"]), (&json!(true), &json!(true)));
    reply["item"]["cursor"].clone()
}

/// Returns the contents of the messages since a cursor, which is valid.
pub async fn contents_since(client: &mut Client, since: &Value) -> Vec<String> {
    let mut received = Vec::new();
    let mut at = since.clone();
    loop {
        let reply = client.call_ok("sync", json!({ "cursor": at, "limit": 2 })).await;
        assert_eq!(reply["item"]["complete"], true, "{at}");
        received.extend(contents(reply["data"].as_array().expect("rows")).into_iter().map(str::to_owned));
        at = reply["item"]["cursor"].clone();
        if reply["item"]["more"] == false {
            return received;
        }
    }
}

/// Returns the contents of the messages among the rows of a page, of `sync` or of a search.
pub fn contents(rows: &[Value]) -> Vec<&str> {
    rows.iter().filter_map(|row| row["item"]["content"].as_str().or(row["content"].as_str())).collect()
}

/// Returns when a message is in the search index.
async fn wait_until_indexed(server: &TestServer, message: i64) {
    let mut sql = server.sql().await;
    eventually("the message is indexed", async || {
        let row = sqlx::query("select indexed_to from search_progress").fetch_one(&mut sql).await.expect("a row");
        row.get::<i64, _>(0) >= message
    })
    .await;
}

/// Returns when the server uses the database again.
pub async fn wait_until_ready(server: &TestServer) {
    eventually("the server is ready", async || {
        server.as_user("none", "GET", "/readyz", Value::Null).await.status == 200
    })
    .await;
}
