//! What all responses have in common, whether a handler or a library made them: HEAD where GET answers, errors
//! in one shape, and the security headers for browsers.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody, to_bytes_limited};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, UPGRADE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error as ActixError, HttpResponseBuilder};

use super::error::respond;
use crate::error::Code;

/// The content security policy of responses that set none: no scripts, no styles, no frames.
const STRICT_POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
/// Maximum length of a library's error message that is kept.
const MAX_MESSAGE_BYTES: usize = 1024;

/// The body of a response to HEAD: the size that the body of GET has, and no bytes.
struct HeadBody(BodySize);

impl MessageBody for HeadBody {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}

/// The middleware that gives every response these conventions.
///
/// # Errors
/// Those of the handler.
pub async fn conventions(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, ActixError> {
    // A WebSocket handshake is a GET request and nothing else.
    let is_head = request.method() == Method::HEAD && !request.headers().contains_key(UPGRADE);
    if is_head {
        request.head_mut().method = Method::GET;
    }
    let is_preflight = request.method() == Method::OPTIONS;
    let mut response = json_error(next.call(request).await?.map_into_boxed_body(), is_preflight).await;
    set_security_headers(response.headers_mut());
    if is_head {
        response = response.map_body(|_, body| HeadBody(body.size()).boxed());
    }
    Ok(response)
}

/// Gives an error that a library has made the JSON shape of Hark's own errors.
async fn json_error(response: ServiceResponse, is_preflight: bool) -> ServiceResponse {
    let status = response.status();
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == b"application/json");
    if !status.is_client_error() && !status.is_server_error() || is_json {
        return response;
    }
    let (status, code) = match status {
        // A preflight request from a page of an origin that is not allowed.
        _ if is_preflight => (StatusCode::FORBIDDEN, Code::Unauthorized),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (status, Code::Unauthorized),
        StatusCode::NOT_FOUND => (status, Code::NotFound),
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::URI_TOO_LONG => (status, Code::TooLarge),
        StatusCode::TOO_MANY_REQUESTS => (status, Code::RateLimited),
        StatusCode::SERVICE_UNAVAILABLE => (status, Code::Overloaded),
        _ if status.is_server_error() => (status, Code::Internal),
        _ => (status, Code::BadParams),
    };
    let (request, response) = response.into_parts();
    let (response, body) = response.into_parts();
    let text = match to_bytes_limited(body, MAX_MESSAGE_BYTES).await {
        Ok(Ok(text)) if code != Code::Internal => String::from_utf8(text.to_vec()).unwrap_or_default(),
        _ => String::new(),
    };
    let message = if text.is_empty() { status.canonical_reason().unwrap_or("Refused") } else { &text };
    let mut error = respond(HttpResponseBuilder::new(status), message, code);
    for (name, value) in response.headers().iter().filter(|(name, _)| *name != CONTENT_TYPE) {
        error.headers_mut().append(name.clone(), value.clone());
    }
    ServiceResponse::new(request, error)
}

/// Sets the headers that restrict what a browser does with a response: a page keeps its own content security
/// policy, and any other response is not to be used as a page.
fn set_security_headers(headers: &mut HeaderMap) {
    let mut set = |name: HeaderName, value| _ = headers.insert(name, HeaderValue::from_static(value));
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(REFERRER_POLICY, "no-referrer");
    set(X_FRAME_OPTIONS, "DENY");
    set(OPENER_POLICY, "same-origin");
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(STRICT_POLICY));
    }
}
