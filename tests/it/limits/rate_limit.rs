//! Rate limits of a socket and of upgrades.

use serde_json::json;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::{Client, TestServer, eventually};
use crate::ws::{assert_works, end, note};

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_closes_a_socket_that_floods_pings_with_4008() {
    let server = TestServer::start_with(|config| config.limits.requests_per_second = 50).await;
    let (_, mut client) = server.connect_user("Pinger").await;
    for _ in 0..1_000 {
        if !client.try_send(Message::Ping(vec![1].into())).await {
            break;
        }
    }
    assert_eq!(client.wait_for_close().await.code, 4008);
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_refuses_upgrades_of_one_user_with_429() {
    let server = TestServer::start_with(|config| {
        config.limits.requests_per_second = 1;
        config.limits.request_burst = 3;
    })
    .await;
    let user = server.create_user("Spinner").await;
    let headers = [("authorization", format!("Bearer {}", user.token))];
    let mut opened = 0;
    let refused = loop {
        match Client::try_connect(server.server.address(), "/", &headers).await {
            Ok(_) => opened += 1,
            Err(error) => break *error,
        }
    };
    assert!(opened >= 3, "{opened}");
    let tungstenite::Error::Http(response) = refused else { panic!("{refused}") };
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "1");
    // The limit applies to this user alone.
    let _neighbour = server.connect_user("Neighbour").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_refuses_in_order_and_returns_retry_after() {
    // The rate is one a second, so that a slow machine earns no further requests during the test.
    let server = TestServer::start_with(|config| config.limits.requests_per_second = 1).await;
    assert_eq!(server.server.app().config.limits.request_burst, 100);
    let (user, mut client) = server.connect_user("Patrick0").await;
    let kinds = ["privateMessage", "noSuchType"];
    for nth in 0..150 {
        client.send(kinds[nth % 2], note(user.id, "Hi")).await;
    }
    let mut refused = 0;
    for nth in 0..150 {
        let mut reply = client.wait_for_reply_to(nth as u64 + 1).await;
        if reply["code"] != "rate_limited" {
            assert_eq!(reply["params"]["item"]["duplicate"] == false, nth % 2 == 0, "{reply}");
            continue;
        }
        let wait = reply["retryAfterMs"].take().as_u64().expect("an integer");
        assert!((1..=1000).contains(&wait), "{wait}");
        let message = format!("Too many requests; try again in {wait} ms");
        let expected = json!({ "error": true, "type": kinds[nth % 2], "message": message, "code": "rate_limited",
            "retryAfterMs": null, "id": nth + 1 });
        assert_eq!(reply, expected);
        refused += 1;
    }
    assert!((20..=50).contains(&refused), "{refused} of 150 with a burst of 100");
    assert_works(&mut server.connect(&user).await).await;
    eventually("it may ask again", async || client.call("listLastMessage", json!({})).await["success"] == true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_closes_a_socket_that_keeps_exceeding_it_with_4008() {
    let limit = |config: &mut hark::config::Config| {
        (config.limits.requests_per_second, config.limits.request_burst) = (1, 10);
    };
    let server = TestServer::start_with(limit).await;
    let (user, mut client) = server.connect_user("Patrick0").await;
    for _ in 0..200 {
        client.send("noSuchType", json!({})).await;
    }
    assert_eq!(client.wait_for_close().await, end(4008, "Kept breaking the rate limit"));
    assert_works(&mut server.connect(&user).await).await;
}
