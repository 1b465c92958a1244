//! What a node makes of what it hears: who the others are, whether it has heard all that they said, and
//! what there is to do about it here. One task owns this.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;

use chrono::Utc;

use super::super::Delivery;
use super::super::presence::SHARDS;
use super::NodeId;
use super::payload::Payload;
use super::words::{Said, Word};
use crate::model::Timestamp;

/// A node is gone that says nothing for so many signs of life of this one, as this one hears them: where
/// nobody can be heard, nobody is gone.
const SILENT_BEATS: u32 = 3;
/// So many beats later it is not remembered how far it was heard.
const REMEMBERED_BEATS: u32 = 1_800;
/// What may have been missed is counted from so many beats before the last word that was heard in order:
/// what was committed longer ago was heard.
const HORIZONS: usize = 6;

/// Something was not heard that concerns people who are connected here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Changes of conversations from this number on may have been missed; see the migrations.
    pub since: i64,
}

/// How far each of the other nodes was heard.
#[derive(Debug)]
pub struct Listening {
    delivery: Delivery,
    nodes: HashMap<NodeId, Node>,
    /// What the latest beats of this node named, the oldest first.
    horizons: VecDeque<i64>,
    /// To be asked at the next beat who is there.
    asks_again: bool,
    /// Payloads that are none of ours are worth one line in the log.
    has_warned: bool,
}

#[derive(Debug)]
struct Node {
    /// The number of the batch that is to come next; `None` where it was never heard.
    next: Option<u64>,
    /// The pieces of it so far.
    pieces: Pieces,
    /// Nothing that became visible before this number was missed.
    horizon: i64,
    heard_at: Timestamp,
    /// Beats of this node since then.
    silent_beats: u32,
    is_here: bool,
    has_answered: bool,
}

#[derive(Debug, Default)]
struct Pieces {
    text: String,
    number: usize,
}

impl Listening {
    /// Knows of nobody yet. Changes below `horizon` are done.
    #[must_use]
    pub fn new(delivery: Delivery, horizon: i64) -> Self {
        Self {
            delivery,
            nodes: HashMap::new(),
            horizons: VecDeque::from([horizon]),
            asks_again: false,
            has_warned: false,
        }
    }

    /// Says that this node is there and who is with it, and asks the same of all. To be called whenever
    /// it can listen anew.
    pub fn hello(&mut self) {
        self.ask(None);
    }

    /// Acts on what was said, by whichever node.
    pub fn hear(&mut self, text: &str) -> Option<Missed> {
        let Some(payload) = Payload::parse(text) else {
            self.warn("there is something on the bus that this version does not know; it is ignored");
            return None;
        };
        if payload.from == self.delivery.bus.node {
            self.delivery.bus.is_heard.store(true, Ordering::Release);
            if payload.is_beat() {
                self.beat(payload.horizon);
            }
            return None;
        }
        let is_serving = self.delivery.bus.is_serving.load(Ordering::Acquire);
        let horizon = self.horizons.front().copied().unwrap_or(i64::MAX);
        let node = self.nodes.entry(payload.from).or_insert_with(|| Node::new(horizon));
        let missed = node.follow(&payload).filter(|_| is_serving).map(|since| Missed { since });
        node.silent_beats = 0;
        node.heard_at = Timestamp(Utc::now());
        node.horizon = horizon;
        let body = node.take_in(&payload);
        if !node.is_here {
            self.welcome(payload.from);
        }
        if missed.is_some() {
            self.asks_again = true;
            self.delivery.hub.metrics.missed();
        }
        match body.map(|body| Word::read(&body)) {
            Some(Ok(said)) => said.into_iter().for_each(|said| self.act(payload.from, said)),
            Some(Err(_)) => self.warn("a node says something that this one cannot read; it is ignored"),
            None => {}
        }
        missed
    }

    /// Time passes by the beats of this node, as it hears them.
    fn beat(&mut self, horizon: i64) {
        if self.horizons.back().is_some_and(|last| *last > horizon) {
            // The database was put back, and with it the numbers.
            self.horizons.clear();
            self.nodes.values_mut().for_each(|node| node.horizon = node.horizon.min(horizon));
        }
        self.horizons.push_back(horizon);
        if self.horizons.len() > HORIZONS {
            self.horizons.pop_front();
        }
        self.nodes.values_mut().for_each(|node| node.silent_beats += 1);
        let is_silent = |node: &Node| node.is_here && node.silent_beats > SILENT_BEATS;
        let silent: Vec<NodeId> = self.nodes.iter().filter(|(_, node)| is_silent(node)).map(|(id, _)| *id).collect();
        for id in silent {
            tracing::warn!(node = %id, "another node is silent; who was connected there has gone");
            self.lose(id);
        }
        self.nodes.retain(|_, node| node.is_here || node.silent_beats < REMEMBERED_BEATS);
        if std::mem::take(&mut self.asks_again) {
            self.hello();
        }
    }

