//! The response body of a socket: hands the outbox's frames, encoded long before, to the server's
//! write buffer, as many at a time as fit.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use crate::delivery::outbox::Outbox;

pub(super) struct OutboxBody {
    outbox: Arc<Outbox>,
    /// The library's own body. Nothing comes out of it, because all frames go through the outbox;
    /// when it is dropped, the stream of the client's frames ends.
    _library: BoxBody,
    last_turn: bool,
}

/// Both sides have said goodbye.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed")]
pub(super) struct Agreed;

impl OutboxBody {
    pub(super) fn new(outbox: Arc<Outbox>, library: BoxBody) -> Self {
        Self { outbox, _library: library, last_turn: false }
    }
}

impl Drop for OutboxBody {
    /// However the connection ended, nobody writes any more.
    fn drop(&mut self) {
        self.outbox.abandon();
    }
}

impl MessageBody for OutboxBody {
    type Error = Agreed;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Agreed>>> {
        let bytes = ready!(self.outbox.poll_take(context));
        if bytes.is_some() || !self.outbox.is_agreed() {
            return Poll::Ready(bytes.map(Ok));
        }
        // The library would go on listening for a second, and the client wait for us that long. An
        // error ends the connection at once; what was written before it leaves on this turn.
        if self.last_turn {
            return Poll::Ready(Some(Err(Agreed)));
        }
        self.last_turn = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
