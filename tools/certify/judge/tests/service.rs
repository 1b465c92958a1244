//! What a server owes while something is done to it, on records of a few lines.

use serde_json::json;

use super::model::frame_of;
use super::violated;
use crate::certify::judge::{Verdict, judge};
use crate::certify::record::{Entry, Micros, Phase, Seen, Side};

const NEIGHBOURS: &str = "a slow or hostile client delays nobody";
const MEMORY: &str = "the server's memory stays bounded";
const ANSWERED: &str = "every request is answered within 15 s";
const AWAY: &str = "while PostgreSQL is away nothing is acknowledged, and /readyz says so";
const CONNECTED: &str = "nobody is disconnected because of PostgreSQL, and work goes on by itself";
const ABUSE: &str = "the abuse of one person refuses nobody else";
const PONG: &str = "a ping is answered";
const START: &str = "what cannot work is refused at the start, with a sentence";
const BACK: &str = "the servers work again after each fault";

/// Entries at seconds.
fn judged(lines: Vec<(u64, Seen)>) -> Verdict {
    let entry = |(nth, (seconds, seen)): (usize, (u64, Seen))| Entry {
        at: seconds * 1_000_000 + Micros::try_from(nth).expect("few"),
        seen,
    };
    let mut entries: Vec<Entry> = lines.into_iter().enumerate().map(entry).collect();
    entries.sort_by_key(|entry| entry.at);
    judge(&entries)
}

fn opened() -> Seen {
    Seen::Opened { socket: 1, user: 1, server: 0 }
}

fn asked(id: u64) -> Seen {
    let params = json!({ "receiverId": 2, "content": format!("m{id} hello"), "clientMessageId": format!("m{id}") });
    Seen::Request { socket: 1, frame: frame_of(&json!({ "type": "privateMessage", "params": params, "id": id })) }
}

fn refused(id: u64) -> Seen {
    let frame = json!({ "error": true, "type": "privateMessage", "code": "overloaded", "id": id });
    Seen::Reply { socket: 1, frame: frame_of(&frame) }
}

fn done(id: u64) -> Seen {
    let item = json!({ "messageId": id, "seq": id, "duplicate": false });
    let frame = json!({ "type": "privateMessage", "success": true, "params": { "item": item }, "id": id });
    Seen::Reply { socket: 1, frame: frame_of(&frame) }
}

fn fault(name: &str, phase: Phase) -> Seen {
    Seen::Fault { fault: name.to_owned(), phase }
}

fn ready(asked: u64, status: u16) -> Seen {
    Seen::Ready { server: 0, asked: asked * 1_000_000, status: Some(status) }
}

fn closed(by: Side) -> Seen {
    Seen::Closed { socket: 1, code: Some(1013), by }
}

/// PostgreSQL is stopped from 10 to 20, and works again at 21.
fn stop() -> Vec<(u64, Seen)> {
    vec![
        (0, opened()),
        (10, fault("stop-postgres", Phase::Begun)),
        (10, fault("stop-postgres", Phase::Away)),
        (20, fault("stop-postgres", Phase::Back)),
        (21, fault("stop-postgres", Phase::Over)),
    ]
}

fn with(mut lines: Vec<(u64, Seen)>, more: Vec<(u64, Seen)>) -> Vec<(u64, Seen)> {
    lines.extend(more);
    lines
}

#[test]
fn waiting_refusing_and_going_on_is_right() {
    let verdict = judged(with(
        stop(),
        vec![
            (11, asked(1)),
            (16, ready(15, 503)),
            (18, refused(1)),
            (22, asked(2)),
            (23, refused(2)),
            (24, asked(3)),
            (25, refused(3)),
            (26, asked(4)),
            (27, Seen::Reply { socket: 1, frame: frame_of(&json!({ "error": true, "code": "blocked", "id": 4 })) }),
            (60, Seen::Quiet),
        ],
    ));
    assert_eq!(violated(&verdict), [""; 0]);
    let seen = |rule| verdict.rulings.iter().find(|ruling| ruling.rule == rule).expect("a rule").evidence;
    assert!([AWAY, CONNECTED, BACK, ANSWERED].into_iter().all(|rule| seen(rule) > 0));
}

#[test]
fn an_acknowledgement_while_postgresql_is_away_is_found() {
    let verdict = judged(with(stop(), vec![(12, asked(1)), (13, done(1)), (60, Seen::Quiet)]));
    assert!(violated(&verdict).contains(&AWAY));
}

#[test]
fn a_server_that_calls_itself_ready_without_postgresql_is_found() {
    let verdict = judged(with(stop(), vec![(16, ready(15, 200)), (60, Seen::Quiet)]));
    assert_eq!(violated(&verdict), [AWAY]);
}

#[test]
fn a_socket_that_is_closed_for_it_is_found() {
    let verdict = judged(with(stop(), vec![(15, closed(Side::Server)), (60, Seen::Quiet)]));
    assert_eq!(violated(&verdict), [CONNECTED]);
    let verdict = judged(with(stop(), vec![(15, closed(Side::Client)), (60, Seen::Quiet)]));
    assert_eq!(violated(&verdict), [""; 0], "what we close ourselves is no fault of the server");
}

#[test]
fn a_socket_that_takes_nothing_any_more_is_found() {
    let verdict = judged(with(stop(), vec![(30, asked(1)), (31, refused(1)), (60, Seen::Quiet)]));
    assert_eq!(violated(&verdict), [CONNECTED]);
}

