//! Open sockets: opening them, hearing and speaking on them. All of it on one thread, and a socket
//! that is silent costs no buffer.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::frames::{Heard, Inbox, write_pong, write_text};
use super::run::Run;

/// Longest wait for a connection and the answer to its upgrade.
const OPEN_WITHIN: Duration = Duration::from_mins(1);
/// An answer to an upgrade is shorter.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Sockets from one address, when there are several: well below the ports that it has.
const SOCKETS_AN_ADDRESS: usize = 5000;

/// Where and how sockets are opened.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// The server.
    pub(crate) address: SocketAddr,
    /// Path of the upgrade.
    pub(crate) path: String,
    opened: Arc<AtomicUsize>,
}

/// Why a socket is not open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotOpened {
    /// No connection, or it ended.
    #[error("the connection fails: {0}")]
    Io(#[from] io::Error),
    /// No answer in time.
    #[error("no answer to the upgrade in {seconds} s", seconds = OPEN_WITHIN.as_secs())]
    Silence,
    /// The server's first line.
    #[error("the upgrade is answered {0}")]
    Refused(String),
}

impl Door {
    pub(crate) fn new(address: SocketAddr, path: String) -> Self {
        // Not where the run before this one began: its ports are still kept, and finding a free one among
        // those takes the kernel longer than the server takes for the socket.
        let opened = Arc::new(AtomicUsize::new(usize::from(rand::random::<u8>()) * SOCKETS_AN_ADDRESS));
        Self { address, path, opened }
    }

    /// Opens a socket.
    ///
    /// # Errors
    /// It is not open; no second try is made.
    pub(crate) async fn open(&self, token: &str) -> Result<Open, NotOpened> {
        timeout(OPEN_WITHIN, self.try_to_open(token)).await.map_err(|_| NotOpened::Silence)?
    }

    async fn try_to_open(&self, token: &str) -> Result<Open, NotOpened> {
        let mut stream = self.connect().await?;
        stream.set_nodelay(true)?;
        // The key is checked by nobody here: a proxy that answers out of a cache is not in between.
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n",
            self.path, self.address
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        let end = loop {
            if let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") {
                break end + 4;
            }
            if answer.len() > MAX_ANSWER_BYTES || stream.read_buf(&mut answer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        };
        let first_line = String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next().unwrap_or_default());
        if first_line.split(' ').nth(1) != Some("101") {
            return Err(NotOpened::Refused(first_line.into_owned()));
        }
        let (reader, writer) = stream.into_split();
        Ok(Open { reader, line: Rc::new(Line::new(writer)), early: answer.split_off(end) })
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let nth = self.opened.fetch_add(1, Ordering::Relaxed);
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // An address has some 28,000 ports, and a closed connection keeps its own for a minute. Loopback
        // has as many addresses as anybody likes.
        if self.address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) && cfg!(target_os = "linux") {
            let host = u8::try_from(1 + nth / SOCKETS_AN_ADDRESS % 250).expect("at most 250");
            socket.set_reuseaddr(true)?;
            socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into())?;
        }
        socket.connect(self.address).await
    }
}

/// A socket that has just been opened.
pub(crate) struct Open {
    /// The half that is heard on.
    pub(crate) reader: OwnedReadHalf,
    /// Its other half.
    pub(crate) line: Rc<Line>,
    /// What came with the answer to the upgrade.
    early: Vec<u8>,
}

/// The half that is spoken into.
pub(crate) struct Line {
    writer: OwnedWriteHalf,
    unsent: RefCell<Vec<u8>>,
    is_waiting: Cell<bool>,
}

impl Line {
    fn new(writer: OwnedWriteHalf) -> Self {
        Self { writer, unsent: RefCell::default(), is_waiting: Cell::new(false) }
    }

    /// Puts a frame into the next write.
    pub(crate) fn say(&self, text: &str) {
        write_text(text.as_bytes(), &mut self.unsent.borrow_mut());
    }

    /// Puts frames that are written already into the next write.
    pub(crate) fn say_frames(&self, frames: &[u8]) {
        self.unsent.borrow_mut().extend_from_slice(frames);
    }

    /// Writes what was put there, now or as soon as there is room.
    pub(crate) fn flush(self: &Rc<Self>) {
        if self.is_waiting.get() || self.write() {
            return;
        }
        self.is_waiting.set(true);
        let line = Rc::clone(self);
        spawn_local(async move {
            while line.writer.writable().await.is_ok() && !line.write() {}
            line.is_waiting.set(false);
        });
    }

    /// Whether nothing is left to write. That a connection has ended, its reader finds out.
    fn write(&self) -> bool {
        let mut unsent = self.unsent.borrow_mut();
        let mut written = 0;
        while written < unsent.len() {
            match self.writer.try_write(&unsent[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    unsent.drain(..written);
                    return false;
                }
                Err(_) => break,
            }
        }
        unsent.clear();
        true
    }
}

/// Who hears what comes over a socket.
pub(crate) trait Talk {
    /// A reply or a push came, at `now`.
    fn hear(&mut self, frame: &[u8], now: u64);
}

/// How a socket ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With this close code.
    Closed(u16),
    /// Without a word.
    Gone,
}

impl Open {
    /// What came with the answer to the upgrade, once.
    pub(crate) fn take_early(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.early)
    }

    /// Lets `talk` hear all that comes, until the socket ends. What `talk` says while it hears goes out
    /// in one write for each read.
    pub(crate) async fn listen(self, run: &Run, talk: &mut impl Talk) -> End {
        let Self { mut reader, line, early } = self;
        let mut inbox = Inbox::default();
        let mut closed = None;
        let mut take = |bytes: &[u8]| {
            let now = run.now();
            let taken = inbox.take(bytes, |heard| match heard {
                Heard::Text(frame) => talk.hear(frame, now),
                Heard::Ping(payload) => write_pong(payload, &mut line.unsent.borrow_mut()),
                Heard::Close(code) => closed = Some(code),
            });
            if !line.unsent.borrow().is_empty() {
                line.flush();
            }
            match (closed, taken) {
                (Some(code), _) => Err(End::Closed(code)),
                (None, Err(_)) => Err(End::Gone),
                (None, Ok(())) => Ok(()),
            }
        };
        if let Err(end) = take(&early) {
            return end;
        }
        drop(early);
        loop {
            let end = poll_fn(|context| {
                let mut buffer = run.read_buffer.borrow_mut();
                let mut buffer = ReadBuf::new(&mut buffer);
                let read = ready!(Pin::new(&mut reader).poll_read(context, &mut buffer));
                Poll::Ready(match (read, buffer.filled()) {
                    (Err(_), _) | (Ok(()), []) => Some(End::Gone),
                    (Ok(()), bytes) => take(bytes).err(),
                })
            });
            if let Some(end) = end.await {
                return end;
            }
        }
    }

    /// Counts it among those that ended, unless the load is over.
    pub(crate) async fn listen_to_the_end(self, run: Rc<Run>, mut talk: impl Talk) {
        let end = self.listen(&run, &mut talk).await;
        let why = match end {
            End::Closed(code) => format!("closed with {code}"),
            End::Gone => "connection lost".to_owned(),
        };
        Run::count(&run.ended, &why);
    }
}
