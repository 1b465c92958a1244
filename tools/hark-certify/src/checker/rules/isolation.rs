//! Point 7 of the contract: clients that do harm delay and refuse nobody else, and the server's memory stays bounded.

use std::collections::BTreeMap;

use crate::checker::index::HistoryIndex;
use crate::checker::rule_check::RuleCheck;
use crate::checker::verdict::RuleResult;
use crate::fault::Layer;
use crate::history::event::{Entry, Event, Micros};

const SECOND: Micros = 1_000_000;
/// Maximum number of groups, or unread notifications, that one user may impose on another.
const MAX_IMPOSED_ROWS: usize = 1000;
/// The fault in which one user floods the server.
const ABUSE: &str = "abuse";
/// Maximum wait for a reply while only clients do harm.
const MAX_LATENCY: Micros = 5 * SECOND;
/// How long after a fault of the server or PostgreSQL latencies are not judged.
const RECOVERY_TIME: Micros = 15 * SECOND;
/// How much a server's memory may grow after the clients were set up, in KiB.
const MAX_GROWTH_KIB: u64 = 256 * 1024;

/// Whether another fault than that of a client was injected within a time span, or shortly before it.
fn is_troubled(index: &HistoryIndex<'_>, from: Micros, to: Micros) -> bool {
    [Layer::Server, Layer::Database]
        .into_iter()
        .any(|layer| index.faults_of(layer).any(|window| window.overlaps(from.saturating_sub(RECOVERY_TIME), to)))
}

/// While only clients do harm, every other client is answered in time.
pub(in crate::checker) fn clients_delay_nobody(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 7, "a slow or hostile client delays nobody");
    let abuses = abuses(index);
    for request in &index.requests {
        let Some(answered) = request.replied_at() else { continue };
        let is_beside = index.faults_of(Layer::Clients).any(|window| window.overlaps(request.at, answered));
        if is_beside && !is_troubled(index, request.at, answered) {
            let waited = (answered - request.at) / 1000;
            let what =
                || format!("{} was answered after {waited} ms{}", request.frame_type, during(&abuses, request.at));
            check.expect(answered - request.at <= MAX_LATENCY, what, request.shown());
        }
    }
    check.finish()
}

/// The kinds of abuse, with the times when they began.
fn abuses<'a>(index: &'a HistoryIndex<'_>) -> Vec<(Micros, &'a str)> {
    let abuse = |entry: &'a Entry| match &entry.event {
        Event::Abuse { kind } => Some((entry.at, kind.as_str())),
        _ => None,
    };
    index.entries.iter().filter_map(abuse).collect()
}

/// A clause that names the abuse at a time, for the description of a violation.
fn during(abuses: &[(Micros, &str)], at: Micros) -> String {
    let last = abuses.iter().rfind(|(from, _)| *from <= at);
    last.map_or_else(String::new, |(_, kind)| format!(", while one user floods the server with {kind}"))
}

/// While one user abuses the server within its limits, no other user is refused: no request, no login, and `/readyz` is
/// 200.
pub(in crate::checker) fn abuse_refuses_nobody(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 7, "the abuse of one user refuses no other user");
    let abuses = abuses(index);
    let is_abused = |from, to| {
        let mut windows = index.faults.iter().filter(|window| window.fault == ABUSE);
        windows.any(|window| window.started <= from && window.overlaps(from, to)) && !is_troubled(index, from, to)
    };
    for request in &index.requests {
        if !request.replied_at().is_some_and(|answered| is_abused(request.at, answered)) {
            continue;
        }
        let code = request.error_code();
        let what = || {
            let code = code.unwrap_or_default();
            format!("{} of {} is refused: {code}{}", request.frame_type, request.user, during(&abuses, request.at))
        };
        check.expect(!matches!(code, Some("overloaded" | "internal")), what, request.shown());
    }
    for (nth, entry) in index.entries.iter().enumerate() {
        let (asked_at, status, question) = match &entry.event {
            Event::Ready { asked_at, status, .. } => (*asked_at, *status, "/readyz"),
            Event::Login { asked_at, status } => (*asked_at, *status, "a valid login"),
            _ => continue,
        };
        if is_abused(asked_at, entry.at) {
            let waited = entry.at - asked_at;
            let during = during(&abuses, asked_at);
            let what = || format!("{question} is answered {status:?} after {} ms{during}", waited / 1000);
            let is_well = status.is_some_and(|status| status < 300) && waited <= MAX_LATENCY;
            check.expect(is_well, what, [nth]);
        }
    }
    check.finish()
}

/// A user can put only a bounded number of rows into the lists of another user.
pub(in crate::checker) fn imposed_rows_are_bounded(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 7, "what one user imposes on another is bounded");
    for (nth, entry) in index.entries.iter().enumerate() {
        if let Event::Imposed { kind, count } = &entry.event {
            let what = || format!("a stranger has imposed at least {count} {kind} on a user");
            check.expect(*count <= MAX_IMPOSED_ROWS, what, [nth]);
        }
    }
    check.finish()
}

/// The memory of each server stays below its first value plus [`MAX_GROWTH_KIB`].
pub(in crate::checker) fn memory_is_bounded(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 7, "the server's memory stays bounded");
    let mut first = BTreeMap::new();
    for (nth, entry) in index.entries.iter().enumerate() {
        if let Event::Memory { server, kib } = &entry.event {
            let before = *first.entry(*server).or_insert(*kib);
            let what = || format!("server {server} holds {kib} KiB, and held {before} KiB at first");
            check.expect(*kib <= before + MAX_GROWTH_KIB, what, [nth]);
        }
    }
    check.finish()
}
