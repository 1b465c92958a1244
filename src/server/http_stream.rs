//! An accepted connection while it serves HTTP, with backpressure. It passes one request at a time to the dispatcher,
//! and none while responses wait that the client does not read. It ends the connection of a slow client: one that
//! does not complete the head of a request, or does not read, within a timeout.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use actix_web::rt::time::{Instant, Sleep, sleep_until};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::http::{ConnectionFlow, ReadDemand};

/// Maximum number of bytes that are read at once. They wait here until the request before is answered.
const MAX_READ_BYTES: usize = 4096;
/// A client that is sent more than the kernel buffers has to read this many bytes within `Timeouts::write`.
const MIN_WRITTEN_BYTES: usize = 64 * 1024;

/// How long the server waits for a client.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    /// From the first byte of a request's head to its last.
    head: Duration,
    /// For the client to read `MIN_WRITTEN_BYTES`.
    write: Duration,
}

const TIMEOUTS: Timeouts = Timeouts { head: Duration::from_secs(10), write: Duration::from_mins(1) };

/// A connection from its accept to its end, or to its upgrade. The dispatcher of actix-http reads from it.
#[derive(Debug)]
pub(super) struct HttpStream {
    tcp: TcpStream,
    flow: ConnectionFlow,
    /// Bytes that were read and not passed to the dispatcher yet.
    ahead: Vec<u8>,
    head: HeadScanner,
    /// Whether the dispatcher still has to decode the bytes that it got last, before it gets more.
    has_handed_over: bool,
    /// Whether the kernel accepts no more bytes, because the client does not read.
    is_blocked: bool,
    head_timeout: Option<Pin<Box<Sleep>>>,
    write_timeout: Option<WriteTimeout>,
    timeouts: Timeouts,
    /// At shutdown the server waits until this token is dropped.
    token: TaskTrackerToken,
}

#[derive(Debug)]
struct WriteTimeout {
    timer: Pin<Box<Sleep>>,
    written: usize,
}

