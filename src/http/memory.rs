//! Responses that wait for slow readers: what they take of the node's memory.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{Error as ActixError, ResponseError as _};

use super::error::HttpError;
use crate::app::App;
use crate::delivery::byte_pool::{ALWAYS, Share};
use crate::error::Error;

/// A body that is counted until it is written, or nobody waits for it any more.
struct Counted {
    body: BoxBody,
    _share: Share,
}

impl MessageBody for Counted {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

/// Lets a large response through while there is room for it, and answers `overloaded` otherwise. A
/// response that large is a page, which can be asked for again.
///
/// # Errors
/// Those of the handler.
pub async fn within_memory(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, ActixError> {
    let response = next.call(request).await?;
    let length = match response.response().body().size() {
        BodySize::Sized(length) => usize::try_from(length).unwrap_or(usize::MAX),
        BodySize::None | BodySize::Stream => 0,
    };
    let Some(app) = response.request().app_data::<Data<App>>().filter(|_| length > ALWAYS) else {
        return Ok(response);
    };
    let share = app.pool.share();
    if !share.has_room_for(length) {
        let refusal = HttpError::from(Error::overloaded()).error_response();
        return Ok(response.into_response(refusal));
    }
    share.take(length);
    Ok(response.map_body(|_, body| Counted { body, _share: share }.boxed()))
}
