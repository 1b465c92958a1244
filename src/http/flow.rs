//! Flow control of an HTTP connection: one request at a time. The dispatcher of actix-http reads as long as
//! there is something to read and decodes all that it has read, so a client that pipelines and reads no
//! answer would fill a node's memory with requests. The connection's stream (`server/http_stream.rs`) asks
//! here whether it is to be read, and requests say here when they begin, want their body, and are answered.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use actix_web::web::Bytes;
use futures_util::Stream;

/// What a connection is to be read for.
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
    wants_body: Cell<bool>,
    body: Cell<BodyEnd>,
    /// The connection's task, while it is not read.
    reader: RefCell<Option<Waker>>,
}

/// Where the body of a request ends. What follows it belongs to the next request, which the dispatcher must
/// not see before this one is answered: it takes the next one's body for an unread rest of this one's.
#[derive(Clone, Copy, Debug)]
enum BodyEnd {
    /// So many bytes of it are still to come.
    After(u64),
    /// Behind `CHUNKED_END`, of which these are the last bytes that have come. Inside of a chunk that is no
    /// end; then what is handed over has merely one part more.
    Chunked([u8; CHUNKED_END.len()]),
}

/// The last chunk, behind the line before it. A body with trailers ends elsewhere, and is not cut from what
/// follows it.
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

    /// How many of these bytes are handed over together.
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
    /// What the connection is to be read for.
    #[must_use]
    pub fn demand(&self) -> ReadDemand {
        match (self.0.in_service.get(), self.0.wants_body.get()) {
            (0, _) => ReadDemand::Head,
            (_, true) => ReadDemand::Body,
            (_, false) => ReadDemand::None,
        }
    }

    /// How many of these bytes, which follow those before, belong to the body that is to be read for.
    #[must_use]
    pub fn body_part(&self, bytes: &[u8]) -> usize {
        self.0.wants_body.set(false);
        let mut end = self.0.body.get();
        let length = end.part_of(bytes);
        self.0.body.set(end);
        length
    }

    /// Wakes the connection's task when it is to be read again.
    pub fn watch(&self, context: &Context<'_>) {
        *self.0.reader.borrow_mut() = Some(context.waker().clone());
    }

    pub(super) fn begin(&self, headers: &HeaderMap) -> InService {
        self.0.body.set(BodyEnd::of_request(headers));
        self.0.in_service.set(self.0.in_service.get() + 1);
        InService(self.clone())
    }

    /// The body of a request, whose connection is read no further than it is.
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
