//! The task of one open socket: a loop around one `select!`. It alone reads the socket and writes to it; pushes
//! for the socket wait in its outbox.
//!
//! Backpressure: no further request is processed while the pipeline is full or the client does not take its replies,
//! and nothing is read while the memory budget has no room. The heartbeat continues meanwhile: pings are sent and
//! answered. The idle timeout starts anew when reading resumes.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::deadline::RequestDeadline;
use super::decoder::WsMessage;
use super::io::{IoEvent, SocketIo};
use super::pipeline::{Execution, Pipeline, Response};
use crate::app::App;
use crate::auth::tokens;
use crate::commands::{Command, Context, Outcome, PagingState};
use crate::delivery::registration::Registration;
use crate::delivery::socket::Socket;
use crate::error::Error;
use crate::limits::memory::{GUARANTEED_BYTES, Reservation};
use crate::limits::socket_rate_limit::{RateVerdict, SocketRateLimiter};
use crate::wire::close::Close;
use crate::wire::frame::{self, Request};
use crate::wire::reply::{self, Frame};

/// Maximum time that requests in flight have to finish when a connection ends.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// The same at a graceful shutdown: longer, so that accepted sends are answered.
const SHUTDOWN_DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum time for which a request continues without its connection, so that other users get its events.
const DETACHED_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time that one sleep waits for the expiry of a token: a timer cannot be set more than some years ahead.
const MAX_EXPIRY_SLEEP: Duration = Duration::from_hours(7 * 24);

struct Connection {
    app: Arc<App>,
    socket: Arc<Socket>,
    paging: Arc<PagingState>,
    /// The history of the database in which the socket was opened: in another one its user id may belong to
    /// another user.
    history: u64,
    pipeline: Pipeline,
    rate_limiter: SocketRateLimiter,
    next_ping_at: Instant,
    deadline: RequestDeadline,
}

/// Why a connection ends.
enum Disconnect {
    /// The server closes it with a close frame.
    Close(Close),
    /// The client has closed it or cannot be reached.
    ClientDisconnected,
}

/// Serves a socket until it ends, and returns its TCP connection to be closed.
pub(super) async fn run(app: Arc<App>, registration: Registration, mut io: SocketIo) -> SocketIo {
    let limits = &app.config.limits;
    let mut connection = Connection {
        socket: Arc::clone(registration.socket()),
        paging: Arc::default(),
        history: app.db.history(),
        pipeline: Pipeline::new(limits.max_in_flight),
        rate_limiter: SocketRateLimiter::new(limits),
        next_ping_at: Instant::now() + seconds(limits.ping_seconds),
        deadline: RequestDeadline::new(Instant::now()),
        app: Arc::clone(&app),
    };
    let disconnect = connection.serve(&mut io).await;
    connection.drain(&disconnect).await;
    if let Disconnect::Close(close) = disconnect {
        app.metrics.socket_closed(close.code());
        io.close(&connection.socket.outbox, close).await;
    }
    if !connection.pipeline.is_empty() {
        tokio::spawn(async move { timeout(DETACHED_TIMEOUT, connection.answer_all()).await });
    }
    io
}

impl Connection {
    async fn serve(&mut self, io: &mut SocketIo) -> Disconnect {
        let mut timer_expires_at = self.socket.expires_at();
        let mut timer = pin!(sleep_until(self.wake_at(io)));
        loop {
            if let Some(close) = self.socket.outbox.asked_to_close() {
                return Disconnect::Close(close);
            }
            if self.has_capacity() {
                self.deadline.resume();
            }
            if let Some(disconnect) = self.process_incoming(io) {
                return disconnect;
            }
            let reads_messages = self.has_capacity();
            if !reads_messages {
                self.deadline.pause();
                io.reset_idle();
                if let Some(disconnect) = self.answer_pings_ahead(io) {
                    return disconnect;
                }
            }
            // Incoming bytes only postpone the timeouts; `wake_at` recomputes them when the timer fires.
            // `authenticate` may bring the expiry nearer, so the timer is set anew.
            if self.socket.expires_at() != timer_expires_at {
                timer_expires_at = self.socket.expires_at();
                timer.as_mut().reset(self.wake_at(io));
            }
            tokio::select! {
                biased;
                response = self.pipeline.next(), if !self.pipeline.is_empty() => self.send_reply(response),
                event = io.drive(&self.socket.outbox, reads_messages) => if event == IoEvent::Closed {
                    return Disconnect::ClientDisconnected;
                },
                () = &mut timer => {
                    if let Some(disconnect) = self.on_timer(io) {
                        return disconnect;
                    }
                    timer.as_mut().reset(self.wake_at(io));
                }
            }
        }
    }

