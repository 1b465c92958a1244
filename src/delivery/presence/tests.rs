//! Which presence changes are announced when users connect, disconnect and move between nodes.

use super::*;
use crate::delivery::peers::NoPeers;
use crate::delivery::sharded_map::ShardKey as _;

const ANN: UserId = UserId(1);
const ACTIVE: PresenceStatus = PresenceStatus { is_online: true, active: true };
const INACTIVE: PresenceStatus = PresenceStatus { is_online: true, active: false };

fn presence() -> Presence {
    Presence::new(Arc::new(NoPeers))
}

fn announced(presence: &Presence, flush: bool) -> Vec<PresenceStatus> {
    presence.take_changes(flush).into_iter().map(|change| change.status).collect()
}

#[test]
fn five_sockets_of_one_user_are_announced_once() {
    let presence = presence();
    (0..5).for_each(|_| presence.connected(ANN));
    assert_eq!(announced(&presence, false), [ACTIVE]);
    (0..5).for_each(|_| presence.disconnected(ANN, true));
    assert_eq!(announced(&presence, false), []);
    assert!(presence.status(ANN).is_online);
    assert_eq!(announced(&presence, true), [OFFLINE]);
    assert_eq!(announced(&presence, true), []);
    assert_eq!(presence.status(ANN), OFFLINE);
}

#[test]
fn a_user_who_reconnects_in_time_was_never_offline() {
    let presence = presence();
    presence.connected(ANN);
    assert_eq!(announced(&presence, false), [ACTIVE]);
    presence.disconnected(ANN, true);
    presence.connected(ANN);
    assert_eq!(announced(&presence, true), []);
    presence.disconnected(ANN, true);
    assert_eq!(announced(&presence, true), [OFFLINE]);
    presence.connected(ANN);
    assert_eq!(announced(&presence, true), [ACTIVE]);
}

#[test]
fn a_command_that_outlives_its_socket_changes_no_count() {
    let presence = presence();
    presence.connected(ANN);
    presence.disconnected(ANN, true);
    presence.activity_changed(ANN, false);
    presence.activity_changed(ANN, true);
    presence.connected(ANN);
    assert_eq!(announced(&presence, false), [ACTIVE]);
    presence.activity_changed(ANN, false);
    assert_eq!(announced(&presence, false), [INACTIVE]);
}

#[test]
fn one_app_in_the_background_leaves_the_user_active() {
    let presence = presence();
    presence.connected(ANN);
    presence.connected(ANN);
    presence.activity_changed(ANN, false);
    assert_eq!(announced(&presence, false), [ACTIVE]);
    presence.activity_changed(ANN, false);
    assert_eq!(announced(&presence, false), [INACTIVE]);
    presence.activity_changed(ANN, true);
    presence.activity_changed(ANN, false);
    assert_eq!(announced(&presence, false), [], "it is as it was announced");
    presence.activity_changed(ANN, true);
    assert_eq!(announced(&presence, false), [ACTIVE]);
    presence.disconnected(ANN, true);
    assert_eq!(announced(&presence, false), [], "it may reconnect");
    assert_eq!(announced(&presence, true), [INACTIVE], "the one in the foreground has closed");
}

#[test]
fn a_user_who_reconnects_to_another_node_was_never_offline() {
    let presence = presence();
    let node = NodeId::default();
    presence.connected(ANN);
    assert_eq!(announced(&presence, false), [ACTIVE]);
    presence.disconnected(ANN, true);
    presence.apply_peer_change(node, ANN, Some(true), false);
    assert_eq!(announced(&presence, true), []);
    presence.apply_peer_change(node, ANN, Some(false), true);
    assert_eq!(announced(&presence, false), [INACTIVE]);
    presence.apply_peer_change(node, ANN, None, false);
    assert_eq!(announced(&presence, false), [], "they may reconnect");
    let changes = presence.take_changes(true);
    assert_eq!((changes.len(), changes[0].status, changes[0].is_recorded_here), (1, OFFLINE, false), "{changes:?}");
}

#[test]
fn node_lost_disconnects_the_users_who_were_only_there() {
    let presence = presence();
    let (node, seen) = (NodeId::default(), Timestamp(Utc::now()));
    let bob = UserId(2);
    presence.connected(ANN);
    for user in [ANN, bob] {
        presence.apply_peer_snapshot(node, user.shard(), &[(user, true)], true);
    }
    assert_eq!(announced(&presence, true), [ACTIVE, ACTIVE]);
    presence.node_lost(node, seen);
    let expected = PresenceChange {
        user: bob,
        status: OFFLINE,
        has_been_announced: true,
        last_seen_at: seen,
        is_recorded_here: true,
    };
    assert_eq!(presence.take_changes(true), [expected]);
    assert!(presence.status(ANN).is_online);
}

#[test]
fn a_snapshot_replaces_what_was_known_of_its_shard() {
    let presence = presence();
    let node = NodeId::default();
    let shard = |users: &[(UserId, bool)], is_announced| presence.apply_peer_snapshot(node, 1, users, is_announced);
    shard(&[(ANN, true)], false);
    assert_eq!(announced(&presence, true), [], "users online before this node are not announced");
    shard(&[(ANN, true), (UserId(65), true)], true);
    assert_eq!(announced(&presence, true), [ACTIVE]);
    shard(&[(UserId(65), true)], true);
    assert_eq!((announced(&presence, true), presence.status(ANN)), (vec![OFFLINE], OFFLINE));
    shard(&[], true);
    assert_eq!(announced(&presence, true), [OFFLINE]);
}
