//! Serves HTTP on a listener, and hands upgraded connections over to the sockets. The server of actix-web has no
//! way to take a connection out of HTTP, so its parts are put together here in a way that has one.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_codec::{Framed, FramedParts};
use actix_http::body::MessageBody;
use actix_http::{HttpService, Payload, Request, h1};
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, map_config};
use actix_web::dev::{
    AppConfig, Extensions, Server, Service as _, ServiceFactory, ServiceRequest, ServiceResponse, fn_factory,
    fn_service,
};
use actix_web::guard::GuardContext;
use actix_web::http::header::UPGRADE;
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Data};
use actix_web::{App as HttpApp, Error, guard};
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing_actix_web::TracingLogger;

use super::http_stream::HttpStream;
use super::socket_runtimes::SocketRuntimes;
use super::start_error::StartError;
use crate::app::App;
use crate::{http, ws};

/// Maximum number of connections that wait to be accepted: a reconnect storm arrives all at once.
const MAX_PENDING_CONNECTIONS: u32 = 4096;
/// Maximum number of connections of one worker thread.
const MAX_CONNECTIONS_PER_WORKER: usize = 100_000;
/// The kernel closes a connection whose client acknowledges nothing for this time (`TCP_USER_TIMEOUT`). Neither a
/// close frame nor a timer of the server can do that while the write buffer is full.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_mins(1);
/// Maximum time at shutdown for connections that do not end by themselves.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);
/// Bytes of responses that a connection buffers until the kernel accepts them, and one chunk more.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// Binds an address; port 0 takes a free one.
///
/// # Errors
/// If the address is taken, or does not belong to this machine.
pub fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bind = || {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        // A restart must not wait for connections of the previous process.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(MAX_PENDING_CONNECTIONS).unwrap_or(i32::MAX))?;
        Ok(socket.into())
    };
    bind().map_err(|cause| StartError::Listen { address, cause })
}

/// Serves on a listener, with one worker thread a core, until it is stopped. Sockets run on threads of their own.
/// `connections` holds a token for each open connection.
pub(super) fn serve(
    app: &Arc<App>,
    listener: TcpListener,
    socket_runtimes: &Arc<SocketRuntimes>,
    connections: &TaskTracker,
) -> std::io::Result<Server> {
    let data = Data::from(Arc::clone(app));
    let (socket_runtimes, connections) = (Arc::clone(socket_runtimes), connections.clone());
    let address = listener.local_addr()?;
    let server = Server::build();
    // At shutdown, idle connections end at once, and others with the response that is under way.
    let shutdown = server.graceful_shutdown_signal();
    let server = server
        .workers(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
        .max_concurrent_connections(MAX_CONNECTIONS_PER_WORKER)
        .shutdown_timeout(DRAIN_TIMEOUT.as_secs())
        .disable_signals()
        .listen("hark", listener, move || {
            let (upgrades, runtime) = (data.clone(), socket_runtimes.assign().clone());
            let (shutdown, connections) = (shutdown.clone(), connections.clone());
            let requests = application(data.clone()).into_factory().map_err(|error: Error| error.error_response());
            let http = HttpService::build()
                .on_connect_ext(configure_connection)
                .local_addr(address)
                .h1_write_buffer_size(WRITE_BUFFER_BYTES)
                .graceful_shutdown_signal(move || {
                    let shutdown = shutdown.clone();
                    async move { shutdown.notified().await }
                })
                .upgrade(fn_factory(move || {
                    let application = application(upgrades.clone()).into_factory().new_service(AppConfig::default());
                    let runtime = runtime.clone();
                    async move {
                        let application = Rc::new(application.await?);
                        Ok::<_, ()>(fn_service(move |(request, connection): (Request, _)| {
                            // What follows the request belongs to the socket, and is no body.
                            let response = application.call(request.replace_payload(Payload::None).0);
                            let runtime = runtime.clone();
                            // Each future is on the heap: a plain request does not take the memory of both, and a
                            // socket does not keep that of its upgrade.
                            Box::pin(async move {
                                let (connection, _token) = into_tcp(connection);
                                let upgrade = Box::pin(async move {
                                    let response = response.await?.into();
                                    Ok::<_, Error>(ws::hand_off(response, connection, &runtime).await)
                                });
                                // A client that disconnects before its response is not an error.
                                if let Ok(Some(socket)) = upgrade.await? {
                                    socket.join().await;
                                }
                                Ok::<_, Error>(())
                            })
                        }))
                    }
                }))
                .h1(map_config(requests, |()| AppConfig::default()));
            fn_service(move |tcp: TcpStream| {
                let peer = tcp.peer_addr().ok();
                let stream = HttpStream::new(tcp, connections.token());
                async move { Ok((stream, peer)) }
            })
            .and_then(http)
        })?;
    Ok(server.run())
}

/// Waits until all connections have ended, for at most four seconds.
pub(super) async fn wait_for_connections(connections: &TaskTracker) {
    connections.close();
    let _ = timeout(DRAIN_TIMEOUT, connections.wait()).await;
}

/// Extracts the TCP connection of an upgrade from its HTTP stream, with the bytes that were read ahead.
fn into_tcp(connection: Framed<HttpStream, h1::Codec>) -> (Framed<TcpStream, h1::Codec>, TaskTrackerToken) {
    let FramedParts { io, codec, mut read_buf, write_buf, .. } = connection.into_parts();
    let (tcp, ahead, token) = io.into_parts();
    read_buf.extend_from_slice(&ahead);
    let mut parts = FramedParts::with_read_buf(tcp, codec, read_buf);
    parts.write_buf = write_buf;
    (Framed::from_parts(parts), token)
}

/// The actix-web application, upgrades included.
fn application(
    app: Data<App>,
) -> HttpApp<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    HttpApp::new()
        .wrap(from_fn(http::limit_response_memory))
        .wrap(http::cors(&app.config))
        .wrap(from_fn(http::conventions))
        .wrap(TracingLogger::default())
        .app_data(app)
        .route("/", web::get().guard(guard::fn_guard(is_websocket_upgrade)).to(ws::upgrade))
        .route("/ws", web::get().to(ws::upgrade))
        .configure(http::routes)
}

/// `GET /` is the landing page, unless the client asks for an upgrade.
fn is_websocket_upgrade(context: &GuardContext<'_>) -> bool {
    let upgrade = context.head().headers().get(UPGRADE);
    upgrade.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Sets the options of an accepted connection, and gives its requests access to its flow control.
fn configure_connection(stream: &HttpStream, extensions: &mut Extensions) {
    configure_socket(stream.tcp());
    extensions.insert(stream.flow().clone());
}

/// Sets TCP options. One that the system refuses is left as it is.
fn configure_socket(tcp: &TcpStream) {
    // Frames are small, and a user waits for each: TCP must not delay them to fill its packets.
    let _ = tcp.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(tcp).set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
}
