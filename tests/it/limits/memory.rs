//! The memory budget: the largest requests of all users at once take bounded memory, and small requests are
//! still answered.

use futures_util::future::join_all;
use hark::config::Config;
use hark::limits::memory::GUARANTEED_BYTES;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::{Client, TestServer, User, eventually};

/// The library reads so many bytes of a socket at once, and hands them over as a whole.
const READ_BYTES: usize = 192 * 1024;
const BUDGET_BYTES: usize = 1024 * 1024;
const SOCKETS: usize = 20;
/// An upper bound on the memory that is ever reserved.
const MAX_RESERVED_BYTES: usize = BUDGET_BYTES + SOCKETS * (GUARANTEED_BYTES + READ_BYTES);

fn set_small_budget(config: &mut Config) {
    config.limits.request_memory_bytes = BUDGET_BYTES;
}

/// Returns the reserved memory of requests and their replies.
fn reserved(server: &TestServer) -> usize {
    let text = server.server.app().metrics.text();
    let reserved = text.lines().find_map(|line| line.strip_prefix("hark_request_memory_bytes "));
    reserved.expect("a gauge").parse().expect("a number")
}

/// Opens as many sockets as one user may have.
async fn sockets(server: &TestServer, user: &User) -> Vec<Client> {
    join_all((1..SOCKETS).map(|_| server.connect(user))).await
}

/// Asserts that a hundred small requests are answered while memory stays within its bound.
async fn assert_bounded(server: &TestServer, neighbour: &mut Client) {
    for _ in 0..100 {
        assert_eq!(neighbour.call("listUsers", json!({ "limit": 1 })).await["success"], true);
        let reserved = reserved(server);
        assert!(reserved <= MAX_RESERVED_BYTES, "{reserved} bytes, of at most {MAX_RESERVED_BYTES}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_frames_that_never_end_is_bounded_and_they_time_out() {
    const FRAME: usize = 1024 * 1024;
    let server = TestServer::start_with(|config| {
        set_small_budget(config);
        config.limits.max_frame_bytes = FRAME;
        (config.limits.ping_seconds, config.limits.idle_seconds) = (1, 3);
    })
    .await;
    let (user, mut neighbour) = server.connect_user("Neighbour").await;
    let mut senders = JoinSet::new();
    for mut client in sockets(&server, &user).await {
        senders.spawn(async move {
            let mut bytes = vec![0x81, 0xff];
            bytes.extend((FRAME as u64).to_be_bytes());
            bytes.resize(FRAME - 100, b' ');
            // The test cannot write what the server does not read, until the server closes the socket.
            let _ = client.tcp_stream().write_all(&bytes).await;
            let _ = client.tcp_stream().read_to_end(&mut Vec::new()).await;
        });
    }
    eventually("all that may be is taken", async || reserved(&server) > BUDGET_BYTES).await;
    assert_bounded(&server, &mut neighbour).await;
    assert_eq!(senders.len(), SOCKETS - 1);
    eventually("they are ended", async || {
        neighbour.call("listUsers", json!({ "limit": 1 })).await;
        senders.try_join_next();
        senders.is_empty()
    })
    .await;
    eventually("all is free again", async || reserved(&server) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_message_times_out_though_its_client_sends_pongs() {
    let server =
        TestServer::start_with(|config| (config.limits.ping_seconds, config.limits.idle_seconds) = (1, 3)).await;
    let (_, mut client) = server.connect_user("Dawdler").await;
    let fragment = |kind, last| Message::Frame(Frame::message("{", OpCode::Data(kind), last));
    client.send_ws_message(fragment(Data::Text, false)).await;
    let end = loop {
        match client.next_message().await {
            // The library answers the ping.
            Message::Ping(_) => client.send_ws_message(fragment(Data::Continue, false)).await,
            Message::Close(end) => break end.expect("a code"),
            other => panic!("not {other:?}"),
        }
    };
    assert_eq!(u16::from(end.code), 1001);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_the_largest_sends_in_flight_is_bounded_and_all_complete() {
    const EACH: usize = 64;
    let server = TestServer::start_with(set_small_budget).await;
    let (user, mut neighbour) = server.connect_user("Neighbour").await;
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
            let receipt = client.wait_for_reply_to(id as u64).await;
            assert_eq!(receipt["success"], true, "{receipt}");
        }
    }));
    let meanwhile = async {
        eventually("all that may be is taken", async || reserved(&server) > BUDGET_BYTES).await;
        assert_bounded(&server, &mut neighbour).await;
        sqlx::raw_sql("commit").execute(&mut sql).await.expect("the lock is free");
    };
    tokio::join!(sends, meanwhile);
    eventually("all is free again", async || reserved(&server) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_unread_pages_is_bounded_and_they_may_be_requested_again() {
    let server = TestServer::start_with(set_small_budget).await;
    let (user, mut neighbour) = server.connect_user("Neighbour").await;
    for _ in 0..30 {
        neighbour.call("privateMessage", json!({ "receiverId": user.id, "content": "x".repeat(16_384) })).await;
    }
    let page = json!({ "receiverId": user.id, "limit": 30 });
    let mut clients = sockets(&server, &user).await;
    for client in &mut clients {
        socket2::SockRef::from(&*client.tcp_stream()).set_recv_buffer_size(65_536).expect("a small buffer");
    }
    for client in &mut clients {
        for _ in 0..20 {
            client.send("getlatestMessageDialog", page.clone()).await;
        }
    }
    eventually("all that may be is taken", async || reserved(&server) > BUDGET_BYTES / 2).await;
    assert_bounded(&server, &mut neighbour).await;
    let pages_or_refusals = join_all(clients.iter_mut().map(async |client| {
        let mut refused = 0;
        for _ in 0..20 {
            let reply = client.wait_for_reply().await;
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
    eventually("all is free again", async || reserved(&server) == 0).await;
}

fn is_page(reply: &Value) -> bool {
    reply["params"]["data"].as_array().is_some_and(|rows| rows.len() == 30)
}
