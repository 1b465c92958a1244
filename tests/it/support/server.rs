//! A server as production starts it, on a free port.

use std::net::SocketAddr;

use clap::Parser;
use hark::config::{Cli, Config, Secret};
use hark::model::{SessionKey, UserId};
use hark::server::{Server, listen};
use hark::store::DatabaseTarget;
use hark::store::users::{self, NewUser, sessions};

use super::{Client, Process, database};

const SECRET: &str = "a secret for tests, 32 bytes long";

/// A running server and its database.
pub struct TestServer {
    pub server: Server,
    pub database: DatabaseTarget,
}

/// A user with a session.
#[derive(Clone, Debug)]
pub struct User {
    pub id: i64,
    pub name: String,
    pub token: String,
    pub session: i64,
}

impl TestServer {
    /// Starts a server with the default settings, but without rate limits: all tests come from one address.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a server with other settings.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(database::create().await, change).await
    }

    /// Starts two nodes at once on a database without a schema.
    pub async fn start_two_on_an_empty_database() -> (Self, Self) {
        let database = database::create_empty().await;
        let start = || Self::on(database.clone(), |config| config.migrate = true);
        tokio::join!(start(), start())
    }

    /// Starts a second node on the same database.
    pub async fn second_node(&self) -> Self {
        Self::on(self.database.clone(), |_| {}).await
    }

    /// Starts a node in a process of its own, on the same database.
    pub async fn start_process(&self) -> Process {
        Process::on(&database::url(&self.database), SECRET).await
    }

    /// Stops the server, and starts another one on the same database.
    pub async fn restarted(self) -> Self {
        self.server.stop().await;
        Self::on(self.database, |_| {}).await
    }

    /// Starts a server on this database, whose schema is that of the template unless the settings say
    /// otherwise.
    pub async fn on(database: DatabaseTarget, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Cli::parse_from(["hark"]).config;
        config.database_connections = 4;
        config.migrate = false;
        config.limits.requests_per_second = 0;
        config.limits.sign_ups_per_minute = 0;
        config.limits.logins_per_minute = 0;
        change(&mut config);
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let server =
            Server::start(config, &database, &Secret::from(SECRET), listener).await.expect("the server starts");
        Self { server, database }
    }

    /// Returns the URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    /// Creates a user with this first name and a session, directly in the database: a password hash takes
    /// 25 ms.
    pub async fn create_user(&self, first_name: &str) -> User {
        let app = self.server.app();
        let new = NewUser {
            email: None,
            username: Some(username(first_name)),
            first_name: Some(first_name.to_owned()),
            last_name: None,
            password_hash: "none".to_owned(),
        };
        let user = users::create(&app.db, &new).await.expect("the user is new");
        let (token, session) = self.sign_in(user.id.0, app.tokens.expiry()).await;
        User { id: user.id.0, name: first_name.to_owned(), token, session }
    }

    /// Opens another session of a user, and returns its token, which expires at `exp`, and its id.
    pub async fn sign_in(&self, user: i64, exp: i64) -> (String, i64) {
        let app = self.server.app();
        let ends = chrono::DateTime::from_timestamp(exp, 0).expect("a moment");
        let hash = users::password_hash(&app.db, UserId(user)).await.expect("an answer").expect("a hash");
        let opened = sessions::open(&app.db, UserId(user), &hash, ends, &sessions::ClientInfo::default()).await;
        let session = opened.expect("an answer").expect("a session");
        let token = app.tokens.sign(UserId(user), None, None, session, exp).expect("a token");
        (token, session.id.0)
    }

    /// Returns the session of a token.
    pub fn session_of(&self, token: &str) -> SessionKey {
        self.server.app().tokens.read(token).expect("a good token").session()
    }

    /// Creates users named `{prefix}0`, `{prefix}1` …
    pub async fn create_users(&self, prefix: &str, number: usize) -> Vec<User> {
        let mut users = Vec::with_capacity(number);
        for nth in 0..number {
            users.push(self.create_user(&format!("{prefix}{nth}")).await);
        }
        users
    }

    /// Opens an authorized socket of a user.
    pub async fn connect(&self, user: &User) -> Client {
        Client::connect(self.server.address(), &user.token).await
    }

    /// Creates a user and opens a socket.
    pub async fn connect_user(&self, first_name: &str) -> (User, Client) {
        let user = self.create_user(first_name).await;
        let client = self.connect(&user).await;
        (user, client)
    }

    /// Inserts a block of one user by another.
    pub async fn block(&self, user: &User, blocked: &User) {
        let block = sqlx::query("insert into blocks (user_id, blocked_id) values ($1, $2)");
        let done = block.bind(user.id).bind(blocked.id).execute(&mut self.sql().await).await;
        done.expect("the block is new");
    }

    /// Inserts a contact of a user.
    pub async fn add_contact(&self, user: &User, contact: &User) {
        let contacts = sqlx::query("insert into contacts (user_id, contact_id) values ($1, $2)");
        let done = contacts.bind(user.id).bind(contact.id).execute(&mut self.sql().await).await;
        done.expect("the contact is new");
    }

    /// Forbids or allows new connections to the database; existing ones stay.
    pub async fn allow_connections(&self, allowed: bool) {
        database::allow_connections(&self.database, allowed).await;
    }

    /// Opens another connection, which can listen.
    pub async fn pool(&self) -> sqlx::PgPool {
        database::pool(&self.database).await
    }

    /// Connects to the database, for what a test does behind the server's back.
    pub async fn sql(&self) -> sqlx::PgConnection {
        database::connect(&self.database).await
    }
}

/// Makes a username of a first name, which may contain what a username may not. It is unique in the server.
fn username(first_name: &str) -> hark::model::Username {
    let config = Cli::parse_from(["hark"]).config;
    let clean: String = first_name.chars().filter(char::is_ascii_alphanumeric).collect();
    let unique = format!("{clean}{:x}", rand::random::<u32>());
    hark::model::Username::parse(unique, &config.limits).expect("letters and digits")
}
