//! HTTP on a listener, and how an upgrade leaves it: actix-web's own server offers no way out of
//! HTTP for a connection, so the same parts are put together here with one.

use std::net::TcpListener;
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
use socket2::SockRef;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing_actix_web::TracingLogger;

use super::http_stream::HttpStream;
use super::socket_runtimes::Talking;
use crate::app::App;
use crate::{http, ws};

/// Connections of one worker thread.
const CONNECTIONS_PER_WORKER: usize = 100_000;
/// The kernel gives up a connection whose client takes nothing for so long, which neither a close
/// frame nor a timer of ours can do while the write buffer is full.
const UNREAD_FOR_AT_MOST: Duration = Duration::from_mins(1);
/// Longest wait for connections that do not end by themselves.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);
/// Bytes of answers that a connection holds until the kernel takes them, and one chunk more.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// Serves on a listener, from one thread a core, until it is stopped. Sockets talk on threads of their own.
/// `connections` has a token for each connection that is open.
pub(super) fn serve(
    app: &Arc<App>,
    listener: TcpListener,
    talking: &Arc<Talking>,
    connections: &TaskTracker,
) -> std::io::Result<Server> {
    let data = Data::from(Arc::clone(app));
    let (talking, connections) = (Arc::clone(talking), connections.clone());
    let address = listener.local_addr()?;
    let server = Server::build();
    // Idle connections end at once at a stop, and others with the answer that is under way.
    let draining = server.graceful_shutdown_signal();
    let server = server
        .workers(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
        .max_concurrent_connections(CONNECTIONS_PER_WORKER)
        .shutdown_timeout(DRAIN_TIMEOUT.as_secs())
        .disable_signals()
        .listen("hark", listener, move || {
            let (upgrades, talking) = (data.clone(), talking.next().clone());
            let (draining, connections) = (draining.clone(), connections.clone());
            let requests = application(data.clone()).into_factory().map_err(|error: Error| error.error_response());
            let http = HttpService::build()
                .on_connect_ext(tune)
                .local_addr(address)
                .h1_write_buffer_size(WRITE_BUFFER_BYTES)
                .graceful_shutdown_signal(move || {
                    let draining = draining.clone();
                    async move { draining.notified().await }
                })
                .upgrade(fn_factory(move || {
                    let application = application(upgrades.clone()).into_factory().new_service(AppConfig::default());
                    let talking = talking.clone();
                    async move {
                        let application = Rc::new(application.await?);
                        Ok::<_, ()>(fn_service(move |(request, connection): (Request, _)| {
                            // What follows the request is the socket's, and no body.
                            let answer = application.call(request.replace_payload(Payload::None).0);
                            let talking = talking.clone();
                            // Each on the heap: neither is a plain request to have the room of both, nor a
                            // socket that of its beginning.
                            Box::pin(async move {
                                let (connection, _token) = into_bare(connection);
                                let taken = Box::pin(async move {
                                    let answer = answer.await?.into();
                                    Ok::<_, Error>(ws::hand_off(answer, connection, &talking).await)
                                });
                                // A client that is gone before it is answered is nobody's fault.
                                if let Ok(Some(socket_task)) = taken.await? {
                                    socket_task.join().await;
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

/// Waits until all connections have ended that are open at a stop, or do not end by themselves.
pub(super) async fn drained(connections: &TaskTracker) {
    connections.close();
    let _ = timeout(DRAIN_TIMEOUT, connections.wait()).await;
}

/// The connection of an upgrade, without the flow control of HTTP.
fn into_bare(connection: Framed<HttpStream, h1::Codec>) -> (Framed<TcpStream, h1::Codec>, TaskTrackerToken) {
    let FramedParts { io, codec, mut read_buf, write_buf, .. } = connection.into_parts();
    let (tcp, ahead, token) = io.into_parts();
    read_buf.extend_from_slice(&ahead);
    let mut parts = FramedParts::with_read_buf(tcp, codec, read_buf);
    parts.write_buf = write_buf;
    (Framed::from_parts(parts), token)
}

/// All that is answered, upgrades included.
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
        .route("/", web::get().guard(guard::fn_guard(wants_a_socket)).to(ws::upgrade))
        .route("/ws", web::get().to(ws::upgrade))
        .configure(http::routes)
}

/// `GET /` is a page, unless the client asks for an upgrade.
fn wants_a_socket(context: &GuardContext<'_>) -> bool {
    let upgrade = context.head().headers().get(UPGRADE);
    upgrade.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// What every accepted connection is set to, and what its requests know of it.
fn tune(stream: &HttpStream, known: &mut Extensions) {
    // Frames are small and somebody waits for each.
    let _ = stream.tcp().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream.tcp()).set_tcp_user_timeout(Some(UNREAD_FOR_AT_MOST));
    known.insert(stream.flow().clone());
}
