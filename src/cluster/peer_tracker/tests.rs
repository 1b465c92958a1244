//! Gaps, peers that join and leave, and the exchange of presence between two nodes.

use prometheus_client::metrics::gauge::Gauge;

use super::*;
use crate::delivery::Event;
use crate::delivery::hub::Hub;
use crate::delivery::peers::Peers as _;
use crate::limits::memory::MemoryBudget;
use crate::model::{GroupId, UserId};

const EVENT: Event = Event::MemberRemoved { user: UserId(1), group: GroupId(1) };

/// A node that accepts no sockets yet.
fn starting_node() -> PeerTracker {
    let node = Arc::<ClusterNode>::default();
    let hub = Hub::new(Metrics::default(), 1, 1, MemoryBudget::new(1, Gauge::default()));
    let delivery = Delivery::new(hub, node.clone());
    PeerTracker::new(node, delivery, Metrics::default(), 100)
}

/// A node that accepts sockets.
fn serving_node() -> PeerTracker {
    let tracker = starting_node();
    tracker.node.set_serving();
    tracker
}

fn heartbeat(tracker: &mut PeerTracker, watermark: i64) {
    let heartbeat = tracker.node.heartbeat().payloads(watermark);
    assert_eq!(receive(tracker, &heartbeat), None);
}

/// The payloads of the next batch that a node sends.
fn sent(node: &ClusterNode) -> Vec<String> {
    node.publish(&EVENT);
    node.take_batch().expect("a batch").payloads(0)
}

fn receive(tracker: &mut PeerTracker, payloads: &[String]) -> Option<i64> {
    payloads.iter().filter_map(|payload| tracker.receive(payload)).map(|gap| gap.since).min()
}

#[test]
fn batches_in_order_have_no_gap() {
    let (mut here, there) = (serving_node(), ClusterNode::default());
    for _ in 0..5 {
        assert_eq!(receive(&mut here, &sent(&there)), None);
    }
    assert!(!here.node.is_single_node());
}

#[test]
fn a_gap_begins_at_the_watermark_before_it() {
    let (mut here, there) = (serving_node(), ClusterNode::default());
    assert_eq!(receive(&mut here, &sent(&there)), None);
    (101..120).for_each(|watermark| heartbeat(&mut here, watermark));
    drop(sent(&there));
    assert_eq!(receive(&mut here, &sent(&there)), Some(100), "as of the last payload in order");
    assert_eq!(receive(&mut here, &sent(&there)), None);
    there.skip_number();
    assert_eq!(receive(&mut here, &sent(&there)), Some(114), "some heartbeats ago");
}

#[test]
fn after_a_restore_a_gap_begins_at_the_lower_watermark() {
    let (mut here, there) = (serving_node(), ClusterNode::default());
    (101..120).for_each(|watermark| heartbeat(&mut here, watermark));
    assert_eq!(receive(&mut here, &sent(&there)), None);
    heartbeat(&mut here, 50);
    there.skip_number();
    assert_eq!(receive(&mut here, &sent(&there)), Some(50));
    heartbeat(&mut here, 60);
    there.skip_number();
    assert_eq!(receive(&mut here, &sent(&there)), Some(50));
}

#[test]
fn a_repeated_batch_is_applied_once() {
    let (mut here, there) = (serving_node(), ClusterNode::default());
    let once = sent(&there);
    assert_eq!(receive(&mut here, &once), None);
    assert_eq!(receive(&mut here, &once), None);
    assert_eq!(receive(&mut here, &sent(&there)), None);
}

#[test]
fn an_incomplete_batch_is_a_gap() {
    let there = ClusterNode::default();
    let long = || {
        (0..1_000).for_each(|_| there.publish(&EVENT));
        let payloads = there.take_batch().expect("a batch").payloads(0);
        assert!(payloads.len() > 2);
        payloads
    };
    let mut here = serving_node();
    assert_eq!(receive(&mut here, &long()), None);
    let cut = long();
    assert_eq!(receive(&mut here, &cut[..cut.len() - 1]), None, "the rest may follow");
    assert_eq!(receive(&mut here, &long()), Some(100));
    let headless = long();
    assert_eq!(receive(&mut here, &headless[1..]), Some(100));
    assert_eq!(receive(&mut here, &long()), None);
}

#[test]
fn a_node_that_joins_later_has_a_gap() {
    let there = ClusterNode::default();
    drop(sent(&there));
    assert_eq!(receive(&mut serving_node(), &sent(&there)), Some(100));
    assert_eq!(receive(&mut starting_node(), &sent(&there)), None);
}

#[test]
fn a_silent_peer_is_lost_and_may_return() {
    let (mut here, there) = (serving_node(), ClusterNode::default());
    receive(&mut here, &sent(&there));
    for _ in 0..MAX_SILENT_HEARTBEATS {
        heartbeat(&mut here, 101);
    }
    assert!(!here.node.is_single_node());
    heartbeat(&mut here, 101);
    assert!(here.node.is_single_node());
    let before = here.node.heartbeat().number;
    assert_eq!(receive(&mut here, &sent(&there)), None, "it has sent nothing meanwhile");
    assert!(!here.node.is_single_node());
    let after = here.node.take_batch().expect("a hello").number;
    assert_eq!(after, before + 2, "so that the peer detects a gap");
    there.send_goodbye();
    receive(&mut here, &there.take_batch().expect("a goodbye").payloads(0));
    assert!(here.node.is_single_node());
}

#[test]
fn two_nodes_find_each_other_and_exchange_presence() {
    let (mut one, mut two) = (serving_node(), starting_node());
    one.delivery.presence.connected(UserId(1));
    two.delivery.presence.connected(UserId(2));
    two.announce();
    let mut rounds = 0;
    while let Some(batch) = one.node.take_batch().or_else(|| two.node.take_batch()) {
        for payload in batch.payloads(0) {
            assert_eq!((one.receive(&payload), two.receive(&payload)), (None, None));
        }
        rounds += 1;
        assert!(rounds < 10, "they come to an end");
    }
    for node in [&one, &two] {
        let is_online = |user| node.delivery.presence.status(UserId(user)).is_online;
        assert!(is_online(1) && is_online(2));
        assert_eq!(node.node.synced_peers(), 1);
    }
}
