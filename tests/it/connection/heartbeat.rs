//! Pings of either side: answered, and sent, whatever else waits.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

use super::{CONTINUE, FINAL, PING, TEXT, assert_works, frame, note, padded, pieces, write};
use crate::support::{Client, SocketEnd, TestServer, User, eventually};

fn pong(payload: impl AsRef<[u8]>) -> Message {
    Message::Pong(payload.as_ref().to_vec().into())
}

/// A request that the database does not answer while this lock is held.
async fn lock_users(server: &TestServer) -> sqlx::PgConnection {
    let mut sql = server.sql().await;
    sqlx::raw_sql("begin; lock table users in access exclusive mode").execute(&mut sql).await.expect("a lock");
    sql
}

async fn unlock(mut sql: sqlx::PgConnection) {
    sqlx::raw_sql("commit").execute(&mut sql).await.expect("the lock is free");
}

/// The payloads of the pongs up to the next text, and that text.
async fn pongs_before_text(client: &mut Client) -> (Vec<Vec<u8>>, String) {
    let mut pongs = Vec::new();
    loop {
        match client.message().await {
            Message::Pong(payload) => pongs.push(payload.to_vec()),
            Message::Ping(_) => {}
            Message::Text(text) => return (pongs, text.to_string()),
            other => panic!("not {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_right_behind_a_request_is_answered() {
    let server = TestServer::start().await;
    let (user, mut client) = server.client("Patrick0").await;
    for nth in 0..30_u8 {
        let request = json!({ "type": "privateMessage", "params": note(user.id, "Hi"), "id": nth }).to_string();
        let read = json!({ "type": "listLastMessage", "id": nth }).to_string();
        let request = if nth % 2 == 0 { request } else { read };
        // In one packet.
        let both = [frame(FINAL | TEXT, request.as_bytes()), frame(FINAL | PING, &[nth])].concat();
        write(&mut client, &both).await;
        let (mut pongs, mut replies) = (0, 0);
        while pongs + replies < 2 {
            match client.message().await {
                Message::Pong(payload) => pongs += usize::from(payload[..] == [nth]),
                Message::Text(_) => replies += 1,
                other => panic!("not {other:?}"),
            }
        }
        assert_eq!((pongs, replies), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_is_answered_while_a_request_is_under_way() {
    let server = TestServer::start().await;
    let (_, mut client) = server.client("Patrick0").await;
    let lock = lock_users(&server).await;
    let id = client.send("listUsers", json!({})).await;
    for payload in ["one", "two"] {
        client.send_message(Message::Ping(payload.into())).await;
        assert_eq!(client.message().await, pong(payload));
    }
    unlock(lock).await;
    assert_eq!(client.reply_to(id).await["success"], true);
    assert_works(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_is_answered_behind_more_requests_than_may_be_in_flight() {
    let server = TestServer::with(|config| config.limits.max_in_flight = 4).await;
    let (user, mut client) = server.client("Patrick0").await;
    let lock = lock_users(&server).await;
    let mut ids = Vec::new();
    for nth in 0..40 {
        let kind = if nth % 3 == 0 { "listUsers" } else { "privateMessage" };
        ids.push(client.send(kind, note(user.id, "Hi")).await);
        if nth % 10 == 9 {
            client.send_message(Message::Ping(nth.to_string().into())).await;
            assert_eq!(client.message().await, pong(nth.to_string()));
        }
    }
    // A message that has begun and not ended is no hindrance either.
    let request = padded(500);
    write(&mut client, &frame(TEXT, &request[..200])).await;
    write(&mut client, &frame(FINAL | PING, b"between")).await;
    assert_eq!(client.message().await, pong("between"));
    write(&mut client, &frame(FINAL | CONTINUE, &request[200..])).await;
    unlock(lock).await;
    for id in ids {
        client.reply_to(id).await;
    }
    assert_eq!(client.reply().await["type"], "listLastMessage");
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_between_the_pieces_of_a_message_is_answered() {
    let server = TestServer::start().await;
    let (_, mut client) = server.client("Patrick0").await;
    let mut messages = pieces(Data::Text, &padded(60_000), 10_000);
    for nth in 1..messages.len() {
        messages.insert(2 * nth - 1, Message::Ping(nth.to_string().into()));
    }
    let mut pongs = Vec::new();
    for message in messages {
        let is_ping = message.is_ping();
        client.send_message(message).await;
        if is_ping {
            pongs.push(client.message().await);
        }
    }
    assert_eq!(pongs, ["1", "2", "3", "4", "5"].map(pong));
    assert_eq!(client.reply().await["success"], true);
}

/// Asks for a hundred large pages and reads none, until the server holds one that the kernel does not take.
async fn leave_replies_unread(server: &TestServer, user: &User, client: &mut Client) {
    socket2::SockRef::from(&*client.raw()).set_recv_buffer_size(65_536).expect("a small buffer");
    for _ in 0..5 {
        client.call("privateMessage", note(user.id, &"x".repeat(16_384))).await;
    }
    for _ in 0..100 {
        client.send("getlatestMessageDialog", json!({ "receiverId": user.id })).await;
    }
    eventually("a reply waits", async || {
        let text = server.server.app().metrics.text();
        let taken = text.lines().find_map(|line| line.strip_prefix("hark_request_memory_bytes ")).expect("a gauge");
        taken.parse::<usize>().expect("a number") > 65_536
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_behind_replies_that_nobody_reads_is_answered_and_many_are_answered_once() {
    let server = TestServer::with(|config| config.limits.outbox_bytes = 65_536).await;
    let (user, mut client) = server.client("Patrick0").await;
    leave_replies_unread(&server, &user, &mut client).await;
    for nth in 0..100 {
        client.send_message(Message::Ping(format!("{nth}").into())).await;
    }
    let (mut pongs, mut replies) = (Vec::new(), 0);
    while replies < 100 {
        let (answered, _) = pongs_before_text(&mut client).await;
        pongs.extend(answered);
        replies += 1;
    }
    while pongs.last().map(Vec::as_slice) != Some(b"99") {
        match client.message().await {
            Message::Pong(payload) => pongs.push(payload.to_vec()),
            other => panic!("not {other:?}"),
        }
    }
    assert!(pongs.len() < 100, "the newest stands for those before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeat_is_sent_though_replies_wait() {
    let server = TestServer::with(|config| {
        config.limits.outbox_bytes = 65_536;
        (config.limits.ping_seconds, config.limits.idle_seconds) = (1, 60);
    })
    .await;
    let (user, mut client) = server.client("Patrick0").await;
    leave_replies_unread(&server, &user, &mut client).await;
    // A socket that was opened later has its first ping, so that of this one was due.
    let (_, mut neighbour) = server.client("Patrick1").await;
    assert_eq!(neighbour.message().await, Message::Ping(vec![].into()));
    let (mut replies, mut replies_at_ping) = (0, None);
    while replies < 100 {
        match client.message().await {
            Message::Ping(_) => _ = replies_at_ping.get_or_insert(replies),
            Message::Text(_) => replies += 1,
            other => panic!("not {other:?}"),
        }
    }
    assert!(replies_at_ping.is_some(), "no ping among the replies");
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_behind_a_request_that_is_under_way_count_for_the_rate() {
    let server = TestServer::with(|config| {
        (config.limits.requests_per_second, config.limits.request_burst) = (1, 10);
    })
    .await;
    let (_, mut client) = server.client("Patrick0").await;
    let lock = lock_users(&server).await;
    client.send("listUsers", json!({})).await;
    write(&mut client, &frame(FINAL | PING, b"p").repeat(200)).await;
    let end = client.closed().await;
    assert_eq!(end, SocketEnd { code: 4008, reason: "Kept breaking the rate limit".to_owned() });
    unlock(lock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_without_end_that_nobody_reads_the_answers_to_are_bounded() {
    let server = TestServer::start().await;
    let (_, mut client) = server.client("Patrick0").await;
    socket2::SockRef::from(&*client.raw()).set_recv_buffer_size(65_536).expect("a small buffer");
    // No rate here: only the outbox bounds them.
    for _ in 0..200 {
        write(&mut client, &frame(FINAL | PING, &[7; 125]).repeat(500)).await;
    }
    write(&mut client, &frame(FINAL | PING, b"last")).await;
    let mut bytes = 0;
    loop {
        match client.message().await {
            Message::Pong(payload) if payload[..] == b"last"[..] => break,
            Message::Pong(payload) => bytes += payload.len(),
            other => panic!("not {other:?}"),
        }
    }
    println!("{bytes} bytes of pongs for 12.5 MB of pings");
    assert_works(&mut client).await;
}
