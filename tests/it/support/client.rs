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

use super::DEADLINE;

/// An open socket.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Pushes that came while a reply was awaited.
    pushes: VecDeque<Value>,
    next_id: u64,
}

/// How the server ended a socket.
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

    /// Connects with these headers; gives back the response too.
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
        let (socket, response) = timeout(DEADLINE, connect_async(request)).await.expect("an answer to the upgrade")?;
        Ok((Self { socket, pushes: VecDeque::new(), next_id: 0 }, response))
    }

    /// Sends a text frame.
    pub async fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// Sends any frame.
    pub async fn send_message(&mut self, message: Message) {
        timeout(DEADLINE, self.socket.send(message)).await.expect("room to send").expect("an open socket");
    }

    /// Sends a request without waiting for its reply, and gives back its id.
    pub async fn send(&mut self, kind: &str, params: Value) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        self.send_text(&json!({ "type": kind, "params": params, "id": id }).to_string()).await;
        id
    }

    /// Sends a request and waits for its reply or error; pushes that come before it are kept.
    pub async fn call(&mut self, kind: &str, params: Value) -> Value {
        let id = self.send(kind, params).await;
        self.reply_to(id).await
    }

    /// The `params` of the reply to a request that has to succeed.
    pub async fn done(&mut self, kind: &str, params: Value) -> Value {
        let mut reply = self.call(kind, params).await;
        assert_eq!(reply["success"], true, "{reply}");
        reply["params"].take()
    }

    /// The code of the refusal of a request that has to fail.
    pub async fn refused(&mut self, kind: &str, params: Value) -> String {
        let refusal = self.call(kind, params).await;
        assert_eq!(refusal["error"], true, "{refusal}");
        assert_eq!(refusal["type"], kind, "{refusal}");
        refusal["code"].as_str().unwrap_or_else(|| panic!("a code: {refusal}")).to_owned()
    }

    /// Asks for these extra pushes and no other ones.
    pub async fn subscribe(&mut self, events: &[&str]) {
        self.done("subscribe", json!({ "events": events })).await;
    }

    /// Makes a group with these people in it, and gives back its id.
    pub async fn new_group(&mut self, user_ids: &[i64]) -> i64 {
        let made = self.done("newGroup", json!({ "groupName": "Book club", "userIds": user_ids })).await;
        made["item"]["groupId"].as_i64().unwrap_or_else(|| panic!("a group: {made}"))
    }

    /// Sends to a conversation, and gives back the id of the message.
    pub async fn say(&mut self, target: &Value, content: &str) -> i64 {
        let kind = if target.get("groupId").is_some() { "messageInGroup" } else { "privateMessage" };
        let mut params = target.clone();
        params["content"] = json!(content);
        let receipt = self.done(kind, params).await;
        receipt["item"]["messageId"].as_i64().unwrap_or_else(|| panic!("a message: {receipt}"))
    }

    /// The reply or error with this id; pushes that come before it are kept.
    pub async fn reply_to(&mut self, id: u64) -> Value {
        let reply = self.reply().await;
        assert_eq!(reply["id"], id, "replies keep the order of requests: {reply}");
        reply
    }

    /// The next reply or error; pushes that come before it are kept.
    pub async fn reply(&mut self) -> Value {
        loop {
            let frame = self.frame().await;
            if frame.get("id").is_some() || frame.get("error").is_some() {
                return frame;
            }
            self.pushes.push_back(frame);
        }
    }

    /// The next push.
    pub async fn push(&mut self) -> Value {
        if let Some(push) = self.pushes.pop_front() {
            return push;
        }
        let frame = self.frame().await;
        assert!(frame.get("id").is_none() && frame.get("error").is_none(), "a push, not a reply: {frame}");
        frame
    }

    /// The `params` of the next push, which has to be of this type.
    pub async fn pushed(&mut self, kind: &str) -> Value {
        let mut push = self.push().await;
        assert_eq!(push["type"], kind, "{push}");
        push["params"].take()
    }

    /// What was pushed by now and nobody has taken; a reply is the fence.
    pub async fn told(&mut self) -> Vec<Value> {
        self.done("getOnlineInfo", json!({ "userIds": [] })).await;
        self.pushes_so_far()
    }

    /// Drops what was pushed by now.
    pub async fn forget(&mut self) {
        self.told().await;
    }

    /// The types of what was pushed by now.
    pub async fn kinds_told(&mut self) -> Vec<String> {
        let kind = |push: Value| push["type"].as_str().expect("a type").to_owned();
        self.told().await.into_iter().map(kind).collect()
    }

    /// The pushes that have come so far and nobody has taken. A reply is a fence: what the server
    /// pushed before it is here.
    pub fn pushes_so_far(&mut self) -> Vec<Value> {
        self.pushes.drain(..).collect()
    }

    /// The next text frame, whatever it is.
    pub async fn frame(&mut self) -> Value {
        loop {
            match self.message().await {
                Message::Text(text) => return serde_json::from_str(&text).expect("frames are JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("a text frame, not {other:?}"),
            }
        }
    }

    /// The next WebSocket message, whatever it is.
    pub async fn message(&mut self) -> Message {
        timeout(DEADLINE, self.socket.next())
            .await
            .expect("a frame in time")
            .expect("an open socket")
            .expect("a good frame")
    }

    /// Sends a frame; false where the socket is gone.
    pub async fn try_send(&mut self, message: Message) -> bool {
        timeout(DEADLINE, self.socket.send(message)).await.expect("room to send").is_ok()
    }

    /// The next text frame; None where the socket has ended.
    pub async fn try_frame(&mut self) -> Option<Value> {
        loop {
            match timeout(DEADLINE, self.socket.next()).await.expect("a frame in time")? {
                Ok(Message::Text(text)) => return serde_json::from_str(&text).ok(),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                _ => return None,
            }
        }
    }

    /// Reads until the server closes, and says with which code. Frames before it are dropped.
    pub async fn closed(mut self) -> SocketEnd {
        loop {
            match self.message().await {
                Message::Close(Some(frame)) => {
                    return SocketEnd { code: frame.code.into(), reason: frame.reason.to_string() };
                }
                Message::Close(None) => return SocketEnd { code: 1005, reason: String::new() },
                _ => {}
            }
        }
    }

    /// Says goodbye, and waits for the server's.
    pub async fn close(mut self) {
        self.send_message(Message::Close(None)).await;
        while timeout(DEADLINE, self.socket.next()).await.expect("an end").is_some_and(|message| message.is_ok()) {}
    }

    /// The socket itself, for what a good client never does.
    pub fn raw(&mut self) -> &mut TcpStream {
        match self.socket.get_mut() {
            MaybeTlsStream::Plain(stream) => stream,
            _ => unreachable!("tests speak plain TCP"),
        }
    }
}
