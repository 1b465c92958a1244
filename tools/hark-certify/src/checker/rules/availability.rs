//! What the server owes whatever happens to PostgreSQL: every request is answered, nothing is acknowledged that is not
//! stored, sockets stay open, and all servers recover.

use crate::checker::index::HistoryIndex;
use crate::checker::operations::Request;
use crate::checker::rule_check::RuleCheck;
use crate::checker::verdict::RuleResult;
use crate::fault::Layer;
use crate::history::event::{Event, Micros, Side};

const SECOND: Micros = 1_000_000;
/// Maximum wait for a reply, whatever is done to PostgreSQL.
const REPLY_TIMEOUT: Micros = 15 * SECOND;
/// How long after a fault its effects may last.
const RECOVERY_TIME: Micros = 15 * SECOND;
/// How long `/readyz` may take to notice that PostgreSQL is down.
const READYZ_DELAY: Micros = 3 * SECOND;

/// Whether a server was killed or stopped within a time span.
fn is_server_down(index: &HistoryIndex<'_>, from: Micros, to: Micros) -> bool {
    index.faults_of(Layer::Server).any(|window| window.overlaps(from, to))
}

/// On a socket that stays open, every request is answered within [`REPLY_TIMEOUT`].
pub(in crate::checker) fn requests_are_answered(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 0, "every request is answered within 15 s");
    for request in &index.requests {
        let what = || format!("{} waits for more than {} s", request.frame_type, REPLY_TIMEOUT / SECOND);
        match request.latency() {
            Some(waited) => check.expect(waited <= REPLY_TIMEOUT, what, request.shown()),
            None if open_until(index, request) > request.at + REPLY_TIMEOUT => {
                check.expect(false, what, request.shown());
            }
            None => {}
        }
    }
    for (nth, entry) in index.entries.iter().enumerate() {
        if let Event::Unknown { reason, .. } = &entry.event {
            check.add_violation(format!("the final state is not known: {reason}"), [nth]);
        }
    }
    check.finish()
}

fn open_until(index: &HistoryIndex<'_>, request: &Request) -> Micros {
    let closed = index.sockets.get(&request.socket).and_then(|socket| socket.closed.as_ref());
    closed.map_or(index.quiescent_at, |closed| closed.at)
}

/// A send that is requested while PostgreSQL is down is not acknowledged before it is up again, and `/readyz` is 503.
pub(in crate::checker) fn nothing_is_acknowledged_while_down(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 0, "while PostgreSQL is down nothing is acknowledged, and /readyz is 503");
    for window in index.faults_of(Layer::Database) {
        let Some((from, to)) = window.down else { continue };
        for send in index.sends().filter(|send| send.at > from && send.at < to) {
            let is_done = send.is_done() && send.replied_at().is_some_and(|at| at < to);
            let shown = send.shown().chain([window.entry]);
            check.expect(!is_done, || format!("{} was acknowledged while PostgreSQL was down", send.name()), shown);
        }
        for (nth, entry) in index.entries.iter().enumerate() {
            if let Event::Ready { asked_at, status: Some(status), .. } = &entry.event
                && *asked_at > from + READYZ_DELAY
                && entry.at < to
            {
                let what = || format!("/readyz says {status} while PostgreSQL is down");
                check.expect(*status == 503, what, [window.entry, nth]);
            }
        }
    }
    check.finish()
}

/// A socket survives an outage of PostgreSQL, and sends on it succeed again afterwards.
pub(in crate::checker) fn sockets_survive_outages(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 0, "a PostgreSQL outage disconnects nobody, and sends succeed again");
    for window in index.faults_of(Layer::Database) {
        let Some(ended) = window.ended else { continue };
        let recovered = ended + RECOVERY_TIME;
        for (number, socket) in index.sockets.iter().filter(|(_, socket)| socket.opened < window.started) {
            let closed = socket.closed.as_ref();
            if closed.is_some_and(|closed| closed.at < window.started)
                || is_server_down(index, window.started, recovered)
            {
                continue;
            }
            if let Some(closed) = closed.filter(|closed| closed.by == Side::Server && closed.at < recovered) {
                let what = format!("a socket of {} was closed with {:?}", socket.user, closed.code);
                check.add_violation(what, [window.entry, closed.entry]);
            }
            let end = closed.map_or(index.quiescent_at, |closed| closed.at);
            if end > ended {
                check.add_evidence();
            }
            let mut sends = index.sends().filter(|send| send.socket == *number && send.at > ended && send.at < end);
            let mut later = sends.by_ref().filter(|send| send.replied_at().is_some()).peekable();
            // Another fault may have been injected by then.
            let is_quiet = !index.faults.iter().any(|other| other.started > ended && other.started < recovered);
            if later.peek().is_some() && (is_quiet || end > recovered) {
                let shown: Vec<usize> = [window.entry].into_iter().chain(index.entries.len().checked_sub(1)).collect();
                let works = later.any(|send| !matches!(send.error_code(), Some("overloaded" | "internal")));
                let what = || format!("no send of {} is taken any more on a socket from before", socket.user);
                check.expect(works, what, shown);
            }
        }
    }
    check.finish()
}

/// All servers were ready again within a minute after each fault.
pub(in crate::checker) fn servers_recover(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 0, "the servers are ready again after each fault");
    for window in &index.faults {
        let why = index.entries[window.entry..].iter().find_map(|entry| match &entry.event {
            Event::Skipped { fault, reason } if *fault == window.fault => Some(reason.as_str()),
            _ => None,
        });
        let what = || format!("after {}: {}", window.fault, why.unwrap_or("it did not end"));
        check.expect(window.ended.is_some(), what, [window.entry]);
    }
    check.finish()
}

/// A server starts where it is to work, and otherwise refuses to start with a sentence that names the reason.
pub(in crate::checker) fn startup_works_or_refuses(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 0, "an unsupported database is refused at startup, with a reason");
    for (nth, entry) in index.entries.iter().enumerate() {
        if let Event::Startup { environment, should_start, refusal } = &entry.event {
            let what = || match refusal {
                Some(refusal) => format!("{environment}: it does not start: {refusal}"),
                None => format!("{environment}: it starts"),
            };
            let has_sentence = refusal.as_deref().is_some_and(|refusal| refusal.contains("PgBouncer"));
            check.expect(if *should_start { refusal.is_none() } else { has_sentence }, what, [nth]);
        }
    }
    check.finish()
}
