//! How connections end: the close handshake, a reset, and a TCP connection that ends without a close frame.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::{FINAL, TEXT, end, frame, note, padded, write};
use crate::support::{TestServer, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn close_handshake_of_a_client_is_answered_with_1000() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    for code in [None, Some(1000), Some(1001), Some(3999)] {
        let mut client = server.connect(&user).await;
        client.send("privateMessage", note(user.id, "Sent before the close frame")).await;
        client
            .send_ws_message(Message::Close(code.map(|code| CloseFrame { code: code.into(), reason: "bye".into() })))
            .await;
        assert_eq!(client.wait_for_reply().await["success"], true);
        assert_eq!(client.wait_for_close().await, end(1000, ""), "{code:?}");
    }
    let hub = &server.server.app().delivery.hub;
    eventually("all places are free", async || hub.open_sockets() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_that_ends_without_a_close_frame_frees_its_place() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    let mut half_closed = server.connect(&user).await;
    half_closed.tcp_stream().shutdown().await.expect("an open socket");
    drop(server.connect(&user).await);
    let mut in_a_frame = server.connect(&user).await;
    write(&mut in_a_frame, &frame(FINAL | TEXT, &padded(100))[..50]).await;
    drop(in_a_frame);
    let hub = &server.server.app().delivery.hub;
    eventually("all places are free", async || hub.open_sockets() == 0).await;
    assert_eq!(
        server.server.app().metrics.text().matches("hark_sockets_closed_total{").count(),
        0,
        "no client to send a close frame to"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_reset_is_noticed_while_replies_wait() {
    let server = TestServer::start().await;
    let (me, mut writer) = server.connect_user("Writer").await;
    let mut reader = server.connect(&me).await;
    for _ in 0..40 {
        let params = json!({ "receiverId": me.id, "content": "x".repeat(16_000) });
        assert_eq!(writer.call("privateMessage", params).await["success"], true);
    }
    // A reply has 640 KB: the kernel's buffers fill, then the outbox, then the server stops reading.
    let ask = json!({ "type": "getlatestMessageDialog", "params": { "receiverId": me.id, "limit": 100 }, "id": 1 });
    for _ in 0..60 {
        if !reader.try_send(Message::text(ask.to_string())).await {
            break;
        }
    }
    let requests = || {
        server
            .server
            .app()
            .metrics
            .text()
            .lines()
            .find(|line| line.starts_with("hark_requests_total"))
            .map(str::to_owned)
    };
    let (mut before, mut unchanged) = (None, 0);
    eventually("the server has stopped reading", async || {
        let now = requests();
        unchanged = if before == now { unchanged + 1 } else { 0 };
        before = now;
        unchanged > 20
    })
    .await;
    // The connection is reset without a close frame.
    socket2::SockRef::from(&*reader.tcp_stream()).set_linger(Some(Duration::ZERO)).expect("our own socket");
    drop(reader);
    eventually("its place is free", async || server.server.app().delivery.hub.open_sockets() == 1).await;
}
