//! A batch in payloads that fit into notifications: `hark3 {node} {batch} {part}/{parts} {watermark}`, a line
//! break, and a part of the body.

use crate::delivery::peers::NodeId;

/// Maximum size of a payload in bytes: PostgreSQL accepts less than 8,000.
pub const MAX_PAYLOAD_BYTES: usize = 7_999;
/// Maximum size of the header of a payload, in bytes.
const MAX_HEADER_BYTES: usize = 128;
/// The first word of each payload. Nodes of another version cannot read it; a change to the message types, or to
/// the types that these contain, needs a new one.
const VERSION: &str = "hark3";

/// One part of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload<'a> {
    pub(super) from: NodeId,
    /// The number of the batch.
    pub(super) batch: u64,
    /// From 1 to `parts`.
    pub(super) part: usize,
    pub(super) parts: usize,
    pub(super) watermark: i64,
    pub(super) body: &'a str,
}

impl<'a> Payload<'a> {
    /// Splits the body of a batch into payloads; an empty body is one payload too.
    pub(super) fn split(from: NodeId, batch: u64, watermark: i64, body: &str) -> Vec<String> {
        let mut bodies = Vec::with_capacity(body.len() / (MAX_PAYLOAD_BYTES - MAX_HEADER_BYTES) + 1);
        let mut rest = body;
        while bodies.is_empty() || !rest.is_empty() {
            let (body, remaining) = rest.split_at(rest.floor_char_boundary(MAX_PAYLOAD_BYTES - MAX_HEADER_BYTES));
            bodies.push(body);
            rest = remaining;
        }
        let parts = bodies.len();
        let payload = |(nth, body)| format!("{VERSION} {from} {batch} {}/{parts} {watermark}\n{body}", nth + 1);
        bodies.into_iter().enumerate().map(payload).collect()
    }

    /// `None` if it is no payload, or one of another version.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (header, body) = text.split_once('\n')?;
        let fields: Vec<&str> = header.split(' ').collect();
        let [VERSION, from, batch, position, watermark] = fields[..] else { return None };
        let (part, parts) = position.split_once('/')?;
        let payload = Self {
            from: NodeId::parse(from)?,
            batch: batch.parse().ok()?,
            part: part.parse().ok()?,
            parts: parts.parse().ok()?,
            watermark: watermark.parse().ok()?,
            body,
        };
        (1..=payload.parts).contains(&payload.part).then_some(payload)
    }

    /// Whether it is a heartbeat.
    pub(super) fn is_heartbeat(&self) -> bool {
        self.parts == 1 && self.body.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_parts_of_a_batch_are_its_body(text in "\\PC{0,40}", times in 1usize..2000) {
            let node = NodeId::random();
            let body = text.repeat(times);
            let payloads = Payload::split(node, u64::MAX, i64::MAX, &body);
            let mut whole = String::new();
            for (nth, text) in payloads.iter().enumerate() {
                prop_assert!(text.len() <= MAX_PAYLOAD_BYTES);
                let payload = Payload::parse(text).expect("a payload");
                prop_assert_eq!((payload.from, payload.batch, payload.watermark), (node, u64::MAX, i64::MAX));
                prop_assert_eq!((payload.part, payload.parts), (nth + 1, payloads.len()));
                whole.push_str(payload.body);
            }
            prop_assert_eq!(whole, body);
        }

        #[test]
        fn random_text_is_no_payload(text in any::<String>()) {
            prop_assert_eq!(Payload::parse(&text), None);
        }
    }

    #[test]
    fn only_a_payload_of_this_version_is_read() {
        let good = "hark3 0000000000000007 3 1/2 9\nx";
        assert!(Payload::parse(good).is_some());
        let bad =
            ["hark2 7 3 1/2 9\nx", "hark3 7 3 3/2 9\nx", "hark3 7 3 0/2 9\nx", "hark3 7 3 1/2 9", "hark3 7 3 1/2\nx"];
        for text in bad {
            assert_eq!(Payload::parse(text), None, "{text}");
        }
    }
}
