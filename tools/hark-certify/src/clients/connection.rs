//! A socket whose frames are recorded.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hark_harness::envelope::request;
use hark_harness::frames::write_text;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::{Error, Message as WsMessage};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::history::event::{Event, Side, SocketId, UserId};
use crate::history::recorder::{Recorder, raw_frame};

/// Maximum time of an upgrade.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time of the write of a frame: a server that reads nothing for this long will not read any more.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// An open socket.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    number: SocketId,
    /// `None` if frames are not recorded: those of hostile clients, and those that read the final state, which is
    /// recorded in another form.
    recorder: Option<Recorder>,
}

/// The server and the session of a new socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectTarget<'a> {
    /// The URLs of all servers.
    pub(crate) servers: &'a [String],
    /// The index of the server to connect to.
    pub(crate) server: usize,
    /// The user.
    pub(crate) user: UserId,
    /// The user's token.
    pub(crate) token: &'a str,
}

/// A socket that was not opened.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The token is invalid.
    Unauthorized,
    /// The server is down or overloaded; a later try may succeed.
    Unavailable,
}

/// What a socket receives.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A reply, or an error.
    Reply(Value),
    /// A push.
    Push(Value),
    /// The end of the socket, with the code and reason of the server's close frame.
    Closed(Option<u16>, String),
}

impl Connection {
    /// Opens a socket.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub(crate) async fn open(target: ConnectTarget<'_>, recorder: Option<&Recorder>) -> Result<Self, ConnectError> {
        let address = target.servers[target.server].replacen("http", "ws", 1);
        let mut request = format!("{address}/ws").into_client_request().map_err(|_| ConnectError::Unavailable)?;
        let token = format!("Bearer {}", target.token).parse().map_err(|_| ConnectError::Unauthorized)?;
        request.headers_mut().insert(AUTHORIZATION, token);
        let stream = match timeout(CONNECT_TIMEOUT, connect_async(request)).await {
            Ok(Ok((stream, _))) => stream,
            Ok(Err(Error::Http(response))) if response.status() == 401 => return Err(ConnectError::Unauthorized),
            _ => return Err(ConnectError::Unavailable),
        };
        let number = recorder.map_or(0, Recorder::next_socket);
        let connection = Self { stream, number, recorder: recorder.cloned() };
        let ConnectTarget { user, server, .. } = target;
        connection.note(Event::Opened { socket: number, user, server });
        Ok(connection)
    }

    /// Sends a request; returns false if the socket has ended.
    pub(crate) async fn send_request(&mut self, frame_type: &str, params: &Value, id: u64) -> bool {
        let text = request(frame_type, params, id);
        let Some(frame) = raw_frame(&text) else { return false };
        // Recorded before it is written, because its reply may be recorded before the write returns.
        self.note(Event::Request { socket: self.number, frame });
        self.write(&[WsMessage::text(text)]).await
    }

    /// Sends a request and a ping after it in one write; returns false if the socket has ended.
    pub(crate) async fn send_request_and_ping(&mut self, frame_type: &str, params: &Value, id: u64) -> bool {
        let text = request(frame_type, params, id);
        let Some(frame) = raw_frame(&text) else { return false };
        let socket = self.number;
        self.note(Event::Request { socket, frame });
        // A ping has the number of its request, so later pings have higher numbers.
        self.note(Event::Ping { socket, number: id });
        self.write(&[WsMessage::text(text), WsMessage::Ping(id.to_be_bytes().to_vec().into())]).await
    }

    async fn write(&mut self, messages: &[WsMessage]) -> bool {
        let written = timeout(WRITE_TIMEOUT, async {
            for message in messages {
                self.stream.feed(message.clone()).await?;
            }
            self.stream.flush().await
        });
        let sent = written.await.is_ok_and(|sent| sent.is_ok());
        if !sent {
            self.note(Event::Closed { socket: self.number, code: None, by: Side::Server });
        }
        sent
    }

    /// Receives the next frame. The future is cancel safe.
    pub(crate) async fn receive(&mut self) -> Incoming {
        loop {
            let (code, reason) = match self.stream.next().await {
                Some(Ok(WsMessage::Text(text))) => match self.parse(&text) {
                    Some(incoming) => return incoming,
                    None => (None, "not JSON".to_owned()),
                },
                Some(Ok(WsMessage::Close(frame))) => {
                    frame.map_or((None, String::new()), |frame| (Some(frame.code.into()), frame.reason.to_string()))
                }
                Some(Ok(WsMessage::Pong(payload))) => {
                    if let Ok(number) = payload.as_ref().try_into().map(u64::from_be_bytes) {
                        self.note(Event::Pong { socket: self.number, number });
                    }
                    continue;
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => (None, String::new()),
            };
            self.note(Event::Closed { socket: self.number, code, by: Side::Server });
            return Incoming::Closed(code, reason);
        }
    }

    fn parse(&self, text: &str) -> Option<Incoming> {
        let value: Value = serde_json::from_str(text).ok()?;
        let (frame, socket) = (raw_frame(text)?, self.number);
        Some(if value.get("id").is_some() || value.get("error").is_some() {
            self.note(Event::Reply { socket, frame });
            Incoming::Reply(value)
        } else {
            self.note(Event::Push { socket, frame });
            Incoming::Push(value)
        })
    }

    /// Sends a request and waits for its reply; `None` if the socket ends, or no reply arrives within `limit`.
    pub(crate) async fn call(&mut self, frame_type: &str, params: &Value, limit: Duration) -> Option<Value> {
        self.call_with_ping(frame_type, params, 0, limit).await
    }

    /// The same with an id, which sends a ping after the request; 0 sends none.
    pub(crate) async fn call_with_ping(
        &mut self,
        frame_type: &str,
        params: &Value,
        id: u64,
        limit: Duration,
    ) -> Option<Value> {
        let is_sent = if id == 0 {
            self.send_request(frame_type, params, id).await
        } else {
            self.send_request_and_ping(frame_type, params, id).await
        };
        if !is_sent {
            return None;
        }
        let reply = async {
            loop {
                match self.receive().await {
                    // The late reply to a request that has timed out.
                    Incoming::Reply(reply) if reply["id"] != id => {}
                    Incoming::Reply(reply) => return Some(reply),
                    Incoming::Push(_) => {}
                    Incoming::Closed(..) => return None,
                }
            }
        };
        timeout(limit, reply).await.ok().flatten()
    }

    /// Closes the socket from the client's side.
    pub(crate) async fn close(mut self) {
        self.note(Event::Closed { socket: self.number, code: None, by: Side::Client });
        let _ = timeout(Duration::from_secs(1), self.stream.close(None)).await;
    }

    /// The TCP stream, for bytes that no correct client sends.
    pub(crate) fn raw_stream(&mut self) -> Option<&mut TcpStream> {
        match self.stream.get_mut() {
            MaybeTlsStream::Plain(stream) => Some(stream),
            _ => None,
        }
    }

    /// Sends half of a request's frame, and drops the connection.
    pub(crate) async fn cut_mid_frame(mut self, frame_type: &str, params: &Value) {
        let text = request(frame_type, params, 0);
        let mut frame = Vec::new();
        write_text(text.as_bytes(), &mut frame);
        if let Some(stream) = self.raw_stream() {
            // It does not matter whether the server still reads.
            let _ = timeout(WRITE_TIMEOUT, stream.write_all(&frame[..frame.len() / 2])).await;
        }
        self.note(Event::Closed { socket: self.number, code: None, by: Side::Client });
    }

    fn note(&self, event: Event) {
        if let Some(recorder) = &self.recorder {
            recorder.note(event);
        }
    }
}
