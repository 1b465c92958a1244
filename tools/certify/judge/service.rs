//! Point 7, and what the server owes while its database is away: nobody waits for a bad client,
//! memory is bounded, everything is answered, and nobody is sent away.

use std::collections::BTreeMap;

use super::log::{Asked, Log, Window};
use super::{Hearing, Ruling};
use crate::certify::faults::{Fault, Lane};
use crate::certify::record::{Entry, Micros, Seen, Side};

const SECOND: Micros = 1_000_000;
/// Groups, or unread notifications, that one person may put upon another.
const BURDEN_AT_MOST: usize = 1000;
/// The fault that is one person's.
const ABUSE: &str = "abuse";
/// Longest wait for an answer, whatever is done to PostgreSQL.
const ANSWERS_WITHIN: Micros = 15 * SECOND;
/// Longest wait while nothing but a client is bad.
const NEIGHBOURS_WITHIN: Micros = 5 * SECOND;
/// How long after a fault its effects last.
const RECOVERS_WITHIN: Micros = 15 * SECOND;
/// How long `/readyz` may take to see that PostgreSQL is away.
const SEES_WITHIN: Micros = 3 * SECOND;
/// How much more memory a server may hold than when the people were there, in KiB.
const GROWS_AT_MOST: u64 = 256 * 1024;

/// The faults of a lane.
fn windows<'a>(log: &'a Log<'_>, lane: Lane) -> impl Iterator<Item = &'a Window> {
    log.faults.iter().filter(move |window| lane_of(window) == Some(lane))
}

fn lane_of(window: &Window) -> Option<Lane> {
    use clap::ValueEnum as _;
    Fault::from_str(&window.fault, false).ok().map(Fault::lane)
}

/// Whether something else than a client was bad within a time, or a little before.
fn is_troubled(log: &Log<'_>, from: Micros, to: Micros) -> bool {
    [Lane::Server, Lane::Database]
        .into_iter()
        .any(|lane| windows(log, lane).any(|window| window.meets(from.saturating_sub(RECOVERS_WITHIN), to)))
}

/// Whether a server was killed or stopped within a time.
fn is_server_hurt(log: &Log<'_>, from: Micros, to: Micros) -> bool {
    windows(log, Lane::Server).any(|window| window.meets(from, to))
}

/// While clients do harm, and nothing else does, everybody else is answered soon.
pub(super) fn neighbours_wait_for_nobody(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 7, "a slow or hostile client delays nobody");
    let abuses = abuses(log);
    for asked in &log.asked {
        let Some(answered) = asked.answered_at() else { continue };
        let is_beside = windows(log, Lane::Clients).any(|window| window.meets(asked.at, answered));
        if is_beside && !is_troubled(log, asked.at, answered) {
            let waited = (answered - asked.at) / 1000;
            let what = || format!("{} was answered after {waited} ms{}", asked.kind, during(&abuses, asked.at));
            hearing.expect(answered - asked.at <= NEIGHBOURS_WITHIN, what, asked.shown());
        }
    }
    hearing.end()
}

/// What one person did from when on.
fn abuses<'a>(log: &'a Log<'_>) -> Vec<(Micros, &'a str)> {
    let abuse = |entry: &'a Entry| match &entry.seen {
        Seen::Abuse { with } => Some((entry.at, with.as_str())),
        _ => None,
    };
    log.entries.iter().filter_map(abuse).collect()
}

fn during(abuses: &[(Micros, &str)], at: Micros) -> String {
    let last = abuses.iter().rfind(|(from, _)| *from <= at);
    last.map_or_else(String::new, |(_, with)| format!(", asked while one person floods it with {with}"))
}

/// While one person abuses the server, within its limits, nobody else is refused for it: no request, no
/// login, and `/readyz` says 200.
pub(super) fn abuse_refuses_nobody(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 7, "the abuse of one person refuses nobody else");
    let abuses = abuses(log);
    let is_abused = |from, to| {
        let mut windows = log.faults.iter().filter(|window| window.fault == ABUSE);
        windows.any(|window| window.begun <= from && window.meets(from, to)) && !is_troubled(log, from, to)
    };
    for asked in &log.asked {
        if !asked.answered_at().is_some_and(|answered| is_abused(asked.at, answered)) {
            continue;
        }
        let code = code(asked);
        let what = || {
            let code = code.unwrap_or_default();
            format!("{} of {} is refused: {code}{}", asked.kind, asked.user, during(&abuses, asked.at))
        };
        hearing.expect(!matches!(code, Some("overloaded" | "internal")), what, asked.shown());
    }
    for (nth, entry) in log.entries.iter().enumerate() {
        let (asked, status, question) = match &entry.seen {
            Seen::Ready { asked, status, .. } => (*asked, *status, "/readyz"),
            Seen::Login { asked, status } => (*asked, *status, "a right login"),
            _ => continue,
        };
        if is_abused(asked, entry.at) {
            let waited = entry.at - asked;
            let during = during(&abuses, asked);
            let what = || format!("{question} is answered {status:?} after {} ms{during}", waited / 1000);
            let is_well = status.is_some_and(|status| status < 300) && waited <= NEIGHBOURS_WITHIN;
            hearing.expect(is_well, what, [nth]);
        }
    }
    hearing.end()
}

/// Nobody fills the lists of somebody else without end.
pub(super) fn burdens_are_bounded(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 7, "what one person puts upon another is bounded");
    for (nth, entry) in log.entries.iter().enumerate() {
        if let Seen::Burden { of, number } = &entry.seen {
            let what = || format!("a stranger has put {number} {of} upon somebody, or more");
            hearing.expect(*number <= BURDEN_AT_MOST, what, [nth]);
        }
    }
    hearing.end()
}

