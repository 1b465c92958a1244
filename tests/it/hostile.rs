//! What one account must not be able to do to the others, or to the server.

mod crowds;
mod flood;
mod http;
mod memory;
mod parsers;

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::{Client, TestServer, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dies_with_replies_waiting_is_noticed() {
    let server = TestServer::start().await;
    let (me, mut writer) = server.client("Writer").await;
    let mut reader = server.connect(&me).await;
    for _ in 0..40 {
        let params = json!({ "receiverId": me.id, "content": "x".repeat(16_000) });
        assert_eq!(writer.call("privateMessage", params).await["success"], true);
    }
    // 640 KB a reply: the kernel's buffers fill, then the outbox, then the server stops reading.
    let ask = json!({ "type": "getlatestMessageDialog", "params": { "receiverId": me.id, "limit": 100 }, "id": 1 });
    for _ in 0..60 {
        if !reader.try_send(Message::text(ask.to_string())).await {
            break;
        }
    }
    let requests = || {
        server
            .server
            .app()
            .metrics
            .text()
            .lines()
            .find(|line| line.starts_with("hark_requests_total"))
            .map(str::to_owned)
    };
    let (mut before, mut unchanged) = (None, 0);
    eventually("the server has stopped reading", async || {
        let now = requests();
        unchanged = if before == now { unchanged + 1 } else { 0 };
        before = now;
        unchanged > 20
    })
    .await;
    // A reset, not a goodbye.
    socket2::SockRef::from(&*reader.raw()).set_linger(Some(Duration::ZERO)).expect("our own socket");
    drop(reader);
    eventually("its place is free", async || server.server.app().delivery.hub.open_sockets() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pings_without_end_is_closed_4008() {
    let server = TestServer::with(|config| config.limits.requests_per_second = 50).await;
    let (_, mut client) = server.client("Pinger").await;
    for _ in 0..1_000 {
        if !client.try_send(Message::Ping(vec![1].into())).await {
            break;
        }
    }
    assert_eq!(client.closed().await.code, 4008);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_share_one_place_in_a_batch() {
    let server = TestServer::with(|config| config.writers = Some(1)).await;
    let (sender, mut first) = server.client("Sender").await;
    let mut second = server.connect(&sender).await;
    let (to, mut receiver) = server.client("Receiver").await;
    let mut sql = server.sql().await;
    // A lock holds up the writer, and the repeats queue up behind it.
    sqlx::raw_sql("begin; lock table messages in exclusive mode").execute(&mut sql).await.expect("a lock");
    let params = json!({ "receiverId": to.id, "content": "once", "clientMessageId": "same" });
    for client in [&mut first, &mut second] {
        for _ in 0..60 {
            client.send("privateMessage", params.clone()).await;
        }
    }
    eventually("the server has read all of them", async || {
        server.server.app().metrics.text().contains("hark_requests_total 120")
    })
    .await;
    sqlx::raw_sql("commit").execute(&mut sql).await.expect("the lock is free");
    let mut receipts: Vec<Value> = Vec::new();
    for client in [&mut first, &mut second] {
        for id in 1..=60 {
            receipts.push(client.reply_to(id).await["params"]["item"].clone());
        }
    }
    assert_eq!(receipts.iter().filter(|receipt| receipt["duplicate"] == false).count(), 1);
    assert!(receipts.iter().all(|receipt| receipt["messageId"] == receipts[0]["messageId"]), "{receipts:?}");
    assert_eq!(receiver.push().await["params"]["message"], "once");
    let text = server.server.app().metrics.text();
    let batches = text.lines().find_map(|line| line.strip_prefix("hark_batch_messages_count ")).expect("a count");
    assert!(batches.parse::<u32>().expect("a number") <= 3, "{batches} transactions for one message");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_a_refused_send_to_somebody_else_is_asked_to_come_again() {
    let server = TestServer::with(|config| config.writers = Some(1)).await;
    let (_, mut sender) = server.client("Sender").await;
    let to = server.user("Receiver").await;
    let mut sql = server.sql().await;
    sqlx::raw_sql("begin; lock table messages in exclusive mode").execute(&mut sql).await.expect("a lock");
    // The first holds up the writer; the next three share a batch.
    let mut ids = vec![sender.send("privateMessage", json!({ "receiverId": to.id, "content": "x" })).await];
    for receiver in [404, 404, to.id] {
        let params = json!({ "receiverId": receiver, "content": "y", "clientMessageId": "same" });
        ids.push(sender.send("privateMessage", params).await);
    }
    eventually("the server has read all of them", async || {
        server.server.app().metrics.text().contains("hark_requests_total 4")
    })
    .await;
    sqlx::raw_sql("commit").execute(&mut sql).await.expect("the lock is free");
    let mut codes = Vec::new();
    for id in ids {
        codes.push(sender.reply_to(id).await["code"].clone());
    }
    assert_eq!(json!(codes), json!([null, "not_found", "not_found", "overloaded"]));
    let again = json!({ "receiverId": to.id, "content": "y", "clientMessageId": "same" });
    assert_eq!(sender.call("privateMessage", again).await["params"]["item"]["duplicate"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_of_many_tells_each_of_their_own_coming() {
    let server = TestServer::start().await;
    let (_, mut creator) = server.client("Creator").await;
    let others = server.users("U", 101).await;
    let mut listener = server.connect(&others[7]).await;
    let ids: Vec<i64> = others.iter().map(|user| user.id).collect();
    let group = creator.call("newGroup", json!({ "groupName": "Many", "userIds": ids })).await;
    assert_eq!(group["success"], true, "{group}");
    assert_eq!(listener.push().await["params"]["message"], "User U7 added in group.");
    creator.call("messageInGroup", json!({ "groupId": group["params"]["item"]["groupId"], "content": "hi" })).await;
    assert_eq!(listener.push().await["params"]["message"], "hi");
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_opened_one_after_the_other_and_who_would_wait_long_is_sent_away() {
    let server = TestServer::with(|config| config.limits.sockets_per_second = 1).await;
    let user = server.user("Returner").await;
    let headers = [("authorization", format!("Bearer {}", user.token))];
    // Some ten seconds' worth of them wait, and the others need not.
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
    // At a stop nobody waits any longer: each is told that the server goes away.
    let TestServer { server, .. } = server;
    let ((), ends) = tokio::join!(server.stop(), async {
        let mut ends = 0;
        while let Some(outcome) = coming.next().await {
            if let Ok((client, _)) = outcome {
                assert_eq!(client.closed().await.code, 1001);
                ends += 1;
            }
        }
        ends
    });
    assert!(ends > 0, "somebody was still waiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_sockets_without_end_is_told_to_wait() {
    let server = TestServer::with(|config| {
        config.limits.requests_per_second = 1;
        config.limits.request_burst = 3;
    })
    .await;
    let user = server.user("Spinner").await;
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
    // It is their own doing, and nobody else's.
    let _neighbour = server.client("Neighbour").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_takes_no_place() {
    let server = TestServer::with(|config| config.limits.max_sockets_per_user = 1).await;
    let user = server.user("Owner").await;
    let (stolen, session) = server.sign_in(user.id, server.server.app().tokens.expiry()).await;
    sqlx::query("delete from sessions where id = $1")
        .bind(session)
        .execute(&mut server.sql().await)
        .await
        .expect("gone");
    let headers = [("authorization", format!("Bearer {stolen}"))];
    let connect = || Client::try_connect(server.server.address(), "/", &headers);
    assert!(connect().await.is_err());
    let _owner = server.connect(&user).await;
    // 401 though the places are taken: who is nobody is not told of them.
    let Err(refused) = connect().await else { panic!("an upgrade") };
    assert!(refused.to_string().contains("401"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_behind_the_servers_back_closes_its_sockets() {
    let server = TestServer::start().await;
    let (user, client) = server.client("Somebody").await;
    sqlx::query("delete from sessions where id = $1")
        .bind(user.session)
        .execute(&mut server.sql().await)
        .await
        .expect("gone");
    assert_eq!(client.closed().await.code, 4001);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_of_too_many_sessions_ends() {
    let server = TestServer::start().await;
    let user = server.user("Collector").await;
    let exp = server.server.app().tokens.expiry();
    for _ in 0..99 {
        server.sign_in(user.id, exp).await;
    }
    assert!(server.server.app().identify(&user.token).await.is_ok());
    server.sign_in(user.id, exp).await;
    assert!(server.server.app().identify(&user.token).await.is_err());
}
