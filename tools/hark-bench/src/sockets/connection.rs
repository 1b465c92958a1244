//! WebSocket connections: the upgrade, reading and writing. All of them run on one thread, and an idle connection
//! holds no buffer.

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

use futures_util::StreamExt as _;
use hark_harness::accounts::Account;
use hark_harness::frames::{FrameDecoder, ServerMessage, write_pong, write_text};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::measure::run::Run;

/// Maximum wait for a TCP connection and the response to its upgrade.
const CONNECT_TIMEOUT: Duration = Duration::from_mins(1);
/// Maximum size of the response to an upgrade.
const MAX_RESPONSE_BYTES: usize = 16 * 1024;
/// Connections from one loopback address: well below the number of its ports.
const SOCKETS_PER_ADDRESS: usize = 5000;
/// Connections that [`connect_all`] opens side by side.
const CONCURRENT_CONNECTS: usize = 64;

/// Opens connections to one server.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    /// The address of the server.
    pub(crate) address: SocketAddr,
    /// The path of the upgrade.
    pub(crate) path: String,
    /// How many connections were opened: it chooses the loopback address of the next one.
    opened: Arc<AtomicUsize>,
}

/// A connection that was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The TCP connection failed or ended.
    #[error("the connection fails: {0}")]
    Io(#[from] io::Error),
    /// No response came within [`CONNECT_TIMEOUT`].
    #[error("no answer to the upgrade in {seconds} s", seconds = CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// The server refused the upgrade, with this status line.
    #[error("the upgrade is answered {0}")]
    Rejected(String),
}

impl Connector {
    pub(crate) fn new(address: SocketAddr, path: String) -> Self {
        // A random start, and not that of the previous run: its ports are in TIME_WAIT, and finding a free one among
        // them takes the kernel longer than the upgrade takes the server.
        let opened = Arc::new(AtomicUsize::new(usize::from(rand::random::<u8>()) * SOCKETS_PER_ADDRESS));
        Self { address, path, opened }
    }

    /// Opens a connection for the session of `token`. It is not tried twice.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub(crate) async fn connect(&self, token: &str) -> Result<Connection, ConnectError> {
        timeout(CONNECT_TIMEOUT, self.upgrade(token)).await.map_err(|_| ConnectError::Timeout)?
    }

    async fn upgrade(&self, token: &str) -> Result<Connection, ConnectError> {
        let mut stream = self.connect_tcp().await?;
        stream.set_nodelay(true)?;
        // The key is constant and its hash is not checked: they protect from caching proxies, and there are none.
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n",
            self.path, self.address
        );
        stream.write_all(request.as_bytes()).await?;
        let mut response = Vec::with_capacity(512);
        let end = loop {
            if let Some(end) = memchr::memmem::find(&response, b"\r\n\r\n") {
                break end + 4;
            }
            if response.len() > MAX_RESPONSE_BYTES || stream.read_buf(&mut response).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        };
        let status_line = String::from_utf8_lossy(response.split(|byte| *byte == b'\r').next().unwrap_or_default());
        if status_line.split(' ').nth(1) != Some("101") {
            return Err(ConnectError::Rejected(status_line.into_owned()));
        }
        let (reader, writer) = stream.into_split();
        Ok(Connection { reader, writer: Rc::new(SocketWriter::new(writer)), early_bytes: response.split_off(end) })
    }

    async fn connect_tcp(&self) -> io::Result<TcpStream> {
        let nth = self.opened.fetch_add(1, Ordering::Relaxed);
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // An address has some 28,000 ephemeral ports, and a closed connection keeps its own for a minute (TIME_WAIT).
        // So connections are spread over many addresses of the loopback network.
        if self.address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) && cfg!(target_os = "linux") {
            let host = u8::try_from(1 + nth / SOCKETS_PER_ADDRESS % 250).expect("at most 250");
            socket.set_reuseaddr(true)?;
            socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into())?;
        }
        socket.connect(self.address).await
    }
}

/// Opens a connection for each account, in their order.
///
/// # Errors
/// That of the first account whose connection is not opened.
pub(crate) async fn connect_all<'a>(
    connector: &Connector,
    accounts: impl IntoIterator<Item = &'a Account>,
) -> Result<Vec<Connection>, ConnectError> {
    let connecting = accounts.into_iter().map(|account| connector.connect(&account.token));
    let connected: Vec<_> = futures_util::stream::iter(connecting).buffered(CONCURRENT_CONNECTS).collect().await;
    connected.into_iter().collect()
}

