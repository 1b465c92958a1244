//! A history that is kept, one that is lost, and what has to hold afterwards.

use hark::store::Address;
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::support::{Client, TestServer, User, eventually};

/// More than a sequence runs ahead of what is on the disk.
const LOST_USERS: usize = 70;
/// Messages of the lost future, in each of two conversations.
const LOST_MESSAGES: usize = 30;

/// What there was when the state was taken that is put back.
pub struct Before {
    pub server: TestServer,
    pub ann: User,
    pub bob: User,
    pub cleo: User,
    pub group: i64,
    /// Bob's, from the beginning.
    pub early: Value,
}

/// What only the lost future has known.
pub struct Lost {
    pub users: Vec<User>,
    /// Bob's cursors.
    pub cursors: Vec<Value>,
    /// Sockets of who signed up, and of who did before.
    pub newcomer: Client,
    pub bob: Client,
}

impl Before {
    pub async fn on(database: Address) -> Self {
        let server = TestServer::on(database, |config| config.migrate = true).await;
        let (ann, mut ann_client) = server.client("Ann").await;
        let (bob, mut bob_client) = server.client("Bob").await;
        let cleo = server.user("Cleo").await;
        let group = ann_client.new_group(&[bob.id]).await;
        let early = cursor(&mut bob_client).await;
        ann_client.say(&json!({ "groupId": group }), "before").await;
        let last = ann_client.say(&json!({ "receiverId": bob.id }), "before").await;
        indexed(&server, last).await;
        Self { server, ann, bob, cleo, group, early }
    }

    /// What happens in the time that is lost.
    pub async fn go_on(&self) -> Lost {
        ready(&self.server).await;
        let server = &self.server;
        let users = server.users("Lost", LOST_USERS).await;
        let newcomer = server.connect(&users[0]).await;
        let (mut ann, mut bob) = (server.connect(&self.ann).await, server.connect(&self.bob).await);
        ann.done("addUserInGroup", json!({ "groupId": self.group, "userId": self.cleo.id })).await;
        let since = cursor(&mut bob).await;
        let mut last = 0;
        for nth in 0..LOST_MESSAGES {
            ann.say(&json!({ "groupId": self.group }), &format!("lost {nth}")).await;
            last = ann.say(&json!({ "receiverId": self.bob.id }), &format!("lost {nth}")).await;
        }
        indexed(server, last).await;
        let cursors = vec![cursor(&mut bob).await, amid_a_backlog(&mut bob, &since).await];
        // As the server does every so often: it knows how far the database was.
        server.server.app().db.look_at_history().await.expect("it is there");
        Lost { users, cursors, newcomer, bob }
    }

    /// What holds once the state is put back. Whether `early` is good depends on how that was done.
    pub async fn holds(&self, lost: Lost, early_is_good: bool) {
        let server = &self.server;
        assert_eq!(lost.newcomer.closed().await.code, 4001, "a session that is not there any more");
        assert_eq!(lost.bob.closed().await.code, 1001, "what was open may be another one's");
        ready(server).await;
        self.old_tokens_open_nothing(&lost.users).await;

        let (mut ann, mut bob, mut cleo) =
            (server.connect(&self.ann).await, server.connect(&self.bob).await, server.connect(&self.cleo).await);
        ann.done("removeUserFromGroup", json!({ "groupId": self.group, "userId": self.bob.id })).await;
        ann.say(&json!({ "groupId": self.group }), "for Ann alone").await;
        for client in [&mut bob, &mut cleo] {
            let told = client.told().await;
            assert!(told.iter().all(|push| push["type"] != "messageInGroup"), "not in the group: {told:?}");
        }

        let one = ann.say(&json!({ "receiverId": self.bob.id }), "needle one").await;
        indexed(server, one).await;
        let two = ann.say(&json!({ "receiverId": self.bob.id }), "needle two").await;
        indexed(server, two).await;
        let found = bob.done("searchMessages", json!({ "query": "needle" })).await;
        assert_eq!(contents(found["data"].as_array().expect("rows")), ["needle two", "needle one"]);

        // Past the numbers that the lost cursors know of: by these alone they would be of the past.
        let others = "do $$ begin for nth in 1..2000 loop perform pg_current_xact_id(); commit; end loop; end $$";
        sqlx::raw_sql(others).execute(&mut server.sql().await).await.expect("transactions that change nothing");
        for cursor in &lost.cursors {
            let reply = bob.done("sync", json!({ "cursor": cursor })).await;
            assert_eq!((&reply["item"]["complete"], &reply["data"]), (&json!(false), &json!([])), "{cursor}");
        }
        if early_is_good {
            let told = everything_since(&mut bob, &self.early).await;
            assert_eq!(
                told,
                ["before", "needle one", "needle two"],
                "all of it, and of the group no more than the end"
            );
        } else {
            let reply = bob.done("sync", json!({ "cursor": self.early })).await;
            assert_eq!(reply["item"]["complete"], false);
        }
    }

