//! What operators ask for: liveness, readiness and metrics.

use serde_json::{Value, json};

use super::accounts::{ME, with_token};
use crate::support::{TestServer, answer};

#[tokio::test(flavor = "multi_thread")]
async fn healthz_and_readyz_answer_ok() {
    let server = TestServer::start().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(answer(server.http("GET", path)).await.ok(200), json!({ "status": "ok" }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readyz_fails_without_the_database_and_healthz_does_not() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick").await;
    server.server.app().db.close().await;
    answer(server.http("GET", "/healthz")).await.ok(200);
    for path in ["/readyz", ME] {
        let message = with_token(&server, "GET", path, &user.token, Value::Null).await.refused(503, "overloaded");
        assert_eq!(message, "The database cannot be reached; nothing was confirmed, try again later");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_sockets_requests_messages_and_pushes() {
    let server = TestServer::start().await;
    let counts = async || {
        let metrics = answer(server.http("GET", "/metrics")).await;
        assert_eq!(metrics.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
        assert!(metrics.text.ends_with("# EOF\n"), "{metrics:?}");
        let value = |name: &str| {
            let line = metrics.text.lines().find(|line| line.starts_with(&format!("{name} ")));
            line.and_then(|line| line.rsplit_once(' '))
                .map_or_else(|| panic!("no {name}"), |(_, count)| count.to_owned())
        };
        ["hark_sockets", "hark_requests_total", "hark_messages_stored_total", "hark_pushes_total"].map(value)
    };
    assert_eq!(counts().await, ["0", "0", "0", "0"]);
    let ((_, mut sender), (bob, mut receiver)) =
        (server.connect_user("Patrick").await, server.connect_user("Bob").await);
    sender.call("privateMessage", json!({ "receiverId": bob.id, "content": "Hi" })).await;
    receiver.wait_for_push().await;
    assert_eq!(counts().await, ["2", "1", "1", "1"]);
}
