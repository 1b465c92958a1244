//! A socket for one request at a time: to prepare a load, and to ask for pages.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::frames::{Heard, Inbox, write_pong};
use super::line::Open;
use super::scan::Scanner;
use super::talker::code_of;

/// Longest wait for a reply.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 64 * 1024;
/// Ids of requests begin here: no row has such a one.
pub(crate) const FIRST_ID: u64 = 1 << 40;

/// A socket that asks and waits.
pub(crate) struct Caller {
    open: Open,
    inbox: Inbox,
    heard: VecDeque<Vec<u8>>,
    buffer: Vec<u8>,
    scanner: Scanner,
    asked: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The code of the error that came instead.
    #[error("{0} is answered {1}")]
    Refused(String, String),
    /// Nothing in time.
    #[error("{0} is not answered in {seconds} s", seconds = ANSWER_WITHIN.as_secs())]
    Silence(String),
    /// The socket has ended.
    #[error("the socket ends before {0} is answered: {1}")]
    Ended(String, io::Error),
}

impl Caller {
    pub(crate) fn new(mut open: Open) -> Self {
        let (inbox, heard, scanner) = (Inbox::default(), VecDeque::new(), Scanner::default());
        let early = open.take_early();
        let mut caller = Self { open, inbox, heard, buffer: vec![0; READ_BYTES], scanner, asked: FIRST_ID };
        // What is no frame will be found at the first read.
        let _ = caller.take(&early);
        caller
    }

    /// The frame that answers a request.
    ///
    /// # Errors
    /// There is none, or it is an error.
    pub(crate) async fn ask(&mut self, kind: &str, params: &Value) -> Result<Vec<u8>, NoAnswer> {
        let id = self.say(kind, params);
        self.open.line.flush();
        let answer = timeout(ANSWER_WITHIN, self.answer(id)).await;
        self.judge(kind, answer.map_err(|_| NoAnswer::Silence(kind.to_owned()))?)
    }

    /// Asks for many things at once, and waits until all are answered.
    ///
    /// # Errors
    /// That of the first one that is refused, or not answered.
    pub(crate) async fn ask_all(&mut self, kind: &str, all: &[Value]) -> Result<(), NoAnswer> {
        // Not more than a server reads on without an answer.
        for some in all.chunks(32) {
            let ids: Vec<u64> = some.iter().map(|params| self.say(kind, params)).collect();
            self.open.line.flush();
            for id in ids {
                let answer = timeout(ANSWER_WITHIN, self.answer(id)).await;
                self.judge(kind, answer.map_err(|_| NoAnswer::Silence(kind.to_owned()))?)?;
            }
        }
        Ok(())
    }

    fn say(&mut self, kind: &str, params: &Value) -> u64 {
        self.asked += 1;
        self.open.line.say(&json!({ "type": kind, "params": params, "id": self.asked }).to_string());
        self.asked
    }

    fn judge(&self, kind: &str, answer: io::Result<Vec<u8>>) -> Result<Vec<u8>, NoAnswer> {
        let frame = answer.map_err(|error| NoAnswer::Ended(kind.to_owned(), error))?;
        if self.scanner.is_error(&frame) {
            return Err(NoAnswer::Refused(kind.to_owned(), code_of(&frame)));
        }
        Ok(frame)
    }

    /// Replies come in the order of requests, so what comes before is a push.
    async fn answer(&mut self, id: u64) -> io::Result<Vec<u8>> {
        loop {
            while let Some(frame) = self.heard.pop_front() {
                if self.scanner.answers(&frame, id) {
                    return Ok(frame);
                }
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            let read = self.open.reader.read(&mut buffer).await;
            let taken = read.and_then(|bytes| match bytes {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => self.take(&buffer[..bytes]),
            });
            self.buffer = buffer;
            taken?;
        }
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut pongs = Vec::new();
        let mut closed = None;
        self.inbox
            .take(bytes, |heard| match heard {
                Heard::Text(frame) => self.heard.push_back(frame.to_vec()),
                Heard::Ping(payload) => write_pong(payload, &mut pongs),
                Heard::Close(code) => closed = Some(code),
            })
            .map_err(io::Error::other)?;
        self.open.line.say_frames(&pongs);
        self.open.line.flush();
        closed.map_or(Ok(()), |code| Err(io::Error::other(format!("closed with {code}"))))
    }
}
