//! Flow control of an HTTP connection: backpressure on clients that pipeline. The dispatcher of actix-http reads
//! and decodes as long as bytes arrive, so a client that sends requests and reads no response would fill a
//! node's memory. The connection's stream (`server/http_stream.rs`) reads only what [`ConnectionFlow::demand`]
//! names, and requests report when they begin, wait for their body, and are answered.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use actix_web::web::Bytes;
use futures_util::Stream;

/// What a connection is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadDemand {
    /// The head of the next request.
    Head,
    /// The body of the request that is being served.
    Body,
    /// Nothing: a request is being served.
    None,
}

/// The flow control of one connection, shared by its stream and its requests.
#[derive(Clone, Debug, Default)]
pub struct ConnectionFlow(Rc<State>);

#[derive(Debug, Default)]
struct State {
    /// Requests that are not answered yet.
    in_service: Cell<usize>,
    /// Whether a handler waits for bytes of the body.
    wants_body: Cell<bool>,
    body: Cell<BodyEnd>,
    /// The waker of the connection's task, while the connection is not read.
    reader: RefCell<Option<Waker>>,
}

/// Where the body of a request ends. The bytes after it belong to the next request, which the dispatcher must not
/// see before this one is answered: it would take the body of the next request for an unread rest of this one.
#[derive(Clone, Copy, Debug)]
enum BodyEnd {
    /// After this many more bytes.
    After(u64),
    /// After `CHUNKED_END`; these are the last bytes that have arrived. The same bytes inside a chunk are no end
    /// of the body; the only effect is that it is handed over in one part more.
    Chunked([u8; CHUNKED_END.len()]),
}

/// The last chunk with the end of the line before it. A body with trailers ends elsewhere, and is not separated
/// from what follows it.
const CHUNKED_END: [u8; 6] = *b"\n0\r\n\r\n";

impl Default for BodyEnd {
    fn default() -> Self {
        Self::After(0)
    }
}

impl BodyEnd {
    fn of_request(headers: &HeaderMap) -> Self {
        if headers.contains_key(TRANSFER_ENCODING) {
            return Self::Chunked(*b"     \n");
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self::After(length.unwrap_or(0))
    }

    /// How many of these bytes belong together: up to the end of the body, or all of them.
    fn part_of(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::After(left) => {
                let length = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                length
            }
            Self::Chunked(last) => {
                let ends = |byte: &u8| {
                    last.rotate_left(1);
                    last[CHUNKED_END.len() - 1] = *byte;
                    *last == CHUNKED_END
                };
                bytes.iter().position(ends).map_or(bytes.len(), |at| at + 1)
            }
        }
    }
}

/// A request that is being served, until this is dropped.
#[derive(Debug)]
pub(super) struct InService(ConnectionFlow);

impl ConnectionFlow {
    /// What the connection is read for now.
    #[must_use]
    pub fn demand(&self) -> ReadDemand {
        match (self.0.in_service.get(), self.0.wants_body.get()) {
            (0, _) => ReadDemand::Head,
            (_, true) => ReadDemand::Body,
            (_, false) => ReadDemand::None,
        }
    }

    /// How many of these bytes, which follow those of the last call, belong to the body that is read for.
    #[must_use]
    pub fn body_part(&self, bytes: &[u8]) -> usize {
        self.0.wants_body.set(false);
        let mut end = self.0.body.get();
        let length = end.part_of(bytes);
        self.0.body.set(end);
        length
    }

    /// Registers the connection's task, which is woken when the demand changes.
    pub fn watch(&self, context: &Context<'_>) {
        *self.0.reader.borrow_mut() = Some(context.waker().clone());
    }

    /// Begins a request, which is in service until the guard is dropped.
    pub(super) fn begin(&self, headers: &HeaderMap) -> InService {
        self.0.body.set(BodyEnd::of_request(headers));
        self.0.in_service.set(self.0.in_service.get() + 1);
        InService(self.clone())
    }

    /// The body of a request, for which the connection is read while a handler waits for it.
    pub(super) fn body_on_demand(&self, payload: Payload) -> Payload {
        match payload {
            Payload::None => Payload::None,
            payload => Payload::Stream { payload: Box::pin(BodyOnDemand { payload, flow: self.clone() }) },
        }
    }

    fn wake(&self) {
        if let Some(reader) = self.0.reader.take() {
            reader.wake();
        }
    }
}

impl Drop for InService {
    fn drop(&mut self) {
        let flow = &self.0;
        flow.0.in_service.set(flow.0.in_service.get() - 1);
        flow.0.wants_body.set(false);
        flow.wake();
    }
}

struct BodyOnDemand {
    payload: Payload,
    flow: ConnectionFlow,
}

impl Stream for BodyOnDemand {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.payload).poll_next(context);
        if polled.is_pending() {
            self.flow.0.wants_body.set(true);
            self.flow.wake();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_ends_where_its_length_or_last_chunk_says() {
        let mut end = BodyEnd::After(5);
        assert_eq!([end.part_of(b"abc"), end.part_of(b"deGET"), end.part_of(b"GET")], [3, 2, 0]);
        let body = b"3\r\nabc\r\n0\r\n\r\n";
        for cut in 0..body.len() {
            let mut end = BodyEnd::Chunked(*b"     \n");
            assert_eq!(end.part_of(&body[..cut]), cut);
            assert_eq!(end.part_of(&[&body[cut..], b"GET /".as_slice()].concat()), body.len() - cut);
        }
        assert_eq!(BodyEnd::Chunked(*b"     \n").part_of(b"0\r\n\r\nGET"), 5);
    }
}
