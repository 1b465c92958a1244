//! Which frames an outbox returns, in which order, and what a slow consumer gets instead.

use super::*;
use crate::limits::memory::MemoryBudget;
use crate::model::{GroupId, PushType, Target};
use prometheus_client::metrics::gauge::Gauge;

/// The frames of one batch, concatenated.
fn take(outbox: &Outbox) -> Option<Vec<u8>> {
    let mut frames = VecDeque::new();
    let taken = outbox.poll_take(&Context::from_waker(Waker::noop()), &mut frames);
    taken.is_ready().then(|| frames.into_iter().flatten().collect())
}

fn take_all(outbox: &Outbox) -> Vec<u8> {
    std::iter::from_fn(|| take(outbox)).flatten().collect()
}

fn large() -> Frame {
    reply::push(PushType::PrivateMessage, &Body { message: Some("x".repeat(MAX_TAKE_BYTES)), ..Body::done() })
}

const ANN: UserId = UserId(1);
const DIALOG: ConversationKey = ConversationKey::Dialog(ANN, UserId(2));
const MESSAGE: OverflowPolicy = OverflowPolicy::MarkBehind(DIALOG, 7);

fn outbox(budget: usize) -> Outbox {
    let pool = MemoryBudget::new(1_000_000, Gauge::default());
    Outbox::new(ANN, budget, Arc::new(pool.open_account()))
}

fn behind(seq: Seq) -> Frame {
    let item = BehindItem { target: Target::User(UserId(2)).into(), seq };
    reply::push(PushType::Behind, &Body::item(&item))
}

#[test]
fn frames_are_taken_whole_in_order_and_in_batches() {
    let outbox = outbox(10 * MAX_TAKE_BYTES);
    outbox.push(&large(), MESSAGE);
    for nth in 0..2 * MAX_TAKE_FRAMES {
        outbox.push(&Frame::pong(&[nth.to_le_bytes()[0]]), MESSAGE);
    }
    let pongs: Vec<u8> =
        (0..2 * MAX_TAKE_FRAMES).flat_map(|nth| Frame::pong(&[nth.to_le_bytes()[0]]).bytes().to_vec()).collect();
    assert_eq!(take(&outbox).as_deref(), Some(large().bytes().as_ref()));
    assert_eq!(take(&outbox).as_deref(), Some(&pongs[..pongs.len() / 2]));
    assert_eq!(take_all(&outbox), pongs[pongs.len() / 2..]);
}

#[test]
fn past_the_budget_one_behind_replaces_the_pushes_of_a_conversation() {
    let outbox = outbox(1000);
    for seq in 1..=30 {
        outbox.push(&Frame::ping(), OverflowPolicy::MarkBehind(DIALOG, seq));
    }
    let pings = Frame::ping().bytes().repeat(10);
    assert_eq!(take_all(&outbox), [pings, behind(30).bytes().to_vec()].concat());
    outbox.push(&Frame::ping(), OverflowPolicy::MarkBehind(DIALOG, 31));
    assert_eq!(take_all(&outbox), Frame::ping().bytes().as_ref());
    assert_eq!(outbox.asked_to_close(), None);
}

#[test]
fn no_push_of_a_conversation_overtakes_its_behind() {
    let outbox = outbox(2 * MAX_TAKE_BYTES);
    for seq in 1..=3 {
        outbox.push(&large(), OverflowPolicy::MarkBehind(DIALOG, seq));
    }
    // There is room again, but not yet for the `behind`.
    assert_eq!(take(&outbox).as_deref(), Some(large().bytes().as_ref()));
    outbox.push(&Frame::ping(), OverflowPolicy::MarkBehind(DIALOG, 4));
    assert_eq!(take_all(&outbox), [large().bytes().as_ref(), behind(4).bytes()].concat());
}

