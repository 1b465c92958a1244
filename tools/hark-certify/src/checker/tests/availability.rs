//! Availability and isolation, checked on histories of a few lines.

use serde_json::json;

use super::frames::frame_of;
use super::support::violated;
use crate::checker::check_history;
use crate::checker::verdict::Verdict;
use crate::history::event::{Entry, Event, Micros, Phase, Side};

const DELAY: &str = "a slow or hostile client delays nobody";
const MEMORY: &str = "the server's memory stays bounded";
const ANSWERED: &str = "every request is answered within 15 s";
const DOWN: &str = "while PostgreSQL is down nothing is acknowledged, and /readyz is 503";
const CONNECTED: &str = "a PostgreSQL outage disconnects nobody, and sends succeed again";
const ABUSE: &str = "the abuse of one user refuses no other user";
const PONG: &str = "a ping is answered";
const START: &str = "an unsupported database is refused at startup, with a reason";
const BACK: &str = "the servers are ready again after each fault";

/// Checks a history of events at these seconds.
fn check_lines(lines: Vec<(u64, Event)>) -> Verdict {
    let entry = |(nth, (seconds, event)): (usize, (u64, Event))| Entry {
        at: seconds * 1_000_000 + Micros::try_from(nth).expect("few"),
        event,
    };
    let mut entries: Vec<Entry> = lines.into_iter().enumerate().map(entry).collect();
    entries.sort_by_key(|entry| entry.at);
    check_history(&entries)
}

fn opened() -> Event {
    Event::Opened { socket: 1, user: 1, server: 0 }
}

fn request(id: u64) -> Event {
    let params = json!({ "receiverId": 2, "content": format!("m{id} hello"), "clientMessageId": format!("m{id}") });
    Event::Request { socket: 1, frame: frame_of(&json!({ "type": "privateMessage", "params": params, "id": id })) }
}

fn refused(id: u64) -> Event {
    let frame = json!({ "error": true, "type": "privateMessage", "code": "overloaded", "id": id });
    Event::Reply { socket: 1, frame: frame_of(&frame) }
}

fn done(id: u64) -> Event {
    let item = json!({ "messageId": id, "seq": id, "duplicate": false });
    let frame = json!({ "type": "privateMessage", "success": true, "params": { "item": item }, "id": id });
    Event::Reply { socket: 1, frame: frame_of(&frame) }
}

fn fault(name: &str, phase: Phase) -> Event {
    Event::Fault { fault: name.to_owned(), phase }
}

fn ready(asked_at: u64, status: u16) -> Event {
    Event::Ready { server: 0, asked_at: asked_at * 1_000_000, status: Some(status) }
}

fn closed(by: Side) -> Event {
    Event::Closed { socket: 1, code: Some(1013), by }
}

/// PostgreSQL is down from second 10 to 20, and the server is ready again at 21.
fn stop() -> Vec<(u64, Event)> {
    vec![
        (0, opened()),
        (10, fault("stop-postgres", Phase::Started)),
        (10, fault("stop-postgres", Phase::DatabaseDown)),
        (20, fault("stop-postgres", Phase::DatabaseUp)),
        (21, fault("stop-postgres", Phase::Ended)),
    ]
}

fn with(mut lines: Vec<(u64, Event)>, more: Vec<(u64, Event)>) -> Vec<(u64, Event)> {
    lines.extend(more);
    lines
}

#[test]
fn refusals_during_an_outage_are_no_violation() {
    let verdict = check_lines(with(
        stop(),
        vec![
            (11, request(1)),
            (16, ready(15, 503)),
            (18, refused(1)),
            (22, request(2)),
            (23, refused(2)),
            (24, request(3)),
            (25, refused(3)),
            (26, request(4)),
            (27, Event::Reply { socket: 1, frame: frame_of(&json!({ "error": true, "code": "blocked", "id": 4 })) }),
            (60, Event::Quiescent),
        ],
    ));
    assert_eq!(violated(&verdict), [""; 0]);
    let evidence = |rule| verdict.results.iter().find(|result| result.rule == rule).expect("a result").evidence;
    assert!([DOWN, CONNECTED, BACK, ANSWERED].into_iter().all(|rule| evidence(rule) > 0));
}

#[test]
fn acknowledgement_during_an_outage_is_found() {
    let verdict = check_lines(with(stop(), vec![(12, request(1)), (13, done(1)), (60, Event::Quiescent)]));
    assert!(violated(&verdict).contains(&DOWN));
}

#[test]
fn ready_server_during_an_outage_is_found() {
    let verdict = check_lines(with(stop(), vec![(16, ready(15, 200)), (60, Event::Quiescent)]));
    assert_eq!(violated(&verdict), [DOWN]);
}

#[test]
fn socket_closed_by_an_outage_is_found() {
    let verdict = check_lines(with(stop(), vec![(15, closed(Side::Server)), (60, Event::Quiescent)]));
    assert_eq!(violated(&verdict), [CONNECTED]);
    let verdict = check_lines(with(stop(), vec![(15, closed(Side::Client)), (60, Event::Quiescent)]));
    assert_eq!(violated(&verdict), [""; 0], "closed by the client");
}

#[test]
fn socket_that_does_not_recover_is_found() {
    let verdict = check_lines(with(stop(), vec![(30, request(1)), (31, refused(1)), (60, Event::Quiescent)]));
    assert_eq!(violated(&verdict), [CONNECTED]);
}

