//! Sockets that send as fast as they can, while other users still get replies.

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{Client, TEST_TIMEOUT, TestServer};

/// Encodes a client frame of up to 125 bytes, with a mask of zeros.
fn frame(first: u8, payload: &str) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126).expect("a short frame");
    [&[first, 0x80 | length, 0, 0, 0, 0][..], payload.as_bytes()].concat()
}

/// Returns the close code in the bytes that a server has written, if there is one.
fn close_code(mut written: &[u8]) -> Option<u16> {
    while let [first, short, rest @ ..] = written {
        let (length, payload) = match short {
            126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), rest.get(2..)?),
            127 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?, rest.get(8..)?),
            short => (usize::from(*short), rest),
        };
        if *first == 0x88 {
            return payload.first_chunk().map(|code| u16::from_be_bytes(*code));
        }
        written = payload.get(length..)?;
    }
    None
}

/// Writes these bytes repeatedly, so many at a time, until the server closes the socket, and then on
/// another one, until it is stopped. Reports every close code.
async fn flood(
    server: SocketAddr,
    token: String,
    bytes: Vec<u8>,
    at_once: usize,
    ends: watch::Sender<Vec<Option<u16>>>,
    over: CancellationToken,
) {
    let bytes = bytes.repeat((8192 / bytes.len()).max(1));
    while !over.is_cancelled() {
        let mut client = Client::connect(server, &token).await;
        let (mut reads, mut writes) = client.tcp_stream().split();
        let mut written = Vec::new();
        let write = async {
            loop {
                for part in bytes.chunks(at_once) {
                    if over.is_cancelled() || writes.write_all(part).await.is_err() {
                        return;
                    }
                    // A write that finds room yields to no other task.
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::select! {
            () = write => {}
            _ = reads.read_to_end(&mut written) => {}
        }
        if !over.is_cancelled() {
            // A write may fail before the server's last bytes are read.
            let _ = timeout(TEST_TIMEOUT, reads.read_to_end(&mut written)).await;
            ends.send_modify(|ends| ends.push(close_code(&written)));
        }
    }
}

/// Sends a hundred messages, one at a time, and reports how long they took.
async fn send_a_hundred(server: &TestServer) -> String {
    let (user, mut neighbour) = server.connect_user("Neighbour").await;
    let mut times = Vec::new();
    for nth in 1..=100 {
        let begun = Instant::now();
        let receipt = neighbour.call("privateMessage", json!({ "receiverId": user.id, "content": "Hi" })).await;
        assert_eq!(receipt["params"]["item"]["seq"], nth, "{receipt}");
        times.push(begun.elapsed());
    }
    times.sort();
    format!("p50 {:.1?}, p99 {:.1?}", times[50], times[98])
}

/// Floods from one socket, and from a new one whenever the server closes it, until another user has
/// completed a hundred requests; asserts that the flood was closed with this code by then.
async fn assert_closed(server: &TestServer, kind: &str, bytes: Vec<u8>, at_once: usize, code: u16) {
    let flooder = server.create_user("Flooder").await;
    let quiet = send_a_hundred(server).await;
    let over = CancellationToken::new();
    let (ends, mut ended) = watch::channel(Vec::new());
    let flood = tokio::spawn(flood(server.server.address(), flooder.token, bytes, at_once, ends, over.clone()));
    let flooded = send_a_hundred(server).await;
    let held = timeout(TEST_TIMEOUT, ended.wait_for(|ends| ends.contains(&Some(code)))).await.map(drop);
    assert!(held.is_ok(), "{kind}: no socket was closed with {code}: {:?}", *ended.borrow());
    assert!(!flood.is_finished(), "{kind}: the neighbour was not answered during the flood");
    over.cancel();
    flood.await.expect("a flood without a fault");
    println!("a send without, and with a flood of {kind}: {quiet}; {flooded}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_any_kind_is_closed_while_others_get_replies() {
    let server = TestServer::start_with(|config| config.limits.requests_per_second = 50).await;
    let good = frame(0x81, r#"{"type":"listUsers","params":{"limit":100},"id":1}"#);
    let bad = [frame(0x81, "{"), frame(0x82, r#"{"type":"no"}"#), frame(0x81, "[]")].concat();
    assert_closed(&server, "good requests", good, 8192, 4008).await;
    assert_closed(&server, "bad requests", bad, 8192, 4008).await;
    assert_closed(&server, "pings and pongs", [frame(0x89, "p"), frame(0x8a, "")].concat(), 8192, 4008).await;
    assert_closed(&server, "single bytes", frame(0x81, r#"{"type":"x"}"#), 1, 4008).await;
    let fragments = [frame(0x01, "{"), frame(0x00, "").repeat(2_000)].concat();
    assert_closed(&server, "fragments of a message", fragments, 8192, 1009).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_fragments_is_closed_with_1009() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Cutter").await;
    let empty = [frame(0x01, ""), frame(0x00, "").repeat(1_024)].concat();
    client.tcp_stream().write_all(&empty).await.expect("an open socket");
    assert_eq!(client.wait_for_close().await.code, 1009);
}
