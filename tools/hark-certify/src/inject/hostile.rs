//! Hostile clients. They are not recorded, because their requests change nothing: the checker sees their effect on
//! other clients.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::clients::connection::{ConnectTarget, Connection};
use crate::clients::shared::SharedState;

/// How long a slow consumer reads nothing.
const SLOW_READER_DURATION: Duration = Duration::from_secs(3);
/// Sockets of each kind, side by side.
const SOCKETS: usize = 4;
/// Requests of one slow consumer.
const REQUESTS: u64 = 400;
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);

/// Slow consumers: sockets that request pages, get every push, and read nothing.
pub(crate) async fn slow_reader(shared: &SharedState, rng: &mut StdRng) {
    let mut connections = Vec::new();
    for _ in 0..SOCKETS {
        connections.extend(open(shared, rng).await);
    }
    for (nth, connection) in connections.iter_mut().enumerate() {
        connection.send_request("subscribe", &json!({ "events": ["all"] }), 0).await;
        let group = shared.groups[nth % shared.groups.len()].id;
        for id in 0..REQUESTS {
            let params = json!({ "groupId": group, "limit": 100 });
            // Backpressure: the server stops reading once too many replies wait for this socket.
            if !timeout(WRITE_TIMEOUT, connection.send_request("getlatestMessageGroup", &params, id))
                .await
                .unwrap_or(false)
            {
                break;
            }
        }
    }
    sleep(SLOW_READER_DURATION).await;
}

/// Invalid requests, invalid frames, and bytes that are no HTTP.
pub(crate) async fn garbage(shared: &SharedState, rng: &mut StdRng) {
    let frames: [&[u8]; 8] = [
        b"\x81\x85\0\0\0\0{\"ty",
        // Not UTF-8.
        b"\x81\x82\0\0\0\0\xff\xfe",
        // A length of 2^63 bytes.
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        // Without a mask.
        b"\x81\x02{}",
        // A reserved opcode, and reserved bits.
        b"\x8b\x80\0\0\0\0",
        b"\xf1\x80\0\0\0\0",
        // A continuation without a first fragment.
        b"\x80\x81\0\0\0\0x",
        // A ping with a payload that is too long.
        b"\x89\xfe\x01\x00\0\0\0\0",
    ];
    for frame in frames {
        let Some(mut connection) = open(shared, rng).await else { continue };
        for (nth, frame_type) in
            ["nothing", "privateMessage", "sync", "getlatestMessageGroup", ""].into_iter().enumerate()
        {
            let params = [json!(null), json!([]), json!({ "receiverId": "x", "cursor": 7, "groupId": -1 })];
            connection.send_request(frame_type, &params[nth % params.len()], 0).await;
        }
        if let Some(bytes) = connection.raw_stream() {
            let noise: Vec<u8> = (0..rng.random_range(0..2000)).map(|_| rng.random()).collect();
            let _ = timeout(WRITE_TIMEOUT, bytes.write_all(&[frame, &noise].concat())).await;
        }
        // Reads the server's errors until it closes the connection.
        let _ = timeout(WRITE_TIMEOUT, connection.call("nothing", &json!({}), WRITE_TIMEOUT)).await;
    }
    for server in &shared.servers {
        let address = server.trim_start_matches("http://").trim_end_matches('/');
        for _ in 0..SOCKETS {
            let Ok(Ok(mut stream)) = timeout(WRITE_TIMEOUT, TcpStream::connect(address)).await else { continue };
            let noise: Vec<u8> = (0..4000).map(|_| rng.random()).collect();
            let _ = timeout(WRITE_TIMEOUT, stream.write_all(&noise)).await;
        }
    }
}

async fn open(shared: &SharedState, rng: &mut StdRng) -> Option<Connection> {
    let person = &shared.accounts[rng.random_range(0..shared.accounts.len())];
    let server = rng.random_range(0..shared.servers.len());
    let target = ConnectTarget { servers: &shared.servers, server, user: person.id, token: &person.token };
    Connection::open(target, None).await.ok()
}
