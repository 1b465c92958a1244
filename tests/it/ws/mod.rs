//! WebSocket connections: the upgrade, frames as bytes, heartbeat, pipelining, and how a connection ends.

mod connection;
mod decoder;
mod heartbeat;
mod pipeline;
mod sockets;
pub mod upgrade;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::{Client, SocketEnd, TEST_TIMEOUT};

const CONTINUE: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const FINAL: u8 = 0x80;

/// Encodes a frame byte for byte, with a mask of zeros.
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

/// Splits a message into fragments of at most `size` bytes, also in the middle of a character.
fn fragments(kind: Data, payload: &[u8], size: usize) -> Vec<Message> {
    let last = payload.len().div_ceil(size) - 1;
    let fragment = |(nth, bytes): (usize, &[u8])| {
        let kind = if nth == 0 { kind } else { Data::Continue };
        Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(kind), nth == last))
    };
    payload.chunks(size).enumerate().map(fragment).collect()
}

async fn write(client: &mut Client, bytes: &[u8]) {
    timeout(TEST_TIMEOUT, client.tcp_stream().write_all(bytes)).await.expect("room to write").expect("an open socket");
}

pub async fn assert_works(client: &mut Client) {
    let reply = client.call("listLastMessage", json!({})).await;
    assert_eq!(reply["success"], true, "{reply}");
}

pub fn end(code: u16, reason: &str) -> SocketEnd {
    SocketEnd { code, reason: reason.to_owned() }
}

pub fn note(user: i64, content: &str) -> Value {
    json!({ "receiverId": user, "content": content })
}

/// Returns a valid request of exactly this many bytes.
fn padded(bytes: usize) -> Vec<u8> {
    let request = br#"{"type":"listLastMessage","id":1}"#;
    let mut padded = request.to_vec();
    padded.resize(bytes, b' ');
    padded
}
