//! What leaves an outbox, in which order, and what stands for what does not.

use super::*;
use crate::limits::memory::BytePool;
use crate::model::{GroupId, Target};
use prometheus_client::metrics::gauge::Gauge;

/// One batch, frames one behind the other.
fn take(outbox: &Outbox) -> Option<Vec<u8>> {
    let mut frames = VecDeque::new();
    let taken = outbox.poll_take(&Context::from_waker(Waker::noop()), &mut frames);
    taken.is_ready().then(|| frames.into_iter().flatten().collect())
}

fn take_all(outbox: &Outbox) -> Vec<u8> {
    std::iter::from_fn(|| take(outbox)).flatten().collect()
}

fn large() -> Frame {
    reply::push("x", &Body { message: Some("x".repeat(BYTES_AT_ONCE)), ..Body::done() })
}

const ANN: UserId = UserId(1);
const DIALOG: Where = Where::Dialog(ANN, UserId(2));
const MESSAGE: WhenSlow = WhenSlow::Behind(DIALOG, 7);

fn outbox(budget: usize) -> Outbox {
    let pool = BytePool::new(1_000_000, Gauge::default());
    Outbox::new(ANN, budget, Arc::new(pool.share()))
}

fn behind(seq: Seq) -> Frame {
    let item = BehindItem { target: Target::User(UserId(2)).into(), seq };
    reply::push("behind", &Body::item(&item))
}

#[test]
fn frames_leave_whole_in_order_and_a_batch_at_a_time() {
    let outbox = outbox(10 * BYTES_AT_ONCE);
    outbox.push(&large(), MESSAGE);
    for nth in 0..2 * FRAMES_AT_ONCE {
        outbox.push(&Frame::pong(&[nth.to_le_bytes()[0]]), MESSAGE);
    }
    let pongs: Vec<u8> =
        (0..2 * FRAMES_AT_ONCE).flat_map(|nth| Frame::pong(&[nth.to_le_bytes()[0]]).bytes().to_vec()).collect();
    assert_eq!(take(&outbox).as_deref(), Some(large().bytes().as_ref()));
    assert_eq!(take(&outbox).as_deref(), Some(&pongs[..pongs.len() / 2]));
    assert_eq!(take_all(&outbox), pongs[pongs.len() / 2..]);
}

#[test]
fn past_its_budget_one_word_stands_for_a_conversation() {
    let outbox = outbox(1000);
    for seq in 1..=30 {
        outbox.push(&Frame::ping(), WhenSlow::Behind(DIALOG, seq));
    }
    let pings = Frame::ping().bytes().repeat(10);
    assert_eq!(take_all(&outbox), [pings, behind(30).bytes().to_vec()].concat());
    outbox.push(&Frame::ping(), WhenSlow::Behind(DIALOG, 31));
    assert_eq!(take_all(&outbox), Frame::ping().bytes().as_ref());
    assert_eq!(outbox.asked_to_close(), None);
}

#[test]
fn nothing_of_a_conversation_overtakes_its_word() {
    let outbox = outbox(2 * BYTES_AT_ONCE);
    for seq in 1..=3 {
        outbox.push(&large(), WhenSlow::Behind(DIALOG, seq));
    }
    // There is room again, but not yet for the word.
    assert_eq!(take(&outbox).as_deref(), Some(large().bytes().as_ref()));
    outbox.push(&Frame::ping(), WhenSlow::Behind(DIALOG, 4));
    assert_eq!(take_all(&outbox), [large().bytes().as_ref(), behind(4).bytes()].concat());
}

#[test]
fn what_did_not_come_this_far_is_told_at_once() {
    let outbox = outbox(1000);
    outbox.fall_behind(DIALOG, 5);
    outbox.fall_behind(DIALOG, 4);
    assert_eq!(take_all(&outbox), behind(5).bytes().as_ref());
}

#[test]
fn only_the_latest_of_a_kind_waits() {
    let outbox = outbox(1000);
    let seen = WhenSlow::Latest(Subject::Read(DIALOG, ANN));
    outbox.push(&Frame::pong(b"1"), seen);
    outbox.push(&Frame::ping(), MESSAGE);
    outbox.push(&Frame::pong(b"2"), seen);
    outbox.push(&Frame::pong(b"other"), WhenSlow::Latest(Subject::Presence(ANN)));
    let written = [Frame::pong(b"2"), Frame::ping(), Frame::pong(b"other")];
    assert_eq!(take_all(&outbox), written.map(|frame| frame.bytes().to_vec()).concat());
    outbox.push(&Frame::pong(b"3"), seen);
    assert_eq!(take_all(&outbox), Frame::pong(b"3").bytes().as_ref());
}

#[test]
fn who_is_behind_in_everything_begins_anew() {
    let outbox = outbox(1);
    outbox.push(&Frame::ping(), MESSAGE);
    for group in 0..=1_000 {
        outbox.push(&Frame::ping(), WhenSlow::Behind(Where::Group(GroupId(group)), 1));
    }
    assert_eq!(outbox.asked_to_close(), Some(Close::Overloaded));
    assert_eq!(take(&outbox), None);
    outbox.finish(Close::Overloaded);
    outbox.push(&Frame::ping(), MESSAGE);
    assert_eq!(take_all(&outbox), Close::Overloaded.frame().bytes().as_ref());
}

#[test]
fn the_first_reason_stands() {
    let outbox = outbox(1);
    outbox.ask_to_close(Close::Unauthorized);
    outbox.ask_to_close(Close::Overloaded);
    assert_eq!(outbox.asked_to_close(), Some(Close::Unauthorized));
}

#[test]
fn replies_use_up_room_but_never_the_budget_of_pushes() {
    let outbox = outbox(1000);
    outbox.reply(&large());
    assert!(!outbox.has_room());
    outbox.push(&Frame::ping(), MESSAGE);
    take_all(&outbox);
    assert!(outbox.has_room());
}

#[test]
fn pong_and_ping_go_before_all_that_waits_and_do_not_pile_up() {
    let outbox = outbox(1000);
    outbox.reply(&large());
    outbox.push(&Frame::pong(b"a push"), MESSAGE);
    for nth in 0..100 {
        outbox.pong(&[nth]);
        outbox.ping();
    }
    let control = [Frame::pong(&[99]).bytes().as_ref(), Frame::ping().bytes()].concat();
    assert_eq!(take(&outbox), Some([&control, large().bytes().as_ref()].concat()));
    assert_eq!(take_all(&outbox), Frame::pong(b"a push").bytes().as_ref());
}

#[test]
fn pong_and_ping_are_taken_where_nothing_else_waits_and_not_after_the_end() {
    let outbox = outbox(1000);
    outbox.pong(b"1");
    assert_eq!(take(&outbox).as_deref(), Some(Frame::pong(b"1").bytes().as_ref()));
    outbox.pong(b"2");
    outbox.finish(Close::Normal);
    outbox.pong(b"3");
    outbox.ping();
    let last = [Frame::pong(b"2").bytes().as_ref(), Close::Normal.frame().bytes()].concat();
    assert_eq!(take_all(&outbox), last);
}

#[test]
fn who_is_gone_leaves_nothing_waiting() {
    let outbox = outbox(1000);
    outbox.reply(&large());
    outbox.abandon();
    outbox.reply(&large());
    assert!(outbox.has_room() && take(&outbox).is_none());
}
