//! Very many connections at once. The server runs in a process of its own, so that what it holds can be
//! counted; `-- --nocapture` shows the counts.

use std::fs;

use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{Client, DEADLINE, Process, eventually, hark};

const HALF_OPEN: usize = 10_000;
/// What other tests of this process have open, and more.
const OTHER_FILES: u64 = 2_000;
const MIB: usize = 1024 * 1024;

/// As many connections as the system lets this process and the server have, up to ten thousand.
fn connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("our own limit");
    let most = limit.maximum.map_or(usize::MAX, |most| usize::try_from(most.saturating_sub(OTHER_FILES)).unwrap_or(0));
    assert!(most >= 1_000, "ulimit -n allows {most} connections, which shows nothing");
    most.min(HALF_OPEN)
}

/// The files that a process has open.
fn open_files(server: &Process) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("a process of ours").count()
}

/// The memory of a process, in bytes.
fn resident(server: &Process) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a process of ours");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

async fn is_answered(client: &mut Client) {
    let reply = timeout(DEADLINE, client.call("listUsers", json!({ "limit": 1 }))).await.expect("an answer in time");
    assert_eq!(reply["success"], true, "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_half_open_upgrades_hold_up_nobody_and_are_ended() {
    let folder = TempDir::new().expect("a folder");
    let server = Process::start(folder.path()).await;
    let (_, token) = server.user("Neighbour").await;
    let mut neighbour = server.connect(&token).await;
    is_answered(&mut neighbour).await;
    let (files_before, memory_before) = (open_files(&server), resident(&server));

    let mut half_open = Vec::new();
    for nth in 0..connections() {
        let connected = timeout(DEADLINE, TcpStream::connect(server.address)).await.expect("a place in time");
        let mut stream = connected.expect("a connection");
        if nth % 2 == 0 {
            let half = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upg";
            stream.write_all(half.as_bytes()).await.expect("an open connection");
        }
        half_open.push(stream);
        if nth % 500 == 0 {
            is_answered(&mut neighbour).await;
        }
    }
    // Who comes now is let in beside them.
    let mut newcomer = server.connect(&token).await;
    is_answered(&mut newcomer).await;
    let (files, memory) = (open_files(&server), resident(&server));

    for mut stream in half_open {
        let mut answer = Vec::new();
        let ended = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "a half-open connection stays");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    drop(newcomer);
    eventually("their files are closed", async || open_files(&server) <= files_before + 5).await;
    is_answered(&mut neighbour).await;
    let memory = [memory_before, memory, resident(&server)].map(|bytes| bytes / MIB);
    println!("half open: {files} files; memory before, at most and after: {memory:?} MiB");
}

/// A frame of the largest size: most of it is its id, which the answer echoes.
fn largest_frame() -> Vec<u8> {
    let frame = |id: &str| json!({ "type": "noSuchType", "id": id }).to_string();
    let payload = frame(&"i".repeat(65_536 - frame("").len()));
    let mut bytes = vec![0x81, 0xff];
    bytes.extend((payload.len() as u64).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload.as_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_frames_of_everybody_at_once_take_a_bounded_memory() {
    const USERS: usize = 10;
    const SOCKETS_EACH: usize = 20;
    const POOL: usize = 32 * MIB;
    // Buffers of the libraries for a client that always has more to say, a frame, and its answer.
    const A_SOCKET: usize = MIB;
    let folder = TempDir::new().expect("a folder");
    let mut command = hark(folder.path());
    command.env("HARK_REQUEST_MEMORY_BYTES", POOL.to_string());
    let server = Process::run(command).await;
    let (_, token) = server.user("Neighbour").await;
    let mut neighbour = server.connect(&token).await;
    let mut hostile = Vec::new();
    for nth in 0..USERS {
        let (_, token) = server.user(&format!("Hostile{nth}")).await;
        hostile.extend(join_all((0..SOCKETS_EACH).map(|_| server.connect(&token))).await);
    }
    is_answered(&mut neighbour).await;
    let before = resident(&server);

    // They write without end, and read nothing.
    let mut senders = JoinSet::new();
    for mut client in hostile {
        let frame = largest_frame();
        senders.spawn(async move { while client.raw().write_all(&frame).await.is_ok() {} });
    }
    let mut most = 0;
    for _ in 0..500 {
        is_answered(&mut neighbour).await;
        most = resident(&server).max(most);
    }
    assert_eq!(senders.len(), USERS * SOCKETS_EACH, "they go on");
    let bound = POOL + USERS * SOCKETS_EACH * A_SOCKET;
    assert!(most - before <= bound, "{} MiB more, of at most {}", (most - before) / MIB, bound / MIB);

    senders.shutdown().await;
    eventually("their sockets have ended", async || {
        is_answered(&mut neighbour).await;
        server.get("/metrics").await.contains("hark_sockets 1\n")
    })
    .await;
    assert!(server.get("/metrics").await.contains("hark_request_memory_bytes 0\n"));
    let memory = [before, most, resident(&server)].map(|bytes| bytes / MIB);
    println!("largest frames: memory before, at most and after: {memory:?} MiB, of at most {}", (before + bound) / MIB);
}
