//! Extractors: the caller of a request, the client that it comes from, and its fields.

use std::net::Ipv4Addr;
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
use crate::commands::accounts::Client;
use crate::error::{Code, Error};
use crate::limits::memory::MemoryAccount;
use crate::wire::params::{Fields, FromFields};

/// The caller: the user and the session of a valid token in `Authorization: Bearer`. The request counts
/// against the rate limits of both.
pub(super) struct Caller(pub(super) Identity);

impl FromRequest for Caller {
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

/// A caller and the rest of the request. Extractors of one handler run concurrently, so that a malformed body
/// could be refused before a session that has ended; here the token is checked first.
pub(super) struct Authenticated<T>(pub(super) Identity, pub(super) T);

impl<T: FromRequest<Error = HttpError, Future: 'static>> FromRequest for Authenticated<T> {
    type Error = HttpError;
    type Future = LocalBoxFuture<'static, Result<Self, HttpError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (me, rest) = (Caller::from_request(request, payload), T::from_request(request, payload));
        let (app, request) = (app(request), request.clone());
        Box::pin(async move {
            let history = app.db.history();
            let Caller(me) = me.await?;
            let rest = rest.await?;
            // After the body, which may arrive slowly; the turn ends with the request.
            let turn = app.acquire_request_permit(me.user, history).await?;
            request.extensions_mut().insert(turn);
            Ok(Self(me, rest))
        })
    }
}

/// Maximum wait for a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The JSON body of a request, as parameters that are checked.
pub(super) struct Body<T>(pub(super) T);

impl<T: FromFields + 'static> FromRequest for Body<T> {
    type Error = HttpError;
    type Future = LocalBoxFuture<'static, Result<Self, HttpError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let app = app(request);
        let content_length =
            request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let payload = payload.take();
        Box::pin(async move {
            let limits = &app.config.limits;
            let account = app.memory.open_account();
            let timed_out =
                || Error::new(Code::BadJson, format!("The body must be there within {} s", BODY_TIMEOUT.as_secs()));
            let bytes = read_body(payload, content_length.unwrap_or(0), &account, limits.max_frame_bytes);
            let bytes = tokio::select! {
                biased;
                bytes = timeout(BODY_TIMEOUT, bytes) => bytes.map_err(|_| timed_out())??,
                () = app.shutdown.cancelled() => return Err(Error::overloaded().into()),
            };
            let text = std::str::from_utf8(&bytes).map_err(|_| Error::new(Code::BadJson, "The body must be UTF-8"))?;
            Ok(Self(T::from_fields(&Fields::of_body(text, limits)?)?))
        })
    }
}

/// Reads a whole body of at most `max` bytes. The memory budget counts the bytes that have arrived and not
/// `content_length`: clients that announce much and send little must not make the node refuse others.
async fn read_body(
    mut payload: Payload,
    content_length: usize,
    account: &MemoryAccount,
    max: usize,
) -> Result<Vec<u8>, Error> {
    let is_within = |length: usize| {
        let too_large = || Error::new(Code::TooLarge, format!("The body must be at most {max} bytes"));
        (length <= max).then_some(()).ok_or_else(too_large)
    };
    is_within(content_length)?;
    let mut bytes = Vec::new();
    while let Some(part) = payload.next().await {
        let part = part.map_err(|_| Error::new(Code::BadJson, "The body could not be read"))?;
        is_within(bytes.len() + part.len())?;
        if !account.has_room_for(part.len()) {
            return Err(Error::overloaded());
        }
        account.charge(part.len());
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// The query string of a request, as parameters that are checked.
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

/// Maximum length of a `User-Agent` that is kept, in characters.
const MAX_USER_AGENT_CHARS: usize = 200;

/// The client that a request comes from.
pub(super) struct ClientInfo(pub(super) Client);

impl FromRequest for ClientInfo {
    type Error = HttpError;
    type Future = Ready<Result<Self, HttpError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let header = |name: &str| request.headers().get_all(name).last();
        let trusted = Some("x-forwarded-for").filter(|_| app(request).config.trust_proxy);
        let forwarded = trusted.and_then(header).and_then(|value| {
            // The trusted proxy wrote the last entry. A client can write those before it.
            let value = String::from_utf8_lossy(value.as_bytes());
            let entry = value.rsplit(',').next().unwrap_or_default();
            let address = forwarded::parse_address(entry);
            if address.is_none() {
                forwarded::warn_unreadable(entry);
            }
            address
        });
        let peer = || request.peer_addr().map(|peer| peer.ip().to_canonical());
        let address = forwarded.or_else(peer).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let user_agent = header("user-agent").and_then(|value| value.to_str().ok());
        let user_agent = user_agent.map(|name| name.chars().take(MAX_USER_AGENT_CHARS).collect());
        ready(Ok(Self(Client { address, user_agent })))
    }
}

fn app(request: &HttpRequest) -> Data<App> {
    request.app_data::<Data<App>>().expect("every worker has the app as its data").clone()
}
