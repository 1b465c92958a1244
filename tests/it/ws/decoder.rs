//! The frame decoder: fragments, size limits, and the close codes of protocol errors.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{
    BINARY, CLOSE, CONTINUE, FINAL, PING, TEXT, assert_works, end, fragments, frame, header, note, padded, write,
};
use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn decoder_accepts_text_binary_and_fragments() {
    let server = TestServer::start().await;
    let (user, mut client) = server.connect_user("Patrick0").await;
    let content = "Grüße, 世界 😀";
    let request = json!({ "type": "privateMessage", "params": note(user.id, content), "id": 7 }).to_string();
    let bytes = request.as_bytes();
    let with_a_ping_between = |kind| {
        let mut messages = fragments(kind, bytes, 20);
        messages.insert(2, Message::Ping("p".into()));
        messages
    };
    let ways = [
        vec![Message::text(request.clone())],
        vec![Message::binary(bytes.to_vec())],
        fragments(Data::Text, bytes, 1),
        fragments(Data::Binary, bytes, 30),
        with_a_ping_between(Data::Text),
        with_a_ping_between(Data::Binary),
    ];
    for (nth, messages) in ways.into_iter().enumerate() {
        for message in messages {
            client.send_ws_message(message).await;
        }
        let reply = client.wait_for_reply().await;
        assert_eq!((&reply["id"], &reply["params"]["item"]["seq"]), (&json!(7), &json!(nth + 1)), "{reply}");
        let page = client.call("getlatestMessageDialog", json!({ "receiverId": user.id, "limit": 1 })).await;
        assert_eq!(page["params"]["data"][0]["content"], content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decoder_closes_with_1007_on_invalid_utf8() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    let bad = b"{\"type\":\"\xff\"}";
    let ways = [
        frame(FINAL | TEXT, bad),
        frame(FINAL | BINARY, bad),
        [frame(TEXT, &bad[..5]), frame(FINAL | CONTINUE, &bad[5..])].concat(),
        [frame(BINARY, &bad[..5]), frame(FINAL | CONTINUE, &bad[5..])].concat(),
        // This is the first half of a character, without the second.
        frame(FINAL | TEXT, "ü".as_bytes().split_at(1).0),
        // This is a surrogate, as some encoders write it.
        frame(FINAL | TEXT, b"\xed\xa0\x80"),
    ];
    for bytes in ways {
        let mut client = server.connect(&user).await;
        write(&mut client, &bytes).await;
        assert_eq!(client.wait_for_close().await, end(1007, "A frame must be UTF-8"), "{bytes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decoder_closes_with_1009_on_a_message_over_the_limit() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    let limit = server.server.app().config.limits.max_frame_bytes;
    assert_eq!(limit, 65_536);
    let ways = |bytes: &[u8]| {
        [
            vec![Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(Data::Text), true))],
            vec![Message::binary(bytes.to_vec())],
            fragments(Data::Text, bytes, 1000),
            fragments(Data::Binary, bytes, 60_000),
        ]
    };
    let mut client = server.connect(&user).await;
    for message in ways(&padded(limit)).into_iter().flatten() {
        client.send_ws_message(message).await;
    }
    for _ in 0..4 {
        assert_eq!(client.wait_for_reply().await["success"], true);
    }
    for messages in ways(&padded(limit + 1)) {
        let mut client = server.connect(&user).await;
        for message in messages {
            client.send_ws_message(message).await;
        }
        assert_eq!(client.wait_for_close().await, end(1009, "The frame is too large"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decoder_refuses_a_frame_at_its_header() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    for announced in [1 << 20, 1 << 40] {
        let mut client = server.connect(&user).await;
        let mut bytes = header(FINAL | TEXT, announced);
        // More is sent than the server accepts, and far less than the header announced.
        bytes.resize(100_000, b' ');
        write(&mut client, &bytes).await;
        assert_eq!(client.wait_for_close().await, end(1009, "The frame is too large"), "{announced} bytes announced");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decoder_closes_with_1002_on_protocol_errors() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    let request = padded(40);
    let unmasked = [&[FINAL | TEXT, 40][..], &request].concat();
    let ways = [
        ("no mask", unmasked),
        ("a reserved bit", frame(FINAL | 0x40 | TEXT, &request)),
        ("a reserved opcode", frame(FINAL | 3, &request)),
        ("a piece of nothing", frame(FINAL | CONTINUE, &request)),
        ("a message inside another", [frame(TEXT, b"{"), frame(FINAL | TEXT, &request)].concat()),
        ("a fragmented ping", frame(PING, b"p")),
        ("a ping over 125 bytes", frame(FINAL | PING, &[0; 126])),
        ("a close with half a code", frame(FINAL | CLOSE, &[3])),
        ("a close with a code that none may send", frame(FINAL | CLOSE, &1005_u16.to_be_bytes())),
    ];
    for (why, bytes) in ways {
        let mut client = server.connect(&user).await;
        write(&mut client, &bytes).await;
        assert_eq!(client.wait_for_close().await, end(1002, "Not the WebSocket protocol"), "{why}");
    }
    assert_works(&mut server.connect(&user).await).await;
}
