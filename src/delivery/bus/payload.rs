//! A batch in pieces that fit into notifications: `hark2 {node} {number} {part}/{parts} {horizon}`, then
//! a line break and a piece of the body.

use super::NodeId;

/// Most bytes of a payload: PostgreSQL takes less than 8,000.
pub const MAX_PAYLOAD_BYTES: usize = 7_999;
/// Room for the longest header.
const HEADER_ROOM: usize = 128;
/// What a payload begins with. Another number is another way of saying things, which this node cannot read.
const VERSION: &str = "hark2";

/// One piece of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload<'a> {
    pub(super) from: NodeId,
    pub(super) number: u64,
    /// From 1 to `parts`.
    pub(super) part: usize,
    pub(super) parts: usize,
    pub(super) horizon: i64,
    pub(super) piece: &'a str,
}

impl<'a> Payload<'a> {
    /// Cuts a body into payloads; an empty one is one payload too.
    pub(super) fn cut(from: NodeId, number: u64, horizon: i64, body: &str) -> Vec<String> {
        let mut pieces = Vec::with_capacity(body.len() / (MAX_PAYLOAD_BYTES - HEADER_ROOM) + 1);
        let mut rest = body;
        while pieces.is_empty() || !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.floor_char_boundary(MAX_PAYLOAD_BYTES - HEADER_ROOM));
            pieces.push(piece);
            rest = behind;
        }
        let parts = pieces.len();
        let payload = |(nth, piece)| format!("{VERSION} {from} {number} {}/{parts} {horizon}\n{piece}", nth + 1);
        pieces.into_iter().enumerate().map(payload).collect()
    }

    /// `None` where it is none of ours, or of another version.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (header, piece) = text.split_once('\n')?;
        let fields: Vec<&str> = header.split(' ').collect();
        let [VERSION, from, number, place, horizon] = fields[..] else { return None };
        let (part, parts) = place.split_once('/')?;
        let payload = Self {
            from: NodeId(u64::from_str_radix(from, 16).ok()?),
            number: number.parse().ok()?,
            part: part.parse().ok()?,
            parts: parts.parse().ok()?,
            horizon: horizon.parse().ok()?,
            piece,
        };
        (1..=payload.parts).contains(&payload.part).then_some(payload)
    }

    /// Whether it is a sign of life and nothing else.
    pub(super) fn is_beat(&self) -> bool {
        self.parts == 1 && self.piece.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NODE: NodeId = NodeId(7);

    proptest! {
        #[test]
        fn the_pieces_are_the_body(text in "\\PC{0,40}", times in 1usize..2000) {
            let body = text.repeat(times);
            let payloads = Payload::cut(NODE, u64::MAX, i64::MAX, &body);
            let mut whole = String::new();
            for (nth, text) in payloads.iter().enumerate() {
                prop_assert!(text.len() <= MAX_PAYLOAD_BYTES);
                let payload = Payload::parse(text).expect("a payload");
                prop_assert_eq!((payload.from, payload.number, payload.horizon), (NODE, u64::MAX, i64::MAX));
                prop_assert_eq!((payload.part, payload.parts), (nth + 1, payloads.len()));
                whole.push_str(payload.piece);
            }
            prop_assert_eq!(whole, body);
        }

        #[test]
        fn random_text_is_none_of_ours(text in any::<String>()) {
            prop_assert_eq!(Payload::parse(&text), None);
        }
    }

    #[test]
    fn only_a_payload_of_this_version_is_read() {
        let good = "hark2 0000000000000007 3 1/2 9\nx";
        assert!(Payload::parse(good).is_some());
        let bad =
            ["hark1 7 3 1/2 9\nx", "hark2 7 3 3/2 9\nx", "hark2 7 3 0/2 9\nx", "hark2 7 3 1/2 9", "hark2 7 3 1/2\nx"];
        for text in bad {
            assert_eq!(Payload::parse(text), None, "{text}");
        }
    }
}
