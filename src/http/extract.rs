//! What a handler takes out of a request: who asks, from where, and with which fields.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, CONTENT_LENGTH};
use actix_web::rt::time::timeout;
use actix_web::web::{Data, Query};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use futures_util::StreamExt as _;
use futures_util::future::{LocalBoxFuture, Ready, ready};

use super::error::HttpError;
use super::forwarded;
use crate::app::{App, Identity};
use crate::auth::tokens;
use crate::error::{Code, Error};
use crate::limits::memory::Share;
use crate::wire::params::{Fields, FromFields};

/// Somebody with a good token in `Authorization: Bearer`.
pub(super) struct SignedIn(pub(super) Identity);

impl FromRequest for SignedIn {
    type Error = HttpError;
    type Future = LocalBoxFuture<'static, Result<Self, HttpError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let app = app(request);
        let token = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(tokens::bearer)
            .map(str::to_owned);
        Box::pin(async move {
            let token = token.ok_or_else(Error::unauthorized)?;
            Ok(Self(app.identify_and_count(&token).await?))
        })
    }
}

/// What somebody with a good token asks. Extractors of one handler run side by side, and a bad body
/// would be refused before an ended session; here the token comes first.
pub(super) struct Asked<T>(pub(super) Identity, pub(super) T);

impl<T: FromRequest<Error = HttpError, Future: 'static>> FromRequest for Asked<T> {
    type Error = HttpError;
    type Future = LocalBoxFuture<'static, Result<Self, HttpError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (me, asked) = (SignedIn::from_request(request, payload), T::from_request(request, payload));
        let (app, request) = (app(request), request.clone());
        Box::pin(async move {
            let history = app.db.history();
            let SignedIn(me) = me.await?;
            let asked = asked.await?;
            // Behind the body, which may take its time; the turn ends with the request.
            let turn = app.turn(me.user, history).await?;
            request.extensions_mut().insert(turn);
            Ok(Self(me, asked))
        })
    }
}

/// Longest wait for a body.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// The body of a request, read and checked.
pub(super) struct Body<T>(pub(super) T);

impl<T: FromFields + 'static> FromRequest for Body<T> {
    type Error = HttpError;
    type Future = LocalBoxFuture<'static, Result<Self, HttpError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let app = app(request);
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let payload = payload.take();
        Box::pin(async move {
            let limits = &app.config.limits;
            let share = app.pool.share();
            let late =
                || Error::new(Code::BadJson, format!("The body must be there within {} s", BODY_WITHIN.as_secs()));
            let bytes = read_body(payload, announced.unwrap_or(0), &share, limits.max_frame_bytes);
            let bytes = tokio::select! {
                biased;
                bytes = timeout(BODY_WITHIN, bytes) => bytes.map_err(|_| late())??,
                () = app.stop.cancelled() => return Err(Error::overloaded().into()),
            };
            let text = std::str::from_utf8(&bytes).map_err(|_| Error::new(Code::BadJson, "The body must be UTF-8"))?;
            Ok(Self(T::from_fields(&Fields::of_body(text, limits)?)?))
        })
    }
}

/// A whole body. What has come of it counts, and not what was announced: those who announce much and send
/// little refuse nobody else a login.
async fn read_body(mut payload: Payload, announced: usize, share: &Share, max: usize) -> Result<Vec<u8>, Error> {
    let is_within = |length: usize| {
        let too_large = || Error::new(Code::TooLarge, format!("The body must be at most {max} bytes"));
        (length <= max).then_some(()).ok_or_else(too_large)
    };
    is_within(announced)?;
    let mut bytes = Vec::new();
    while let Some(part) = payload.next().await {
        let part = part.map_err(|_| Error::new(Code::BadJson, "The body could not be read"))?;
        is_within(bytes.len() + part.len())?;
        if !share.has_room_for(part.len()) {
            return Err(Error::overloaded());
        }
        share.take(part.len());
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// The query string of a request, read and checked.
pub(super) struct QueryString<T>(pub(super) T);

impl<T: FromFields> FromRequest for QueryString<T> {
    type Error = HttpError;
    type Future = Ready<Result<Self, HttpError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let pairs = Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|_| Error::bad_params("The query string cannot be read"));
        let parsed = pairs.and_then(|pairs| T::from_fields(&Fields::of_query(&pairs, &app(request).config.limits)));
        ready(parsed.map(Self).map_err(HttpError::from))
    }
}

/// Where a request came from, and what the client calls itself.
pub(super) struct Client {
    pub(super) address: IpAddr,
    pub(super) user_agent: Option<String>,
}

/// Longest name of a client that is kept, in characters.
const USER_AGENT_CHARS: usize = 200;

impl FromRequest for Client {
    type Error = HttpError;
    type Future = Ready<Result<Self, HttpError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let header = |name: &str| request.headers().get_all(name).last();
        let trusted = Some("x-forwarded-for").filter(|_| app(request).config.trust_proxy);
        let forwarded = trusted.and_then(header).and_then(|value| {
            // The last entry is the one that our own proxy wrote; those before it are the client's word.
            let value = String::from_utf8_lossy(value.as_bytes());
            let entry = value.rsplit(',').next().unwrap_or_default();
            let address = forwarded::address(entry);
            if address.is_none() {
                forwarded::warn_unreadable(entry);
            }
            address
        });
        let peer = || request.peer_addr().map(|peer| peer.ip().to_canonical());
        let address = forwarded.or_else(peer).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let user_agent = header("user-agent").and_then(|value| value.to_str().ok());
        let user_agent = user_agent.map(|name| name.chars().take(USER_AGENT_CHARS).collect());
        ready(Ok(Self { address, user_agent }))
    }
}

fn app(request: &HttpRequest) -> Data<App> {
    request.app_data::<Data<App>>().expect("server.rs gives every worker the app").clone()
}