    /// Whether another request may be accepted: the pipeline and the outbox both have room.
    fn has_capacity(&self) -> bool {
        self.pipeline.has_capacity() && self.socket.outbox.has_room()
    }

    /// Waits for the requests in flight, so that the client gets their replies.
    async fn drain(&mut self, disconnect: &Disconnect) {
        let is_shutdown = matches!(disconnect, Disconnect::Close(Close::GoingAway(_)));
        let limit = if is_shutdown { SHUTDOWN_DRAIN_TIMEOUT } else { DRAIN_TIMEOUT };
        let _ = timeout(limit, self.answer_all()).await;
    }

    /// Runs the requests in flight to their end. Their events are published also if the client has disconnected.
    async fn answer_all(&mut self) {
        while !self.pipeline.is_empty() {
            let response = self.pipeline.next().await;
            self.send_reply(response);
        }
    }

    /// Puts a reply into the outbox and publishes the events of its request.
    fn send_reply(&self, response: Response) {
        self.socket.outbox.reply(&response.reply);
        for event in response.events {
            self.app.delivery.publish(&event);
        }
    }

    /// Processes the messages that have arrived, as far as there is capacity.
    fn process_incoming(&mut self, io: &mut SocketIo) -> Option<Disconnect> {
        while self.has_capacity() {
            let disconnect = match io.next_message() {
                Ok(Some(WsMessage::Text(text))) => self.process_request(text),
                Ok(Some(control @ (WsMessage::Ping(_) | WsMessage::Pong))) => self.process_control_frame(&control),
                Ok(Some(WsMessage::Close)) => Some(Disconnect::Close(Close::Normal)),
                Err(close) => Some(Disconnect::Close(close)),
                Ok(None) => return None,
            };
            if disconnect.is_some() {
                return disconnect;
            }
        }
        None
    }

    /// Answers pings that arrived after messages which are not processed yet. A client with its own keepalive
    /// would otherwise treat the connection as dead during a long request.
    fn answer_pings_ahead(&mut self, io: &mut SocketIo) -> Option<Disconnect> {
        while let Some(control) = io.next_control_ahead() {
            if let Some(disconnect) = self.process_control_frame(&control) {
                return Some(disconnect);
            }
        }
        None
    }

    /// Processes a ping or pong; answers a ping. Control frames count towards the rate limit of the socket, like
    /// requests.
    fn process_control_frame(&mut self, control: &WsMessage<'_>) -> Option<Disconnect> {
        if let WsMessage::Ping(payload) = control {
            self.socket.outbox.pong(payload);
        }
        let is_over_limit = matches!(self.rate_limiter.check(), RateVerdict::Disconnect);
        is_over_limit.then_some(Disconnect::Close(Close::RateLimited))
    }

    /// Parses a request and dispatches it. A refusal is a reply too, and keeps the order of replies.
    fn process_request(&mut self, text: &str) -> Option<Disconnect> {
        self.app.metrics.request_received();
        let reserved = Reservation::new(&self.socket.memory, text.len());
        let verdict = self.rate_limiter.check();
        let parsed = frame::parse(text);
        let (kind, id) = match &parsed {
            Ok(request) => (request.kind.as_str(), request.id),
            Err(malformed) => (malformed.kind.as_str(), malformed.id),
        };
        let refusal = match verdict {
            RateVerdict::Disconnect => return Some(Disconnect::Close(Close::RateLimited)),
            RateVerdict::RetryAfter(wait) => Some(failure(kind, Error::rate_limited(wait), id)),
            RateVerdict::Allow => None,
        };
        match (refusal, parsed) {
            (Some(refusal), _) => self.refuse(refusal, reserved),
            (None, Ok(request)) => self.dispatch(request, reserved),
            (None, Err(malformed)) => {
                self.refuse(failure(&malformed.kind, malformed.error, malformed.id), reserved);
            }
        }
        None
    }

