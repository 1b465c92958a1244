//! What a client can do that means harm. Nothing of it is in the record: it asks for nothing that
//! changes anything, so the judge sees it by what it does to others.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::people::World;
use super::people::link::{Link, Opening};

/// How long somebody reads nothing.
const READS_NOTHING_FOR: Duration = Duration::from_secs(3);
/// Sockets of each kind at once.
const SOCKETS: usize = 4;
/// Requests of which nobody reads the answers.
const REQUESTS: u64 = 400;
const PATIENCE: Duration = Duration::from_millis(500);

/// Sockets that ask for much, get every push, and read nothing.
pub(crate) async fn slow_reader(world: &World, rng: &mut StdRng) {
    let mut links = Vec::new();
    for _ in 0..SOCKETS {
        links.extend(open(world, rng).await);
    }
    for (nth, link) in links.iter_mut().enumerate() {
        link.ask("subscribe", &json!({ "events": ["all"] }), 0).await;
        let group = world.groups[nth % world.groups.len()].id;
        for id in 0..REQUESTS {
            let params = json!({ "groupId": group, "limit": 100 });
            // The server reads no more once too much waits for this socket.
            if !timeout(PATIENCE, link.ask("getlatestMessageGroup", &params, id)).await.unwrap_or(false) {
                break;
            }
        }
    }
    sleep(READS_NOTHING_FOR).await;
}

/// Frames that are no requests, bytes that are no frames, and bytes that are no HTTP.
pub(crate) async fn garbage(world: &World, rng: &mut StdRng) {
    let frames: [&[u8]; 8] = [
        b"\x81\x85\0\0\0\0{\"ty",
        // Not UTF-8.
        b"\x81\x82\0\0\0\0\xff\xfe",
        // Says to be of 2^63 bytes.
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        // Without a mask.
        b"\x81\x02{}",
        // A reserved opcode, and reserved bits.
        b"\x8b\x80\0\0\0\0",
        b"\xf1\x80\0\0\0\0",
        // A continuation of nothing.
        b"\x80\x81\0\0\0\0x",
        // A ping that is too long.
        b"\x89\xfe\x01\x00\0\0\0\0",
    ];
    for frame in frames {
        let Some(mut link) = open(world, rng).await else { continue };
        for (nth, kind) in ["nothing", "privateMessage", "sync", "getlatestMessageGroup", ""].into_iter().enumerate() {
            let params = [json!(null), json!([]), json!({ "receiverId": "x", "cursor": 7, "groupId": -1 })];
            link.ask(kind, &params[nth % params.len()], 0).await;
        }
        if let Some(bytes) = link.bytes() {
            let noise: Vec<u8> = (0..rng.random_range(0..2000)).map(|_| rng.random()).collect();
            let _ = timeout(PATIENCE, bytes.write_all(&[frame, &noise].concat())).await;
        }
        // What the server says to it, until it has had enough.
        let _ = timeout(PATIENCE, link.call("nothing", &json!({}), PATIENCE)).await;
    }
    for server in &world.servers {
        let address = server.trim_start_matches("http://").trim_end_matches('/');
        for _ in 0..SOCKETS {
            let Ok(Ok(mut stream)) = timeout(PATIENCE, TcpStream::connect(address)).await else { continue };
            let noise: Vec<u8> = (0..4000).map(|_| rng.random()).collect();
            let _ = timeout(PATIENCE, stream.write_all(&noise)).await;
        }
    }
}

async fn open(world: &World, rng: &mut StdRng) -> Option<Link> {
    let person = &world.people[rng.random_range(0..world.people.len())];
    let server = rng.random_range(0..world.servers.len());
    let opening = Opening { servers: &world.servers, server, user: person.id, token: &person.token };
    Link::open(opening, None).await.ok()
}