    fn act(&mut self, from: NodeId, said: Said) {
        let presence = &self.delivery.presence;
        match said {
            Said::Event(event) => self.delivery.hub.receive(&event, false),
            Said::Word(Word::Hello { to }) => {
                if to.is_none_or(|to| to == self.delivery.bus.node) {
                    presence.say_all();
                }
            }
            Said::Word(Word::Bye) => {
                tracing::info!(node = %from, "another node has stopped");
                self.lose(from);
                self.nodes.remove(&from);
            }
            Said::Word(Word::People { shard, here }) => {
                let is_news = self.delivery.bus.is_serving.load(Ordering::Acquire);
                presence.are_elsewhere(from, shard, &here, is_news);
                if shard == SHARDS - 1 {
                    self.answered(from);
                }
            }
            Said::Word(Word::Here { user, active, settled }) => presence.is_elsewhere(from, user, active, settled),
            Said::Word(Word::Forgotten(user)) => presence.forgotten_elsewhere(user),
            Said::Word(_) => unreachable!("the rest are events"),
        }
    }

    /// From now on this node says what happens here, and says first what has happened so far.
    fn welcome(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.is_here = true;
        }
        tracing::info!(node = %id, "another node is there");
        self.delivery.hub.metrics.node_came();
        let bus = &self.delivery.bus;
        if bus.others.fetch_add(1, Ordering::AcqRel) == 0 && bus.is_serving.load(Ordering::Acquire) {
            // What it said to nobody may concern people who are connected there.
            bus.skip();
        }
        self.ask(Some(id));
    }

    /// A node is gone, and so are those who are connected there alone.
    fn lose(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.is_here) else { return };
        node.is_here = false;
        if std::mem::take(&mut node.has_answered) {
            self.delivery.bus.answered.fetch_sub(1, Ordering::AcqRel);
        }
        self.delivery.hub.metrics.node_went();
        self.delivery.presence.lost(id, node.heard_at);
        self.delivery.bus.others.fetch_sub(1, Ordering::AcqRel);
    }

    fn answered(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id)
            && !std::mem::replace(&mut node.has_answered, true)
        {
            self.delivery.bus.answered.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Asks who is there, and says it too: the other one may have missed it as well.
    fn ask(&mut self, to: Option<NodeId>) {
        self.delivery.bus.say(&Word::Hello { to }, &[]);
        self.delivery.presence.say_all();
    }

    fn warn(&mut self, sentence: &'static str) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!("{sentence}; this is said once");
        }
    }
}

impl Node {
    fn new(horizon: i64) -> Self {
        Self {
            next: None,
            pieces: Pieces::default(),
            horizon,
            heard_at: Timestamp(Utc::now()),
            silent_beats: 0,
            is_here: false,
            has_answered: false,
        }
    }

    /// Since when something was missed, if it was. A node is heard from its first batch on, or else has
    /// said something before.
    fn follow(&self, payload: &Payload<'_>) -> Option<i64> {
        let next = self.next.unwrap_or(1);
        let is_next_piece = payload.number == next && payload.part == self.pieces.number + 1;
        // A batch that came already is said again where the node does not know that it came.
        (payload.number >= next && !is_next_piece).then_some(self.horizon)
    }

