//! From a request to a socket. An upgrade is answered by the application like any other request;
//! where it lets somebody in, the connection is theirs from the answer on, and nothing of HTTP is
//! kept for it.

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
use super::io::Stream;
use crate::app::App;
use crate::delivery::hub::Registration;
use crate::delivery::outbox::Outbox;
use crate::limits::memory::Share;
use crate::model::UserId;
use crate::wire::close::Close;

/// Enough for a close frame.
const FAREWELL_BUDGET: usize = 1024;

/// What the application has decided about an upgrade; its response carries it.
pub(super) enum Decided {
    /// The socket is opened.
    Serve(Arc<App>, Registration),
    /// It is opened only to say why it is closed.
    Close(Arc<App>, Close),
}

/// A socket that is served, on another thread.
#[derive(Debug)]
pub struct Served(AbortOnDropHandle<Stream>);

impl Served {
    /// Waits for its end and closes the connection, which is most of what an end costs.
    pub async fn end(self) {
        // Whatever broke it was said where it broke.
        drop(self.0.await);
    }
}

/// Writes the application's answer to an upgrade and, where it is yes, lets the socket talk on the runtime
/// `talking`. On this thread thousands may be at the door, or leave, before a message has its turn.
///
/// # Errors
/// The client is gone before it could be answered.
pub async fn take_over<B: MessageBody>(
    mut response: Response<B>,
    mut connection: Framed<TcpStream, h1::Codec>,
    talking: &Handle,
) -> io::Result<Option<Served>> {
    let Some(decided) = response.extensions_mut().remove::<Decided>() else {
        return refuse(response, connection).await.map(|()| None);
    };
    connection.send((response.drop_body(), BodySize::None).into()).await?;
    match decided {
        Decided::Serve(app, registration) => {
            let span = tracing::info_span!("connection", user = %registration.socket().user);
            let stream = bare(connection, &app, Arc::clone(&registration.socket().share)).moved_to(talking)?;
            let talk = talking.spawn(connection::run(app, registration, stream).instrument(span));
            Ok(Some(Served(AbortOnDropHandle::new(talk))))
        }
        Decided::Close(app, close) => {
            app.metrics.socket_closed(close.code());
            let share = Arc::new(app.pool.share());
            let outbox = Outbox::new(UserId(0), FAREWELL_BUDGET, Arc::clone(&share));
            bare(connection, &app, share).say_goodbye(&outbox, close).await;
            Ok(None)
        }
    }
}

/// The connection without what HTTP kept for it.
fn bare(connection: Framed<TcpStream, h1::Codec>, app: &App, share: Arc<Share>) -> Stream {
    let parts = connection.into_parts();
    Stream::new(parts.io, &parts.read_buf, app.config.limits.max_frame_bytes, share)
}

/// Anything but a socket is a plain answer, after which the connection ends.
async fn refuse<B: MessageBody>(
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
