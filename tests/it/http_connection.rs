//! Connections that speak HTTP: one request at a time, answers that nobody reads, and how they end.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{DEADLINE, Process, TestServer, eventually};

async fn open(address: std::net::SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a connection")
}

async fn write(stream: &mut TcpStream, text: &str) {
    timeout(DEADLINE, stream.write_all(text.as_bytes())).await.expect("room").expect("an open connection");
}

/// One answer with a body of a known length; its head, and its body.
async fn read_answer(stream: &mut TcpStream) -> (String, String) {
    let reading = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("more of a head"));
        }
        let head = String::from_utf8(head).expect("a head");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.expect("a length").parse().expect("a number")];
        stream.read_exact(&mut body).await.expect("the whole body");
        (head, String::from_utf8(body).expect("text"))
    };
    timeout(DEADLINE, reading).await.expect("an answer")
}

/// Reads to the end of the connection.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut read)).await.expect("an end");
    String::from_utf8_lossy(&read).into_owned()
}

fn gauge(server: &TestServer) -> usize {
    let text = server.server.app().metrics.text();
    let taken = text.lines().find_map(|line| line.strip_prefix("hark_request_memory_bytes ")).expect("a gauge");
    taken.parse().expect("a number")
}

/// What of its memory a process has in use, in bytes.
#[cfg(target_os = "linux")]
fn memory(process: &Process) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// Many connections that pipeline this request and read no answer: what each of them takes.
#[cfg(target_os = "linux")]
async fn taken_by_each(request: &str) -> usize {
    const CONNECTIONS: usize = 50;
    let data = TempDir::new().expect("a folder");
    let process = Process::start(data.path()).await;
    process.get("/api/openapi.json").await;
    let before = memory(&process);
    let requests = request.repeat(512 * 1024 / request.len());
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = open(process.address).await;
        socket2::SockRef::from(&stream).set_recv_buffer_size(4_096).expect("a small buffer");
        // What the server does not read is not written.
        let _ = timeout(Duration::from_millis(50), stream.write_all(requests.as_bytes())).await;
        streams.push(stream);
    }
    for stream in &streams {
        timeout(DEADLINE, stream.readable()).await.expect("an answer").expect("an open connection");
    }
    let mut most = 0;
    for _ in 0..50 {
        process.get("/healthz").await;
        most = most.max(memory(&process));
    }
    let each = most.saturating_sub(before) / CONNECTIONS;
    println!("{:?}: {} KiB a connection", request.lines().next().unwrap_or_default(), each / 1024);
    each
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_take_little_where_nobody_reads_the_answers() {
    let openapi = taken_by_each("GET /api/openapi.json HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(openapi < 200 * 1024, "{openapi} bytes a connection");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_take_little_where_answers_have_no_body() {
    let head = taken_by_each("HEAD /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(head < 200 * 1024, "{head} bytes a connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_count_until_they_are_taken() {
    let server = TestServer::start().await;
    let (user, mut client) = server.client("Reader").await;
    for _ in 0..30 {
        client.done("privateMessage", json!({ "receiverId": user.id, "content": "x".repeat(16_384) })).await;
    }
    let mut stream = open(server.server.address()).await;
    socket2::SockRef::from(&stream).set_recv_buffer_size(65_536).expect("a small buffer");
    let path = format!("/api/v1/conversations/users/{}/messages?limit=30", user.id);
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", user.token);
    write(&mut stream, &request.repeat(20)).await;
    // More than the kernel holds; one at a time.
    eventually("an answer waits", async || gauge(&server) > 400_000).await;
    assert!(gauge(&server) < 2 * 16_384 * 32, "more than one was made: {} bytes", gauge(&server));
    for _ in 0..20 {
        let (head, body) = read_answer(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200") && body.len() > 400_000, "{head}");
    }
    eventually("nothing counts any more", async || gauge(&server) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_comes_with_any_pieces_and_the_next_request_behind_it() {
    let server = TestServer::start().await;
    let name = "x".repeat(60_000);
    let body = json!({ "username": "nobody", "password": name }).to_string();
    let post = format!("POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let chunked = body
        .as_bytes()
        .chunks(1_000)
        .map(|part| format!("{:x}\r\n{}\r\n", part.len(), std::str::from_utf8(part).expect("ASCII")));
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = format!("{head}{}0\r\n\r\n", chunked.collect::<String>());
    let get = "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut stream = open(server.server.address()).await;
    for piece in format!("{get}{post}{get}{chunked}{get}").as_bytes().chunks(7_001) {
        stream.write_all(piece).await.expect("an open connection");
        tokio::task::yield_now().await;
    }
    for status in ["200", "401", "200", "401", "200"] {
        let (head, body) = read_answer(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_behind_a_request_that_is_under_way_changes_nothing_of_its_answer() {
    let server = TestServer::start().await;
    let user = server.user("Piper").await;
    let mut stream = open(server.server.address()).await;
    let asks = |method: &str, path: &str| {
        format!("{method} {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", user.token)
    };
    let me = asks("GET", "/api/v1/users/me");
    write(&mut stream, &format!("{me}{}{me}", asks("HEAD", "/api/v1/users/me"))).await;
    let (_, first) = read_answer(&mut stream).await;
    assert!(first.contains("Piper"), "{first}");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(DEADLINE, stream.read_u8()).await.expect("a head").expect("more of it"));
    }
    assert!(String::from_utf8_lossy(&head).contains(&format!("content-length: {}", first.len())));
    assert_eq!(read_answer(&mut stream).await.1, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_is_ended_behind_a_good_request_too() {
    let server = TestServer::start().await;
    let mut stream = open(server.server.address()).await;
    write(&mut stream, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(read_answer(&mut stream).await.0.starts_with("HTTP/1.1 200"));
    write(&mut stream, "GET /healthz HTTP/1.1\r\nx-slow: ").await;
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_idle_connections_at_once_and_lets_an_answer_be_given() {
    let server = TestServer::start().await;
    let user = server.user("Asker").await;
    let address = server.server.address();
    let (mut idle, mut busy) = (open(address).await, open(address).await);
    write(&mut idle, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    read_answer(&mut idle).await;
    let mut sql = server.sql().await;
    sqlx::raw_sql("begin; lock table sessions in access exclusive mode").execute(&mut sql).await.expect("a lock");
    let asks = format!("GET /api/v1/users/me HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", user.token);
    write(&mut busy, &asks).await;
    let mut waits = server.sql().await;
    eventually("the request waits for the lock", async || {
        let query =
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        sqlx::query_scalar::<_, i64>(query).fetch_one(&mut waits).await.expect("a count") > 0
    })
    .await;
    let TestServer { server, .. } = server;
    let stopping = tokio::spawn(server.stop());
    assert_eq!(read_to_end(&mut idle).await, "");
    sqlx::raw_sql("commit").execute(&mut sql).await.expect("the lock is free");
    let (head, _) = read_answer(&mut busy).await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("connection: close"), "{head}");
    timeout(DEADLINE, stopping).await.expect("an end").expect("a stop without a fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_no_body_that_does_not_come() {
    let server = TestServer::start().await;
    let mut slow = open(server.server.address()).await;
    write(&mut slow, "POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\n{").await;
    eventually("the body has begun", async || gauge(&server) > 0).await;
    let TestServer { server, .. } = server;
    server.stop().await;
    let answer = read_to_end(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}
