//! A connection's whole life: one task, one loop, one `select!`. It alone reads from its socket and
//! answers on it; what others send it goes straight into the outbox.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::rt;
use actix_web::rt::time::{Instant, sleep_until, timeout};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, ProtocolError};
use futures_util::future::{FutureExt as _, ready};
use serde_json::value::RawValue;

use super::in_flight::{Answered, InFlight, Pace};
use super::limit::Heard;
use super::rate::{Rate, Verdict};
use crate::app::App;
use crate::auth::tokens;
use crate::commands::{Command, Context, Outcome, Pages};
use crate::delivery::byte_pool::{ALWAYS, Taken};
use crate::delivery::hub::Registration;
use crate::delivery::outbox::Outbox;
use crate::delivery::socket::Socket;
use crate::error::Error;
use crate::wire::close::Close;
use crate::wire::frame::{self, Request};
use crate::wire::reply::{self, Frame};

/// Longest wait for what is in flight when a connection ends. A server that goes away waits longer,
/// because the sends it has taken will be committed.
const FINISH_WITHIN: Duration = Duration::from_millis(500);
const FINISH_WITHIN_AT_STOP: Duration = Duration::from_secs(3);
/// What takes longer goes on without the connection: others are to hear of it.
const FINISH_AFTERWARDS_WITHIN: Duration = Duration::from_secs(30);
/// Longest wait for the client to agree that the connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);

struct Connection {
    app: Arc<App>,
    socket: Arc<Socket>,
    pages: Arc<Pages>,
    in_flight: InFlight,
    rate: Rate,
    heard: Heard,
    ping_at: Instant,
}

/// How a connection ends.
enum End {
    /// With a close frame.
    Close(Close),
    /// The client is gone already.
    Gone,
}

/// Serves a socket until it ends.
pub(super) async fn run(app: Arc<App>, registration: Registration, heard: Heard, mut frames: AggregatedMessageStream) {
    let limits = &app.config.limits;
    let mut connection = Connection {
        socket: Arc::clone(registration.socket()),
        pages: Arc::default(),
        in_flight: InFlight::new(limits.max_in_flight),
        rate: Rate::new(limits),
        heard,
        ping_at: Instant::now() + seconds(limits.ping_seconds),
        app: Arc::clone(&app),
    };
    let end = connection.serve(&mut frames).await;
    connection.finish(&end).await;
    if let End::Close(close) = end {
        app.metrics.socket_closed(close.code());
        say_goodbye(&connection.socket.outbox, close, &mut frames).await;
    }
    if !connection.in_flight.is_empty() {
        rt::spawn(async move { timeout(FINISH_AFTERWARDS_WITHIN, connection.answer_all()).await });
    }
}

/// Writes the last frame and waits a moment for the client's, so that the close code is not lost
/// with a reset connection.
pub(super) async fn say_goodbye(outbox: &Outbox, close: Close, frames: &mut AggregatedMessageStream) {
    outbox.finish(close);
    let agreed = close == Close::Bye || timeout(FAREWELL, hears_goodbye(frames)).await == Ok(true);
    outbox.end(agreed);
}

/// Whether the client says goodbye before it is gone.
async fn hears_goodbye(frames: &mut AggregatedMessageStream) -> bool {
    loop {
        match frames.recv().await {
            Some(Ok(AggregatedMessage::Close(_))) => return true,
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return false,
        }
    }
}

impl Connection {
    async fn serve(&mut self, frames: &mut AggregatedMessageStream) -> End {
        loop {
            if let Some(close) = self.socket.outbox.asked_to_close() {
                return End::Close(close);
            }
            let reads = self.in_flight.takes_more() && self.socket.outbox.has_room();
            if !reads {
                self.heard.excuse();
            } else if !self.socket.share.has_room_for(0) {
                // Not listened to either, but it has to come to the end of its message.
                self.heard.renew();
            }
            let wakes_at = self.wakes_at();
            let ended = tokio::select! {
                biased;
                () = self.socket.outbox.changed() => None,
                answered = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    self.say(answered);
                    None
                }
                frame = frames.recv(), if reads => self.hear(frame),
                () = sleep_until(wakes_at) => self.keep_time(),
            };
            if let Some(end) = ended {
                return end;
            }
        }
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

