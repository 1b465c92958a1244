//! The WebSocket layer: the limit on frames and the library behind it. However the bytes are cut, the
//! same messages come out of them, and none over the limit.
#![no_main]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use actix_web::test::TestRequest;
use actix_web::web::{Bytes, Payload};
use actix_web::{FromRequest as _, dev};
use actix_ws::AggregatedMessage;
use futures_util::stream;
use hark::delivery::byte_pool::BytePool;
use hark::delivery::outbox::Outbox;
use hark::model::UserId;
use hark::wire::close::Close;
use hark::{delivery, wire};
use libfuzzer_sys::fuzz_target;
use prometheus_client::metrics::gauge::Gauge;

#[allow(dead_code, reason = "the server uses all of it")]
#[path = "../../src/ws/limit.rs"]
mod limit;

/// Small, so that inputs of a few bytes come to it.
const MAX_FRAME_BYTES: usize = 200;

/// What came out of a connection.
#[derive(Debug, PartialEq)]
struct Heard {
    messages: Vec<AggregatedMessage>,
    asked_to_close: Option<Close>,
    is_broken: bool,
}

impl Heard {
    /// Whether the connection is to be closed for what came.
    fn is_refused(&self) -> bool {
        self.is_broken || self.asked_to_close.is_some()
    }
}

/// Lets the bytes through in these pieces, as `ws/upgrade.rs` puts the layers together.
fn hear(pieces: Vec<Bytes>) -> Heard {
    let pool = BytePool::new(1 << 20, Gauge::default());
    let share = Arc::new(pool.share());
    let outbox = Arc::new(Outbox::new(UserId(1), 1024, Arc::clone(&share)));
    let pieces = stream::iter(pieces.into_iter().map(Ok));
    let mut payload: dev::Payload = dev::Payload::Stream { payload: Box::pin(pieces) };
    let request = TestRequest::get()
        .insert_header(("upgrade", "websocket"))
        .insert_header(("connection", "upgrade"))
        .insert_header(("sec-websocket-version", "13"))
        .insert_header(("sec-websocket-key", "x3JJHMbDL1EzLkh9GBhXDw=="))
        .to_http_request();
    let bytes = Payload::from_request(&request, &mut payload).into_inner().expect("a payload");
    let limited =
        limit::Limited::new(bytes, MAX_FRAME_BYTES, limit::Heard::now(), Arc::clone(&outbox), Arc::clone(&share));
    let mut limited: dev::Payload = dev::Payload::Stream { payload: Box::pin(limited) };
    let payload = Payload::from_request(&request, &mut limited).into_inner().expect("a payload");
    let (_response, _session, frames) = actix_ws::handle(&request, payload).expect("a good handshake");
    let mut frames =
        frames.max_frame_size(MAX_FRAME_BYTES).aggregate_continuations().max_continuation_size(MAX_FRAME_BYTES);
    let mut heard = Heard { messages: Vec::new(), asked_to_close: None, is_broken: false };
    loop {
        let next = pin!(frames.recv()).poll(&mut Context::from_waker(Waker::noop()));
        match next {
            Poll::Ready(Some(Ok(message))) => heard.messages.push(message),
            Poll::Ready(Some(Err(_))) => break heard.is_broken = true,
            Poll::Ready(None) => break,
            Poll::Pending => panic!("all bytes are there"),
        }
    }
    heard.asked_to_close = outbox.asked_to_close();
    heard
}

fuzz_target!(|input: &[u8]| {
    // The first byte says how the others are cut.
    let Some((cut, bytes)) = input.split_first() else { return };
    let whole = hear(vec![Bytes::copy_from_slice(bytes)]);
    for message in &whole.messages {
        let length = match message {
            AggregatedMessage::Text(text) => text.len(),
            AggregatedMessage::Binary(bytes) => bytes.len(),
            AggregatedMessage::Ping(bytes) | AggregatedMessage::Pong(bytes) => bytes.len(),
            AggregatedMessage::Close(_) => 0,
        };
        assert!(length <= MAX_FRAME_BYTES, "{length} bytes");
    }
    let pieces = hear(bytes.chunks(usize::from(*cut).max(1)).map(Bytes::copy_from_slice).collect());
    assert_eq!(pieces.is_refused(), whole.is_refused());
    // The library tells of a bad frame before it hands over the good ones that came with it.
    let (fewer, more) = if pieces.messages.len() < whole.messages.len() { (pieces, whole) } else { (whole, pieces) };
    assert!(more.messages.starts_with(&fewer.messages), "{fewer:?}, {more:?}");
    assert!(more.is_refused() || more.messages.len() == fewer.messages.len(), "{fewer:?}, {more:?}");
});