#[test]
fn request_without_a_timely_reply_is_found() {
    let late = vec![(0, opened()), (1, request(1)), (30, refused(1)), (60, Event::Quiescent)];
    assert_eq!(violated(&check_lines(late)), [ANSWERED]);
    let never = vec![(0, opened()), (1, request(1)), (60, Event::Quiescent)];
    assert_eq!(violated(&check_lines(never)), [ANSWERED]);
    let cut_off = vec![(0, opened()), (1, request(1)), (9, closed(Side::Server)), (60, Event::Quiescent)];
    assert_eq!(violated(&check_lines(cut_off)), [""; 0]);
}

#[test]
fn delay_by_another_client_is_found() {
    let lines = |answered| {
        let (started, ended) = (fault("slow-reader", Phase::Started), fault("slow-reader", Phase::Ended));
        vec![(0, opened()), (1, started), (2, request(1)), (answered, refused(1)), (20, ended), (60, Event::Quiescent)]
    };
    assert_eq!(violated(&check_lines(lines(9))), [DELAY]);
    assert_eq!(violated(&check_lines(lines(3))), [""; 0]);
}

#[test]
fn refusal_for_the_abuse_of_another_user_is_found() {
    let lines = |more| {
        let (started, ended) = (fault("abuse", Phase::Started), fault("abuse", Phase::Ended));
        let flood = Event::Abuse { kind: "newGroup".to_owned() };
        check_lines(with(vec![(0, opened()), (1, started), (1, flood), (20, ended), (60, Event::Quiescent)], more))
    };
    let login = |asked_at: u64, status| Event::Login { asked_at: asked_at * 1_000_000, status };
    let blocked = Event::Reply { socket: 1, frame: frame_of(&json!({ "error": true, "code": "blocked", "id": 1 })) };
    let right = vec![(2, request(1)), (3, blocked), (5, login(3, Some(200))), (6, ready(5, 200))];
    assert_eq!(violated(&lines(right)), [""; 0]);
    let verdict = lines(vec![(2, request(1)), (3, refused(1))]);
    assert_eq!(violated(&verdict), [ABUSE]);
    let result = verdict.results.iter().find(|result| result.rule == ABUSE).expect("a result");
    assert!(result.violations[0].description.ends_with("while one user floods the server with newGroup"), "{result:?}");
    assert_eq!(violated(&lines(vec![(9, login(3, Some(200)))])), [ABUSE], "a login that takes 6 s");
    assert_eq!(violated(&lines(vec![(4, login(3, Some(503)))])), [ABUSE]);
    assert_eq!(violated(&lines(vec![(4, ready(3, 503))])), [ABUSE]);
    assert_eq!(violated(&lines(vec![(50, ready(49, 503))])), [""; 0], "it is over");
}

#[test]
fn unbounded_imposed_rows_are_found() {
    let imposed = |count| check_lines(vec![(0, Event::Imposed { kind: "groups".to_owned(), count })]);
    assert_eq!(violated(&imposed(1100)), ["what one user imposes on another is bounded"]);
    assert_eq!(violated(&imposed(1000)), [""; 0]);
}

#[test]
fn ping_without_a_pong_is_found() {
    let lines = |more| {
        let talk = vec![(0, opened()), (1, request(1)), (1, Event::Ping { socket: 1, number: 1 })];
        check_lines(with(
            with(talk, vec![(2, refused(1)), (3, request(2)), (4, refused(2)), (60, Event::Quiescent)]),
            more,
        ))
    };
    let later = vec![(9, request(3)), (10, refused(3))];
    assert_eq!(violated(&lines(later.clone())), [PONG]);
    assert_eq!(violated(&lines(Vec::new())), [""; 0], "the pong may still come");
    let pong = |at, number| with(later.clone(), vec![(at, Event::Pong { socket: 1, number })]);
    assert_eq!(violated(&lines(pong(5, 1))), [""; 0]);
    assert_eq!(violated(&lines(pong(5, 7))), [""; 0], "the pong of a later ping");
    assert_eq!(violated(&lines(pong(20, 1))), [PONG], "too late");
    assert_eq!(violated(&lines(pong(5, 0))), [PONG], "the pong of an earlier ping");
}

#[test]
fn wrong_startup_is_found() {
    let start = |should_start, refusal: Option<&str>| {
        let environment = "behind PgBouncer".to_owned();
        check_lines(vec![(0, Event::Startup { environment, should_start, refusal: refusal.map(str::to_owned) })])
    };
    assert_eq!(violated(&start(true, None)), [""; 0]);
    assert_eq!(violated(&start(true, Some("unsupported startup parameter"))), [START]);
    assert_eq!(violated(&start(false, Some("PgBouncer in transaction mode cannot be used"))), [""; 0]);
    assert_eq!(violated(&start(false, Some("it says nothing"))), [START], "a sentence that does not name the reason");
    assert_eq!(violated(&start(false, None)), [START]);
}

#[test]
fn memory_growth_is_found() {
    let grows = |kib| {
        let memory = |kib| Event::Memory { server: 0, kib };
        check_lines(vec![(0, memory(50_000)), (1, memory(60_000)), (2, memory(kib))])
    };
    assert_eq!(violated(&grows(500_000)), [MEMORY]);
    assert_eq!(violated(&grows(70_000)), [""; 0]);
}

#[test]
fn server_that_does_not_recover_is_found() {
    let verdict = check_lines(vec![(0, fault("kill-server", Phase::Started)), (60, Event::Quiescent)]);
    assert_eq!(violated(&verdict), [BACK]);
}