    /// Who signs up now gets numbers that somebody had before, and is not them.
    pub async fn old_tokens_open_nothing(&self, lost: &[User]) {
        let server = &self.server;
        let (victim, mut client) = server.client("Victim").await;
        let same = |user: &&User| (user.id, user.session) == (victim.id, victim.session);
        let thief = lost.iter().find(same).unwrap_or_else(|| panic!("{victim:?} has numbers of their own"));
        for (method, path) in
            [("GET", "/api/v1/users/me"), ("POST", "/api/v1/auth/refresh"), ("DELETE", "/api/v1/auth/logout")]
        {
            assert_eq!(server.as_user(&thief.token, method, path, Value::Null).await.status, 401, "{path}");
        }
        assert_eq!(client.refused("authenticate", json!({ "token": thief.token })).await, "unauthorized");
        let headers = [("authorization", format!("Bearer {}", thief.token))];
        assert!(Client::try_connect(server.server.address(), "/", &headers).await.is_err());
        // And of that the victim notices nothing.
        client.done("getUser", json!({})).await;
        assert_eq!(server.as_user(&victim.token, "GET", "/api/v1/users/me", Value::Null).await.status, 200);
    }
}

/// Where a client stands now.
pub async fn cursor(client: &mut Client) -> Value {
    client.done("sync", json!({})).await["item"]["cursor"].take()
}

/// The cursor after the first row of what was missed.
pub async fn amid_a_backlog(client: &mut Client, since: &Value) -> Value {
    let reply = client.done("sync", json!({ "cursor": since, "limit": 1 })).await;
    assert_eq!((&reply["item"]["more"], &reply["item"]["complete"]), (&json!(true), &json!(true)));
    reply["item"]["cursor"].clone()
}

/// What the messages say that were missed since a cursor, which is good.
pub async fn everything_since(client: &mut Client, since: &Value) -> Vec<String> {
    let mut told = Vec::new();
    let mut at = since.clone();
    loop {
        let reply = client.done("sync", json!({ "cursor": at, "limit": 2 })).await;
        assert_eq!(reply["item"]["complete"], true, "{at}");
        told.extend(contents(reply["data"].as_array().expect("rows")).into_iter().map(str::to_owned));
        at = reply["item"]["cursor"].clone();
        if reply["item"]["more"] == false {
            return told;
        }
    }
}

/// What the messages among the rows of a page say, of `sync` or of a search.
pub fn contents(rows: &[Value]) -> Vec<&str> {
    rows.iter().filter_map(|row| row["item"]["content"].as_str().or(row["content"].as_str())).collect()
}

/// Returns when the index of the search has come to a message.
async fn indexed(server: &TestServer, message: i64) {
    let mut sql = server.sql().await;
    eventually("the message is indexed", async || {
        let row = sqlx::query("select indexed_to from search_progress").fetch_one(&mut sql).await.expect("a row");
        row.get::<i64, _>(0) >= message
    })
    .await;
}

/// Returns when the server uses the database again.
pub async fn ready(server: &TestServer) {
    eventually("the server is ready", async || {
        server.as_user("none", "GET", "/readyz", Value::Null).await.status == 200
    })
    .await;
}
