//! Frames, their limits, and how a connection ends.

mod heartbeat;
mod traffic;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::{Client, DEADLINE, SocketEnd, TestServer, eventually};

const CONTINUE: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const FINAL: u8 = 0x80;

/// A frame byte for byte, with a mask that changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

fn header(first: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => bytes.push(0x80 | short),
        (_, Ok(medium)) => {
            bytes.push(0xfe);
            bytes.extend(medium.to_be_bytes());
        }
        _ => {
            bytes.push(0xff);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes
}

/// A message in pieces of at most `size` bytes, wherever in a character that cuts.
fn pieces(kind: Data, payload: &[u8], size: usize) -> Vec<Message> {
    let last = payload.len().div_ceil(size) - 1;
    let piece = |(nth, bytes): (usize, &[u8])| {
        let kind = if nth == 0 { kind } else { Data::Continue };
        Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(kind), nth == last))
    };
    payload.chunks(size).enumerate().map(piece).collect()
}

async fn write(client: &mut Client, bytes: &[u8]) {
    timeout(DEADLINE, client.raw().write_all(bytes)).await.expect("room to write").expect("an open socket");
}

async fn assert_works(client: &mut Client) {
    let reply = client.call("listLastMessage", json!({})).await;
    assert_eq!(reply["success"], true, "{reply}");
}

fn end(code: u16, reason: &str) -> SocketEnd {
    SocketEnd { code, reason: reason.to_owned() }
}

fn note(user: i64, content: &str) -> Value {
    json!({ "receiverId": user, "content": content })
}

