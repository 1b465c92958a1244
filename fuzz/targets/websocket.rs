//! The WebSocket layer: however the bytes of a client are cut, the same messages come out of them and
//! the same end, and none is over the limit.
#![no_main]

use hark::wire;
use hark::wire::close::Close;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the server uses all of it")]
#[path = "../../src/ws/incoming.rs"]
mod incoming;

use incoming::{Incoming, Message};

/// Small, so that inputs of a few bytes come to it.
const MAX_FRAME_BYTES: usize = 200;

/// What came out of a connection, and how it ended, if it did.
fn hear<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Option<Close>) {
    let mut incoming = Incoming::new(Vec::new(), MAX_FRAME_BYTES);
    let mut messages = Vec::new();
    for piece in pieces {
        incoming.add(piece);
        loop {
            match incoming.next() {
                Ok(Some(message)) => {
                    if let Message::Text(text) = message {
                        assert!(text.len() <= MAX_FRAME_BYTES, "{} bytes", text.len());
                    }
                    messages.push(format!("{message:?}"));
                }
                Ok(None) => break,
                Err(close) => return (messages, Some(close)),
            }
        }
        assert!(incoming.held() <= piece.len() + 2 * (MAX_FRAME_BYTES + 14), "{} bytes are held", incoming.held());
    }
    (messages, None)
}

fuzz_target!(|input: &[u8]| {
    // The first byte says how the others are cut.
    let Some((cut, bytes)) = input.split_first() else { return };
    assert_eq!(hear(bytes.chunks(usize::from(*cut).max(1))), hear(std::iter::once(bytes)));
});