    /// Starts the command of a request and puts it into the pipeline.
    fn dispatch(&mut self, request: Request<'_>, reserved: Reservation) {
        let command = match Command::parse(&request, &self.app.config.limits) {
            Ok(command) => command,
            Err(error) => return self.refuse(failure(&request.kind, error, request.id), reserved),
        };
        let now = Instant::now();
        let deadline = self.deadline.deadline(now);
        if deadline <= now {
            let error = Error::unavailable("it has waited too long behind other requests");
            return self.refuse(failure(&request.kind, error, request.id), reserved);
        }
        let execution = if command.is_send() { Execution::Concurrent } else { Execution::Exclusive };
        let context = Context {
            app: Arc::clone(&self.app),
            user: self.socket.user,
            socket: self.socket.id,
            history: self.history,
            paging: Arc::clone(&self.paging),
        };
        let outcome = command.apply(context, Arc::clone(&self.socket));
        let outcome = with_deadline(outcome, deadline, Arc::clone(&self.app));
        let Request { kind, id, .. } = request;
        let id = id.map(RawValue::to_owned);
        let share = Arc::clone(&self.socket.memory);
        let response = async move {
            let (mut reply, events) = match outcome.await {
                Ok(outcome) => (reply::success(&kind, &outcome.reply, id.as_deref()), outcome.events),
                Err(error) => (failure(&kind, error, id.as_deref()), Vec::new()),
            };
            let length = reply.bytes().len();
            // Without room in the memory budget a large reply becomes `overloaded`. The receipt of a send is always
            // written, because a send must not be repeated without need.
            if execution == Execution::Exclusive && length > GUARANTEED_BYTES && !share.has_room_for(length) {
                reply = failure(&kind, Error::overloaded(), id.as_deref());
            }
            Response { reply, events }
        };
        self.pipeline.push(response.boxed(), execution, reserved);
    }

    /// Puts a refusal into the pipeline, after the replies to earlier requests.
    fn refuse(&mut self, reply: Frame, reserved: Reservation) {
        let response = Response { reply, events: Vec::new() };
        self.pipeline.push(ready(response).boxed(), Execution::Concurrent, reserved);
    }

    /// When the timer is due: the next ping, the idle timeout, or the expiry of the token.
    fn wake_at(&self, io: &SocketIo) -> Instant {
        self.next_ping_at.min(self.idle_timeout_at(io)).min(self.expires_at())
    }

    fn idle_timeout_at(&self, io: &SocketIo) -> Instant {
        io.idle_since() + seconds(self.app.config.limits.idle_seconds)
    }

    /// When the token expires. It is computed each time: the system clock may jump, and `authenticate` brings
    /// another token.
    fn expires_at(&self) -> Instant {
        let remaining = u64::try_from(self.socket.expires_at() - tokens::now()).unwrap_or(0);
        Instant::now() + Duration::from_secs(remaining).min(MAX_EXPIRY_SLEEP)
    }

    /// Disconnects a client whose token has expired or that is idle, and sends the heartbeat ping.
    fn on_timer(&mut self, io: &SocketIo) -> Option<Disconnect> {
        let now = Instant::now();
        if self.socket.expires_at() <= tokens::now() {
            return Some(Disconnect::Close(Close::Unauthorized));
        }
        if now >= self.idle_timeout_at(io) {
            return Some(Disconnect::Close(Close::GoingAway(Duration::ZERO)));
        }
        if now >= self.next_ping_at {
            self.next_ping_at = now + seconds(self.app.config.limits.ping_seconds);
            self.socket.outbox.enqueue_heartbeat();
        }
        None
    }
}

/// The outcome of a command, or `overloaded` after its deadline. A late command continues for at most
/// [`DETACHED_TIMEOUT`], and its events are published when it ends.
async fn with_deadline(
    mut outcome: BoxFuture<'static, Result<Outcome, Error>>,
    deadline: Instant,
    app: Arc<App>,
) -> Result<Outcome, Error> {
    timeout_at(deadline, &mut outcome).await.unwrap_or_else(|elapsed| {
        tokio::spawn(async move {
            if let Ok(Ok(outcome)) = timeout(DETACHED_TIMEOUT, outcome).await {
                outcome.events.iter().for_each(|event| app.delivery.publish(event));
            }
        });
        Err(Error::unavailable(elapsed))
    })
}

fn failure(kind: &str, error: Error, id: Option<&RawValue>) -> Frame {
    reply::failure(kind, &error.log_and_convert(), id)
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}
