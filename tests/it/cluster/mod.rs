//! Several nodes on one database.

mod faults;
mod nodes;

use serde_json::{Value, json};
use sqlx::postgres::PgListener;
use tokio::time::timeout;

use crate::support::{Client, TEST_TIMEOUT, TestServer, User, steady};

/// Selects the NOTIFY channel of the nodes of one database.
const CHANNEL: &str = "select 'hark_' || oid from pg_namespace where nspname = current_schema()";

/// Listens to the messages between nodes.
struct ClusterListener(PgListener);

impl ClusterListener {
    async fn on(server: &TestServer) -> Self {
        let channel: String = sqlx::query_scalar(CHANNEL).fetch_one(&mut server.sql().await).await.expect("a name");
        let mut listener = PgListener::connect_with(&server.pool().await).await.expect("a connection");
        listener.listen(&channel).await.expect("a subscription");
        Self(listener)
    }

    async fn payload(&mut self) -> String {
        let notification =
            timeout(TEST_TIMEOUT, self.0.recv()).await.expect("something in time").expect("a connection");
        notification.payload().to_owned()
    }

    /// Returns when a payload that contains this text is published.
    async fn wait_for(&mut self, words: &str) {
        while !self.payload().await.contains(words) {}
    }
}

/// Returns the `item` of the next presence push, without its time.
async fn next_presence(client: &mut Client) -> Value {
    steady(client.expect_push("onlineInfo").await["item"].take())
}

fn status(user: &User, is_online: bool) -> Value {
    json!({ "userId": user.id, "isOnline": is_online, "active": is_online, "lastSeenAt": "[time]" })
}
