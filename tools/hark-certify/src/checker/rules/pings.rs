//! RFC 6455: every ping gets a pong. One pong, to the newest of several pings, is enough.

use std::collections::BTreeMap;

use crate::checker::index::HistoryIndex;
use crate::checker::operations::Request;
use crate::checker::rule_check::RuleCheck;
use crate::checker::verdict::RuleResult;
use crate::history::event::{Event, Micros, SocketId};

/// Maximum wait for a pong after the server has read the ping.
const PONG_TIMEOUT: Micros = 2_000_000;

/// The server has read a ping when it answers a request that was sent after it. A request that is made later than the
/// timeout after that reply must not be answered before the pong, or that of a later ping, has come.
pub(in crate::checker) fn are_answered(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 0, "a ping is answered");
    let mut answered: BTreeMap<SocketId, Vec<&Request>> = BTreeMap::new();
    for request in index.requests.iter().filter(|request| request.reply.is_some()) {
        answered.entry(request.socket).or_default().push(request);
    }
    for (nth, entry) in index.entries.iter().enumerate() {
        let Event::Ping { socket, number } = entry.event else { continue };
        let mut later = answered.get(&socket).into_iter().flatten().filter(|request| request.entry > nth);
        let Some(read_at) = later.next().and_then(|request| request.replied_at()) else { continue };
        let Some(due) =
            later.filter(|request| request.at > read_at + PONG_TIMEOUT).find_map(|request| request.reply.as_ref())
        else {
            continue;
        };
        let mut between = index.entries[nth..due.entry].iter();
        let is_answered = between
            .any(|entry| matches!(entry.event, Event::Pong { socket: on, number: of } if on == socket && of >= number));
        check.expect(is_answered, || format!("ping {number} on socket {socket} got no pong"), [nth, due.entry]);
    }
    check.finish()
}
