//! Responses that wait for slow readers: what they take of the node's memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{Error as ActixError, HttpMessage as _, ResponseError as _};

use super::error::HttpError;
use super::flow::{ConnectionFlow, InService};
use crate::app::App;
use crate::error::Error;
use crate::limits::memory::{ALWAYS, Taken};

/// Most bytes of a body that are handed to the connection's write buffer at once. A part that is larger would
/// go into it as a whole.
const CHUNK_BYTES: usize = 16 * 1024;

/// Marks a response whose bytes are in memory once for everybody: it is not counted.
pub(super) struct SharedBytes;

/// A body that is counted until it is written, or nobody waits for it any more. Until then its connection
/// takes no further request.
struct Counted {
    body: BoxBody,
    /// What the body has given and is not handed over.
    rest: Bytes,
    taken: Taken,
    /// The parts of a stream are counted one by one.
    is_stream: bool,
    _in_service: Option<InService>,
}

impl MessageBody for Counted {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_next(context)) {
                Some(Ok(part)) => {
                    if self.is_stream {
                        self.taken.set(part.len());
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

/// Serves one request of a connection at a time, and counts its response until it is written. Lets a large
/// response through while there is room for it, and answers `overloaded` otherwise: a response that large is
/// a page, which can be asked for again.
///
/// # Errors
/// Those of the handler.
pub async fn within_memory(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, ActixError> {
    // An upgrade has left the dispatcher, and has none.
    let flow = request.conn_data::<ConnectionFlow>().cloned();
    let in_service = flow.as_ref().map(|flow| flow.begin(request.headers()));
    if let Some(flow) = &flow {
        let payload = request.take_payload();
        request.set_payload(flow.body_on_demand(payload));
    }
    let response = next.call(request).await?;
    let Some(app) = response.request().app_data::<Data<App>>() else { return Ok(response) };
    let share = Arc::new(app.pool.share());
    let is_shared = response.response().extensions().contains::<SharedBytes>();
    let (length, is_stream) = match response.response().body().size() {
        BodySize::Sized(length) if !is_shared => (usize::try_from(length).unwrap_or(usize::MAX), false),
        BodySize::Stream => (0, true),
        BodySize::None | BodySize::Sized(_) => (0, false),
    };
    if length > ALWAYS && !share.has_room_for(length) {
        let refusal = HttpError::from(Error::overloaded()).error_response();
        return Ok(response.into_response(refusal));
    }
    let taken = Taken::of(&share, length);
    Ok(response
        .map_body(|_, body| Counted { body, rest: Bytes::new(), taken, is_stream, _in_service: in_service }.boxed()))
}
