//! Response memory: counts the bytes of responses that wait for slow readers against the memory budget, and
//! serves the requests of a connection one at a time.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::ContentType;
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{Error as ActixError, HttpMessage as _, HttpResponse, ResponseError as _};
use serde::Serialize;

use super::error::HttpError;
use super::flow::{ConnectionFlow, InService};
use crate::app::App;
use crate::error::Error;
use crate::limits::memory::{GUARANTEED_BYTES, Reservation};

/// Maximum number of bytes of a body that go into the connection's write buffer at once. A larger part would
/// be copied into it as a whole.
const CHUNK_BYTES: usize = 16 * 1024;

/// An extension of a response whose bytes all requests share: the memory budget does not count it.
struct SharedBytes;

/// Marks a response as one whose bytes all requests share.
pub(super) fn share_bytes(mut response: HttpResponse) -> HttpResponse {
    response.extensions_mut().insert(SharedBytes);
    response
}

/// A JSON document of this server. It is rendered at the first request and in memory once.
#[derive(Debug, Default)]
pub(super) struct SharedJson(OnceLock<Bytes>);

impl SharedJson {
    /// The response with the document, which `render` makes at the first request.
    pub(super) fn respond<T: Serialize>(&self, render: impl FnOnce() -> T) -> HttpResponse {
        let to_json = || serde_json::to_vec(&render()).expect("a document has string keys").into();
        let json = self.0.get_or_init(to_json);
        share_bytes(HttpResponse::Ok().content_type(ContentType::json()).body(json.clone()))
    }
}

/// A body that the memory budget counts until it is written or its connection is closed. Until then the
/// connection serves no further request.
struct AccountedBody {
    body: BoxBody,
    /// Bytes that the body has produced and the connection has not taken yet.
    rest: Bytes,
    reservation: Reservation,
    /// Whether the length is not known before, so that the parts are counted one by one.
    is_stream: bool,
    _in_service: Option<InService>,
}

impl MessageBody for AccountedBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_next(context)) {
                Some(Ok(part)) => {
                    if self.is_stream {
                        self.reservation.resize(part.len());
                    }
                    self.rest = part;
                }
                other => return Poll::Ready(other),
            }
        }
        let length = self.rest.len().min(CHUNK_BYTES);
        Poll::Ready(Some(Ok(self.rest.split_to(length))))
    }
}

/// The middleware that serves one request of a connection at a time and counts the response until it is
/// written. If the budget has no room for a large response, the answer is `overloaded` instead: a response
/// that large is a page, which can be asked for again.
///
/// # Errors
/// Those of the handler.
pub async fn limit_response_memory(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, ActixError> {
    // An upgrade has left the HTTP dispatcher and has no flow control.
    let flow = request.conn_data::<ConnectionFlow>().cloned();
    let in_service = flow.as_ref().map(|flow| flow.begin(request.headers()));
    if let Some(flow) = &flow {
        let payload = request.take_payload();
        request.set_payload(flow.body_on_demand(payload));
    }
    let response = next.call(request).await?;
    let Some(app) = response.request().app_data::<Data<App>>() else { return Ok(response) };
    let account = Arc::new(app.memory.open_account());
    let is_shared = response.response().extensions().contains::<SharedBytes>();
    let (length, is_stream) = match response.response().body().size() {
        BodySize::Sized(length) if !is_shared => (usize::try_from(length).unwrap_or(usize::MAX), false),
        BodySize::Stream => (0, true),
        BodySize::None | BodySize::Sized(_) => (0, false),
    };
    if length > GUARANTEED_BYTES && !account.has_room_for(length) {
        let refusal = HttpError::from(Error::overloaded()).error_response();
        return Ok(response.into_response(refusal));
    }
    let reservation = Reservation::new(&account, length);
    Ok(response.map_body(|_, body| {
        AccountedBody { body, rest: Bytes::new(), reservation, is_stream, _in_service: in_service }.boxed()
    }))
}
