//! The handoff of an upgraded connection from HTTP to its socket task.
//!
//! actix-web answers an upgrade like any other request. If the answer opens a socket, the TCP connection leaves
//! HTTP with it, and everything that HTTP held for the connection is freed (docs/decisions has the figures).

use std::io;
use std::sync::Arc;

use actix_codec::Framed;
use actix_http::body::{BodySize, MessageBody, to_bytes};
use actix_http::{ConnectionType, Response, h1};
use actix_web::rt::net::TcpStream;
use futures_util::SinkExt as _;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::connection;
use super::io::SocketIo;
use crate::app::App;
use crate::delivery::outbox::Outbox;
use crate::delivery::registration::Registration;
use crate::limits::memory::MemoryAccount;
use crate::model::UserId;
use crate::wire::close::Close;

/// The size of an outbox that holds a close frame only.
const CLOSE_OUTBOX_BYTES: usize = 1024;

/// What the application has decided about an upgrade. The response carries it as an extension.
pub(super) enum UpgradeDecision {
    /// The socket is opened.
    Serve(Arc<App>, Registration),
    /// The socket is opened only to be closed with this code, because JavaScript cannot read the HTTP status of a
    /// failed upgrade.
    Close(Arc<App>, Close),
}

/// The task that serves a socket, on a runtime for sockets. Dropping it aborts the task.
#[derive(Debug)]
pub struct SocketTask(AbortOnDropHandle<SocketIo>);

impl SocketTask {
    /// Waits for the end of the task and closes the TCP connection on the caller's thread, because closing is the
    /// most expensive part of ending a socket.
    pub async fn join(self) {
        // A panic of the task was logged where it happened.
        drop(self.0.await);
    }
}

/// Writes the application's response to an upgrade and, if it opens a socket, starts the socket's task on
/// `runtime`. The calling thread accepts connections; open sockets run on other threads, so that a reconnect storm
/// does not delay them.
///
/// # Errors
/// If the response cannot be written, or the system refuses to move the connection to the runtime.
pub async fn hand_off<B: MessageBody>(
    mut response: Response<B>,
    mut connection: Framed<TcpStream, h1::Codec>,
    runtime: &Handle,
) -> io::Result<Option<SocketTask>> {
    let Some(decision) = response.extensions_mut().remove::<UpgradeDecision>() else {
        return send_plain_response(response, connection).await.map(|()| None);
    };
    connection.send((response.drop_body(), BodySize::None).into()).await?;
    match decision {
        UpgradeDecision::Serve(app, registration) => {
            let span = tracing::info_span!("connection", user = %registration.socket().user);
            let memory = Arc::clone(&registration.socket().memory);
            let io = into_socket_io(connection, &app, memory).move_to_runtime(runtime)?;
            let task = runtime.spawn(connection::run(app, registration, io).instrument(span));
            Ok(Some(SocketTask(AbortOnDropHandle::new(task))))
        }
        UpgradeDecision::Close(app, close) => {
            app.metrics.socket_closed(close.code());
            let memory = Arc::new(app.memory.open_account());
            let outbox = Outbox::new(UserId(0), CLOSE_OUTBOX_BYTES, Arc::clone(&memory));
            into_socket_io(connection, &app, memory).close(&outbox, close).await;
            Ok(None)
        }
    }
}

/// Extracts the TCP connection and the bytes after the request from the HTTP codec.
fn into_socket_io(connection: Framed<TcpStream, h1::Codec>, app: &App, memory: Arc<MemoryAccount>) -> SocketIo {
    let parts = connection.into_parts();
    SocketIo::new(parts.io, &parts.read_buf, app.config.limits.max_frame_bytes, memory)
}

/// Writes a response that opens no socket, and closes the connection.
async fn send_plain_response<B: MessageBody>(
    mut response: Response<B>,
    mut connection: Framed<TcpStream, h1::Codec>,
) -> io::Result<()> {
    response.head_mut().set_connection_type(ConnectionType::Close);
    let (head, body) = response.into_parts();
    let body = to_bytes(body).await.map_err(|error| io::Error::other(error.into().to_string()))?;
    connection.send((head, BodySize::Sized(body.len() as u64)).into()).await?;
    if !body.is_empty() {
        connection.send(h1::Message::Chunk(Some(body))).await?;
    }
    connection.send(h1::Message::Chunk(None)).await?;
    connection.close().await
}