    /// The body of a batch, once all of its pieces are there.
    fn take_in(&mut self, payload: &Payload<'_>) -> Option<String> {
        if self.next.is_some_and(|next| payload.number < next) {
            return None;
        }
        if self.next != Some(payload.number) || payload.part == 1 {
            self.pieces = Pieces::default();
            self.next = Some(payload.number);
        }
        if payload.part != self.pieces.number + 1 {
            // The rest of a batch whose beginning was not heard.
            self.next = Some(payload.number + 1);
            return None;
        }
        self.pieces.text.push_str(payload.piece);
        self.pieces.number += 1;
        if payload.part < payload.parts {
            return None;
        }
        self.next = Some(payload.number + 1);
        Some(std::mem::take(&mut self.pieces).text)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::delivery::Event;
    use crate::delivery::bus::Bus;
    use crate::delivery::hub::Hub;
    use crate::limits::memory::BytePool;
    use crate::model::{GroupId, UserId};
    use crate::telemetry::Metrics;

    const EVENT: Event = Event::Left { user: UserId(1), group: GroupId(1) };

    /// A node that has no sockets yet.
    fn fresh() -> Listening {
        let hub = Hub::new(Metrics::default(), 1, 1, BytePool::new(1, Gauge::default()));
        Listening::new(Delivery::new(hub), 100)
    }

    /// A node that has sockets.
    fn node() -> Listening {
        let listening = fresh();
        listening.delivery.bus.serve();
        listening
    }

    fn beat(listening: &mut Listening, horizon: i64) {
        let beat = listening.delivery.bus.beat().payloads(horizon);
        assert_eq!(hear(listening, &beat), None);
    }

    /// What a node says next.
    fn said(bus: &Bus) -> Vec<String> {
        bus.publish(&EVENT);
        bus.take().expect("a batch").payloads(0)
    }

    fn hear(listening: &mut Listening, payloads: &[String]) -> Option<i64> {
        payloads.iter().filter_map(|payload| listening.hear(payload)).map(|missed| missed.since).min()
    }

    #[test]
    fn who_hears_everything_misses_nothing() {
        let (mut here, there) = (node(), Bus::default());
        for _ in 0..5 {
            assert_eq!(hear(&mut here, &said(&there)), None);
        }
        assert!(!here.delivery.bus.is_alone());
    }

    #[test]
    fn what_was_not_heard_is_missed_since_before() {
        let (mut here, there) = (node(), Bus::default());
        assert_eq!(hear(&mut here, &said(&there)), None);
        (101..120).for_each(|horizon| beat(&mut here, horizon));
        drop(said(&there));
        assert_eq!(hear(&mut here, &said(&there)), Some(100), "as of the last word that was heard");
        assert_eq!(hear(&mut here, &said(&there)), None);
        there.skip();
        assert_eq!(hear(&mut here, &said(&there)), Some(114), "some beats ago");
    }

    #[test]
    fn what_is_missed_after_numbers_went_back_is_missed_since_then() {
        let (mut here, there) = (node(), Bus::default());
        (101..120).for_each(|horizon| beat(&mut here, horizon));
        assert_eq!(hear(&mut here, &said(&there)), None);
        beat(&mut here, 50);
        there.skip();
        assert_eq!(hear(&mut here, &said(&there)), Some(50));
        beat(&mut here, 60);
        there.skip();
        assert_eq!(hear(&mut here, &said(&there)), Some(50));
    }

    #[test]
    fn a_batch_that_is_said_twice_is_heard_once() {
        let (mut here, there) = (node(), Bus::default());
        let once = said(&there);
        assert_eq!(hear(&mut here, &once), None);
        assert_eq!(hear(&mut here, &once), None);
        assert_eq!(hear(&mut here, &said(&there)), None);
    }

    #[test]
    fn a_batch_is_whole_or_missed() {
        let there = Bus::default();
        let long = || {
            (0..1_000).for_each(|_| there.publish(&EVENT));
            let payloads = there.take().expect("a batch").payloads(0);
            assert!(payloads.len() > 2);
            payloads
        };
        let mut here = node();
        assert_eq!(hear(&mut here, &long()), None);
        let cut = long();
        assert_eq!(hear(&mut here, &cut[..cut.len() - 1]), None, "the rest may follow");
        assert_eq!(hear(&mut here, &long()), Some(100));
        let headless = long();
        assert_eq!(hear(&mut here, &headless[1..]), Some(100));
        assert_eq!(hear(&mut here, &long()), None);
    }

    #[test]
    fn who_comes_later_has_missed_what_was_said_before() {
        let there = Bus::default();
        drop(said(&there));
        assert_eq!(hear(&mut node(), &said(&there)), Some(100));
        assert_eq!(hear(&mut fresh(), &said(&there)), None);
    }

    #[test]
    fn a_silent_node_is_gone_and_may_come_back() {
        let (mut here, there) = (node(), Bus::default());
        hear(&mut here, &said(&there));
        for _ in 0..SILENT_BEATS {
            beat(&mut here, 101);
        }
        assert!(!here.delivery.bus.is_alone());
        beat(&mut here, 101);
        assert!(here.delivery.bus.is_alone());
        let before = here.delivery.bus.beat().number;
        assert_eq!(hear(&mut here, &said(&there)), None, "it has said nothing meanwhile");
        assert!(!here.delivery.bus.is_alone());
        let after = here.delivery.bus.take().expect("a hello").number;
        assert_eq!(after, before + 2, "and is shown that it may have missed something");
        there.say_goodbye();
        hear(&mut here, &there.take().expect("a goodbye").payloads(0));
        assert!(here.delivery.bus.is_alone());
    }

    #[test]
    fn two_nodes_find_each_other_and_know_who_is_there() {
        let (mut one, mut two) = (node(), fresh());
        one.delivery.presence.came(UserId(1));
        two.delivery.presence.came(UserId(2));
        two.hello();
        let mut rounds = 0;
        while let Some(batch) = one.delivery.bus.take().or_else(|| two.delivery.bus.take()) {
            for payload in batch.payloads(0) {
                assert_eq!((one.hear(&payload), two.hear(&payload)), (None, None));
            }
            rounds += 1;
            assert!(rounds < 10, "they come to an end");
        }
        for node in [&one, &two] {
            let is_online = |user| node.delivery.presence.of(UserId(user)).is_online;
            assert!(is_online(1) && is_online(2));
            assert_eq!(node.delivery.bus.answered(), 1);
        }
    }
}
