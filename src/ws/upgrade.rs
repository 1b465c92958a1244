//! How a socket is opened: who is it, may they, and with which words they are told if not.

use actix_http::ws;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::handoff::Decided;
use crate::app::App;
use crate::auth::tokens;
use crate::config::Config;
use crate::delivery::hub::Registration;
use crate::error::{Code, Error};
use crate::wire::close::Close;

/// What a browser offers beside its token, and what the server answers.
const SUBPROTOCOL: &str = "auth";

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
    /// Not now: they come too often, too many others come as well, or we cannot tell who it is.
    Fault(Error),
}

/// `GET /` and `GET /ws`, with an upgrade.
pub async fn upgrade(request: HttpRequest, app: Data<App>) -> HttpResponse {
    // Before anything else: who asks for no socket needs no token for one.
    if let Err(error) = ws::verify_handshake(request.head()) {
        return not_a_handshake(error);
    }
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
        Ok(registration) => return answer(&request, Decided::Serve(app.into_inner(), registration)),
        Err(refusal) => refusal,
    };
    let close = match refusal {
        NotOpened::Unauthorized if !is_page => {
            return HttpResponse::Unauthorized().json(json!({ "message": "Not authorized" }));
        }
        NotOpened::Unauthorized if token.is_none() => Close::NoTokenOffered,
        NotOpened::Unauthorized => Close::Unauthorized,
        NotOpened::Close(close) => close,
        NotOpened::Fault(error) => {
            let answer = error.into_answer();
            if !is_page {
                let mut response = match answer.retry_after {
                    Some(wait) => {
                        HttpResponse::TooManyRequests().insert_header((RETRY_AFTER, wait.as_secs() + 1)).take()
                    }
                    None => HttpResponse::ServiceUnavailable(),
                };
                return response.json(json!({ "message": answer.message, "code": answer.code }));
            }
            Close::Overloaded
        }
    };
    answer(&request, Decided::Close(app.into_inner(), close))
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
    let mut offered = offered(headers);
    if offered.any(|name| name == SUBPROTOCOL) { Shown::Subprotocol(offered.next()) } else { Shown::Header(None) }
}

/// The subprotocols that the client names.
fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

async fn admit(app: &App, token: Option<&str>) -> Result<Registration, NotOpened> {
    let claims = token.and_then(|token| app.tokens.read(token)).ok_or(NotOpened::Unauthorized)?;
    // Nobody takes the turns of all the others, and no single token, which may be revoked, those of its user.
    app.session_requests.count(claims.session()).map_err(NotOpened::Fault)?;
    app.user_openings.count(claims.user()).map_err(NotOpened::Fault)?;
    app.openings.turn().await.map_err(NotOpened::Fault)?;
    // In the hub first: a session that ends while we ask reaches the socket.
    let registration = app.delivery.register(claims.user(), claims.session(), claims.exp);
    match app.check_session(&claims).await {
        Ok(_) => registration.confirm().map(|()| registration).map_err(NotOpened::Close),
        Err(error) if error.code() == Code::Unauthorized => Err(NotOpened::Unauthorized),
        Err(error) => Err(NotOpened::Fault(error)),
    }
}

fn not_a_handshake(error: ws::HandshakeError) -> HttpResponse {
    let message = format!("This path is for WebSocket upgrades: {error}");
    HttpResponse::BadRequest().json(json!({ "message": message, "code": Code::BadParams }))
}

/// Answers the handshake; what is to become of the connection goes with the answer.
fn answer(request: &HttpRequest, decided: Decided) -> HttpResponse {
    let mut response = match ws::handshake(request.head()) {
        Ok(response) => response,
        Err(error) => return not_a_handshake(error),
    };
    if offered(request.headers()).any(|name| name == SUBPROTOCOL) {
        response.insert_header((SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL));
    }
    let mut response = response.finish();
    response.extensions_mut().insert(decided);
    response.map_into_boxed_body().into()
}
