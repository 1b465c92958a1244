//! HTTP connections: one request at a time, responses that nobody reads, and how connections end.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Process, TEST_TIMEOUT, TestServer, eventually};

async fn open(address: std::net::SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a connection")
}

async fn write(stream: &mut TcpStream, text: &str) {
    timeout(TEST_TIMEOUT, stream.write_all(text.as_bytes())).await.expect("room").expect("an open connection");
}

/// Reads one response with a body of known length, and returns its head and its body.
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
    timeout(TEST_TIMEOUT, reading).await.expect("an answer")
}

/// Reads to the end of the connection.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let _ = timeout(TEST_TIMEOUT, stream.read_to_end(&mut read)).await.expect("an end");
    String::from_utf8_lossy(&read).into_owned()
}

fn gauge(server: &TestServer) -> usize {
    let text = server.server.app().metrics.text();
    let taken = text.lines().find_map(|line| line.strip_prefix("hark_request_memory_bytes ")).expect("a gauge");
    taken.parse().expect("a number")
}

/// Returns the resident memory of a process, in bytes.
#[cfg(target_os = "linux")]
fn memory(process: &Process) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// Opens many connections that pipeline this request and read no response, and returns the memory of each.
#[cfg(target_os = "linux")]
async fn memory_of_each(request: &str) -> usize {
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
        // The test cannot write what the server does not read.
        let _ = timeout(Duration::from_millis(50), stream.write_all(requests.as_bytes())).await;
        streams.push(stream);
    }
    for stream in &streams {
        timeout(TEST_TIMEOUT, stream.readable()).await.expect("an answer").expect("an open connection");
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
async fn pipelined_requests_take_bounded_memory_while_responses_are_unread() {
    let openapi = memory_of_each("GET /api/openapi.json HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(openapi < 200 * 1024, "{openapi} bytes a connection");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_take_bounded_memory_where_responses_have_no_body() {
    let head = memory_of_each("HEAD /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(head < 200 * 1024, "{head} bytes a connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn response_memory_is_reserved_until_the_client_has_read_it() {
    let server = TestServer::start().await;
    let (user, mut client) = server.connect_user("Reader").await;
    for _ in 0..30 {
        client.call_ok("privateMessage", json!({ "receiverId": user.id, "content": "x".repeat(16_384) })).await;
    }
    let mut stream = open(server.server.address()).await;
    socket2::SockRef::from(&stream).set_recv_buffer_size(65_536).expect("a small buffer");
    let path = format!("/api/v1/conversations/users/{}/messages?limit=30", user.id);
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", user.token);
    write(&mut stream, &request.repeat(20)).await;
    // The response is larger than the kernel's buffers, and responses are made one at a time.
    eventually("an answer waits", async || gauge(&server) > 400_000).await;
    assert!(gauge(&server) < 2 * 16_384 * 32, "more than one was made: {} bytes", gauge(&server));
    for _ in 0..20 {
        let (head, body) = read_answer(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200") && body.len() > 400_000, "{head}");
    }
    eventually("nothing counts any more", async || gauge(&server) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_body_in_any_pieces_is_read_up_to_the_next_request() {
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
async fn head_request_behind_another_one_does_not_change_its_response() {
    let server = TestServer::start().await;
    let user = server.create_user("Piper").await;
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
        head.push(timeout(TEST_TIMEOUT, stream.read_u8()).await.expect("a head").expect("more of it"));
    }
    assert!(String::from_utf8_lossy(&head).contains(&format!("content-length: {}", first.len())));
    assert_eq!(read_answer(&mut stream).await.1, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_head_that_never_ends_times_out_also_after_a_complete_request() {
    let server = TestServer::start().await;
    let mut stream = open(server.server.address()).await;
    write(&mut stream, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(read_answer(&mut stream).await.0.starts_with("HTTP/1.1 200"));
    write(&mut stream, "GET /healthz HTTP/1.1\r\nx-slow: ").await;
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn graceful_shutdown_closes_idle_connections_and_finishes_responses() {
    let server = TestServer::start().await;
    let user = server.create_user("Asker").await;
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
    timeout(TEST_TIMEOUT, stopping).await.expect("an end").expect("a stop without a fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn graceful_shutdown_does_not_wait_for_a_request_body() {
    let server = TestServer::start().await;
    let mut slow = open(server.server.address()).await;
    write(&mut slow, "POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\n{").await;
    eventually("the body has begun", async || gauge(&server) > 0).await;
    let TestServer { server, .. } = server;
    server.stop().await;
    let answer = read_to_end(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}
