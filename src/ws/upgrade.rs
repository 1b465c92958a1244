//! How a socket is opened: who is it, may they, and with which words they are told if not.

use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use actix_web::web::{Data, Payload};
use actix_web::{FromRequest as _, HttpRequest, HttpResponse, dev, rt};
use actix_ws::AggregatedMessageStream;
use serde_json::json;
use tracing::Instrument as _;

use super::body::OutboxBody;
use super::connection;
use super::limit::{Heard, Limited};
use crate::app::App;
use crate::auth::tokens;
use crate::config::Config;
use crate::delivery::byte_pool::Share;
use crate::delivery::hub::Registration;
use crate::delivery::outbox::Outbox;
use crate::error::{Code, Error};
use crate::model::UserId;
use crate::wire::close::Close;

/// What a browser offers beside its token, and what the server answers.
const SUBPROTOCOL: &str = "auth";
/// Enough for a close frame.
const FAREWELL_BUDGET: usize = 1024;

/// How the client showed its token, and so how it can hear a refusal: a page cannot see a 401.
enum Shown<'a> {
    /// In `Authorization`, or not at all.
    Header(Option<&'a str>),
    /// In `Sec-WebSocket-Protocol`, after `auth`.
    Subprotocol(Option<&'a str>),
}

/// Why a socket is not opened.
enum NotOpened {
    /// Before it is one where the client can see that, else with 4001.
    Unauthorized,
    /// Right after it was opened.
    Close(Close),
    /// We cannot tell who it is.
    Fault(Error),
}

/// `GET /` and `GET /ws`, with an upgrade.
pub async fn upgrade(request: HttpRequest, payload: Payload, app: Data<App>) -> HttpResponse {
    if !origin_may(request.headers(), &app.config) {
        return HttpResponse::Forbidden()
            .json(json!({ "message": "Pages of this origin may not connect", "code": "unauthorized" }));
    }
    let shown = shown_token(request.headers());
    let (token, is_page) = match shown {
        Shown::Header(token) => (token, false),
        Shown::Subprotocol(token) => (token, true),
    };
    let refusal = match admit(&app, token).await {
        Ok(registration) => return or_refuse(open(&request, payload, app.into_inner(), registration)),
        Err(refusal) => refusal,
    };
    let close = match refusal {
        NotOpened::Unauthorized if !is_page => {
            return HttpResponse::Unauthorized().json(json!({ "message": "Not authorized" }));
        }
        NotOpened::Unauthorized => Close::Unauthorized,
        NotOpened::Close(close) => close,
        NotOpened::Fault(error) => {
            let answer = error.into_answer();
            if !is_page {
                let body = json!({ "message": answer.message, "code": answer.code });
                return HttpResponse::ServiceUnavailable().json(body);
            }
            Close::Overloaded
        }
    };
    or_refuse(open_and_close(&request, payload, &app, close))
}

/// The response of a handshake, or what is wrong with the handshake itself.
type Opened = Result<HttpResponse, actix_web::Error>;

fn or_refuse(opened: Opened) -> HttpResponse {
    opened.unwrap_or_else(|error| {
        HttpResponse::BadRequest().json(json!({ "message": error.to_string(), "code": Code::BadParams }))
    })
}

/// A page's origin has to be its server's own, or one that the settings name. Programs have none.
fn origin_may(headers: &HeaderMap, config: &Config) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let own = origin.split_once("://").map(|(_, host)| host);
    let is_own = headers.get(HOST).and_then(|host| host.to_str().ok()).is_some_and(|host| own == Some(host));
    is_own || config.origins().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
}

fn shown_token(headers: &HeaderMap) -> Shown<'_> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        return Shown::Header(value.to_str().ok().and_then(tokens::bearer));
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).filter_map(|value| value.to_str().ok());
    let mut offered = offered.flat_map(|value| value.split(',')).map(str::trim);
    if offered.any(|name| name == SUBPROTOCOL) { Shown::Subprotocol(offered.next()) } else { Shown::Header(None) }
}

async fn admit(app: &App, token: Option<&str>) -> Result<Registration, NotOpened> {
    let claims = token.and_then(|token| app.tokens.read(token)).ok_or(NotOpened::Unauthorized)?;
    // In the hub first: a session that ends while we ask reaches the socket.
    let registration = app.delivery.register(claims.user(), claims.session(), claims.exp);
    match app.check_session(&claims).await {
        Ok(_) => registration.confirm().map(|()| registration).map_err(NotOpened::Close),
        Err(error) if error.code() == Code::Unauthorized => Err(NotOpened::Unauthorized),
        Err(error) => Err(NotOpened::Fault(error)),
    }
}

fn open(request: &HttpRequest, payload: Payload, app: Arc<App>, registration: Registration) -> Opened {
    let socket = registration.socket();
    let (outbox, share) = (Arc::clone(&socket.outbox), Arc::clone(&socket.share));
    let heard = Heard::now();
    let max_frame_bytes = app.config.limits.max_frame_bytes;
    let (response, frames) = handshake(request, payload, outbox, share, heard.clone(), max_frame_bytes)?;
    let span = tracing::info_span!("connection", user = %registration.socket().user);
    rt::spawn(connection::run(app, registration, heard, frames).instrument(span));
    Ok(response)
}

fn open_and_close(request: &HttpRequest, payload: Payload, app: &App, close: Close) -> Opened {
    let share = Arc::new(app.pool.share());
    let outbox = Arc::new(Outbox::new(UserId(0), FAREWELL_BUDGET, Arc::clone(&share)));
    let max_frame_bytes = app.config.limits.max_frame_bytes;
    let (response, mut frames) =
        handshake(request, payload, Arc::clone(&outbox), share, Heard::now(), max_frame_bytes)?;
    app.metrics.socket_closed(close.code());
    rt::spawn(async move { connection::say_goodbye(&outbox, close, &mut frames).await });
    Ok(response)
}

/// Answers the handshake; the response writes what is in the outbox.
fn handshake(
    request: &HttpRequest,
    payload: Payload,
    outbox: Arc<Outbox>,
    share: Arc<Share>,
    heard: Heard,
    max_frame_bytes: usize,
) -> Result<(HttpResponse, AggregatedMessageStream), actix_web::Error> {
    let limited = Limited::new(payload, max_frame_bytes, heard, Arc::clone(&outbox), share);
    let mut limited: dev::Payload = dev::Payload::Stream { payload: Box::pin(limited) };
    let payload = Payload::from_request(request, &mut limited).into_inner()?;
    // The library's handle for sending is of no use here: every frame goes through the outbox.
    let (response, _, frames) = actix_ws::handle_with_protocols(request, payload, &[SUBPROTOCOL])?;
    let frames =
        frames.max_frame_size(max_frame_bytes).aggregate_continuations().max_continuation_size(max_frame_bytes);
    let response = response.map_body(|_, library| OutboxBody::new(outbox, library)).map_into_boxed_body();
    Ok((response, frames))
}
