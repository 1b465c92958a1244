//! Heartbeat: pings of the client are answered and pings of the server are sent, whatever else waits.

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

use super::{CONTINUE, FINAL, PING, TEXT, assert_works, fragments, frame, note, padded, write};
use crate::support::{Client, SocketEnd, TEST_TIMEOUT, TestServer, User, eventually};

fn pong(payload: impl AsRef<[u8]>) -> Message {
    Message::Pong(payload.as_ref().to_vec().into())
}

/// Takes a lock that keeps the database from answering requests about users.
async fn lock_users(server: &TestServer) -> sqlx::PgConnection {
    let mut sql = server.sql().await;
    sqlx::raw_sql("begin; lock table users in access exclusive mode").execute(&mut sql).await.expect("a lock");
    sql
}

async fn unlock(mut sql: sqlx::PgConnection) {
    sqlx::raw_sql("commit").execute(&mut sql).await.expect("the lock is free");
}

/// Returns the payloads of the pongs up to the next text frame, and that text.
async fn pongs_before_text(client: &mut Client) -> (Vec<Vec<u8>>, String) {
    let mut pongs = Vec::new();
    loop {
        match client.next_message().await {
            Message::Pong(payload) => pongs.push(payload.to_vec()),
            Message::Ping(_) => {}
            Message::Text(text) => return (pongs, text.to_string()),
            other => panic!("not {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_behind_a_request_in_one_packet_is_answered() {
    let server = TestServer::start().await;
    let (user, mut client) = server.connect_user("Patrick0").await;
    for nth in 0..30_u8 {
        let request = json!({ "type": "privateMessage", "params": note(user.id, "Hi"), "id": nth }).to_string();
        let read = json!({ "type": "listLastMessage", "id": nth }).to_string();
        let request = if nth % 2 == 0 { request } else { read };
        // Both frames go in one packet.
        let both = [frame(FINAL | TEXT, request.as_bytes()), frame(FINAL | PING, &[nth])].concat();
        write(&mut client, &both).await;
        let (mut pongs, mut replies) = (0, 0);
        while pongs + replies < 2 {
            match client.next_message().await {
                Message::Pong(payload) => pongs += usize::from(payload[..] == [nth]),
                Message::Text(_) => replies += 1,
                other => panic!("not {other:?}"),
            }
        }
        assert_eq!((pongs, replies), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_is_answered_while_a_request_is_in_flight() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Patrick0").await;
    let lock = lock_users(&server).await;
    let id = client.send("listUsers", json!({})).await;
    for payload in ["one", "two"] {
        client.send_ws_message(Message::Ping(payload.into())).await;
        assert_eq!(client.next_message().await, pong(payload));
    }
    unlock(lock).await;
    assert_eq!(client.wait_for_reply_to(id).await["success"], true);
    assert_works(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_is_answered_behind_more_requests_than_may_be_in_flight() {
    let server = TestServer::start_with(|config| config.limits.max_in_flight = 4).await;
    let (user, mut client) = server.connect_user("Patrick0").await;
    let lock = lock_users(&server).await;
    let mut ids = Vec::new();
    for nth in 0..40 {
        let kind = if nth % 3 == 0 { "listUsers" } else { "privateMessage" };
        ids.push(client.send(kind, note(user.id, "Hi")).await);
        if nth % 10 == 9 {
            client.send_ws_message(Message::Ping(nth.to_string().into())).await;
            assert_eq!(client.next_message().await, pong(nth.to_string()));
        }
    }
    // A message that has begun and not ended does not delay a pong either.
    let request = padded(500);
    write(&mut client, &frame(TEXT, &request[..200])).await;
    write(&mut client, &frame(FINAL | PING, b"between")).await;
    assert_eq!(client.next_message().await, pong("between"));
    write(&mut client, &frame(FINAL | CONTINUE, &request[200..])).await;
    unlock(lock).await;
    for id in ids {
        client.wait_for_reply_to(id).await;
    }
    assert_eq!(client.wait_for_reply().await["type"], "listLastMessage");
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_between_the_fragments_of_a_message_is_answered() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Patrick0").await;
    let mut messages = fragments(Data::Text, &padded(60_000), 10_000);
    for nth in 1..messages.len() {
        messages.insert(2 * nth - 1, Message::Ping(nth.to_string().into()));
    }
    let mut pongs = Vec::new();
    for message in messages {
        let is_ping = message.is_ping();
        client.send_ws_message(message).await;
        if is_ping {
            pongs.push(client.next_message().await);
        }
    }
    assert_eq!(pongs, ["1", "2", "3", "4", "5"].map(pong));
    assert_eq!(client.wait_for_reply().await["success"], true);
}

/// Requests a hundred large pages and reads none, until the server holds one that the kernel does not take.
async fn leave_replies_unread(server: &TestServer, user: &User, client: &mut Client) {
    socket2::SockRef::from(&*client.tcp_stream()).set_recv_buffer_size(65_536).expect("a small buffer");
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
async fn ping_behind_unread_replies_is_answered_and_many_are_answered_once() {
    let server = TestServer::start_with(|config| config.limits.outbox_bytes = 65_536).await;
    let (user, mut client) = server.connect_user("Patrick0").await;
    leave_replies_unread(&server, &user, &mut client).await;
    for nth in 0..100 {
        client.send_ws_message(Message::Ping(format!("{nth}").into())).await;
    }
    let (mut pongs, mut replies) = (Vec::new(), 0);
    while replies < 100 {
        let (answered, _) = pongs_before_text(&mut client).await;
        pongs.extend(answered);
        replies += 1;
    }
    while pongs.last().map(Vec::as_slice) != Some(b"99") {
        match client.next_message().await {
            Message::Pong(payload) => pongs.push(payload.to_vec()),
            other => panic!("not {other:?}"),
        }
    }
    assert!(pongs.len() < 100, "the newest stands for those before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeat_is_sent_ahead_of_waiting_replies() {
    let server = TestServer::start_with(|config| {
        config.limits.outbox_bytes = 65_536;
        (config.limits.ping_seconds, config.limits.idle_seconds) = (1, 60);
    })
    .await;
    let (user, mut client) = server.connect_user("Patrick0").await;
    leave_replies_unread(&server, &user, &mut client).await;
    // A socket that was opened later has had its first ping, so the ping of this one was due.
    let (_, mut neighbour) = server.connect_user("Patrick1").await;
    assert_eq!(neighbour.next_message().await, Message::Ping(vec![].into()));
    let (mut replies, mut replies_at_ping) = (0, None);
    while replies < 100 {
        match client.next_message().await {
            Message::Ping(_) => _ = replies_at_ping.get_or_insert(replies),
            Message::Text(_) => replies += 1,
            other => panic!("not {other:?}"),
        }
    }
    assert!(replies_at_ping.is_some(), "no ping among the replies");
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_behind_a_request_in_flight_counts_for_the_rate_limit() {
    let server = TestServer::start_with(|config| {
        (config.limits.requests_per_second, config.limits.request_burst) = (1, 10);
    })
    .await;
    let (_, mut client) = server.connect_user("Patrick0").await;
    let lock = lock_users(&server).await;
    client.send("listUsers", json!({})).await;
    write(&mut client, &frame(FINAL | PING, b"p").repeat(200)).await;
    let end = client.wait_for_close().await;
    assert_eq!(end, SocketEnd { code: 4008, reason: "Kept breaking the rate limit".to_owned() });
    unlock(lock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_flood_with_unread_pongs_is_bounded() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Patrick0").await;
    socket2::SockRef::from(&*client.tcp_stream()).set_recv_buffer_size(65_536).expect("a small buffer");
    // There is no rate limit here: only the outbox bounds the pings.
    for _ in 0..200 {
        write(&mut client, &frame(FINAL | PING, &[7; 125]).repeat(500)).await;
    }
    write(&mut client, &frame(FINAL | PING, b"last")).await;
    let mut bytes = 0;
    loop {
        match client.next_message().await {
            Message::Pong(payload) if payload[..] == b"last"[..] => break,
            Message::Pong(payload) => bytes += payload.len(),
            other => panic!("not {other:?}"),
        }
    }
    println!("{bytes} bytes of pongs for 12.5 MB of pings");
    assert_works(&mut client).await;
}

/// Returns how often the server has closed a socket with this code.
fn closed_with(server: &TestServer, code: u16) -> usize {
    let name = format!("hark_sockets_closed_total{{code=\"{code}\"}} ");
    let text = server.server.app().metrics.text();
    text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().expect("a count"))
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_is_answered_with_its_payload() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Patrick0").await;
    for payload in [vec![], b"now".to_vec(), vec![0xff; 125]] {
        client.send_ws_message(Message::Ping(payload.clone().into())).await;
        assert_eq!(client.next_message().await, Message::Pong(payload.into()));
    }
    client.send_ws_message(Message::Pong("unasked".into())).await;
    assert_works(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeat_keeps_a_client_that_answers() {
    let server =
        TestServer::start_with(|config| (config.limits.ping_seconds, config.limits.idle_seconds) = (1, 3)).await;
    let (_, mut client) = server.connect_user("Patrick0").await;
    // The loop runs for more seconds than a silent client is given. The library answers pings by itself.
    for _ in 0..5 {
        assert_eq!(client.next_message().await, Message::Ping(vec![].into()));
    }
    assert_works(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeat_ends_a_silent_client() {
    let server =
        TestServer::start_with(|config| (config.limits.ping_seconds, config.limits.idle_seconds) = (1, 2)).await;
    let (_, mut client) = server.connect_user("Patrick0").await;
    let mut bytes = Vec::new();
    // Reading past the library leaves the pings unanswered.
    timeout(TEST_TIMEOUT, client.tcp_stream().read_to_end(&mut bytes)).await.expect("an end").expect("a clean end");
    assert_eq!(bytes[..2], [0x89, 0], "first a ping");
    assert!(bytes.ends_with(b"\x88\x03\x03\xe90"), "then 1001: {bytes:?}");
    assert_eq!(closed_with(&server, 1001), 1);
    let hub = &server.server.app().delivery.hub;
    eventually("the place is free", async || hub.open_sockets() == 0).await;
}
