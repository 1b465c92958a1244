//! A database that is read-only for a while, as after a failover: sends are refused as overloaded, reads
//! continue, readiness reports it, and the server recovers by itself.

use serde_json::json;

use crate::server::settings::{GOOD_SECRET, assert_refused, hark};
use crate::support::{TestServer, database, eventually};

const SET_READ_ONLY: &str = "alter database {} set default_transaction_read_only = on";
const RESET_READ_ONLY: &str = "alter database {} reset default_transaction_read_only";
/// New sessions begin with the default, and existing ones keep theirs.
const TERMINATE_SESSIONS: &str = "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}'";

async fn readiness(server: &TestServer) -> u16 {
    reqwest::get(server.url("/readyz")).await.expect("an answer").status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_database_refuses_writes_as_overloaded_and_recovers() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let (bob, mut receiver) = second.connect_user("Bob").await;
    let to_bob = json!({ "receiverId": bob.id });
    let message = client.send_content(&to_bob, "before").await;
    receiver.expect_push("privateMessage").await;

    database::administer(&server.database, SET_READ_ONLY).await;
    database::administer(&server.database, TERMINATE_SESSIONS).await;
    eventually("it is not ready", async || readiness(&server).await == 503).await;
    let writes = [
        ("privateMessage", json!({ "receiverId": bob.id, "content": "meanwhile" })),
        ("reactToMessage", json!({ "messageId": message, "reaction": "+1" })),
        ("addContact", json!({ "userId": bob.id })),
        ("newGroup", json!({ "groupName": "Book club", "userIds": [bob.id] })),
    ];
    // The loop uses each connection of the pools.
    for _ in 0..5 {
        for (kind, params) in &writes {
            assert_eq!(client.call_refused(kind, params.clone()).await, "overloaded", "{kind}");
        }
    }
    eventually("reads go on", async || {
        client.call("getlatestMessageDialog", to_bob.clone()).await["params"]["data"][0]["content"] == "before"
    })
    .await;
    assert_eq!(readiness(&server).await, 503);

    // The sessions that began meanwhile stay read-only for as long as they live.
    database::administer(&server.database, RESET_READ_ONLY).await;
    eventually("sends work again", async || {
        let params = json!({ "receiverId": bob.id, "content": "after", "clientMessageId": "after" });
        let reply = client.call("privateMessage", params).await;
        assert!(reply["success"] == true || reply["code"] == "overloaded", "{reply}");
        reply["success"] == true
    })
    .await;
    eventually("other writes work again", async || {
        let reply = client.call("reactToMessage", json!({ "messageId": message, "reaction": "+1" })).await;
        assert!(reply["success"] == true || reply["code"] == "overloaded", "{reply}");
        reply["success"] == true
    })
    .await;
    eventually("it is ready again", async || readiness(&server).await == 200).await;
    // Once a write has worked, no read-only connection is left in the pool.
    for nth in 0..30 {
        client.send_content(&to_bob, &nth.to_string()).await;
    }
    let listed = receiver.call_ok("getlatestMessageDialog", json!({ "receiverId": ann.id, "limit": 100 })).await;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(32));
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_database_is_refused_at_the_start() {
    let database = database::create().await;
    database::administer(&database, SET_READ_ONLY).await;
    let url = database::url(&database);
    let run = hark(&[], &[("DATABASE_URL", &url), ("HARK_JWT_SECRET", GOOD_SECRET)]).await;
    assert_refused(&run, 1, "it is read-only");
    let hark::store::DatabaseTarget::Socket { dir, database: name, .. } = &database else {
        unreachable!("as in support")
    };
    assert!(run.stderr.contains(name) && run.stderr.contains(&dir.display().to_string()), "{}", run.stderr);
    assert_refused(&hark(&["migrate"], &[("DATABASE_URL", &url)]).await, 1, "it is read-only");
}
