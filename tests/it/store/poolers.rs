//! Connection poolers, with the real `PgBouncer`: session pooling works, and any other mode is refused.

use rustix::process::Signal;
use serde_json::json;

use crate::server::settings::{GOOD_SECRET, assert_refused, hark};
use crate::support::pgbouncer::{PgBouncer, is_installed};
use crate::support::{Process, TEST_TIMEOUT, database, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn pooler_in_session_mode_serves_two_nodes_with_timeouts_and_notify() {
    if !is_installed("pooler_of_sessions_serves_two_nodes_with_timeouts_and_the_cluster") {
        return;
    }
    let database = database::create().await;
    let pooler = PgBouncer::start(&database, "session", "default_pool_size = 60").await;
    let (first, second) =
        (Process::on(&pooler.url(), GOOD_SECRET).await, Process::on(&pooler.url(), GOOD_SECRET).await);
    let (ann, ann_token) = first.create_user("ann").await;
    let (bob, bob_token) = first.create_user("bob").await;
    let mut ann_client = first.connect(&ann_token).await;
    let mut bob_client = second.connect(&bob_token).await;
    for nth in 0..50 {
        ann_client.send_content(&json!({ "receiverId": bob }), &nth.to_string()).await;
        assert_eq!(bob_client.expect_push("privateMessage").await["message"], nth.to_string(), "through the cluster");
        let page = bob_client.call_ok("getlatestMessageDialog", json!({ "receiverId": ann, "limit": 100 })).await;
        assert_eq!(page["data"].as_array().map(Vec::len), Some(nth + 1));
    }
    for process in [&first, &second] {
        assert_eq!(process.get("/readyz").await, r#"{"status":"ok"}"#);
    }
    // The settings of the session apply: without `lock_timeout` this would wait for the lock.
    let mut sql = database::connect(&database).await;
    sqlx::raw_sql("begin; lock table users in access exclusive mode").execute(&mut sql).await.expect("a lock");
    assert_eq!(bob_client.call_refused("getlatestMessageDialog", json!({ "receiverId": ann })).await, "overloaded");
    sqlx::raw_sql("rollback").execute(&mut sql).await.expect("no lock");
    for process in [first, second] {
        process.signal(Signal::TERM);
        assert_eq!(process.wait_for_exit(TEST_TIMEOUT).await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pooler_in_transaction_or_statement_mode_is_refused_at_the_start() {
    if !is_installed("pooler_of_transactions_or_statements_is_refused_at_the_start") {
        return;
    }
    let secret = ("HARK_JWT_SECRET", GOOD_SECRET);
    for pool_mode in ["transaction", "statement"] {
        // The next statement runs on the same server connection as the last one, or on another one.
        for round_robin in ["0", "1"] {
            let database = database::create().await;
            let settings = format!("default_pool_size = 10\nserver_round_robin = {round_robin}");
            let pooler = PgBouncer::start(&database, pool_mode, &settings).await;
            if pool_mode == "transaction" {
                pooler.warm_up(7).await;
            }
            let url = pooler.url();
            let (address, cluster) = (("DATABASE_URL", url.as_str()), ("HARK_CLUSTER", "false"));
            let (serve_settings, alone_settings, migrate_settings) =
                ([address, secret], [address, secret, cluster], [address]);
            let (serve, alone, migrate) = tokio::join!(
                hark(&[], &serve_settings),
                hark(&[], &alone_settings),
                hark(&["migrate"], &migrate_settings)
            );
            for run in [serve, alone, migrate] {
                assert_refused(&run, 1, "pool_mode = session");
                assert!(run.stderr.contains("127.0.0.1:"), "where it is: {}", run.stderr);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pooler_with_too_few_sessions_is_refused_at_the_start() {
    if !is_installed("pooler_with_too_few_sessions_is_refused_at_the_start") {
        return;
    }
    let database = database::create().await;
    let pooler = PgBouncer::start(&database, "session", "default_pool_size = 1").await;
    let run = hark(&[], &[("DATABASE_URL", &pooler.url()), ("HARK_JWT_SECRET", GOOD_SECRET)]).await;
    assert_refused(&run, 1, "HARK_DATABASE_CONNECTIONS + 3 × HARK_WRITERS + 3");
}

#[tokio::test(flavor = "multi_thread")]
async fn pooler_that_restarts_does_not_stop_its_nodes() {
    if !is_installed("pooler_that_restarts_leaves_its_nodes_working") {
        return;
    }
    let database = database::create().await;
    let pooler = PgBouncer::start(&database, "session", "default_pool_size = 40").await;
    let process = Process::on(&pooler.url(), GOOD_SECRET).await;
    let (_, token) = process.create_user("ann").await;
    let (bob, _) = process.create_user("bob").await;
    let mut client = process.connect(&token).await;
    client.send_content(&json!({ "receiverId": bob }), "before").await;
    let pooler = pooler.restarted().await;
    let url = format!("http://{}/readyz", process.address);
    eventually("it is ready again", async || reqwest::get(&url).await.expect("an answer").status() == 200).await;
    eventually("sends work again", async || {
        let params = json!({ "receiverId": bob, "content": "after", "clientMessageId": "after" });
        let reply = client.call("privateMessage", params).await;
        assert!(reply["success"] == true || reply["code"] == "overloaded", "{reply}");
        reply["success"] == true
    })
    .await;
    process.signal(Signal::TERM);
    assert_eq!(process.wait_for_exit(TEST_TIMEOUT).await, Some(0));
    drop(pooler);
}
