//! Limits of HTTP requests: too many, too slow, or too large.

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Answer, TEST_TIMEOUT, TestServer, answer};

const ME: &str = "/api/v1/users/me";

/// Returns what a server answers to these bytes, up to the end of the connection.
async fn exchange(server: &TestServer, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.server.address()).await.expect("a connection");
    // The server may have answered before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut written = Vec::new();
    let _ = timeout(TEST_TIMEOUT, stream.read_to_end(&mut written)).await.expect("an end");
    String::from_utf8_lossy(&written).into_owned()
}

fn wait(refusal: &Answer) -> u64 {
    let message = refusal.refused(429, "rate_limited");
    assert!(message.starts_with("Too many requests"), "{message}");
    refusal.header("retry-after").parse().expect("whole seconds")
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_over_http_is_429_with_retry_after() {
    let server = TestServer::start_with(|config| {
        (config.limits.requests_per_second, config.limits.request_burst) = (1, 5);
    })
    .await;
    let (user, other) = (server.create_user("Eager").await, server.create_user("Patient").await);
    for _ in 0..5 {
        server.as_user(&user.token, "GET", ME, Value::Null).await.ok(200);
    }
    let mut refused = None;
    for _ in 0..5 {
        let answer = server.as_user(&user.token, "GET", ME, Value::Null).await;
        refused = (answer.status == 429).then(|| wait(&answer)).or(refused);
    }
    assert!((1..=2).contains(&refused.expect("a refusal")), "{refused:?}");
    // Another session of the same user has the same limit, and other users have their own.
    let (second, _) = server.sign_in(user.id, server.server.app().tokens.expiry()).await;
    let mut refused = 0;
    for _ in 0..5 {
        refused += usize::from(server.as_user(&second, "GET", ME, Value::Null).await.status == 429);
    }
    assert!(refused > 0);
    server.as_user(&other.token, "GET", ME, Value::Null).await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_of_a_user_is_not_used_up_by_an_ended_session() {
    let server = TestServer::start_with(|config| {
        (config.limits.requests_per_second, config.limits.request_burst) = (1, 5);
    })
    .await;
    let user = server.create_user("Robbed").await;
    let (stolen, session) = server.sign_in(user.id, server.server.app().tokens.expiry()).await;
    let ended = sqlx::query("delete from sessions where id = $1").bind(session).execute(&mut server.sql().await).await;
    ended.expect("it was there");
    let mut codes = Vec::new();
    for _ in 0..20 {
        codes.push(server.as_user(&stolen, "GET", ME, Value::Null).await.status);
    }
    // The server does not query the database for each of them.
    assert!(codes.contains(&401) && codes.contains(&429), "{codes:?}");
    server.as_user(&user.token, "GET", ME, Value::Null).await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_bodies_that_never_end_is_bounded() {
    let server = TestServer::start_with(|config| config.limits.request_memory_bytes = 10 * 65_536).await;
    let body = "x".repeat(65_000);
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.server.address()).await.expect("a connection");
        let head = "POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 65536\r\n\r\n";
        stream.write_all(format!("{head}{body}").as_bytes()).await.expect("an open connection");
        slow.push(stream);
    }
    // Ten or eleven hold all of the memory and get no answer; the others are refused.
    let statuses: FuturesUnordered<_> = slow
        .iter_mut()
        .map(async |stream| {
            let mut status = [0; 12];
            stream.read_exact(&mut status).await.map(|_| status)
        })
        .collect();
    let refused: Vec<_> = timeout(TEST_TIMEOUT, statuses.take(39).collect()).await.expect("answers");
    for status in refused {
        assert_eq!(&status.expect("an open connection"), b"HTTP/1.1 503");
    }
    assert_eq!(answer(server.http("GET", "/healthz")).await.status, 200);
    let (_, mut neighbour) = server.connect_user("Neighbour").await;
    assert_eq!(neighbour.call("listUsers", json!({})).await["success"], true);
    let login = json!({ "username": "nobody", "password": "correct horse" });
    let log_in = async || answer(server.http("POST", "/api/v1/auth/login").json(&login)).await;
    // Small requests are still accepted.
    assert_eq!(log_in().await.status, 401);
    let large = json!({ "username": "nobody", "password": "x".repeat(60_000) });
    let send_large = async || answer(server.http("POST", "/api/v1/auth/login").json(&large)).await;
    send_large().await.refused(503, "overloaded");
    drop(slow);
    crate::support::eventually("there is room again", async || send_large().await.status == 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_not_reserved_for_announced_bodies_that_do_not_come() {
    let server = TestServer::start_with(|config| config.limits.request_memory_bytes = 10 * 65_536).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.server.address()).await.expect("a connection");
        let head =
            "POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 65536\r\nexpect: 100-continue\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("an open connection");
        let mut goes_on = [0; 25];
        timeout(TEST_TIMEOUT, stream.read_exact(&mut goes_on)).await.expect("an answer").expect("an open connection");
        assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"{").await.expect("an open connection");
        slow.push(stream);
    }
    let large = json!({ "username": "nobody", "password": "x".repeat(60_000) });
    answer(server.http("POST", "/api/v1/auth/login").json(&large)).await.refused(401, "unauthorized");
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_heads_that_never_end_and_too_many_headers_are_refused() {
    let server = TestServer::start().await;
    let many = "x-many: y\r\n".repeat(1_000);
    for head in ["x".repeat(200_000), format!("GET /healthz HTTP/1.1\r\n{many}\r\n"), "GET / HTTP/9\r\n\r\n".into()] {
        let response = exchange(&server, head.as_bytes()).await;
        // A connection that is reset while the client still sends yields no answer.
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 4"), "{response}");
    }
    // The server's timeout for a request head is shorter than the test's.
    let response = exchange(&server, b"GET /healthz HTTP/1.1\r\nhost: a\r\nx-slow: ").await;
    assert!(response.starts_with("HTTP/1.1 408"), "{response}");
    assert_eq!(answer(server.http("GET", "/healthz")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::start().await;
    let user = server.create_user("Piper").await;
    let asks = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", user.token);
    let last = "GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let response = exchange(&server, format!("{}{}{last}", asks(ME), asks("/nothing")).as_bytes()).await;
    let codes: Vec<&str> = response.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(codes, ["200", "404", "200"], "{response}");
    let many = format!("{}{last}", asks(ME).repeat(500));
    let response = exchange(&server, many.as_bytes()).await;
    assert_eq!(response.matches("HTTP/1.1 200").count(), 501);
}
