//! The real binary, as `make run` starts it: stopping, being killed, and starting again.

use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;

use tokio::io::AsyncReadExt as _;

use crate::support::{Client, DEADLINE, Process, eventually, hark};

/// Sends without end until the server goes away; the contents that were acknowledged.
async fn send_until_the_end(mut client: Client, to: i64, name: String) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut sent = 0;
    loop {
        // A window of eight in flight.
        while sent < acknowledged.len() + 8 {
            let params = json!({ "receiverId": to, "content": format!("{name}/{sent}") });
            let frame = json!({ "type": "privateMessage", "params": params, "id": sent }).to_string();
            if !client.try_send(Message::text(frame)).await {
                return acknowledged;
            }
            sent += 1;
        }
        let Some(reply) = client.try_frame().await else { return acknowledged };
        if reply["success"] != true {
            return acknowledged;
        }
        acknowledged.push(format!("{name}/{}", reply["id"]));
    }
}

/// Runs senders against a server, ends it with a signal amid their sends, starts it again, and
/// looks for every message that was acknowledged.
async fn no_acknowledged_message_is_lost_by(signal: Signal) {
    let data = TempDir::new().expect("a folder");
    let process = Process::start(data.path()).await;
    let (to, reader) = process.user("reader").await;
    let mut senders = Vec::new();
    for nth in 0..4 {
        let (id, token) = process.user(&format!("sender{nth}")).await;
        senders.push((id, process.connect(&token).await));
    }
    let mut listener = process.connect(&reader).await;
    let ids: Vec<i64> = senders.iter().map(|(id, _)| *id).collect();
    let sending = senders.into_iter().map(|(id, client)| tokio::spawn(send_until_the_end(client, to, id.to_string())));
    let sending: Vec<_> = sending.collect();
    // In the thick of it: the receiver has had a few hundred.
    for _ in 0..300 {
        listener.push().await;
    }
    process.signal(signal);
    let acknowledged: Vec<Vec<String>> =
        join_all(sending).await.into_iter().map(|sent| sent.expect("a sender")).collect();
    let code = process.ended(DEADLINE).await;
    assert_eq!(code, (signal == Signal::TERM).then_some(0));

    let process = Process::start(data.path()).await;
    // The secret that signs tokens was kept, so the old token goes on working.
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
    assert_eq!(process.ended(DEADLINE).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_sends_in_flight_loses_no_acknowledged_message() {
    no_acknowledged_message_is_lost_by(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_with_sends_in_flight_loses_no_acknowledged_message() {
    no_acknowledged_message_is_lost_by(Signal::KILL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_open_sockets_do_not_hold_up_a_stop() {
    let data = TempDir::new().expect("a folder");
    let process = Process::start(data.path()).await;
    let mut sockets = Vec::new();
    for nth in 0..50 {
        let (_, token) = process.user(&format!("user{nth}")).await;
        sockets.extend(join_all((0..20).map(|_| process.connect(&token))).await);
    }
    assert_eq!(sockets.len(), 1000);
    process.signal(Signal::TERM);
    // Half of them never read what they are told.
    let silent = sockets.split_off(500);
    let ends = join_all(sockets.into_iter().map(Client::closed)).await;
    assert_eq!(process.ended(Duration::from_secs(5)).await, Some(0));
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
async fn the_secret_that_signs_tokens_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let data = TempDir::new().expect("a folder");
    let process = Process::start(data.path()).await;
    let secret = data.path().join("jwt-secret");
    let mode = std::fs::metadata(&secret).expect("the secret").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(std::fs::read_to_string(&secret).expect("the secret").len() >= 32);
    process.signal(Signal::INT);
    assert_eq!(process.ended(DEADLINE).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_starting_is_in_order_and_leaves_a_folder_that_starts() {
    for signal in [Signal::TERM, Signal::INT] {
        let data = TempDir::new().expect("a folder");
        let mut command = tokio::process::Command::from(hark(data.path()));
        let mut child = command.kill_on_drop(true).spawn().expect("the binary starts");
        // Its PostgreSQL is about to be made, or started.
        let lock = data.path().join("postgres.lock");
        eventually("it has begun", async || lock.exists()).await;
        let pid = i32::try_from(child.id().expect("it runs")).expect("a pid");
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).expect("a pid"), signal).expect("our own");
        let status = tokio::time::timeout(DEADLINE, child.wait()).await.expect("an end").expect("a status");
        assert_eq!(status.code(), Some(0), "{signal:?}");
        let process = Process::start(data.path()).await;
        process.signal(Signal::TERM);
        assert_eq!(process.ended(DEADLINE).await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_logs_no_error_and_a_second_signal_ends_it_at_once() {
    let data = TempDir::new().expect("a folder");
    for signals in [1, 2] {
        let mut command = hark(data.path());
        command.env("HARK_LOG", "info").stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().expect("the binary starts");
        let mut output = child.stdout.take().expect("a pipe");
        let mut greeting = Vec::new();
        while !String::from_utf8_lossy(&greeting).contains("listening on http://") {
            let read = tokio::time::timeout(DEADLINE, output.read_buf(&mut greeting)).await.expect("a greeting");
            assert!(read.expect("output") > 0, "it ended before its greeting");
        }
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().expect("it runs")).expect("a pid"));
        for _ in 0..signals {
            rustix::process::kill_process(pid.expect("a pid"), Signal::TERM).expect("our own process");
        }
        let ended = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.expect("an end").expect("a status");
        let log = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!log.contains("ERROR"), "{log}");
        // Two that come as one are one.
        assert!(ended.status.code() == Some(0) || signals == 2 && ended.status.code() == Some(130), "{ended:?}");
    }
}
