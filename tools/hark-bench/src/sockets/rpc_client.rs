//! A connection for one request at a time, to prepare a load and to measure pages.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use hark_harness::envelope::{error_code, request};
use hark_harness::frames::{FrameDecoder, ServerMessage, write_pong};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::measure::scanner::Scanner;
use crate::sockets::connection::Connection;

/// Maximum wait for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 64 * 1024;
/// Ids of requests begin here: the id of no row is as large, so that a reply is found by its id alone.
pub(crate) const FIRST_REQUEST_ID: u64 = 1 << 40;

/// A connection that sends a request and waits for its reply.
pub(crate) struct RpcClient {
    connection: Connection,
    decoder: FrameDecoder,
    /// Frames that were received and not looked at yet.
    received: VecDeque<Vec<u8>>,
    buffer: Vec<u8>,
    scanner: Scanner,
    last_id: u64,
}

/// A request without a successful reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RpcError {
    /// The reply to the named frame is an error with this code.
    #[error("{0} is answered {1}")]
    Refused(String, String),
    /// No reply came within [`REPLY_TIMEOUT`].
    #[error("{0} is not answered in {seconds} s", seconds = REPLY_TIMEOUT.as_secs())]
    Timeout(String),
    /// The connection ended first.
    #[error("the connection ends before {0} is answered: {1}")]
    Disconnected(String, io::Error),
}

impl RpcClient {
    pub(crate) fn new(mut connection: Connection) -> Self {
        let early = connection.take_early_bytes();
        let mut client = Self {
            connection,
            decoder: FrameDecoder::default(),
            received: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
            scanner: Scanner::default(),
            last_id: FIRST_REQUEST_ID,
        };
        // An invalid frame among these bytes is reported by the first read.
        let _ = client.process(&early);
        client
    }

    /// Sends a request and returns the frame of its reply.
    ///
    /// # Errors
    /// [`RpcError`].
    pub(crate) async fn call(&mut self, frame_type: &str, params: &Value) -> Result<Vec<u8>, RpcError> {
        let id = self.queue(frame_type, params);
        self.connection.writer.flush();
        self.reply_to(frame_type, id).await
    }

    /// Sends a request for each of `all`, and returns when every one is answered.
    ///
    /// # Errors
    /// That of the first request that is refused or not answered.
    pub(crate) async fn call_all(&mut self, frame_type: &str, all: &[Value]) -> Result<(), RpcError> {
        // A server pauses reading after about as many unanswered requests.
        for some in all.chunks(32) {
            let ids: Vec<u64> = some.iter().map(|params| self.queue(frame_type, params)).collect();
            self.connection.writer.flush();
            for id in ids {
                self.reply_to(frame_type, id).await?;
            }
        }
        Ok(())
    }

    fn queue(&mut self, frame_type: &str, params: &Value) -> u64 {
        self.last_id += 1;
        self.connection.writer.queue_text(&request(frame_type, params, self.last_id));
        self.last_id
    }

    async fn reply_to(&mut self, frame_type: &str, id: u64) -> Result<Vec<u8>, RpcError> {
        let reply = timeout(REPLY_TIMEOUT, self.next_reply(id)).await;
        let reply = reply.map_err(|_| RpcError::Timeout(frame_type.to_owned()))?;
        let frame = reply.map_err(|error| RpcError::Disconnected(frame_type.to_owned(), error))?;
        if self.scanner.is_error(&frame) {
            return Err(RpcError::Refused(frame_type.to_owned(), error_code(&frame)));
        }
        Ok(frame)
    }

    /// Replies come in the order of their requests, so every frame before the reply is a push and is dropped.
    async fn next_reply(&mut self, id: u64) -> io::Result<Vec<u8>> {
        loop {
            while let Some(frame) = self.received.pop_front() {
                if self.scanner.answers(&frame, id) {
                    return Ok(frame);
                }
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            let read = self.connection.reader.read(&mut buffer).await;
            let processed = read.and_then(|bytes| match bytes {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => self.process(&buffer[..bytes]),
            });
            self.buffer = buffer;
            processed?;
        }
    }

    fn process(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut pongs = Vec::new();
        let mut closed = None;
        self.decoder
            .decode(bytes, |message| match message {
                ServerMessage::Text(frame) => self.received.push_back(frame.to_vec()),
                ServerMessage::Ping(payload) => write_pong(payload, &mut pongs),
                ServerMessage::Close(code) => closed = Some(code),
            })
            .map_err(io::Error::other)?;
        self.connection.writer.queue_frames(&pongs);
        self.connection.writer.flush();
        closed.map_or(Ok(()), |code| Err(io::Error::other(format!("closed with {code}"))))
    }
}
