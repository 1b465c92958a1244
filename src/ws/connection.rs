//! A connection's whole life: one task, one loop, one `select!`. It alone reads from its socket and
//! answers on it; what others send it goes straight into the outbox.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::deadline::Patience;
use super::decoder::Message;
use super::io::{Stream, Traffic};
use super::pipeline::{Answered, InFlight, Pace};
use crate::app::App;
use crate::auth::tokens;
use crate::commands::{Command, Context, Outcome, Pages};
use crate::delivery::hub::Registration;
use crate::delivery::socket::Socket;
use crate::error::Error;
use crate::limits::memory::{ALWAYS, Taken};
use crate::limits::request_rate::{RateVerdict, RequestRateLimiter};
use crate::wire::close::Close;
use crate::wire::frame::{self, Request};
use crate::wire::reply::{self, Frame};

/// Longest wait for what is in flight when a connection ends. A server that goes away waits longer,
/// because the sends it has taken will be committed.
const FINISH_WITHIN: Duration = Duration::from_millis(500);
const FINISH_WITHIN_AT_STOP: Duration = Duration::from_secs(3);
/// What takes longer goes on without the connection: others are to hear of it.
const FINISH_AFTERWARDS_WITHIN: Duration = Duration::from_secs(30);

struct Connection {
    app: Arc<App>,
    socket: Arc<Socket>,
    pages: Arc<Pages>,
    /// In which history of the database it was opened: in another one its user may be somebody else.
    history: u64,
    in_flight: InFlight,
    rate: RequestRateLimiter,
    ping_at: Instant,
    patience: Patience,
}

/// How a connection ends.
enum End {
    /// With a close frame.
    Close(Close),
    /// The client is gone already.
    Gone,
}

/// Serves a socket until it ends, and gives its connection back to be closed.
pub(super) async fn run(app: Arc<App>, registration: Registration, mut stream: Stream) -> Stream {
    let limits = &app.config.limits;
    let mut connection = Connection {
        socket: Arc::clone(registration.socket()),
        pages: Arc::default(),
        history: app.db.history(),
        in_flight: InFlight::new(limits.max_in_flight),
        rate: RequestRateLimiter::new(limits),
        ping_at: Instant::now() + seconds(limits.ping_seconds),
        patience: Patience::new(Instant::now()),
        app: Arc::clone(&app),
    };
    let end = connection.serve(&mut stream).await;
    connection.finish(&end).await;
    if let End::Close(close) = end {
        app.metrics.socket_closed(close.code());
        stream.say_goodbye(&connection.socket.outbox, close).await;
    }
    if !connection.in_flight.is_empty() {
        tokio::spawn(async move { timeout(FINISH_AFTERWARDS_WITHIN, connection.answer_all()).await });
    }
    stream
}

impl Connection {
    async fn serve(&mut self, stream: &mut Stream) -> End {
        let mut timed_for = self.socket.expires_at();
        let mut timer = pin!(sleep_until(self.wakes_at(stream)));
        loop {
            if let Some(close) = self.socket.outbox.asked_to_close() {
                return End::Close(close);
            }
            if self.reads() {
                self.patience.resume();
            }
            if let Some(end) = self.hear(stream) {
                return end;
            }
            let reads = self.reads();
            if !reads {
                self.patience.hold();
                stream.excuse();
                if let Some(end) = self.answer_pings_ahead(stream) {
                    return end;
                }
            }
            // What is heard only puts it off; `authenticate` may bring it nearer.
            if self.socket.expires_at() != timed_for {
                timed_for = self.socket.expires_at();
                timer.as_mut().reset(self.wakes_at(stream));
            }
            tokio::select! {
                biased;
                answered = self.in_flight.next(), if !self.in_flight.is_empty() => self.say(answered),
                traffic = stream.traffic(&self.socket.outbox, reads) => if traffic == Traffic::Gone {
                    return End::Gone;
                },
                () = &mut timer => {
                    if let Some(end) = self.keep_time(stream) {
                        return end;
                    }
                    timer.as_mut().reset(self.wakes_at(stream));
                }
            }
        }
    }

    /// Whether it takes on more.
    fn reads(&self) -> bool {
        self.in_flight.takes_more() && self.socket.outbox.has_room()
    }

    /// Lets what was taken come to its end, and the client hear of it.
    async fn finish(&mut self, end: &End) {
        let at_stop = matches!(end, End::Close(Close::GoingAway(_)));
        let patience = if at_stop { FINISH_WITHIN_AT_STOP } else { FINISH_WITHIN };
        let _ = timeout(patience, self.answer_all()).await;
    }

    /// A command that has changed something tells of it even where the one who asked is gone.
    async fn answer_all(&mut self) {
        while !self.in_flight.is_empty() {
            let answered = self.in_flight.next().await;
            self.say(answered);
        }
    }

    fn say(&self, answered: Answered) {
        self.socket.outbox.reply(&answered.reply);
        for event in answered.events {
            self.app.delivery.publish(&event);
        }
    }

    /// Takes in what has come, as much as it may take on.
    fn hear(&mut self, stream: &mut Stream) -> Option<End> {
        while self.reads() {
            let end = match stream.message() {
                Ok(Some(Message::Text(text))) => self.request(text),
                Ok(Some(control @ (Message::Ping(_) | Message::Pong))) => self.control_frame(&control),
                Ok(Some(Message::Close)) => Some(End::Close(Close::Bye)),
                Err(close) => Some(End::Close(close)),
                Ok(None) => return None,
            };
            if end.is_some() {
                return end;
            }
        }
        None
    }