#[test]
fn mark_behind_is_sent_at_once_while_there_is_room() {
    let outbox = outbox(1000);
    outbox.mark_behind(DIALOG, 5);
    outbox.mark_behind(DIALOG, 4);
    assert_eq!(take_all(&outbox), behind(5).bytes().as_ref());
}

#[test]
fn pushes_with_one_coalesce_key_replace_each_other() {
    let outbox = outbox(1000);
    let seen = OverflowPolicy::KeepLatest(CoalesceKey::Read(DIALOG, ANN));
    outbox.push(&Frame::pong(b"1"), seen);
    outbox.push(&Frame::ping(), MESSAGE);
    outbox.push(&Frame::pong(b"2"), seen);
    outbox.push(&Frame::pong(b"other"), OverflowPolicy::KeepLatest(CoalesceKey::Presence(ANN)));
    let written = [Frame::pong(b"2"), Frame::ping(), Frame::pong(b"other")];
    assert_eq!(take_all(&outbox), written.map(|frame| frame.bytes().to_vec()).concat());
    outbox.push(&Frame::pong(b"3"), seen);
    assert_eq!(take_all(&outbox), Frame::pong(b"3").bytes().as_ref());
}

#[test]
fn a_slow_consumer_behind_in_too_many_conversations_is_disconnected() {
    let outbox = outbox(1);
    outbox.push(&Frame::ping(), MESSAGE);
    for group in 0..=1_000 {
        outbox.push(&Frame::ping(), OverflowPolicy::MarkBehind(ConversationKey::Group(GroupId(group)), 1));
    }
    assert_eq!(outbox.asked_to_close(), Some(Close::Overloaded));
    assert_eq!(take(&outbox), None);
    outbox.finish(Close::Overloaded);
    outbox.push(&Frame::ping(), MESSAGE);
    assert_eq!(take_all(&outbox), Close::Overloaded.frame().bytes().as_ref());
}

#[test]
fn the_first_reason_to_close_is_kept() {
    let outbox = outbox(1);
    outbox.ask_to_close(Close::Unauthorized);
    outbox.ask_to_close(Close::Overloaded);
    assert_eq!(outbox.asked_to_close(), Some(Close::Unauthorized));
}

#[test]
fn replies_do_not_use_the_budget_of_pushes() {
    let outbox = outbox(1000);
    outbox.reply(&large());
    assert!(!outbox.has_room());
    outbox.push(&Frame::ping(), MESSAGE);
    take_all(&outbox);
    assert!(outbox.has_room());
}

#[test]
fn pong_and_heartbeat_go_before_all_that_waits_and_do_not_pile_up() {
    let outbox = outbox(1000);
    outbox.reply(&large());
    outbox.push(&Frame::pong(b"a push"), MESSAGE);
    for nth in 0..100 {
        outbox.pong(&[nth]);
        outbox.enqueue_heartbeat();
    }
    let control = [Frame::pong(&[99]).bytes().as_ref(), Frame::ping().bytes()].concat();
    assert_eq!(take(&outbox), Some([&control, large().bytes().as_ref()].concat()));
    assert_eq!(take_all(&outbox), Frame::pong(b"a push").bytes().as_ref());
}

#[test]
fn pong_and_heartbeat_are_taken_while_nothing_else_waits_and_not_after_finish() {
    let outbox = outbox(1000);
    outbox.pong(b"1");
    assert_eq!(take(&outbox).as_deref(), Some(Frame::pong(b"1").bytes().as_ref()));
    outbox.pong(b"2");
    outbox.finish(Close::Normal);
    outbox.pong(b"3");
    outbox.enqueue_heartbeat();
    let last = [Frame::pong(b"2").bytes().as_ref(), Close::Normal.frame().bytes()].concat();
    assert_eq!(take_all(&outbox), last);
}

#[test]
fn abandon_drops_what_waits() {
    let outbox = outbox(1000);
    outbox.reply(&large());
    outbox.abandon();
    outbox.reply(&large());
    assert!(outbox.has_room() && take(&outbox).is_none());
}
