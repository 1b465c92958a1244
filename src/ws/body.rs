//! The response body of a socket: hands the outbox's frames, encoded long before, to the server's
//! write buffer, as many at a time as fit.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use crate::delivery::outbox::Outbox;

pub(super) struct OutboxBody {
    outbox: Arc<Outbox>,
    /// The library's own body. Nothing comes out of it, because all frames go through the outbox;
    /// when it is dropped, the stream of the client's frames ends.
    _library: BoxBody,
}

impl OutboxBody {
    pub(super) fn new(outbox: Arc<Outbox>, library: BoxBody) -> Self {
        Self { outbox, _library: library }
    }
}

impl Drop for OutboxBody {
    /// However the connection ended, nobody writes any more.
    fn drop(&mut self) {
        self.outbox.abandon();
    }
}

impl MessageBody for OutboxBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.outbox.poll_take(context).map(|bytes| bytes.map(Ok))
    }
}