    fn hear(&mut self, frame: Option<Result<AggregatedMessage, ProtocolError>>) -> Option<End> {
        match frame {
            Some(Ok(AggregatedMessage::Text(text))) => self.request(&text),
            Some(Ok(AggregatedMessage::Binary(bytes))) => match std::str::from_utf8(&bytes) {
                Ok(text) => self.request(text),
                Err(_) => Some(End::Close(Close::NotUtf8)),
            },
            Some(Ok(AggregatedMessage::Ping(payload))) => {
                self.socket.outbox.sign_of_life(&Frame::pong(&payload));
                self.count_control_frame()
            }
            Some(Ok(AggregatedMessage::Pong(_))) => self.count_control_frame(),
            Some(Ok(AggregatedMessage::Close(_))) => Some(End::Close(Close::Bye)),
            Some(Err(error)) => Some(broken(&error)),
            None => Some(End::Gone),
        }
    }

    /// A ping costs as much as a request that is refused.
    fn count_control_frame(&mut self) -> Option<End> {
        matches!(self.rate.count(), Verdict::Out).then_some(End::Close(Close::RateLimited))
    }

    /// Takes a request in. Whatever is wrong with it is answered in its turn.
    fn request(&mut self, text: &str) -> Option<End> {
        self.app.metrics.request();
        let taken = Taken::of(&self.socket.share, text.len());
        let verdict = self.rate.count();
        let parsed = frame::parse(text);
        let (kind, id) = match &parsed {
            Ok(request) => (request.kind.as_str(), request.id),
            Err(malformed) => (malformed.kind.as_str(), malformed.id),
        };
        let refusal = match verdict {
            Verdict::Out => return Some(End::Close(Close::RateLimited)),
            Verdict::Wait(wait) => Some(failure(kind, Error::rate_limited(wait), id)),
            Verdict::Go => None,
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
        let pace = if command.is_send() { Pace::Overlaps } else { Pace::Alone };
        let context = Context {
            app: Arc::clone(&self.app),
            user: self.socket.user,
            socket: self.socket.id,
            pages: Arc::clone(&self.pages),
        };
        let outcome = command.apply(context, Arc::clone(&self.socket));
        let Request { kind, id, .. } = request;
        let id = id.map(RawValue::to_owned);
        let share = Arc::clone(&self.socket.share);
        let answer = async move {
            let Outcome { reply, events } = match outcome.await {
                Ok(outcome) => outcome,
                Err(error) => return Answered { reply: failure(&kind, error, id.as_deref()), events: Vec::new() },
            };
            let mut reply = reply::success(&kind, &reply, id.as_deref());
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
        self.in_flight.push(ready(Answered { reply, events: Vec::new() }).boxed(), Pace::Overlaps, taken);
    }

    fn wakes_at(&self) -> Instant {
        self.ping_at.min(self.idle_at()).min(self.expires_at())
    }

    fn idle_at(&self) -> Instant {
        self.heard.silent_since() + seconds(self.app.config.limits.idle_seconds)
    }

    /// Asked anew each time: the clock may jump, and `authenticate` moves it.
    fn expires_at(&self) -> Instant {
        let left = u64::try_from(self.socket.expires_at() - tokens::now()).unwrap_or(0);
        // No further than a timer reaches.
        Instant::now() + Duration::from_secs(left.min(7 * 24 * 3600))
    }

    fn keep_time(&mut self) -> Option<End> {
        let now = Instant::now();
        if self.socket.expires_at() <= tokens::now() {
            return Some(End::Close(Close::Unauthorized));
        }
        if now >= self.idle_at() {
            return Some(End::Close(Close::GoingAway(Duration::ZERO)));
        }
        if now >= self.ping_at {
            self.ping_at = now + seconds(self.app.config.limits.ping_seconds);
            self.socket.outbox.sign_of_life(&Frame::ping());
        }
        None
    }
}

fn failure(kind: &str, error: Error, id: Option<&RawValue>) -> Frame {
    reply::failure(kind, &error.into_answer(), id)
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}

/// What a frame that cannot be read says about the end of its connection.
fn broken(error: &ProtocolError) -> End {
    End::Close(match error {
        ProtocolError::Overflow => Close::TooLarge,
        ProtocolError::Io(error) => {
            // The library says these two in words alone.
            let words = error.to_string();
            if words.contains("utf-8") {
                Close::NotUtf8
            } else if words.contains("continuation size") {
                Close::TooLarge
            } else if error.kind() == io::ErrorKind::InvalidData {
                Close::Protocol
            } else {
                return End::Gone;
            }
        }
        _ => Close::Protocol,
    })
}