/// A connection after its upgrade.
pub(crate) struct Connection {
    /// The reading half.
    pub(crate) reader: OwnedReadHalf,
    /// The writing half.
    pub(crate) writer: Rc<SocketWriter>,
    /// Bytes that came in one read with the response to the upgrade.
    early_bytes: Vec<u8>,
}

/// The writing half of a connection. Frames are queued, and written together by [`SocketWriter::flush`].
pub(crate) struct SocketWriter {
    writer: OwnedWriteHalf,
    unsent: RefCell<Vec<u8>>,
    /// Whether a task waits until the socket is writable again.
    is_blocked: Cell<bool>,
}

impl SocketWriter {
    fn new(writer: OwnedWriteHalf) -> Self {
        Self { writer, unsent: RefCell::default(), is_blocked: Cell::new(false) }
    }

    /// Queues a text frame.
    pub(crate) fn queue_text(&self, text: &str) {
        write_text(text.as_bytes(), &mut self.unsent.borrow_mut());
    }

    /// Queues frames that are encoded already.
    pub(crate) fn queue_frames(&self, frames: &[u8]) {
        self.unsent.borrow_mut().extend_from_slice(frames);
    }

    /// Writes the queue, now or as soon as the socket is writable.
    pub(crate) fn flush(self: &Rc<Self>) {
        if self.is_blocked.get() || self.try_write() {
            return;
        }
        self.is_blocked.set(true);
        let socket = Rc::clone(self);
        spawn_local(async move {
            while socket.writer.writable().await.is_ok() && !socket.try_write() {}
            socket.is_blocked.set(false);
        });
    }

    /// Writes until the socket blocks; returns whether the queue is empty. On an error the queue is dropped: the
    /// reading half reports the end of the connection.
    fn try_write(&self) -> bool {
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

/// Handles the frames of one connection.
pub(crate) trait FrameHandler {
    /// Handles a reply or a push that was read at `now`, in nanoseconds since the run began.
    fn on_frame(&mut self, frame: &[u8], now: u64);
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum Disconnect {
    /// The server closed it with this code.
    Closed(u16),
    /// The TCP connection ended without a close frame, or with bytes that are no frame.
    Lost,
}

impl Connection {
    /// Takes the bytes that came with the response to the upgrade; the second call returns none.
    pub(crate) fn take_early_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.early_bytes)
    }

    /// Passes all frames to `handler` until the connection ends. What the handler queues while it handles the frames
    /// of one read goes out in one write.
    pub(crate) async fn receive(self, run: &Run, handler: &mut impl FrameHandler) -> Disconnect {
        let Self { mut reader, writer, early_bytes } = self;
        let mut decoder = FrameDecoder::default();
        let mut close_code = None;
        let mut process = |bytes: &[u8]| {
            let now = run.now();
            let decoded = decoder.decode(bytes, |message| match message {
                ServerMessage::Text(frame) => handler.on_frame(frame, now),
                ServerMessage::Ping(payload) => write_pong(payload, &mut writer.unsent.borrow_mut()),
                ServerMessage::Close(code) => close_code = Some(code),
            });
            if !writer.unsent.borrow().is_empty() {
                writer.flush();
            }
            match (close_code, decoded) {
                (Some(code), _) => Err(Disconnect::Closed(code)),
                (None, Err(_)) => Err(Disconnect::Lost),
                (None, Ok(())) => Ok(()),
            }
        };
        if let Err(disconnect) = process(&early_bytes) {
            return disconnect;
        }
        drop(early_bytes);
        loop {
            let disconnect = poll_fn(|context| {
                let mut buffer = run.read_buffer.borrow_mut();
                let mut buffer = ReadBuf::new(&mut buffer);
                let read = ready!(Pin::new(&mut reader).poll_read(context, &mut buffer));
                Poll::Ready(match (read, buffer.filled()) {
                    (Err(_), _) | (Ok(()), []) => Some(Disconnect::Lost),
                    (Ok(()), bytes) => process(bytes).err(),
                })
            });
            if let Some(disconnect) = disconnect.await {
                return disconnect;
            }
        }
    }

    /// The same as a task of its own, which counts the end of the connection among the disconnects of the run.
    pub(crate) async fn receive_and_count(self, run: Rc<Run>, mut handler: impl FrameHandler) {
        let reason = match self.receive(&run, &mut handler).await {
            Disconnect::Closed(code) => format!("closed with {code}"),
            Disconnect::Lost => "connection lost".to_owned(),
        };
        Run::tally(&run.disconnects, &reason);
    }
}
