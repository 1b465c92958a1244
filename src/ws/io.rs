//! Reading and writing the bytes of one socket. An idle socket holds no buffer: incoming bytes are read into a
//! buffer on the stack, and outgoing frames are written with one vectored write from the bytes that all receivers
//! share.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::decoder::{FrameDecoder, WsMessage};
use crate::delivery::outbox::{MAX_TAKE_BYTES, MAX_TAKE_FRAMES, Outbox};
use crate::limits::memory::{GUARANTEED_BYTES, MemoryAccount, Reservation};
use crate::wire::close::Close;

/// Maximum number of bytes of one read.
const MAX_READ_BYTES: usize = 8192;
/// Maximum number of bytes that are buffered while requests wait; pings are searched in them. With one more read
/// this is the memory that is guaranteed to every socket.
const MAX_READ_AHEAD_BYTES: usize = GUARANTEED_BYTES - MAX_READ_BYTES;
/// Maximum number of reads between two writes of a connection that is being closed.
const MAX_READS_PER_FLUSH: usize = 16;
/// Maximum time until the client has taken everything up to and including the close frame.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time until the client's close frame arrives, after the server's.
const CLOSE_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// The TCP connection of a socket, with its decoder and its unwritten frames.
pub(super) struct SocketIo {
    tcp: TcpStream,
    decoder: FrameDecoder,
    /// When the last byte was read.
    last_read_at: Instant,
    /// When the buffer of the decoder began to fill: at the first byte, or after the last message that left bytes
    /// in it. `None` while it is empty.
    message_began_at: Option<Instant>,
    /// The memory of incomplete and unprocessed messages.
    decoder_memory: Reservation,
    memory: Arc<MemoryAccount>,
    /// Completes when the memory budget has room again.
    memory_available: Option<BoxFuture<'static, ()>>,
    /// Frames that were taken out of the outbox and are not written yet.
    unwritten: VecDeque<Bytes>,
    /// The memory of unwritten frames beyond one batch, while a slow client does not read a large reply.
    unwritten_memory: Reservation,
}

/// What has happened on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IoEvent {
    /// Bytes were read, the outbox has room for replies again, or the connection is to be closed.
    Progress,
    /// The client has closed the connection or cannot be reached.
    Closed,
}

impl SocketIo {
    /// Serves `tcp`. `first_bytes` followed the request for the upgrade; a message has at most
    /// `max_frame_bytes`; `memory` accounts for what the socket buffers.
    pub(super) fn new(tcp: TcpStream, first_bytes: &[u8], max_frame_bytes: usize, memory: Arc<MemoryAccount>) -> Self {
        Self {
            tcp,
            decoder: FrameDecoder::new(first_bytes.to_vec(), max_frame_bytes),
            last_read_at: Instant::now(),
            message_began_at: None,
            decoder_memory: Reservation::new(&memory, 0),
            unwritten_memory: Reservation::new(&memory, 0),
            memory,
            memory_available: None,
            unwritten: VecDeque::new(),
        }
    }

    /// Registers the connection with the reactor of another runtime.
    ///
    /// # Errors
    /// If the system refuses to register the socket.
    pub(super) fn move_to_runtime(self, runtime: &Handle) -> io::Result<Self> {
        let tcp = self.tcp.into_std()?;
        let _runtime = runtime.enter();
        Ok(Self { tcp: TcpStream::from_std(tcp)?, ..self })
    }

    /// When the idle timeout began: at the last byte, or earlier, when the buffer of the decoder began to fill.
    pub(super) fn idle_since(&self) -> Instant {
        self.message_began_at.map_or(self.last_read_at, |began_at| began_at.min(self.last_read_at))
    }

    /// Restarts the idle timeout: while the server does not read, the client is not idle.
    pub(super) fn reset_idle(&mut self) {
        self.last_read_at = Instant::now();
        self.message_began_at = self.message_began_at.map(|_| self.last_read_at);
    }

