//! Requests that are sent before a restore and run after it: by then the ids of their senders may belong to
//! other users.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::timelines::wait_until_ready;
use crate::support::{Cluster, TEST_TIMEOUT, TestServer, User, eventually};

const ME: &str = "/api/v1/users/me";

/// A request whose first body byte was sent.
struct PartialRequest {
    stream: TcpStream,
    rest: String,
}

impl PartialRequest {
    async fn new(server: &TestServer, user: &User, method: &str, path: &str, body: &Value) -> Self {
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: hark\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            user.token,
            body.len()
        );
        let mut stream = TcpStream::connect(server.server.address()).await.expect("a connection");
        let (first, rest) = body.split_at(1);
        stream.write_all([&head, first].concat().as_bytes()).await.expect("an open connection");
        Self { stream, rest: rest.to_owned() }
    }

    /// Sends the rest of the body, and reads the response.
    async fn end(mut self) -> String {
        self.stream.write_all(self.rest.as_bytes()).await.expect("an open connection");
        let mut read = Vec::new();
        timeout(TEST_TIMEOUT, self.stream.read_to_end(&mut read)).await.expect("an answer").expect("a whole one");
        String::from_utf8(read).expect("text")
    }
}

fn request_memory(server: &TestServer) -> usize {
    let text = server.server.app().metrics.text();
    let taken = text.lines().find_map(|line| line.strip_prefix("hark_request_memory_bytes ")).expect("a gauge");
    taken.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_refuses_a_request_that_was_waiting_instead_of_running_it_for_another_user_with_its_id() {
    let mut cluster = Cluster::start(&[]).await;
    let server = TestServer::on(cluster.address(), |config| config.migrate = true).await;
    let ann = server.create_user("Ann").await;
    let dump = cluster.dump();
    let mallory = server.create_user("Mallory").await;
    let change = PartialRequest::new(&server, &mallory, "PATCH", ME, &json!({ "firstName": "Stolen" })).await;
    let path = format!("/api/v1/conversations/users/{}/messages", ann.id);
    let send = PartialRequest::new(&server, &mallory, "POST", &path, &json!({ "content": "stolen" })).await;
    // The user is identified before the body is read, whose bytes count as they arrive.
    eventually("both wait for their bodies", async || request_memory(&server) == 2).await;

    cluster.restore(&dump).await;
    server.server.app().db.verify_history().await.expect_err("no connection is given out for a while");
    wait_until_ready(&server).await;
    let victim = server.create_user("Victim").await;
    assert_eq!(victim.id, mallory.id, "the number is given again");
    for begun in [change, send] {
        let answer = begun.end().await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    assert_eq!(server.as_user(&victim.token, "GET", ME, Value::Null).await.ok(200)["firstName"], "Victim");
    let chats = server.as_user(&victim.token, "GET", "/api/v1/conversations", Value::Null).await.ok(200);
    assert_eq!(chats["data"], json!([]));
    server.server.stop().await;
}
