//! The largest of everything by everybody at once: what requests and their replies take of a node is
//! bounded, and who asks for little is answered all the while.

use futures_util::future::join_all;
use hark::config::Config;
use hark::delivery::byte_pool::ALWAYS;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::{Client, TestServer, User, eventually};

/// What the library reads of a socket at once, and then hands over as a whole.
const READ_AT_ONCE: usize = 192 * 1024;
const POOL: usize = 1024 * 1024;
const SOCKETS: usize = 20;
/// More than this is never taken.
const MOST: usize = POOL + SOCKETS * (ALWAYS + READ_AT_ONCE);

fn small_pool(config: &mut Config) {
    config.limits.request_memory_bytes = POOL;
}

/// What requests and their replies take.
fn taken(server: &TestServer) -> usize {
    let text = server.server.app().metrics.text();
    let taken = text.lines().find_map(|line| line.strip_prefix("hark_request_memory_bytes "));
    taken.expect("a gauge").parse().expect("a number")
}

/// As many as one user may have beside that of the neighbour.
async fn sockets(server: &TestServer, user: &User) -> Vec<Client> {
    join_all((1..SOCKETS).map(|_| server.connect(user))).await
}

/// A hundred small requests are answered, and so little is taken all the while.
async fn is_bounded(server: &TestServer, neighbour: &mut Client) {
    for _ in 0..100 {
        assert_eq!(neighbour.call("listUsers", json!({ "limit": 1 })).await["success"], true);
        let taken = taken(server);
        assert!(taken <= MOST, "{taken} bytes, of at most {MOST}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_never_end_are_bounded_and_then_ended() {
    const FRAME: usize = 1024 * 1024;
    let server = TestServer::with(|config| {
        small_pool(config);
        config.limits.max_frame_bytes = FRAME;
        (config.limits.ping_seconds, config.limits.idle_seconds) = (1, 3);
    })
    .await;
    let (user, mut neighbour) = server.client("Neighbour").await;
    let mut senders = JoinSet::new();
    for mut client in sockets(&server, &user).await {
        senders.spawn(async move {
            let mut bytes = vec![0x81, 0xff];
            bytes.extend((FRAME as u64).to_be_bytes());
            bytes.resize(FRAME - 100, b' ');
            // What the server does not read is not written, until the server ends the socket.
            let _ = client.raw().write_all(&bytes).await;
            let _ = client.raw().read_to_end(&mut Vec::new()).await;
        });
    }
    eventually("all that may be is taken", async || taken(&server) > POOL).await;
    is_bounded(&server, &mut neighbour).await;
    assert_eq!(senders.len(), SOCKETS - 1);
    eventually("they are ended", async || {
        neighbour.call("listUsers", json!({ "limit": 1 })).await;
        senders.try_join_next();
        senders.is_empty()
    })
    .await;
    eventually("all is free again", async || taken(&server) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_does_not_come_to_its_end_is_ended_though_its_client_is_not_silent() {
    let server = TestServer::with(|config| (config.limits.ping_seconds, config.limits.idle_seconds) = (1, 3)).await;
    let (_, mut client) = server.client("Dawdler").await;
    let piece = |kind, last| Message::Frame(Frame::message("{", OpCode::Data(kind), last));
    client.send_message(piece(Data::Text, false)).await;
    let end = loop {
        match client.message().await {
            // The library answers it.
            Message::Ping(_) => client.send_message(piece(Data::Continue, false)).await,
            Message::Close(end) => break end.expect("a code"),
            other => panic!("not {other:?}"),
        }
    };
    assert_eq!(u16::from(end.code), 1001);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_sends_in_flight_are_bounded_and_all_are_done() {
    const EACH: usize = 64;
    let server = TestServer::with(small_pool).await;
    let (user, mut neighbour) = server.client("Neighbour").await;
    let mut clients = sockets(&server, &user).await;
    let mut sql = server.sql().await;
    // A lock holds up the writers.
    sqlx::raw_sql("begin; lock table messages in exclusive mode").execute(&mut sql).await.expect("a lock");
    let params = json!({ "receiverId": user.id, "content": "x".repeat(16_384) });
    let sends = join_all(clients.iter_mut().map(async |client| {
        for _ in 0..EACH {
            client.send("privateMessage", params.clone()).await;
        }
        for id in 1..=EACH {
            let receipt = client.reply_to(id as u64).await;
            assert_eq!(receipt["success"], true, "{receipt}");
        }
    }));
    let meanwhile = async {
        eventually("all that may be is taken", async || taken(&server) > POOL).await;
        is_bounded(&server, &mut neighbour).await;
        sqlx::raw_sql("commit").execute(&mut sql).await.expect("the lock is free");
    };
    tokio::join!(sends, meanwhile);
    eventually("all is free again", async || taken(&server) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_pages_that_nobody_reads_are_bounded_and_may_be_asked_for_again() {
    let server = TestServer::with(small_pool).await;
    let (user, mut neighbour) = server.client("Neighbour").await;
    for _ in 0..30 {
        neighbour.call("privateMessage", json!({ "receiverId": user.id, "content": "x".repeat(16_384) })).await;
    }
    let page = json!({ "receiverId": user.id, "limit": 30 });
    let mut clients = sockets(&server, &user).await;
    for client in &mut clients {
        socket2::SockRef::from(&*client.raw()).set_recv_buffer_size(65_536).expect("a small buffer");
    }
    for client in &mut clients {
        for _ in 0..20 {
            client.send("getlatestMessageDialog", page.clone()).await;
        }
    }
    eventually("all that may be is taken", async || taken(&server) > POOL / 2).await;
    is_bounded(&server, &mut neighbour).await;
    let pages_or_refusals = join_all(clients.iter_mut().map(async |client| {
        let mut refused = 0;
        for _ in 0..20 {
            let reply = client.reply().await;
            refused += usize::from(reply["code"] == "overloaded");
            assert!(reply["code"] == "overloaded" || is_page(&reply), "{}", reply["message"]);
        }
        refused
    }))
    .await;
    let refused: usize = pages_or_refusals.iter().sum();
    assert!((1..19 * 20).contains(&refused), "{refused} of {} were refused", 19 * 20);
    for client in &mut clients {
        assert!(is_page(&client.call("getlatestMessageDialog", page.clone()).await));
    }
    eventually("all is free again", async || taken(&server) == 0).await;
}

fn is_page(reply: &Value) -> bool {
    reply["params"]["data"].as_array().is_some_and(|rows| rows.len() == 30)
}