    /// Pings are answered whatever else waits: behind a request that takes long, a client with a keepalive
    /// of its own would take the connection for dead.
    fn answer_pings_ahead(&mut self, stream: &mut Stream) -> Option<End> {
        while let Some(control) = stream.control_ahead() {
            if let Some(end) = self.control_frame(&control) {
                return Some(end);
            }
        }
        None
    }

    /// A ping or a pong costs as much as a request that is refused.
    fn control_frame(&mut self, control: &Message<'_>) -> Option<End> {
        if let Message::Ping(payload) = control {
            self.socket.outbox.pong(payload);
        }
        matches!(self.rate.check(), RateVerdict::Disconnect).then_some(End::Close(Close::RateLimited))
    }

    /// Takes a request in. Whatever is wrong with it is answered in its turn.
    fn request(&mut self, text: &str) -> Option<End> {
        self.app.metrics.request();
        let taken = Taken::of(&self.socket.share, text.len());
        let verdict = self.rate.check();
        let parsed = frame::parse(text);
        let (kind, id) = match &parsed {
            Ok(request) => (request.kind.as_str(), request.id),
            Err(malformed) => (malformed.kind.as_str(), malformed.id),
        };
        let refusal = match verdict {
            RateVerdict::Disconnect => return Some(End::Close(Close::RateLimited)),
            RateVerdict::RetryAfter(wait) => Some(failure(kind, Error::rate_limited(wait), id)),
            RateVerdict::Allow => None,
        };
        match (refusal, parsed) {
            (Some(refusal), _) => self.answer_at_once(refusal, taken),
            (None, Ok(request)) => self.carry_out(request, taken),
            (None, Err(malformed)) => {
                self.answer_at_once(failure(&malformed.kind, malformed.error, malformed.id), taken);
            }
        }
        None
    }

    fn carry_out(&mut self, request: Request<'_>, taken: Taken) {
        let command = match Command::parse(&request, &self.app.config.limits) {
            Ok(command) => command,
            Err(error) => return self.answer_at_once(failure(&request.kind, error, request.id), taken),
        };
        let now = Instant::now();
        let due = self.patience.due(now);
        if due <= now {
            let error = Error::unavailable("it has waited too long behind other requests");
            return self.answer_at_once(failure(&request.kind, error, request.id), taken);
        }
        let pace = if command.is_send() { Pace::Overlaps } else { Pace::Alone };
        let context = Context {
            app: Arc::clone(&self.app),
            user: self.socket.user,
            socket: self.socket.id,
            history: self.history,
            pages: Arc::clone(&self.pages),
        };
        let outcome = command.apply(context, Arc::clone(&self.socket));
        let outcome = in_time(outcome, due, Arc::clone(&self.app));
        let Request { kind, id, .. } = request;
        let id = id.map(RawValue::to_owned);
        let share = Arc::clone(&self.socket.share);
        let answer = async move {
            let (mut reply, events) = match outcome.await {
                Ok(outcome) => (reply::success(&kind, &outcome.reply, id.as_deref()), outcome.events),
                Err(error) => (failure(&kind, error, id.as_deref()), Vec::new()),
            };
            let length = reply.bytes().len();
            // A page can be asked for again; what was sent must not be.
            if pace == Pace::Alone && length > ALWAYS && !share.has_room_for(length) {
                reply = failure(&kind, Error::overloaded(), id.as_deref());
            }
            Answered { reply, events }
        };
        self.in_flight.push(answer.boxed(), pace, taken);
    }

    /// Behind the replies that are still to come, because replies keep the order of requests.
    fn answer_at_once(&mut self, reply: Frame, taken: Taken) {
        let answered = Answered { reply, events: Vec::new() };
        self.in_flight.push(ready(answered).boxed(), Pace::Overlaps, taken);
    }

    fn wakes_at(&self, stream: &Stream) -> Instant {
        self.ping_at.min(self.idle_at(stream)).min(self.expires_at())
    }

    fn idle_at(&self, stream: &Stream) -> Instant {
        stream.silent_since() + seconds(self.app.config.limits.idle_seconds)
    }

    /// Asked anew each time: the clock may jump, and `authenticate` moves it.
    fn expires_at(&self) -> Instant {
        let left = u64::try_from(self.socket.expires_at() - tokens::now()).unwrap_or(0);
        // No further than a timer reaches.
        Instant::now() + Duration::from_secs(left.min(7 * 24 * 3600))
    }

    fn keep_time(&mut self, stream: &Stream) -> Option<End> {
        let now = Instant::now();
        if self.socket.expires_at() <= tokens::now() {
            return Some(End::Close(Close::Unauthorized));
        }
        if now >= self.idle_at(stream) {
            return Some(End::Close(Close::GoingAway(Duration::ZERO)));
        }
        if now >= self.ping_at {
            self.ping_at = now + seconds(self.app.config.limits.ping_seconds);
            self.socket.outbox.ping();
        }
        None
    }
}

/// The outcome of a command, or `overloaded` once it is due. It may come to its end nevertheless, and then
/// others hear of it.
async fn in_time(
    mut outcome: BoxFuture<'static, Result<Outcome, Error>>,
    due: Instant,
    app: Arc<App>,
) -> Result<Outcome, Error> {
    timeout_at(due, &mut outcome).await.unwrap_or_else(|late| {
        tokio::spawn(async move {
            if let Ok(Ok(outcome)) = timeout(FINISH_AFTERWARDS_WITHIN, outcome).await {
                outcome.events.iter().for_each(|event| app.delivery.publish(event));
            }
        });
        Err(Error::unavailable(late))
    })
}

fn failure(kind: &str, error: Error, id: Option<&RawValue>) -> Frame {
    reply::failure(kind, &error.into_answer(), id)
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}
