//! Very many connections at once. The server runs in its own process, so that its memory can be measured;
//! `-- --nocapture` shows the measurements.

use std::fs;

use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{Client, Process, TEST_TIMEOUT, eventually, hark};

const MAX_HALF_OPEN: usize = 10_000;
/// An upper bound on the files that other tests of this process have open.
const MAX_OTHER_FILES: u64 = 2_000;
const MIB: usize = 1024 * 1024;

/// Returns as many connections as the system allows this process and the server, up to ten thousand.
fn connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("our own limit");
    let most =
        limit.maximum.map_or(usize::MAX, |most| usize::try_from(most.saturating_sub(MAX_OTHER_FILES)).unwrap_or(0));
    assert!(most >= 1_000, "ulimit -n allows {most} connections, which shows nothing");
    most.min(MAX_HALF_OPEN)
}

/// Counts the open files of a process.
fn open_files(server: &Process) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("a process of ours").count()
}

/// Returns the resident memory of a process, in bytes.
fn resident(server: &Process) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a process of ours");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

async fn assert_works(client: &mut Client) {
    let reply =
        timeout(TEST_TIMEOUT, client.call("listUsers", json!({ "limit": 1 }))).await.expect("an answer in time");
    assert_eq!(reply["success"], true, "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_upgrades_delay_nobody_and_time_out() {
    let folder = TempDir::new().expect("a folder");
    let server = Process::start(folder.path()).await;
    let (_, token) = server.create_user("Neighbour").await;
    let mut neighbour = server.connect(&token).await;
    assert_works(&mut neighbour).await;
    let (files_before, memory_before) = (open_files(&server), resident(&server));

    let mut half_open = Vec::new();
    for nth in 0..connections() {
        let connected = timeout(TEST_TIMEOUT, TcpStream::connect(server.address)).await.expect("a place in time");
        let mut stream = connected.expect("a connection");
        if nth % 2 == 0 {
            let half = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upg";
            stream.write_all(half.as_bytes()).await.expect("an open connection");
        }
        half_open.push(stream);
        if nth % 500 == 0 {
            assert_works(&mut neighbour).await;
        }
    }
    // A new client is accepted beside them.
    let mut newcomer = server.connect(&token).await;
    assert_works(&mut newcomer).await;
    let (files, memory) = (open_files(&server), resident(&server));

    for mut stream in half_open {
        let mut answer = Vec::new();
        let ended = timeout(TEST_TIMEOUT, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "a half-open connection stays");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    drop(newcomer);
    eventually("their files are closed", async || open_files(&server) <= files_before + 5).await;
    assert_works(&mut neighbour).await;
    let memory = [memory_before, memory, resident(&server)].map(|bytes| bytes / MIB);
    println!("half open: {files} files; memory before, at most and after: {memory:?} MiB");
}

/// Builds a frame of the largest size: most of it is its id, which the reply repeats.
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
async fn memory_of_the_largest_frames_of_many_sockets_is_bounded() {
    const USERS: usize = 10;
    const SOCKETS_EACH: usize = 20;
    const BUDGET_BYTES: usize = 32 * MIB;
    // A socket may take the buffers of the libraries, a frame, and its reply.
    const MAX_SOCKET_BYTES: usize = MIB;
    let folder = TempDir::new().expect("a folder");
    let mut command = hark(folder.path());
    command.env("HARK_REQUEST_MEMORY_BYTES", BUDGET_BYTES.to_string());
    let server = Process::run(command).await;
    let (_, token) = server.create_user("Neighbour").await;
    let mut neighbour = server.connect(&token).await;
    let mut hostile = Vec::new();
    for nth in 0..USERS {
        let (_, token) = server.create_user(&format!("Hostile{nth}")).await;
        hostile.extend(join_all((0..SOCKETS_EACH).map(|_| server.connect(&token))).await);
    }
    assert_works(&mut neighbour).await;
    let before = resident(&server);

    // The clients write without end and read nothing.
    let mut senders = JoinSet::new();
    for mut client in hostile {
        let frame = largest_frame();
        senders.spawn(async move { while client.tcp_stream().write_all(&frame).await.is_ok() {} });
    }
    let mut most = 0;
    for _ in 0..500 {
        assert_works(&mut neighbour).await;
        most = resident(&server).max(most);
    }
    assert_eq!(senders.len(), USERS * SOCKETS_EACH, "they go on");
    let bound = BUDGET_BYTES + USERS * SOCKETS_EACH * MAX_SOCKET_BYTES;
    assert!(most - before <= bound, "{} MiB more, of at most {}", (most - before) / MIB, bound / MIB);

    senders.shutdown().await;
    eventually("their sockets have ended", async || {
        assert_works(&mut neighbour).await;
        server.get("/metrics").await.contains("hark_sockets 1\n")
    })
    .await;
    assert!(server.get("/metrics").await.contains("hark_request_memory_bytes 0\n"));
    let memory = [before, most, resident(&server)].map(|bytes| bytes / MIB);
    println!("largest frames: memory before, at most and after: {memory:?} MiB, of at most {}", (before + bound) / MIB);
}
