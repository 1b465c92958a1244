//! The bytes of one socket, both ways. An idle one holds no buffer: what comes is read into the
//! stack, and what goes is written straight out of the frames that all receivers share.

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

use super::decoder::{Incoming, Message};
use crate::delivery::outbox::{BYTES_AT_ONCE, FRAMES_AT_ONCE, Outbox};
use crate::limits::memory::{ALWAYS, Share, Taken};
use crate::wire::close::Close;

/// Most bytes that are read at once.
const READ_AT_ONCE: usize = 8192;
/// Most bytes that are read behind requests that wait for their turn, in search of pings. With one more read
/// it is what everybody may take of the node's memory.
const MAX_READ_AHEAD_BYTES: usize = ALWAYS - READ_AT_ONCE;
/// Longest wait for a client that is told goodbye to take what was said before it.
const FLUSH: Duration = Duration::from_secs(30);
/// Longest wait for the client to agree that the connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// One socket's bytes.
pub(super) struct Stream {
    tcp: TcpStream,
    incoming: Incoming,
    /// When the client was last heard of, by as little as one byte.
    heard: Instant,
    /// Since when a message is under way.
    message_began: Option<Instant>,
    /// What of it is here takes of the node's memory.
    under_way: Taken,
    share: Arc<Share>,
    /// Waits for room in there.
    room: Option<BoxFuture<'static, ()>>,
    /// What was taken out of the outbox and is not written yet.
    unwritten: VecDeque<Bytes>,
    /// What of that is more than a batch, while the client does not take it: a large page.
    unwritten_page: Taken,
}

/// What has happened on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Something has come, there is room for replies again, or the connection was asked to close.
    Moved,
    /// The client is gone.
    Gone,
}

impl Stream {
    /// `begun` came behind the request for the upgrade; a message has at most `max_frame_bytes`.
    pub(super) fn new(tcp: TcpStream, begun: &[u8], max_frame_bytes: usize, share: Arc<Share>) -> Self {
        Self {
            tcp,
            incoming: Incoming::new(begun.to_vec(), max_frame_bytes),
            heard: Instant::now(),
            message_began: None,
            under_way: Taken::of(&share, 0),
            unwritten_page: Taken::of(&share, 0),
            share,
            room: None,
            unwritten: VecDeque::new(),
        }
    }

