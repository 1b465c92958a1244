//! A plain WebSocket client.

use std::collections::VecDeque;
use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, HeaderName};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::TEST_TIMEOUT;

/// An open socket, and the pushes that it has buffered.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Pushes that came while a reply was awaited.
    pushes: VecDeque<Value>,
    next_id: u64,
}

/// The close code and reason with which the server ended a socket.
#[derive(Debug, PartialEq, Eq)]
pub struct SocketEnd {
    pub code: u16,
    pub reason: String,
}

impl Client {
    /// Connects as programs do, with the token in `Authorization`.
    pub async fn connect(server: SocketAddr, token: &str) -> Self {
        let headers = [(AUTHORIZATION.as_str(), format!("Bearer {token}"))];
        Self::try_connect(server, "/", &headers).await.unwrap_or_else(|error| panic!("no upgrade: {error}")).0
    }

    /// Connects with these headers, and returns the response too.
    pub async fn try_connect(
        server: SocketAddr,
        path: &str,
        headers: &[(&str, String)],
    ) -> Result<(Self, Response<Option<Vec<u8>>>), Box<tungstenite::Error>> {
        let mut request = format!("ws://{server}{path}").into_client_request().expect("a good address");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a good header");
            request.headers_mut().append(name, value.parse().expect("a good header"));
        }
        let (socket, response) =
            timeout(TEST_TIMEOUT, connect_async(request)).await.expect("an answer to the upgrade")?;
        Ok((Self { socket, pushes: VecDeque::new(), next_id: 0 }, response))
    }

    /// Sends a text frame.
    pub async fn send_text(&mut self, text: &str) {
        self.send_ws_message(Message::text(text)).await;
    }

    /// Sends any WebSocket message.
    pub async fn send_ws_message(&mut self, message: Message) {
        timeout(TEST_TIMEOUT, self.socket.send(message)).await.expect("room to send").expect("an open socket");
    }

    /// Sends a request without waiting for its reply, and returns its id.
    pub async fn send(&mut self, kind: &str, params: Value) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        self.send_text(&json!({ "type": kind, "params": params, "id": id }).to_string()).await;
        id
    }

    /// Sends a request and waits for its reply or error; pushes that come before it are buffered.
    pub async fn call(&mut self, kind: &str, params: Value) -> Value {
        let id = self.send(kind, params).await;
        self.wait_for_reply_to(id).await
    }

    /// Sends a request that must succeed, and returns the `params` of its reply.
    pub async fn call_ok(&mut self, kind: &str, params: Value) -> Value {
        let mut reply = self.call(kind, params).await;
        assert_eq!(reply["success"], true, "{reply}");
        reply["params"].take()
    }

    /// Sends a request that must be refused, and returns the code of the error.
    pub async fn call_refused(&mut self, kind: &str, params: Value) -> String {
        let refusal = self.call(kind, params).await;
        assert_eq!(refusal["error"], true, "{refusal}");
        assert_eq!(refusal["type"], kind, "{refusal}");
        refusal["code"].as_str().unwrap_or_else(|| panic!("a code: {refusal}")).to_owned()
    }

    /// Subscribes to these events and no other ones.
    pub async fn subscribe(&mut self, events: &[&str]) {
        self.call_ok("subscribe", json!({ "events": events })).await;
    }

    /// Creates a group with these users in it, and returns its id.
    pub async fn new_group(&mut self, user_ids: &[i64]) -> i64 {
        let made = self.call_ok("newGroup", json!({ "groupName": "Book club", "userIds": user_ids })).await;
        made["item"]["groupId"].as_i64().unwrap_or_else(|| panic!("a group: {made}"))
    }

    /// Sends a text to a conversation, and returns the id of the message.
    pub async fn send_content(&mut self, target: &Value, content: &str) -> i64 {
        let kind = if target.get("groupId").is_some() { "messageInGroup" } else { "privateMessage" };
        let mut params = target.clone();
        params["content"] = json!(content);
        let receipt = self.call_ok(kind, params).await;
        receipt["item"]["messageId"].as_i64().unwrap_or_else(|| panic!("a message: {receipt}"))
    }

    /// Waits for the reply or error with this id; pushes that come before it are buffered.
    pub async fn wait_for_reply_to(&mut self, id: u64) -> Value {
        let reply = self.wait_for_reply().await;
        assert_eq!(reply["id"], id, "replies keep the order of requests: {reply}");
        reply
    }

    /// Waits for the next reply or error; pushes that come before it are buffered.
    pub async fn wait_for_reply(&mut self) -> Value {
        loop {
            let frame = self.next_frame().await;
            if frame.get("id").is_some() || frame.get("error").is_some() {
                return frame;
            }
            self.pushes.push_back(frame);
        }
    }

    /// Waits for the next push.
    pub async fn wait_for_push(&mut self) -> Value {
        if let Some(push) = self.pushes.pop_front() {
            return push;
        }
        let frame = self.next_frame().await;
        assert!(frame.get("id").is_none() && frame.get("error").is_none(), "a push, not a reply: {frame}");
        frame
    }

    /// Waits for the next push, which must be of this type, and returns its `params`.
    pub async fn expect_push(&mut self, kind: &str) -> Value {
        let mut push = self.wait_for_push().await;
        assert_eq!(push["type"], kind, "{push}");
        push["params"].take()
    }

    /// Returns all pushes up to now that no test has taken; a reply is the fence.
    pub async fn drain_pushes(&mut self) -> Vec<Value> {
        self.call_ok("getOnlineInfo", json!({ "userIds": [] })).await;
        self.take_buffered_pushes()
    }

    /// Discards all pushes up to now.
    pub async fn discard_pushes(&mut self) {
        self.drain_pushes().await;
    }

    /// Returns the types of all pushes up to now.
    pub async fn drain_push_types(&mut self) -> Vec<String> {
        let kind = |push: Value| push["type"].as_str().expect("a type").to_owned();
        self.drain_pushes().await.into_iter().map(kind).collect()
    }

    /// Returns the buffered pushes without waiting. A reply is a fence: everything that the server pushed
    /// before it is buffered.
    pub fn take_buffered_pushes(&mut self) -> Vec<Value> {
        self.pushes.drain(..).collect()
    }

    /// Waits for the next text frame, whatever it is.
    pub async fn next_frame(&mut self) -> Value {
        loop {
            match self.next_message().await {
                Message::Text(text) => return serde_json::from_str(&text).expect("frames are JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("a text frame, not {other:?}"),
            }
        }
    }

    /// Waits for the next WebSocket message, whatever it is.
    pub async fn next_message(&mut self) -> Message {
        timeout(TEST_TIMEOUT, self.socket.next())
            .await
            .expect("a frame in time")
            .expect("an open socket")
            .expect("a good frame")
    }

    /// Sends a message, and returns false if the socket has disconnected.
    pub async fn try_send(&mut self, message: Message) -> bool {
        timeout(TEST_TIMEOUT, self.socket.send(message)).await.expect("room to send").is_ok()
    }

    /// Waits for the next text frame, and returns `None` if the socket has ended.
    pub async fn try_next_frame(&mut self) -> Option<Value> {
        loop {
            match timeout(TEST_TIMEOUT, self.socket.next()).await.expect("a frame in time")? {
                Ok(Message::Text(text)) => return serde_json::from_str(&text).ok(),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                _ => return None,
            }
        }
    }

    /// Reads until the server closes, and returns the close code. Frames before it are discarded.
    pub async fn wait_for_close(mut self) -> SocketEnd {
        loop {
            match self.next_message().await {
                Message::Close(Some(frame)) => {
                    return SocketEnd { code: frame.code.into(), reason: frame.reason.to_string() };
                }
                Message::Close(None) => return SocketEnd { code: 1005, reason: String::new() },
                _ => {}
            }
        }
    }

    /// Starts the close handshake, and waits for the server's close frame.
    pub async fn close(mut self) {
        self.send_ws_message(Message::Close(None)).await;
        while timeout(TEST_TIMEOUT, self.socket.next()).await.expect("an end").is_some_and(|message| message.is_ok()) {}
    }

    /// Returns the TCP stream, for what a correct client never does.
    pub fn tcp_stream(&mut self) -> &mut TcpStream {
        match self.socket.get_mut() {
            MaybeTlsStream::Plain(stream) => stream,
            _ => unreachable!("tests speak plain TCP"),
        }
    }
}