impl HttpStream {
    pub(super) fn new(tcp: TcpStream, token: TaskTrackerToken) -> Self {
        Self {
            tcp,
            flow: ConnectionFlow::default(),
            ahead: Vec::new(),
            head: HeadScanner::default(),
            has_handed_over: false,
            is_blocked: false,
            head_timeout: None,
            write_timeout: None,
            timeouts: TIMEOUTS,
            token,
        }
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    pub(super) fn flow(&self) -> &ConnectionFlow {
        &self.flow
    }

    /// The TCP connection, and what was read from it already.
    pub(super) fn into_parts(self) -> (TcpStream, Vec<u8>, TaskTrackerToken) {
        (self.tcp, self.ahead, self.token)
    }

    /// Ready if the head of a request has timed out.
    fn poll_head_timeout(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.head_timeout.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(context))
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut room = [0; MAX_READ_BYTES];
        let mut read = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.tcp).poll_read(context, &mut read))?;
        self.ahead.extend_from_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.has_handed_over) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let demand = this.flow.demand();
        if demand != ReadDemand::Head {
            this.head_timeout = None;
        }
        if this.is_blocked || demand == ReadDemand::None {
            this.flow.watch(context);
            return Poll::Pending;
        }
        if this.ahead.is_empty() && this.poll_fill(context)?.is_pending() {
            this.flow.watch(context);
            // To the dispatcher, this is the end of the connection.
            return this.poll_head_timeout(context).map(Ok);
        }
        let available = this.ahead.len().min(buffer.remaining());
        let length = match demand {
            ReadDemand::Head => this.head.end_of_head(&this.ahead[..available]).unwrap_or(available),
            ReadDemand::Body | ReadDemand::None => this.flow.body_part(&this.ahead[..available]),
        };
        if length == 0 && available > 0 {
            this.flow.watch(context);
            return Poll::Pending;
        }
        buffer.put_slice(&this.ahead[..length]);
        this.ahead.drain(..length);
        if this.ahead.is_empty() {
            this.ahead = Vec::new();
        }
        this.has_handed_over = length > 0;
        if demand == ReadDemand::Head && length > 0 {
            this.head_timeout.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + this.timeouts.head)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Poll::Ready(written) = Pin::new(&mut this.tcp).poll_write(context, bytes) {
            if std::mem::take(&mut this.is_blocked) {
                // The task has to read again.
                context.waker().wake_by_ref();
            }
            if let (Some(timeout), Ok(written)) = (&mut this.write_timeout, &written) {
                timeout.written += written;
                if timeout.written >= MIN_WRITTEN_BYTES {
                    this.write_timeout = None;
                }
            }
            return Poll::Ready(written);
        }
        this.is_blocked = true;
        let timeout = this.write_timeout.get_or_insert_with(|| WriteTimeout {
            timer: Box::pin(sleep_until(Instant::now() + this.timeouts.write)),
            written: 0,
        });
        timeout.timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // The dispatcher flushes once everything is written.
        this.write_timeout = None;
        Pin::new(&mut this.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

/// Finds the empty line that ends the head of a request, however its bytes are cut.
#[derive(Debug, Default)]
struct HeadScanner {
    /// Whether a line that is not empty was seen: empty lines before a request are part of its head.
    has_begun: bool,
    is_line_empty: bool,
}

impl HeadScanner {
    /// Where the head ends in the bytes that follow those of earlier calls.
    fn end_of_head(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if self.has_begun && self.is_line_empty => {
                    *self = Self::default();
                    return Some(at + 1);
                }
                b'\n' => self.is_line_empty = true,
                b'\r' => {}
                _ => (self.has_begun, self.is_line_empty) = (true, false),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_util::task::TaskTracker;

    use super::*;

    /// A connection with short timeouts, and its client.
    async fn connection() -> (HttpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let mut stream = HttpStream::new(accepted.expect("a connection").0, TaskTracker::new().token());
        let soon = Duration::from_millis(200);
        stream.timeouts = Timeouts { head: soon, write: soon };
        (stream, client.expect("a connection"))
    }

    #[tokio::test]
    async fn slow_client_is_disconnected() {
        let (mut stream, mut client) = connection().await;
        let writing = async {
            let written = stream.write_all(&vec![0; 64 * 1024 * 1024]).await;
            assert_eq!(written.expect_err("no client takes that").kind(), io::ErrorKind::TimedOut);
        };
        let reading = async {
            loop {
                client.read_u8().await.expect("more");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
    }

    #[tokio::test]
    async fn client_that_reads_everything_is_waited_for() {
        let (mut stream, mut client) = connection().await;
        let all = vec![7; 16 * 1024 * 1024];
        let mut read = Vec::new();
        let (written, _) = tokio::join!(
            async {
                stream.write_all(&all).await?;
                stream.shutdown().await
            },
            client.read_to_end(&mut read),
        );
        written.expect("all of it");
        assert!(read == all);
    }

    #[tokio::test]
    async fn head_that_does_not_end_times_out() {
        let (mut stream, mut client) = connection().await;
        client.write_all(b"GET / HTTP/1.1\r\nx-slow: ").await.expect("an open connection");
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.expect("an end");
        assert!(read.ends_with(b"x-slow: "));
    }

    #[test]
    fn heads_are_found_however_they_are_cut() {
        let heads =
            ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "\r\n\r\nHEAD /a HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\nx: y\n\n"];
        let all = heads.concat();
        for size in 1..=all.len() {
            let (mut scanner, mut found, mut head) = (HeadScanner::default(), Vec::new(), String::new());
            for mut chunk in all.as_bytes().chunks(size) {
                while !chunk.is_empty() {
                    let end = scanner.end_of_head(chunk);
                    let (part, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
                    head.push_str(std::str::from_utf8(part).expect("ASCII"));
                    if end.is_some() {
                        found.push(std::mem::take(&mut head));
                    }
                    chunk = rest;
                }
            }
            assert_eq!(found, heads, "in chunks of {size}");
        }
    }
}