    /// The same on another runtime, which wakes it from now on.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn moved_to(self, runtime: &Handle) -> io::Result<Self> {
        let tcp = self.tcp.into_std()?;
        let _runtime = runtime.enter();
        Ok(Self { tcp: TcpStream::from_std(tcp)?, ..self })
    }

    /// Since when the client says nothing, or does not come to the end of a message.
    pub(super) fn silent_since(&self) -> Instant {
        self.message_began.map_or(self.heard, |began| began.min(self.heard))
    }

    /// Nobody listens to the client: whatever it does not say is not its fault.
    pub(super) fn excuse(&mut self) {
        self.heard = Instant::now();
        self.message_began = self.message_began.map(|_| self.heard);
    }

    /// The next message of those that have come.
    ///
    /// # Errors
    /// As [`Incoming::next`].
    pub(super) fn message(&mut self) -> Result<Option<Message<'_>>, Close> {
        let message = self.incoming.next()?;
        if matches!(message, Some(Message::Text(_))) {
            self.message_began = None;
        }
        Ok(message)
    }

    /// The next ping or pong behind messages that wait for their turn.
    pub(super) fn control_ahead(&mut self) -> Option<Message<'_>> {
        self.incoming.control_ahead()
    }

    /// Writes what waits and waits for more: for messages where `takes_messages`, else for the pings behind
    /// them, as far as there is room. Writes only once there is nothing to read, so that the replies to a
    /// burst leave together. Dropping the future loses nothing.
    pub(super) async fn traffic(&mut self, outbox: &Outbox, takes_messages: bool) -> Traffic {
        self.note_under_way();
        let reads = takes_messages || self.incoming.held() < MAX_READ_AHEAD_BYTES;
        poll_fn(|context| {
            if reads
                && self.poll_room(context).is_ready()
                && let Poll::Ready(read) = self.poll_read(context)
            {
                return Poll::Ready(if matches!(read, Ok(true)) { Traffic::Moved } else { Traffic::Gone });
            }
            let had_room = outbox.has_room();
            if let Poll::Ready(Err(_)) = self.poll_write(context, outbox) {
                return Poll::Ready(Traffic::Gone);
            }
            outbox.watch(context);
            let moved = outbox.asked_to_close().is_some() || !had_room && outbox.has_room();
            if moved { Poll::Ready(Traffic::Moved) } else { Poll::Pending }
        })
        .await
    }

    /// Writes what waits, the reason last, and waits a moment for the client's goodbye, so that the
    /// close code is not lost with a reset connection.
    pub(super) async fn say_goodbye(&mut self, outbox: &Outbox, close: Close) {
        outbox.finish(close);
        let mut agreed = close == Close::Bye;
        let mut readable = true;
        let flushed = poll_fn(|context| {
            // A client that is still sending cannot read before it has got rid of that.
            while readable && let Poll::Ready(read) = self.poll_read(context) {
                readable = matches!(read, Ok(true));
                agreed |= self.hears_goodbye(close);
            }
            self.poll_flush(context, outbox)
        });
        if !matches!(timeout(FLUSH, flushed).await, Ok(Ok(()))) {
            return;
        }
        let goodbye = poll_fn(|context| {
            while readable && !agreed {
                readable = matches!(ready!(self.poll_read(context)), Ok(true));
                agreed |= self.hears_goodbye(close);
            }
            Poll::Ready(())
        });
        let _ = timeout(FAREWELL, goodbye).await;
    }

    /// Whether the client says goodbye in what has come, where that can be read at all.
    fn hears_goodbye(&mut self, close: Close) -> bool {
        if matches!(close, Close::TooLarge | Close::NotUtf8 | Close::Protocol) {
            self.incoming.forget();
            return false;
        }
        loop {
            match self.incoming.next() {
                Ok(Some(Message::Close)) => return true,
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(_) => {
                    self.incoming.forget();
                    return false;
                }
            }
        }
    }

    /// Notes how much there is of a message whose end has not come.
    fn note_under_way(&mut self) {
        let held = self.incoming.held();
        self.under_way.set(held);
        self.message_began = if held == 0 { None } else { self.message_began.or_else(|| Some(Instant::now())) };
    }

    /// Ready while the socket may take more of the node's memory.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.share.has_room_for(0) {
            // Not listened to, but it has to come to the end of its message.
            self.heard = Instant::now();
            let share = Arc::clone(&self.share);
            let room = self.room.get_or_insert_with(|| async move { share.room().await }.boxed());
            ready!(room.as_mut().poll(context));
            self.room = None;
        }
        Poll::Ready(())
    }

    /// Reads what is there; false where the client has ended.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut room = [MaybeUninit::uninit(); READ_AT_ONCE];
        let mut read = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.tcp).poll_read(context, &mut read))?;
        self.heard = Instant::now();
        self.incoming.add(read.filled());
        Poll::Ready(Ok(!read.filled().is_empty()))
    }

    /// Writes as long as something waits and the client takes it. Never ready but with an error.
    fn poll_write(&mut self, context: &mut Context<'_>, outbox: &Outbox) -> Poll<io::Result<()>> {
        loop {
            if self.unwritten.is_empty() {
                self.unwritten = VecDeque::new();
                ready!(outbox.poll_take(context, &mut self.unwritten));
            }
            ready!(self.poll_write_once(context))?;
        }
    }

    /// Ready once all that waits is written.
    fn poll_flush(&mut self, context: &mut Context<'_>, outbox: &Outbox) -> Poll<io::Result<()>> {
        loop {
            if self.unwritten.is_empty() && outbox.poll_take(context, &mut self.unwritten).is_pending() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_write_once(context))?;
        }
    }

    fn poll_write_once(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut slices = [IoSlice::new(&[]); FRAMES_AT_ONCE];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.unwritten) {
            *slice = IoSlice::new(frame);
            count += 1;
        }
        let Poll::Ready(written) = Pin::new(&mut self.tcp).poll_write_vectored(context, &slices[..count]) else {
            let waiting: usize = self.unwritten.iter().map(Bytes::len).sum();
            self.unwritten_page.set(waiting.saturating_sub(BYTES_AT_ONCE));
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
            self.unwritten_page.set(0);
        }
        Poll::Ready(Ok(()))
    }
}
