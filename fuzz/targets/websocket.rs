//! The WebSocket decoder: however the bytes are split, it returns the same messages and the same close code, and
//! no message is over the limit.
#![no_main]

use hark::wire;
use hark::wire::close::Close;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the server uses all of it")]
#[path = "../../src/ws/decoder.rs"]
mod decoder;

use decoder::{FrameDecoder, WsMessage};

/// A small limit, so that short inputs reach it.
const MAX_FRAME_BYTES: usize = 200;

/// The messages of a connection, and its close code if it was closed.
fn decode<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Option<Close>) {
    let mut decoder = FrameDecoder::new(Vec::new(), MAX_FRAME_BYTES);
    let mut messages = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        loop {
            match decoder.next() {
                Ok(Some(message)) => {
                    if let WsMessage::Text(text) = message {
                        assert!(text.len() <= MAX_FRAME_BYTES, "{} bytes", text.len());
                    }
                    messages.push(format!("{message:?}"));
                }
                Ok(None) => break,
                Err(close) => return (messages, Some(close)),
            }
        }
        assert!(decoder.buffered_bytes() <= chunk.len() + 2 * (MAX_FRAME_BYTES + 14), "{} bytes are buffered", decoder.buffered_bytes());
    }
    (messages, None)
}

fuzz_target!(|input: &[u8]| {
    // The first byte is the size of the chunks.
    let Some((chunk_bytes, bytes)) = input.split_first() else { return };
    assert_eq!(decode(bytes.chunks(usize::from(*chunk_bytes).max(1))), decode(std::iter::once(bytes)));
});
