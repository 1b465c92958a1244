//! The upgrade of an HTTP request to a WebSocket: origin, authentication, admission control, and the handshake
//! of RFC 6455, which actix-ws answers.

use actix_http::ws::HandshakeError;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::handoff::UpgradeDecision;
use crate::app::App;
use crate::auth::tokens;
use crate::config::Config;
use crate::delivery::registration::Registration;
use crate::error::{Code, Error};
use crate::wire::close::Close;

/// The subprotocol that a browser offers beside its token, because browser JavaScript cannot set headers on a
/// WebSocket.
const SUBPROTOCOL: &str = "auth";

/// Where the client puts its token. It decides how a rejection is reported, because JavaScript cannot read the HTTP
/// status of a failed upgrade, but it can read a close code.
enum TokenSource<'a> {
    /// In `Authorization`, or nowhere.
    Header(Option<&'a str>),
    /// In `Sec-WebSocket-Protocol`, after `auth`.
    Subprotocol(Option<&'a str>),
}

/// Why an upgrade opens no socket.
enum UpgradeRejection {
    /// The token is missing or not valid. This is 401, or close code 4001 for a browser.
    Unauthorized,
    /// The user has too many sockets, or the session has just ended: the handshake succeeds and this close
    /// code follows.
    Close(Close),
    /// Any other error: a rate limit, admission control, the database. A browser gets close code 1013.
    Fault(Error),
}

/// Answers `GET /` and `GET /ws` with an upgrade.
pub async fn upgrade(request: HttpRequest, payload: Payload, app: Data<App>) -> HttpResponse {
    // The handshake is checked first: a request that is no upgrade gets 400 with or without a token. Hark serves the
    // connection itself (`handoff.rs`), so the session and the stream of actix-ws are dropped.
    let accepted = match actix_ws::handle_with_protocols(&request, payload, &[SUBPROTOCOL]) {
        Ok((response, _session, _messages)) => response,
        Err(error) => return handshake_failed(&error),
    };
    if !is_origin_allowed(request.headers(), &app.config) {
        return HttpResponse::Forbidden()
            .json(json!({ "message": "Pages of this origin may not connect", "code": "unauthorized" }));
    }
    let (token, is_browser) = match token_source(request.headers()) {
        TokenSource::Header(token) => (token, false),
        TokenSource::Subprotocol(token) => (token, true),
    };
    let rejection = match admit(&app, token).await {
        Ok(registration) => return with_decision(accepted, UpgradeDecision::Serve(app.into_inner(), registration)),
        Err(rejection) => rejection,
    };
    let close = match rejection {
        UpgradeRejection::Unauthorized if !is_browser => {
            return HttpResponse::Unauthorized().json(json!({ "message": "Not authorized" }));
        }
        UpgradeRejection::Unauthorized if token.is_none() => Close::NoTokenOffered,
        UpgradeRejection::Unauthorized => Close::Unauthorized,
        UpgradeRejection::Close(close) => close,
        UpgradeRejection::Fault(error) => {
            let error = error.log_and_convert();
            if !is_browser {
                let mut response = match error.retry_after {
                    Some(wait) => {
                        HttpResponse::TooManyRequests().insert_header((RETRY_AFTER, wait.as_secs() + 1)).take()
                    }
                    None => HttpResponse::ServiceUnavailable(),
                };
                return response.json(json!({ "message": error.sentence(""), "code": error.code }));
            }
            Close::Overloaded
        }
    };
    with_decision(accepted, UpgradeDecision::Close(app.into_inner(), close))
}

/// Whether the origin of the request is the server's own, or one that the settings name. A request without `Origin`,
/// from a program that is not a browser, is allowed.
fn is_origin_allowed(headers: &HeaderMap, config: &Config) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let origin_host = origin.split_once("://").map(|(_, host)| host);
    let is_own = headers.get(HOST).and_then(|host| host.to_str().ok()).is_some_and(|host| origin_host == Some(host));
    is_own || config.origins().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
}

fn token_source(headers: &HeaderMap) -> TokenSource<'_> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        return TokenSource::Header(value.to_str().ok().and_then(tokens::bearer));
    }
    let mut offered = offered_subprotocols(headers);
    if offered.any(|name| name == SUBPROTOCOL) {
        TokenSource::Subprotocol(offered.next())
    } else {
        TokenSource::Header(None)
    }
}

fn offered_subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Authenticates the client, applies rate limits and admission control, and registers the socket.
async fn admit(app: &App, token: Option<&str>) -> Result<Registration, UpgradeRejection> {
    let claims = token.and_then(|token| app.tokens.read(token)).ok_or(UpgradeRejection::Unauthorized)?;
    // The limit by session comes first: a single token, which may be revoked, cannot use up its user's limit.
    app.session_requests.check(claims.session()).map_err(UpgradeRejection::Fault)?;
    app.user_upgrades.check(claims.user()).map_err(UpgradeRejection::Fault)?;
    app.upgrades.acquire().await.map_err(UpgradeRejection::Fault)?;
    // Registered before the session is checked, so that a session ending during the check closes the socket.
    let registration = app.delivery.register(claims.user(), claims.session(), claims.exp);
    match app.check_session(&claims).await {
        Ok(_) => registration.confirm().map(|()| registration).map_err(UpgradeRejection::Close),
        Err(error) if error.code() == Code::Unauthorized => Err(UpgradeRejection::Unauthorized),
        Err(error) => Err(UpgradeRejection::Fault(error)),
    }
}

fn handshake_failed(error: &actix_web::Error) -> HttpResponse {
    let message = match error.as_error::<HandshakeError>() {
        Some(error) => format!("This path is for WebSocket upgrades: {error}"),
        None => "This path is for WebSocket upgrades".to_owned(),
    };
    HttpResponse::BadRequest().json(json!({ "message": message, "code": Code::BadParams }))
}

/// The response to the handshake, with the decision whether the socket is served or closed.
fn with_decision(mut response: HttpResponse, decision: UpgradeDecision) -> HttpResponse {
    response.extensions_mut().insert(decision);
    response
}
