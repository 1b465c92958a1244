//! The real binary: graceful shutdown, kill, and restart.

use std::collections::HashSet;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;

use tokio::io::AsyncReadExt as _;

use crate::support::{Client, Process, TEST_TIMEOUT, TestServer, eventually, hark};

/// Sends without end until the server goes away, and returns the acknowledged contents.
async fn send_until_the_end(mut client: Client, to: i64, name: String) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut sent = 0;
    loop {
        // Eight requests are in flight.
        while sent < acknowledged.len() + 8 {
            let params = json!({ "receiverId": to, "content": format!("{name}/{sent}") });
            let frame = json!({ "type": "privateMessage", "params": params, "id": sent }).to_string();
            if !client.try_send(Message::text(frame)).await {
                return acknowledged;
            }
            sent += 1;
        }
        let Some(reply) = client.try_next_frame().await else { return acknowledged };
        if reply["success"] != true {
            return acknowledged;
        }
        acknowledged.push(format!("{name}/{}", reply["id"]));
    }
}

/// Runs senders against a server, ends it with a signal amid their sends, starts it again, and looks for
/// every message that was acknowledged.
async fn no_acknowledged_message_is_lost_by(signal: Signal) {
    let data = TempDir::new().expect("a folder");
    let process = Process::start(data.path()).await;
    let (to, reader) = process.create_user("reader").await;
    let mut senders = Vec::new();
    for nth in 0..4 {
        let (id, token) = process.create_user(&format!("sender{nth}")).await;
        senders.push((id, process.connect(&token).await));
    }
    let mut listener = process.connect(&reader).await;
    let ids: Vec<i64> = senders.iter().map(|(id, _)| *id).collect();
    let sending = senders.into_iter().map(|(id, client)| tokio::spawn(send_until_the_end(client, to, id.to_string())));
    let sending: Vec<_> = sending.collect();
    // The signal is sent amid the traffic: the receiver has had a few hundred messages.
    for _ in 0..300 {
        listener.wait_for_push().await;
    }
    process.signal(signal);
    let acknowledged: Vec<Vec<String>> =
        join_all(sending).await.into_iter().map(|sent| sent.expect("a sender")).collect();
    let code = process.wait_for_exit(TEST_TIMEOUT).await;
    assert_eq!(code, (signal == Signal::TERM).then_some(0));

    let process = Process::start(data.path()).await;
    // The JWT secret was kept, so the old token still works.
    let mut reader = process.connect(&reader).await;
    for (id, acknowledged) in ids.iter().zip(&acknowledged) {
        let mut stored = Vec::new();
        let mut before = 1_000_000;
        loop {
            let page = reader
                .call("getlatestMessageDialog", json!({ "receiverId": id, "limit": 100, "before": before }))
                .await;
            let rows = page["params"]["data"].as_array().expect("rows").clone();
            let Some(last) = rows.last() else { break };
            before = last["seq"].as_i64().expect("a seq");
            stored.extend(rows.iter().map(|row| row["content"].as_str().expect("text").to_owned()));
        }
        assert_eq!(before, 1, "seq is dense down to 1");
        let lost: Vec<_> = acknowledged.iter().filter(|content| !stored.contains(content)).collect();
        assert!(lost.is_empty(), "lost {lost:?} of {}", acknowledged.len());
        assert!(acknowledged.len() > 10, "the sender was at work: {}", acknowledged.len());
    }
    process.signal(Signal::TERM);
    assert_eq!(process.wait_for_exit(TEST_TIMEOUT).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn graceful_shutdown_amid_sends_loses_no_acknowledged_message() {
    no_acknowledged_message_is_lost_by(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_amid_sends_loses_no_acknowledged_message() {
    no_acknowledged_message_is_lost_by(Signal::KILL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn graceful_shutdown_is_not_delayed_by_a_thousand_open_sockets() {
    let data = TempDir::new().expect("a folder");
    let process = Process::start(data.path()).await;
    let mut sockets = Vec::new();
    for nth in 0..50 {
        let (_, token) = process.create_user(&format!("user{nth}")).await;
        sockets.extend(join_all((0..20).map(|_| process.connect(&token))).await);
    }
    assert_eq!(sockets.len(), 1000);
    process.signal(Signal::TERM);
    // Half of them never read their close frame.
    let silent = sockets.split_off(500);
    let ends = join_all(sockets.into_iter().map(Client::wait_for_close)).await;
    assert_eq!(process.wait_for_exit(Duration::from_secs(5)).await, Some(0));
    drop(silent);
    let mut waits: Vec<u64> = Vec::new();
    for end in ends {
        assert_eq!(end.code, 1001);
        waits.push(end.reason.parse().expect("milliseconds"));
    }
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 100, "each comes back at its own moment: {waits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jwt_secret_file_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let data = TempDir::new().expect("a folder");
    let process = Process::start(data.path()).await;
    let secret = data.path().join("jwt-secret");
    let mode = std::fs::metadata(&secret).expect("the secret").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(std::fs::read_to_string(&secret).expect("the secret").len() >= 32);
    process.signal(Signal::INT);
    assert_eq!(process.wait_for_exit(TEST_TIMEOUT).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn graceful_shutdown_during_start_leaves_a_usable_data_folder() {
    for signal in [Signal::TERM, Signal::INT] {
        let data = TempDir::new().expect("a folder");
        let mut command = tokio::process::Command::from(hark(data.path()));
        let mut child = command.kill_on_drop(true).spawn().expect("the binary starts");
        // PostgreSQL is about to be initialized or started.
        let lock = data.path().join("postgres.lock");
        eventually("it has begun", async || lock.exists()).await;
        let pid = i32::try_from(child.id().expect("it runs")).expect("a pid");
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).expect("a pid"), signal).expect("our own");
        let status = tokio::time::timeout(TEST_TIMEOUT, child.wait()).await.expect("an end").expect("a status");
        assert_eq!(status.code(), Some(0), "{signal:?}");
        let process = Process::start(data.path()).await;
        process.signal(Signal::TERM);
        assert_eq!(process.wait_for_exit(TEST_TIMEOUT).await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn graceful_shutdown_logs_no_error_and_a_second_signal_ends_it_at_once() {
    let data = TempDir::new().expect("a folder");
    for signals in [1, 2] {
        let mut command = hark(data.path());
        command.env("HARK_LOG", "info").stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().expect("the binary starts");
        let mut output = child.stdout.take().expect("a pipe");
        let mut greeting = Vec::new();
        while !String::from_utf8_lossy(&greeting).contains("listening on http://") {
            let read = tokio::time::timeout(TEST_TIMEOUT, output.read_buf(&mut greeting)).await.expect("a greeting");
            assert!(read.expect("output") > 0, "it ended before its greeting");
        }
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().expect("it runs")).expect("a pid"));
        for _ in 0..signals {
            rustix::process::kill_process(pid.expect("a pid"), Signal::TERM).expect("our own process");
        }
        let ended =
            tokio::time::timeout(TEST_TIMEOUT, child.wait_with_output()).await.expect("an end").expect("a status");
        let log = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!log.contains("ERROR"), "{log}");
        // Two signals may be merged into one.
        assert!(ended.status.code() == Some(0) || signals == 2 && ended.status.code() == Some(130), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn graceful_shutdown_gives_each_client_its_own_reconnect_delay() {
    let server = TestServer::start().await;
    let mut clients = Vec::new();
    for user in server.create_users("Patrick", 5).await {
        clients.push(server.connect(&user).await);
    }
    let ends = join_all(clients.into_iter().map(Client::wait_for_close));
    let (ends, ()) = tokio::join!(ends, server.server.stop());
    let mut waits = HashSet::new();
    for end in ends {
        assert_eq!(end.code, 1001);
        waits.insert(end.reason.parse::<u64>().expect("milliseconds"));
    }
    assert!(waits.len() == 5 && waits.iter().all(|wait| *wait < 5_000), "{waits:?}");
}
