//! Outages of the database: sockets stay open, nothing is acknowledged that is not stored, and work resumes
//! by itself.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Client, Process, TEST_TIMEOUT, TestServer, eventually};

/// Sends a message as a correct client does: again with the same id until it is confirmed.
async fn send_until_confirmed(client: &mut Client, to: i64, client_message_id: &str) -> Value {
    let params = json!({ "receiverId": to, "content": client_message_id, "clientMessageId": client_message_id });
    let deadline = tokio::time::Instant::now() + TEST_TIMEOUT;
    while tokio::time::Instant::now() < deadline {
        let reply = client.call("privateMessage", params.clone()).await;
        if reply["success"] == true {
            return reply["params"]["item"].clone();
        }
        assert_eq!(reply["code"], "overloaded", "{reply}");
    }
    panic!("{client_message_id} was never confirmed");
}

async fn contents(client: &mut Client, other: i64) -> Vec<Value> {
    let history = client.call("getlatestMessageDialog", json!({ "receiverId": other, "limit": 100 })).await;
    let rows = history["params"]["data"].as_array().unwrap_or_else(|| panic!("rows: {history}"));
    rows.iter().rev().map(|row| row["content"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_database_connections_lose_nothing() {
    let server = TestServer::start().await;
    let (a, mut sender) = server.connect_user("A").await;
    let (b, mut receiver) = server.connect_user("B").await;
    let mut expected = Vec::new();
    for round in 0..5 {
        for nth in 0..10 {
            let id = format!("{round}/{nth}");
            let receipt = send_until_confirmed(&mut sender, b.id, &id).await;
            assert_eq!(receipt["seq"], expected.len() + 1);
            expected.push(json!(id));
        }
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
            .execute(&mut server.sql().await)
            .await
            .expect("the connections are cut");
    }
    eventually("the database answers reads again", async || {
        receiver.call("listLastMessage", json!({})).await["success"] == true
    })
    .await;
    assert_eq!(contents(&mut receiver, a.id).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_database_loses_nothing_that_was_confirmed() {
    let data = TempDir::new().expect("a folder");
    let process = Process::start(data.path()).await;
    let (a, a_token) = process.create_user("a").await;
    let (b, b_token) = process.create_user("b").await;
    let mut sender = process.connect(&a_token).await;
    let mut receiver = process.connect(&b_token).await;
    let mut expected = Vec::new();
    for round in 0..3 {
        for nth in 0..20 {
            let id = format!("{round}/{nth}");
            send_until_confirmed(&mut sender, b, &id).await;
            expected.push(json!(id));
        }
        let pid_file =
            std::fs::read_to_string(data.path().join("postgres/postmaster.pid")).expect("a running PostgreSQL");
        let postmaster: i32 = pid_file.lines().next().expect("a line").parse().expect("a pid");
        kill_process(Pid::from_raw(postmaster).expect("a pid"), Signal::KILL).expect("a child of our own process");
    }
    let url = format!("http://{}/readyz", process.address);
    eventually("it is ready again", async || reqwest::get(&url).await.expect("an answer").status() == 200).await;
    eventually("reads work again", async || receiver.call("listLastMessage", json!({})).await["success"] == true).await;
    assert_eq!(contents(&mut receiver, a).await, expected, "the same sockets, all of the messages, each once");
    process.signal(Signal::TERM);
    assert_eq!(process.wait_for_exit(Duration::from_secs(20)).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn full_writer_queue_refuses_at_once_and_keeps_what_it_took() {
    let server = TestServer::start_with(|config| {
        config.writers = Some(1);
        config.write_queue = 4;
    })
    .await;
    let (_, mut sender) = server.connect_user("A").await;
    let b = server.create_user("B").await;
    // A lock holds up the writer, and the messages sent meanwhile fill the queue.
    let mut sql = server.sql().await;
    sqlx::raw_sql("begin; lock table messages in exclusive mode").execute(&mut sql).await.expect("a lock");
    let mut ids = Vec::new();
    for nth in 0..20 {
        ids.push(sender.send("privateMessage", json!({ "receiverId": b.id, "content": nth.to_string() })).await);
    }
    // These are answered while the lock is held, but behind the sends before them: replies keep their
    // order.
    eventually("the server has read all of them", async || {
        server.server.app().metrics.text().contains("hark_requests_total 20")
    })
    .await;
    sqlx::raw_sql("commit").execute(&mut sql).await.expect("the lock is free");
    let mut stored = Vec::new();
    let mut refused = 0;
    for (nth, id) in ids.into_iter().enumerate() {
        let reply = sender.wait_for_reply_to(id).await;
        if reply["success"] == true {
            stored.push(json!(nth.to_string()));
        } else {
            assert_eq!((&reply["code"], reply["type"].as_str()), (&json!("overloaded"), Some("privateMessage")));
            refused += 1;
        }
    }
    assert!(refused > 0 && stored.len() >= 4, "{refused} refused, {} stored", stored.len());
    assert_eq!(contents(&mut sender, b.id).await, stored);
}