/// How often the server has closed a socket with this code.
fn closed_with(server: &TestServer, code: u16) -> usize {
    let name = format!("hark_sockets_closed_total{{code=\"{code}\"}} ");
    let text = server.server.app().metrics.text();
    text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().expect("a count"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_come_as_text_as_binary_or_in_pieces() {
    let server = TestServer::start().await;
    let (user, mut client) = server.client("Patrick0").await;
    let content = "Grüße, 世界 😀";
    let request = json!({ "type": "privateMessage", "params": note(user.id, content), "id": 7 }).to_string();
    let bytes = request.as_bytes();
    let with_a_ping_between = |kind| {
        let mut messages = pieces(kind, bytes, 20);
        messages.insert(2, Message::Ping("p".into()));
        messages
    };
    let ways = [
        vec![Message::text(request.clone())],
        vec![Message::binary(bytes.to_vec())],
        pieces(Data::Text, bytes, 1),
        pieces(Data::Binary, bytes, 30),
        with_a_ping_between(Data::Text),
        with_a_ping_between(Data::Binary),
    ];
    for (nth, messages) in ways.into_iter().enumerate() {
        for message in messages {
            client.send_message(message).await;
        }
        let reply = client.reply().await;
        assert_eq!((&reply["id"], &reply["params"]["item"]["seq"]), (&json!(7), &json!(nth + 1)), "{reply}");
        let page = client.call("getlatestMessageDialog", json!({ "receiverId": user.id, "limit": 1 })).await;
        assert_eq!(page["params"]["data"][0]["content"], content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_utf8_closes_1007() {
    let server = TestServer::start().await;
    let user = server.user("Patrick0").await;
    let bad = b"{\"type\":\"\xff\"}";
    let ways = [
        frame(FINAL | TEXT, bad),
        frame(FINAL | BINARY, bad),
        [frame(TEXT, &bad[..5]), frame(FINAL | CONTINUE, &bad[5..])].concat(),
        [frame(BINARY, &bad[..5]), frame(FINAL | CONTINUE, &bad[5..])].concat(),
        // Half of a character, and no other half.
        frame(FINAL | TEXT, "ü".as_bytes().split_at(1).0),
        // A surrogate, as some encoders write it.
        frame(FINAL | TEXT, b"\xed\xa0\x80"),
    ];
    for bytes in ways {
        let mut client = server.connect(&user).await;
        write(&mut client, &bytes).await;
        assert_eq!(client.closed().await, end(1007, "A frame must be UTF-8"), "{bytes:?}");
    }
}

/// A good request of exactly this many bytes.
fn padded(bytes: usize) -> Vec<u8> {
    let request = br#"{"type":"listLastMessage","id":1}"#;
    let mut padded = request.to_vec();
    padded.resize(bytes, b' ');
    padded
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_at_the_limit_is_taken_and_one_over_it_closes_1009() {
    let server = TestServer::start().await;
    let user = server.user("Patrick0").await;
    let limit = server.server.app().config.limits.max_frame_bytes;
    assert_eq!(limit, 65_536);
    let ways = |bytes: &[u8]| {
        [
            vec![Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(Data::Text), true))],
            vec![Message::binary(bytes.to_vec())],
            pieces(Data::Text, bytes, 1000),
            pieces(Data::Binary, bytes, 60_000),
        ]
    };
    let mut client = server.connect(&user).await;
    for message in ways(&padded(limit)).into_iter().flatten() {
        client.send_message(message).await;
    }
    for _ in 0..4 {
        assert_eq!(client.reply().await["success"], true);
    }
    for messages in ways(&padded(limit + 1)) {
        let mut client = server.connect(&user).await;
        for message in messages {
            client.send_message(message).await;
        }
        assert_eq!(client.closed().await, end(1009, "The frame is too large"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_announces_too_much_is_refused_before_it_is_there() {
    let server = TestServer::start().await;
    let user = server.user("Patrick0").await;
    for announced in [1 << 20, 1 << 40] {
        let mut client = server.connect(&user).await;
        let mut bytes = header(FINAL | TEXT, announced);
        // More than is taken, far less than was announced.
        bytes.resize(100_000, b' ');
        write(&mut client, &bytes).await;
        assert_eq!(client.closed().await, end(1009, "The frame is too large"), "{announced} bytes announced");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_protocol_closes_1002() {
    let server = TestServer::start().await;
    let user = server.user("Patrick0").await;
    let request = padded(40);
    let unmasked = [&[FINAL | TEXT, 40][..], &request].concat();
    let ways = [
        ("no mask", unmasked),
        ("a reserved bit", frame(FINAL | 0x40 | TEXT, &request)),
        ("a reserved opcode", frame(FINAL | 3, &request)),
        ("a piece of nothing", frame(FINAL | CONTINUE, &request)),
        ("a message inside another", [frame(TEXT, b"{"), frame(FINAL | TEXT, &request)].concat()),
        ("a ping in pieces", frame(PING, b"p")),
        ("a ping over 125 bytes", frame(FINAL | PING, &[0; 126])),
        ("a close with half a code", frame(FINAL | CLOSE, &[3])),
        ("a close with a code that none may send", frame(FINAL | CLOSE, &1005_u16.to_be_bytes())),
    ];
    for (why, bytes) in ways {
        let mut client = server.connect(&user).await;
        write(&mut client, &bytes).await;
        assert_eq!(client.closed().await, end(1002, "Not the WebSocket protocol"), "{why}");
    }
    assert_works(&mut server.connect(&user).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_is_answered_1000() {
    let server = TestServer::start().await;
    let user = server.user("Patrick0").await;
    for code in [None, Some(1000), Some(1001), Some(3999)] {
        let mut client = server.connect(&user).await;
        client.send("privateMessage", note(user.id, "Taken before the goodbye")).await;
        client
            .send_message(Message::Close(code.map(|code| CloseFrame { code: code.into(), reason: "bye".into() })))
            .await;
        assert_eq!(client.reply().await["success"], true);
        assert_eq!(client.closed().await, end(1000, ""), "{code:?}");
    }
    let hub = &server.server.app().delivery.hub;
    eventually("all places are free", async || hub.open_sockets() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_is_answered_with_its_payload() {
    let server = TestServer::start().await;
    let (_, mut client) = server.client("Patrick0").await;
    for payload in [vec![], b"now".to_vec(), vec![0xff; 125]] {
        client.send_message(Message::Ping(payload.clone().into())).await;
        assert_eq!(client.message().await, Message::Pong(payload.into()));
    }
    client.send_message(Message::Pong("unasked".into())).await;
    assert_works(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_answers_pings_stays() {
    let server = TestServer::with(|config| (config.limits.ping_seconds, config.limits.idle_seconds) = (1, 3)).await;
    let (_, mut client) = server.client("Patrick0").await;
    // More seconds than a silent client gets. The library answers by itself.
    for _ in 0..5 {
        assert_eq!(client.message().await, Message::Ping(vec![].into()));
    }
    assert_works(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_not_heard_of_is_ended() {
    let server = TestServer::with(|config| (config.limits.ping_seconds, config.limits.idle_seconds) = (1, 2)).await;
    let (_, mut client) = server.client("Patrick0").await;
    let mut heard = Vec::new();
    // Past the library, which would answer the pings.
    timeout(DEADLINE, client.raw().read_to_end(&mut heard)).await.expect("an end").expect("a clean end");
    assert_eq!(heard[..2], [0x89, 0], "first a ping");
    assert!(heard.ends_with(b"\x88\x03\x03\xe90"), "then 1001: {heard:?}");
    assert_eq!(closed_with(&server, 1001), 1);
    let hub = &server.server.app().delivery.hub;
    eventually("the place is free", async || hub.open_sockets() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_leaves_its_place() {
    let server = TestServer::start().await;
    let user = server.user("Patrick0").await;
    let mut half_closed = server.connect(&user).await;
    half_closed.raw().shutdown().await.expect("an open socket");
    drop(server.connect(&user).await);
    let mut in_a_frame = server.connect(&user).await;
    write(&mut in_a_frame, &frame(FINAL | TEXT, &padded(100))[..50]).await;
    drop(in_a_frame);
    let hub = &server.server.app().delivery.hub;
    eventually("all places are free", async || hub.open_sockets() == 0).await;
    assert_eq!(server.server.app().metrics.text().matches("hark_sockets_closed_total{").count(), 0, "nobody to tell");
}
