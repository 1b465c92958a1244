//! RFC 6455: a ping is answered. Of several that wait, the newest will do.

use std::collections::BTreeMap;

use super::log::{Asked, Log};
use super::{Hearing, Ruling};
use crate::certify::record::{Micros, Seen, SocketId};

/// How long a pong may take once the server has read its ping.
const PONGS_WITHIN: Micros = 2_000_000;

/// The server has read a ping when it answers a request that was sent after it. What is asked a while after
/// that answer is not answered before the pong has come, or that of a later ping.
pub(super) fn are_answered(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 0, "a ping is answered");
    let mut answered: BTreeMap<SocketId, Vec<&Asked>> = BTreeMap::new();
    for asked in log.asked.iter().filter(|asked| asked.answer.is_some()) {
        answered.entry(asked.socket).or_default().push(asked);
    }
    for (nth, entry) in log.entries.iter().enumerate() {
        let Seen::Ping { socket, number } = entry.seen else { continue };
        let mut later = answered.get(&socket).into_iter().flatten().filter(|asked| asked.entry > nth);
        let Some(read_at) = later.next().and_then(|asked| asked.answered_at()) else { continue };
        let Some(due) = later.filter(|asked| asked.at > read_at + PONGS_WITHIN).find_map(|asked| asked.answer.as_ref())
        else {
            continue;
        };
        let mut between = log.entries[nth..due.entry].iter();
        let is_answered = between
            .any(|entry| matches!(entry.seen, Seen::Pong { socket: on, number: of } if on == socket && of >= number));
        hearing.expect(is_answered, || format!("ping {number} on socket {socket} got no pong"), [nth, due.entry]);
    }
    hearing.end()
}
