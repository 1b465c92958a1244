//! Admission control for upgrades: they are spaced out, so that a reconnect storm cannot starve open sockets.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::json;

use crate::support::{Client, TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn admission_spaces_upgrades_and_refuses_those_that_would_wait_long() {
    let server = TestServer::start_with(|config| config.limits.sockets_per_second = 1).await;
    let user = server.create_user("Returner").await;
    let headers = [("authorization", format!("Bearer {}", user.token))];
    // Some of them wait for about ten seconds, and the rest are refused.
    let mut coming: FuturesUnordered<_> =
        (0..15).map(|_| Client::try_connect(server.server.address(), "/", &headers)).collect();
    let (mut opened, mut refused) = (Vec::new(), 0);
    while opened.len() < 2 || refused == 0 {
        match coming.next().await.expect("they do not all end before that") {
            Ok((client, _)) => opened.push(client),
            Err(error) => {
                assert!(error.to_string().contains("503"), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!(opened[1].call("listUsers", json!({})).await["success"], true);
    // Graceful shutdown ends the wait: each waiting upgrade gets a close frame that the server is going away.
    let TestServer { server, .. } = server;
    let ((), ends) = tokio::join!(server.stop(), async {
        let mut ends = 0;
        while let Some(outcome) = coming.next().await {
            if let Ok((client, _)) = outcome {
                assert_eq!(client.wait_for_close().await.code, 1001);
                ends += 1;
            }
        }
        ends
    });
    assert!(ends > 0, "an upgrade was still waiting");
}