    /// The next complete message.
    ///
    /// # Errors
    /// As [`FrameDecoder::next`].
    pub(super) fn next_message(&mut self) -> Result<Option<WsMessage<'_>>, Close> {
        let message = self.decoder.next()?;
        if matches!(message, Some(WsMessage::Text(_))) {
            self.message_began_at = None;
        }
        Ok(message)
    }

    /// The next ping or pong that arrived after messages which are not processed yet.
    pub(super) fn next_control_ahead(&mut self) -> Option<WsMessage<'_>> {
        self.decoder.next_control_ahead()
    }

    /// Drives reads and writes until something has happened. Reads messages if `reads_messages`, and otherwise
    /// only as far ahead as pings are searched for (backpressure). Writes only when there is nothing to read, so
    /// that the replies to a burst leave in one write. Cancel safe.
    pub(super) async fn drive(&mut self, outbox: &Outbox, reads_messages: bool) -> IoEvent {
        self.account_decoder_memory();
        let reads = reads_messages || self.decoder.buffered_bytes() < MAX_READ_AHEAD_BYTES;
        poll_fn(|context| {
            if reads
                && self.poll_memory_available(context).is_ready()
                && let Poll::Ready(read) = self.poll_read(context)
            {
                return Poll::Ready(if matches!(read, Ok(true)) { IoEvent::Progress } else { IoEvent::Closed });
            }
            let had_room = outbox.has_room();
            if let Poll::Ready(Err(_)) = self.poll_write(context, outbox) {
                return Poll::Ready(IoEvent::Closed);
            }
            outbox.set_waker(context);
            let has_progress = outbox.asked_to_close().is_some() || !had_room && outbox.has_room();
            if has_progress { Poll::Ready(IoEvent::Progress) } else { Poll::Pending }
        })
        .await
    }

    /// The close handshake: writes what the outbox holds and a close frame, and waits for the client's, because
    /// closing with unread data would reset the connection and lose the close code.
    pub(super) async fn close(&mut self, outbox: &Outbox, close: Close) {
        outbox.finish(close);
        let mut is_acknowledged = close == Close::Normal;
        let mut is_readable = true;
        let flushed = poll_fn(|context| {
            // A client that is blocked in a write does not read, so its bytes are read and discarded here: a bounded
            // number at a time, or a client that floods would keep the close frame from being written.
            let mut reads = 0;
            while is_readable
                && reads < MAX_READS_PER_FLUSH
                && let Poll::Ready(read) = self.poll_read(context)
            {
                is_readable = matches!(read, Ok(true));
                is_acknowledged |= self.decodes_close_frame(close);
                reads += 1;
            }
            let flushed = self.poll_flush(context, outbox);
            if flushed.is_pending() && reads == MAX_READS_PER_FLUSH {
                context.waker().wake_by_ref();
            }
            flushed
        });
        if !matches!(timeout(FLUSH_TIMEOUT, flushed).await, Ok(Ok(()))) {
            return;
        }
        let acknowledged = poll_fn(|context| {
            while is_readable && !is_acknowledged {
                is_readable = matches!(ready!(self.poll_read(context)), Ok(true));
                is_acknowledged |= self.decodes_close_frame(close);
            }
            Poll::Ready(())
        });
        let _ = timeout(CLOSE_HANDSHAKE_TIMEOUT, acknowledged).await;
    }

    /// Whether the received bytes hold the client's close frame. After a protocol error they cannot be
    /// decoded and are discarded.
    fn decodes_close_frame(&mut self, close: Close) -> bool {
        if matches!(close, Close::TooLarge | Close::NotUtf8 | Close::Protocol) {
            self.decoder.clear();
            return false;
        }
        loop {
            match self.decoder.next() {
                Ok(Some(WsMessage::Close)) => return true,
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => {
                    self.decoder.clear();
                    return false;
                }
            }
        }
    }

    /// Accounts for the memory of incomplete and unprocessed messages.
    fn account_decoder_memory(&mut self) {
        let buffered = self.decoder.buffered_bytes();
        self.decoder_memory.resize(buffered);
        self.message_began_at =
            if buffered == 0 { None } else { self.message_began_at.or_else(|| Some(Instant::now())) };
    }

    /// Ready while the memory budget allows the socket to buffer more.
    fn poll_memory_available(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.memory.has_room_for(0) {
            // The client is not idle, because it is not read; the time for a whole message still runs.
            self.last_read_at = Instant::now();
            let memory = Arc::clone(&self.memory);
            let available =
                self.memory_available.get_or_insert_with(|| async move { memory.wait_for_room().await }.boxed());
            ready!(available.as_mut().poll(context));
            self.memory_available = None;
        }
        Poll::Ready(())
    }

    /// Reads what has arrived; false at the end of the stream.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut buffer = [MaybeUninit::uninit(); MAX_READ_BYTES];
        let mut read = ReadBuf::uninit(&mut buffer);
        ready!(Pin::new(&mut self.tcp).poll_read(context, &mut read))?;
        self.last_read_at = Instant::now();
        self.decoder.push(read.filled());
        Poll::Ready(Ok(!read.filled().is_empty()))
    }

    /// Writes what the outbox holds, as long as the client takes it. It is ready only with an error.
    fn poll_write(&mut self, context: &mut Context<'_>, outbox: &Outbox) -> Poll<io::Result<()>> {
        loop {
            if self.unwritten.is_empty() {
                self.unwritten = VecDeque::new();
                ready!(outbox.poll_take(context, &mut self.unwritten));
            }
            ready!(self.poll_write_once(context))?;
        }
    }

    /// Ready once everything in the outbox is written.
    fn poll_flush(&mut self, context: &mut Context<'_>, outbox: &Outbox) -> Poll<io::Result<()>> {
        loop {
            if self.unwritten.is_empty() && outbox.poll_take(context, &mut self.unwritten).is_pending() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_write_once(context))?;
        }
    }

    /// Writes a batch of frames with one system call.
    fn poll_write_once(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slices = [IoSlice::new(&[]); MAX_TAKE_FRAMES];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.unwritten) {
            *slice = IoSlice::new(frame);
            count += 1;
        }
        let Poll::Ready(written) = Pin::new(&mut self.tcp).poll_write_vectored(context, &slices[..count]) else {
            let waiting: usize = self.unwritten.iter().map(Bytes::len).sum();
            self.unwritten_memory.resize(waiting.saturating_sub(MAX_TAKE_BYTES));
            return Poll::Pending;
        };
        let mut written = written?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        while let Some(first) = self.unwritten.front_mut() {
            if written < first.len() {
                first.advance(written);
                break;
            }
            written -= first.len();
            self.unwritten.pop_front();
        }
        if self.unwritten.is_empty() {
            self.unwritten_memory.resize(0);
        }
        Poll::Ready(Ok(()))
    }
}
