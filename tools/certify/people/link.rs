//! A socket whose frames are written down.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::certify::record::{Seen, Side, SocketId, UserId};
use crate::certify::recorder::{Recorder, raw};

/// How long an upgrade may take.
const OPENS_WITHIN: Duration = Duration::from_secs(10);
/// How long a frame may take to be written: a server that reads nothing for so long will not.
const TAKES_WITHIN: Duration = Duration::from_secs(20);

/// An open socket.
#[derive(Debug)]
pub(crate) struct Link {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    number: SocketId,
    /// None where nothing is written down: of who does harm, and of the final truth, which is in another form.
    recorder: Option<Recorder>,
}

/// Who opens a socket, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening<'a> {
    /// All servers.
    pub(crate) servers: &'a [String],
    /// Which of them.
    pub(crate) server: usize,
    /// Whose socket.
    pub(crate) user: UserId,
    /// Their token.
    pub(crate) token: &'a str,
}

/// Why there is no socket.
#[derive(Debug)]
pub(crate) enum NotOpen {
    /// The token is no good.
    Unauthorized,
    /// Later, perhaps.
    Later,
}

/// What comes out of a socket.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A reply, or an error.
    Reply(Value),
    /// A push.
    Push(Value),
    /// It has ended, with this code and reason where the server said so.
    End(Option<u16>, String),
}

impl Link {
    /// Opens a socket.
    ///
    /// # Errors
    /// The server is away, refuses, or takes too long.
    pub(crate) async fn open(opening: Opening<'_>, recorder: Option<&Recorder>) -> Result<Self, NotOpen> {
        let address = opening.servers[opening.server].replacen("http", "ws", 1);
        let mut request = format!("{address}/ws").into_client_request().map_err(|_| NotOpen::Later)?;
        let token = format!("Bearer {}", opening.token).parse().map_err(|_| NotOpen::Unauthorized)?;
        request.headers_mut().insert(AUTHORIZATION, token);
        let stream = match timeout(OPENS_WITHIN, connect_async(request)).await {
            Ok(Ok((stream, _))) => stream,
            Ok(Err(Error::Http(response))) if response.status() == 401 => return Err(NotOpen::Unauthorized),
            _ => return Err(NotOpen::Later),
        };
        let number = recorder.map_or(0, Recorder::socket);
        let link = Self { stream, number, recorder: recorder.cloned() };
        let Opening { user, server, .. } = opening;
        link.note(Seen::Opened { socket: number, user, server });
        Ok(link)
    }

    /// Sends a request; false where the socket is gone.
    pub(crate) async fn ask(&mut self, kind: &str, params: &Value, id: u64) -> bool {
        let text = json!({ "type": kind, "params": params, "id": id }).to_string();
        let Some(frame) = raw(&text) else { return false };
        // Before it is written: a reply may be here before we are back.
        self.note(Seen::Request { socket: self.number, frame });
        self.write(&[Message::text(text)]).await
    }

    /// Sends a request and a ping behind it, in one go; false where the socket is gone.
    pub(crate) async fn ask_and_ping(&mut self, kind: &str, params: &Value, id: u64) -> bool {
        let text = json!({ "type": kind, "params": params, "id": id }).to_string();
        let Some(frame) = raw(&text) else { return false };
        let socket = self.number;
        self.note(Seen::Request { socket, frame });
        // Later pings have higher numbers: that of their request.
        self.note(Seen::Ping { socket, number: id });
        self.write(&[Message::text(text), Message::Ping(id.to_be_bytes().to_vec().into())]).await
    }

    async fn write(&mut self, messages: &[Message]) -> bool {
        let written = timeout(TAKES_WITHIN, async {
            for message in messages {
                self.stream.feed(message.clone()).await?;
            }
            self.stream.flush().await
        });
        let sent = written.await.is_ok_and(|sent| sent.is_ok());
        if !sent {
            self.note(Seen::Closed { socket: self.number, code: None, by: Side::Server });
        }
        sent
    }

    /// The next thing that is heard. Nothing is lost where the future is dropped.
    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            let (code, reason) = match self.stream.next().await {
                Some(Ok(Message::Text(text))) => match self.read(&text) {
                    Some(heard) => return heard,
                    None => (None, "not JSON".to_owned()),
                },
                Some(Ok(Message::Close(frame))) => {
                    frame.map_or((None, String::new()), |frame| (Some(frame.code.into()), frame.reason.to_string()))
                }
                Some(Ok(Message::Pong(payload))) => {
                    if let Ok(number) = payload.as_ref().try_into().map(u64::from_be_bytes) {
                        self.note(Seen::Pong { socket: self.number, number });
                    }
                    continue;
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => (None, String::new()),
            };
            self.note(Seen::Closed { socket: self.number, code, by: Side::Server });
            return Heard::End(code, reason);
        }
    }

    fn read(&self, text: &str) -> Option<Heard> {
        let value: Value = serde_json::from_str(text).ok()?;
        let (frame, socket) = (raw(text)?, self.number);
        Some(if value.get("id").is_some() || value.get("error").is_some() {
            self.note(Seen::Reply { socket, frame });
            Heard::Reply(value)
        } else {
            self.note(Seen::Push { socket, frame });
            Heard::Push(value)
        })
    }

    /// Asks one thing and waits for its reply; None where the socket ends, or `patience` does.
    pub(crate) async fn call(&mut self, kind: &str, params: &Value, patience: Duration) -> Option<Value> {
        self.call_as(kind, params, 0, patience).await
    }

    /// The same under a number of its own, with a ping behind it.
    pub(crate) async fn call_as(&mut self, kind: &str, params: &Value, id: u64, patience: Duration) -> Option<Value> {
        let is_sent =
            if id == 0 { self.ask(kind, params, id).await } else { self.ask_and_ping(kind, params, id).await };
        if !is_sent {
            return None;
        }
        let reply = async {
            loop {
                match self.hear().await {
                    // An answer that was given up comes late.
                    Heard::Reply(reply) if reply["id"] != id => {}
                    Heard::Reply(reply) => return Some(reply),
                    Heard::Push(_) => {}
                    Heard::End(..) => return None,
                }
            }
        };
        timeout(patience, reply).await.ok().flatten()
    }

    /// Ends it from this side.
    pub(crate) async fn close(mut self) {
        self.note(Seen::Closed { socket: self.number, code: None, by: Side::Client });
        let _ = timeout(Duration::from_secs(1), self.stream.close(None)).await;
    }

    /// Its bytes, for what a good client never does.
    pub(crate) fn bytes(&mut self) -> Option<&mut TcpStream> {
        match self.stream.get_mut() {
            MaybeTlsStream::Plain(stream) => Some(stream),
            _ => None,
        }
    }

    /// Begins to send a request, and cuts the connection in the middle of its frame.
    pub(crate) async fn cut(mut self, kind: &str, params: &Value) {
        let text = json!({ "type": kind, "params": params, "id": 0 }).to_string();
        let frame = masked(text.as_bytes());
        if let Some(bytes) = self.bytes() {
            // Whether it still takes anything is its own affair.
            let _ = timeout(TAKES_WITHIN, bytes.write_all(&frame[..frame.len() / 2])).await;
        }
        self.note(Seen::Closed { socket: self.number, code: None, by: Side::Client });
    }

    fn note(&self, seen: Seen) {
        if let Some(recorder) = &self.recorder {
            recorder.note(seen);
        }
    }
}

/// A text frame as clients send it, under a mask that changes nothing.
fn masked(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).expect("below 126")),
        long => {
            frame.push(0x80 | 0x7e);
            frame.extend(u16::try_from(long).expect("requests are short").to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