/// The server works where it can, and says at the start where it cannot.
pub(super) fn starts_or_refuses(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 0, "what cannot work is refused at the start, with a sentence");
    for (nth, entry) in log.entries.iter().enumerate() {
        if let Seen::Start { surroundings, is_to_work, refusal } = &entry.seen {
            let what = || match refusal {
                Some(refusal) => format!("{surroundings}: it does not start: {refusal}"),
                None => format!("{surroundings}: it starts"),
            };
            let has_sentence = refusal.as_deref().is_some_and(|refusal| refusal.contains("PgBouncer"));
            hearing.expect(if *is_to_work { refusal.is_none() } else { has_sentence }, what, [nth]);
        }
    }
    hearing.end()
}

/// No server grows without bound.
pub(super) fn memory_is_bounded(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 7, "the server's memory stays bounded");
    let mut first = BTreeMap::new();
    for (nth, entry) in log.entries.iter().enumerate() {
        if let Seen::Memory { server, kib } = &entry.seen {
            let before = *first.entry(*server).or_insert(*kib);
            let what = || format!("server {server} holds {kib} KiB, and held {before} at first");
            hearing.expect(*kib <= before + GROWS_AT_MOST, what, [nth]);
        }
    }
    hearing.end()
}

/// On a socket that stays open, everything is answered within a bound.
pub(super) fn everything_is_answered(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 0, "every request is answered within 15 s");
    for asked in &log.asked {
        let what = || format!("{} waits for more than {} s", asked.kind, ANSWERS_WITHIN / SECOND);
        match asked.waited() {
            Some(waited) => hearing.expect(waited <= ANSWERS_WITHIN, what, asked.shown()),
            None if open_until(log, asked) > asked.at + ANSWERS_WITHIN => hearing.expect(false, what, asked.shown()),
            None => {}
        }
    }
    for (nth, entry) in log.entries.iter().enumerate() {
        if let Seen::Untold { what, .. } = &entry.seen {
            hearing.wrong(format!("the end is not known: {what}"), [nth]);
        }
    }
    hearing.end()
}

fn open_until(log: &Log<'_>, asked: &Asked) -> Micros {
    let closed = log.sockets.get(&asked.socket).and_then(|socket| socket.closed.as_ref());
    closed.map_or(log.quiet, |closed| closed.at)
}

/// What is sent after PostgreSQL went is not acknowledged before it is back, and `/readyz` says 503.
pub(super) fn away_means_away(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 0, "while PostgreSQL is away nothing is acknowledged, and /readyz says so");
    for window in windows(log, Lane::Database) {
        let Some((from, to)) = window.away else { continue };
        for send in log.sends().filter(|send| send.at > from && send.at < to) {
            let is_done = send.is_done() && send.answered_at().is_some_and(|at| at < to);
            let shown = send.shown().chain([window.entry]);
            hearing.expect(!is_done, || format!("{} was acknowledged while PostgreSQL was away", send.name()), shown);
        }
        for (nth, entry) in log.entries.iter().enumerate() {
            if let Seen::Ready { asked, status: Some(status), .. } = &entry.seen
                && *asked > from + SEES_WITHIN
                && entry.at < to
            {
                let what = || format!("/readyz says {status} while PostgreSQL is away");
                hearing.expect(*status == 503, what, [window.entry, nth]);
            }
        }
    }
    hearing.end()
}

/// A socket outlives what happens to PostgreSQL, and goes on without being opened anew.
pub(super) fn nobody_is_disconnected(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 0, "nobody is disconnected because of PostgreSQL, and work goes on by itself");
    for window in windows(log, Lane::Database) {
        let Some(over) = window.over else { continue };
        let recovered = over + RECOVERS_WITHIN;
        for (number, socket) in log.sockets.iter().filter(|(_, socket)| socket.opened < window.begun) {
            let closed = socket.closed.as_ref();
            if closed.is_some_and(|closed| closed.at < window.begun) || is_server_hurt(log, window.begun, recovered) {
                continue;
            }
            if let Some(closed) = closed.filter(|closed| closed.by == Side::Server && closed.at < recovered) {
                let what = format!("a socket of {} was closed with {:?}", socket.user, closed.code);
                hearing.wrong(what, [window.entry, closed.entry]);
            }
            let end = closed.map_or(log.quiet, |closed| closed.at);
            if end > over {
                hearing.saw();
            }
            let mut sends = log.sends().filter(|send| send.socket == *number && send.at > over && send.at < end);
            let mut later = sends.by_ref().filter(|send| send.answered_at().is_some()).peekable();
            // Another fault may have come by then.
            let is_quiet = !log.faults.iter().any(|other| other.begun > over && other.begun < recovered);
            if later.peek().is_some() && (is_quiet || end > recovered) {
                let shown: Vec<usize> = [window.entry].into_iter().chain(log.entries.len().checked_sub(1)).collect();
                let works = later.any(|send| !matches!(code(send), Some("overloaded" | "internal")));
                let what = || format!("no send of {} is taken any more on a socket from before", socket.user);
                hearing.expect(works, what, shown);
            }
        }
    }
    hearing.end()
}

fn code(asked: &Asked) -> Option<&str> {
    asked.answer.as_ref().and_then(|answer| answer.frame["code"].as_str())
}

/// Whatever was done, all worked again within a minute.
pub(super) fn servers_come_back(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 0, "the servers work again after each fault");
    for window in &log.faults {
        let why = log.entries[window.entry..].iter().find_map(|entry| match &entry.seen {
            Seen::NotMade { fault, why } if *fault == window.fault => Some(why.as_str()),
            _ => None,
        });
        let what = || format!("after {}: {}", window.fault, why.unwrap_or("it is not undone"));
        hearing.expect(window.over.is_some(), what, [window.entry]);
    }
    hearing.end()
}
