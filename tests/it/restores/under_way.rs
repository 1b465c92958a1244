//! What was asked before the database was put back, and is carried out afterwards: by then the numbers of who has
//! asked are perhaps those of somebody else.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::histories::ready;
use crate::support::{Cluster, DEADLINE, TestServer, User, eventually};

const ME: &str = "/api/v1/users/me";

/// A request of whose body one byte has come.
struct Begun {
    stream: TcpStream,
    rest: String,
}

impl Begun {
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

    /// Sends the rest of the body, and reads the answer.
    async fn end(mut self) -> String {
        self.stream.write_all(self.rest.as_bytes()).await.expect("an open connection");
        let mut read = Vec::new();
        timeout(DEADLINE, self.stream.read_to_end(&mut read)).await.expect("an answer").expect("a whole one");
        String::from_utf8(read).expect("text")
    }
}

fn request_memory(server: &TestServer) -> usize {
    let text = server.server.app().metrics.text();
    let taken = text.lines().find_map(|line| line.strip_prefix("hark_request_memory_bytes ")).expect("a gauge");
    taken.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_while_a_dump_is_restored_is_not_carried_out_for_who_has_its_number_then() {
    let mut cluster = Cluster::start(&[]).await;
    let server = TestServer::on(cluster.address(), |config| config.migrate = true).await;
    let ann = server.user("Ann").await;
    let dump = cluster.dump();
    let mallory = server.user("Mallory").await;
    let change = Begun::new(&server, &mallory, "PATCH", ME, &json!({ "firstName": "Stolen" })).await;
    let path = format!("/api/v1/conversations/users/{}/messages", ann.id);
    let send = Begun::new(&server, &mallory, "POST", &path, &json!({ "content": "stolen" })).await;
    // Who asks is known before the body is read, which counts as it comes.
    eventually("both wait for their bodies", async || request_memory(&server) == 2).await;

    cluster.restore(&dump).await;
    server.server.app().db.look_at_history().await.expect_err("nobody gets a connection for a while");
    ready(&server).await;
    let victim = server.user("Victim").await;
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