#[test]
fn a_request_that_is_answered_late_or_never_is_found() {
    let late = vec![(0, opened()), (1, asked(1)), (30, refused(1)), (60, Seen::Quiet)];
    assert_eq!(violated(&judged(late)), [ANSWERED]);
    let never = vec![(0, opened()), (1, asked(1)), (60, Seen::Quiet)];
    assert_eq!(violated(&judged(never)), [ANSWERED]);
    let cut_off = vec![(0, opened()), (1, asked(1)), (9, closed(Side::Server)), (60, Seen::Quiet)];
    assert_eq!(violated(&judged(cut_off)), [""; 0]);
}

#[test]
fn a_neighbour_of_a_bad_client_who_waits_is_found() {
    let lines = |answered| {
        let (begun, over) = (fault("slow-reader", Phase::Begun), fault("slow-reader", Phase::Over));
        vec![(0, opened()), (1, begun), (2, asked(1)), (answered, refused(1)), (20, over), (60, Seen::Quiet)]
    };
    assert_eq!(violated(&judged(lines(9))), [NEIGHBOURS]);
    assert_eq!(violated(&judged(lines(3))), [""; 0]);
}

#[test]
fn a_refusal_for_the_abuse_of_another_is_found() {
    let lines = |more| {
        let (begun, over) = (fault("abuse", Phase::Begun), fault("abuse", Phase::Over));
        let flood = Seen::Abuse { with: "newGroup".to_owned() };
        judged(with(vec![(0, opened()), (1, begun), (1, flood), (20, over), (60, Seen::Quiet)], more))
    };
    let login = |asked: u64, status| Seen::Login { asked: asked * 1_000_000, status };
    let blocked = Seen::Reply { socket: 1, frame: frame_of(&json!({ "error": true, "code": "blocked", "id": 1 })) };
    let right = vec![(2, asked(1)), (3, blocked), (5, login(3, Some(200))), (6, ready(5, 200))];
    assert_eq!(violated(&lines(right)), [""; 0]);
    let verdict = lines(vec![(2, asked(1)), (3, refused(1))]);
    assert_eq!(violated(&verdict), [ABUSE]);
    let ruling = verdict.rulings.iter().find(|ruling| ruling.rule == ABUSE).expect("a rule");
    assert!(ruling.violations[0].what.ends_with("asked while one person floods it with newGroup"), "{ruling:?}");
    assert_eq!(violated(&lines(vec![(9, login(3, Some(200)))])), [ABUSE], "a login that takes 6 s");
    assert_eq!(violated(&lines(vec![(4, login(3, Some(503)))])), [ABUSE]);
    assert_eq!(violated(&lines(vec![(4, ready(3, 503))])), [ABUSE]);
    assert_eq!(violated(&lines(vec![(50, ready(49, 503))])), [""; 0], "it is over");
}

#[test]
fn what_one_person_puts_upon_another_without_end_is_found() {
    let burden = |number| judged(vec![(0, Seen::Burden { of: "groups".to_owned(), number })]);
    assert_eq!(violated(&burden(1100)), ["what one person puts upon another is bounded"]);
    assert_eq!(violated(&burden(1000)), [""; 0]);
}

#[test]
fn a_ping_without_a_pong_is_found() {
    let lines = |more| {
        let talk = vec![(0, opened()), (1, asked(1)), (1, Seen::Ping { socket: 1, number: 1 })];
        judged(with(with(talk, vec![(2, refused(1)), (3, asked(2)), (4, refused(2)), (60, Seen::Quiet)]), more))
    };
    let later = vec![(9, asked(3)), (10, refused(3))];
    assert_eq!(violated(&lines(later.clone())), [PONG]);
    assert_eq!(violated(&lines(Vec::new())), [""; 0], "it may still come");
    let pong = |at, number| with(later.clone(), vec![(at, Seen::Pong { socket: 1, number })]);
    assert_eq!(violated(&lines(pong(5, 1))), [""; 0]);
    assert_eq!(violated(&lines(pong(5, 7))), [""; 0], "a later one will do");
    assert_eq!(violated(&lines(pong(20, 1))), [PONG], "too late");
    assert_eq!(violated(&lines(pong(5, 0))), [PONG], "another one's");
}

#[test]
fn a_start_that_is_no_start_is_found() {
    let start = |is_to_work, refusal: Option<&str>| {
        let surroundings = "behind PgBouncer".to_owned();
        judged(vec![(0, Seen::Start { surroundings, is_to_work, refusal: refusal.map(str::to_owned) })])
    };
    assert_eq!(violated(&start(true, None)), [""; 0]);
    assert_eq!(violated(&start(true, Some("unsupported startup parameter"))), [START]);
    assert_eq!(violated(&start(false, Some("PgBouncer in transaction mode cannot be used"))), [""; 0]);
    assert_eq!(violated(&start(false, Some("it says nothing"))), [START], "not a sentence that helps");
    assert_eq!(violated(&start(false, None)), [START]);
}

#[test]
fn a_server_that_grows_is_found() {
    let grows = |kib| {
        let memory = |kib| Seen::Memory { server: 0, kib };
        judged(vec![(0, memory(50_000)), (1, memory(60_000)), (2, memory(kib))])
    };
    assert_eq!(violated(&grows(500_000)), [MEMORY]);
    assert_eq!(violated(&grows(70_000)), [""; 0]);
}

#[test]
fn a_server_that_does_not_come_back_is_found() {
    let verdict = judged(vec![(0, fault("kill-server", Phase::Begun)), (60, Seen::Quiet)]);
    assert_eq!(violated(&verdict), [BACK]);
}
