//! Who is there. Somebody is online from their first socket until five seconds after their last one, on
//! whichever nodes: who comes back within that time was never gone. What has changed is given out every
//! so often, once and as it is then, so that a flapping connection is no news.
//!
//! Every node knows who is there on all of them, and tells its own sockets. So nobody is told twice, and
//! there is nobody on whom the others depend.

use std::collections::{HashMap, HashSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use parking_lot::Mutex;

use super::bus::{Bus, NodeId};
use crate::model::{Timestamp, UserId};

/// Users are spread over so many locks, and nodes tell each other of so many lists of people.
pub(super) const SHARDS: usize = 64;
/// Who comes back within this time was never gone.
const GRACE: Duration = Duration::from_secs(5);

/// Everybody who is online, on any node.
#[derive(Debug)]
pub struct Presence {
    shards: Vec<Mutex<HashMap<UserId, Here>>>,
    /// Whose status may be news.
    changed: Mutex<HashSet<UserId>>,
    /// Whose last socket has ended, in the order of time.
    leaving: Mutex<VecDeque<(Instant, UserId)>>,
    /// Told of everybody here under the lock of their shard: what is said last is how it is.
    bus: Arc<Bus>,
}

#[derive(Debug, Default)]
struct Here {
    /// On this node.
    sockets: usize,
    active_sockets: usize,
    /// The other nodes where they have sockets, and whether the app is in front there.
    elsewhere: Vec<(NodeId, bool)>,
    /// What others were told last; they know of nobody that they are not told of.
    told: Option<Status>,
    /// Until when a socket that came or went says nothing of the app: it may be the same one that comes back.
    unsettled: Option<Instant>,
    gone: Option<Gone>,
}

/// When the last socket ended.
#[derive(Clone, Copy, Debug)]
struct Gone {
    since: Instant,
    seen: Timestamp,
    /// Whether no other node notes it.
    is_ours: bool,
}

/// How somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether any socket is open, or was a moment ago.
    pub is_online: bool,
    /// Whether the app is in front on any of them.
    pub active: bool,
}

/// What the sockets of this node are to be told of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// Of whom.
    pub user: UserId,
    /// How they are there now.
    pub status: Status,
    /// Whether others know that they were there at all.
    pub is_known: bool,
    /// When they were last here.
    pub seen: Timestamp,
    /// Whether it is for this node to note that.
    pub is_ours: bool,
}

const AWAY: Status = Status { is_online: false, active: false };

impl Presence {
    /// Nobody is there yet. The other nodes hear of those who come.
    #[must_use]
    pub fn new(bus: Arc<Bus>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            changed: Mutex::default(),
            leaving: Mutex::default(),
            bus,
        }
    }

    /// A socket was opened, with the app in front.
    pub fn came(&self, user: UserId) {
        let mut shard = self.shard(user).lock();
        let here = shard.entry(user).or_default();
        let before = here.on_this_node();
        here.sockets += 1;
        here.active_sockets += 1;
        here.stays();
        self.changed.lock().insert(user);
        self.tell_nodes(user, before, here, false);
    }

    /// A socket has ended.
    pub fn left(&self, user: UserId, was_active: bool) {
        let mut shard = self.shard(user).lock();
        let Some(here) = shard.get_mut(&user) else { return };
        let before = here.on_this_node();
        here.sockets -= 1;
        here.active_sockets = here.active_sockets.saturating_sub(usize::from(was_active)).min(here.sockets);
        self.went(user, here, Timestamp(Utc::now()), true);
        self.tell_nodes(user, before, here, false);
    }

    /// On one socket the app came to the front or went to the background.
    pub fn turned(&self, user: UserId, active: bool) {
        let mut shard = self.shard(user).lock();
        let Some(here) = shard.get_mut(&user) else { return };
        let before = here.on_this_node();
        // A command may outlive its socket, which was counted out as it was then.
        let turned = if active { here.active_sockets + 1 } else { here.active_sockets.saturating_sub(1) };
        here.active_sockets = turned.min(here.sockets);
        here.unsettled = None;
        self.changed.lock().insert(user);
        self.tell_nodes(user, before, here, true);
    }

    /// Others were told otherwise that somebody is gone for good: there will be no news of it.
    pub fn forget(&self, user: UserId) {
        self.forgotten_elsewhere(user);
        self.bus.say_forgotten(user);
    }

    /// How somebody is there now.
    #[must_use]
    pub fn of(&self, user: UserId) -> Status {
        self.shard(user).lock().get(&user).map_or(AWAY, Here::status)
    }

    /// What others are to be told now; each change is given out once. With `hurry`, those who could
    /// still come back in time are gone as well.
    #[must_use]
    pub fn news(&self, hurry: bool) -> Vec<News> {
        let changed = mem::take(&mut *self.changed.lock());
        let mut news: Vec<News> = changed.into_iter().filter_map(|user| self.news_of(user, hurry)).collect();
        let now = Instant::now();
        let mut leaving = self.leaving.lock();
        let due = leaving.partition_point(|(since, _)| hurry || now.duration_since(*since) >= GRACE);
        let due: Vec<_> = leaving.drain(..due).collect();
        drop(leaving);
        for (since, user) in due {
            let mut shard = self.shard(user).lock();
            // Who came back and left anew stands in the queue once more.
            let left = shard.get(&user).and_then(|here| here.gone).filter(|gone| gone.since == since);
            if let Some(Gone { seen, is_ours, .. }) = left {
                let is_known = shard.remove(&user).is_some_and(|here| here.told.is_some());
                news.push(News { user, status: AWAY, is_known, seen, is_ours });
            }
        }
        news
    }

    /// Says to the other nodes who is there on this one.
    pub(super) fn say_all(&self) {
        for (nth, shard) in self.shards.iter().enumerate() {
            let shard = shard.lock();
            let here = shard.iter().filter_map(|(user, here)| Some((*user, here.on_this_node()?))).collect();
            self.bus.say_people(nth, here);
        }
    }

    /// How somebody is there on another node. `settled` where no socket came or went.
    pub(super) fn is_elsewhere(&self, node: NodeId, user: UserId, active: Option<bool>, settled: bool) {
        let mut shard = self.shard(user).lock();
        if shard.get(&user).and_then(|here| here.on(node)) == active {
            return;
        }
        let here = shard.entry(user).or_default();
        here.elsewhere.retain(|(other, _)| *other != node);
        match active {
            Some(active) => {
                here.elsewhere.push((node, active));
                here.stays();
                if settled {
                    here.unsettled = None;
                }
                self.changed.lock().insert(user);
            }
            None => self.went(user, here, Timestamp(Utc::now()), false),
        }
    }

    /// Who of a shard is there on another node: they and nobody else. It is no news to a node that has
    /// no sockets yet.
    pub(super) fn are_elsewhere(&self, node: NodeId, shard: usize, people: &[(UserId, bool)], is_news: bool) {
        let Some(lock) = self.shards.get(shard) else { return };
        let present: HashSet<UserId> = people.iter().map(|(user, _)| *user).collect();
        let is_left = |user: &UserId, here: &Here| here.on(node).is_some() && !present.contains(user);
        let left: Vec<UserId> =
            lock.lock().iter().filter(|(user, here)| is_left(user, here)).map(|(user, _)| *user).collect();
        for user in left {
            self.is_elsewhere(node, user, None, false);
        }
        for (user, active) in people {
            self.is_elsewhere(node, *user, Some(*active), false);
            if !is_news && let Some(here) = self.shard(*user).lock().get_mut(user) {
                here.told = Some(here.status());
            }
        }
    }

    /// Another node is gone, which was heard last at `seen`; nobody else notes it.
    pub(super) fn lost(&self, node: NodeId, seen: Timestamp) {
        for shard in &self.shards {
            for (user, here) in shard.lock().iter_mut().filter(|(_, here)| here.on(node).is_some()) {
                here.elsewhere.retain(|(other, _)| *other != node);
                self.went(*user, here, seen, true);
            }
        }
    }

    /// There will be no news of somebody, as another node says.
    pub(super) fn forgotten_elsewhere(&self, user: UserId) {
        if let Some(here) = self.shard(user).lock().get_mut(&user) {
            here.told = None;
            here.unsettled = Some(Instant::now() + GRACE);
        }
    }

    /// One place fewer where somebody is there, perhaps the last.
    fn went(&self, user: UserId, here: &mut Here, seen: Timestamp, is_ours: bool) {
        let now = Instant::now();
        if here.is_anywhere() {
            here.unsettled = Some(now + GRACE);
            self.changed.lock().insert(user);
        } else {
            here.gone = Some(Gone { since: now, seen, is_ours });
            self.leaving.lock().push_back((now, user));
        }
    }

    fn tell_nodes(&self, user: UserId, before: Option<bool>, here: &Here, settled: bool) {
        let now = here.on_this_node();
        if now != before {
            self.bus.say_status(user, now, settled);
        }
    }

    fn news_of(&self, user: UserId, hurry: bool) -> Option<News> {
        let mut shard = self.shard(user).lock();
        // Of who is leaving there is nothing to say before it is for good.
        let here = shard.get_mut(&user).filter(|here| here.is_anywhere())?;
        if here.unsettled.is_some_and(|until| !hurry && until > Instant::now()) {
            // Once more, when it has settled.
            self.changed.lock().insert(user);
            return None;
        }
        let (status, is_ours) = (here.status(), here.sockets > 0);
        let is_news = here.told.replace(status) != Some(status);
        is_news.then(|| News { user, status, is_known: true, seen: Timestamp(Utc::now()), is_ours })
    }

    fn shard(&self, user: UserId) -> &Mutex<HashMap<UserId, Here>> {
        let nth = user.0.unsigned_abs() % SHARDS as u64;
        &self.shards[usize::try_from(nth).expect("less than the number of shards")]
    }
}

impl Here {
    fn status(&self) -> Status {
        let active = self.active_sockets > 0 || self.elsewhere.iter().any(|(_, active)| *active);
        Status { is_online: true, active }
    }

    /// Whether the app is in front on this node; `None` where no socket is.
    fn on_this_node(&self) -> Option<bool> {
        (self.sockets > 0).then_some(self.active_sockets > 0)
    }

    /// Whether the app is in front on another node; `None` where no socket is.
    fn on(&self, node: NodeId) -> Option<bool> {
        self.elsewhere.iter().find(|(other, _)| *other == node).map(|(_, active)| *active)
    }

    fn is_anywhere(&self) -> bool {
        self.sockets > 0 || !self.elsewhere.is_empty()
    }

    /// A socket has come, perhaps the one that went.
    fn stays(&mut self) {
        self.gone = None;
        self.unsettled = self.told.map(|_| Instant::now() + GRACE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId(1);
    const ACTIVE: Status = Status { is_online: true, active: true };
    const INACTIVE: Status = Status { is_online: true, active: false };

    fn presence() -> Presence {
        Presence::new(Arc::default())
    }

    fn told(presence: &Presence, hurry: bool) -> Vec<Status> {
        presence.news(hurry).into_iter().map(|news| news.status).collect()
    }

    #[test]
    fn five_sockets_come_and_go_as_one_person() {
        let presence = presence();
        (0..5).for_each(|_| presence.came(ANN));
        assert_eq!(told(&presence, false), [ACTIVE]);
        (0..5).for_each(|_| presence.left(ANN, true));
        assert_eq!(told(&presence, false), []);
        assert!(presence.of(ANN).is_online);
        assert_eq!(told(&presence, true), [AWAY]);
        assert_eq!(told(&presence, true), []);
        assert_eq!(presence.of(ANN), AWAY);
    }

    #[test]
    fn who_comes_back_was_never_gone() {
        let presence = presence();
        presence.came(ANN);
        assert_eq!(told(&presence, false), [ACTIVE]);
        presence.left(ANN, true);
        presence.came(ANN);
        assert_eq!(told(&presence, true), []);
        presence.left(ANN, true);
        assert_eq!(told(&presence, true), [AWAY]);
        presence.came(ANN);
        assert_eq!(told(&presence, true), [ACTIVE]);
    }

    #[test]
    fn a_command_that_outlives_its_socket_counts_nobody_out() {
        let presence = presence();
        presence.came(ANN);
        presence.left(ANN, true);
        presence.turned(ANN, false);
        presence.turned(ANN, true);
        presence.came(ANN);
        assert_eq!(told(&presence, false), [ACTIVE]);
        presence.turned(ANN, false);
        assert_eq!(told(&presence, false), [INACTIVE]);
    }

    #[test]
    fn an_app_in_the_background_makes_only_itself_inactive() {
        let presence = presence();
        presence.came(ANN);
        presence.came(ANN);
        presence.turned(ANN, false);
        assert_eq!(told(&presence, false), [ACTIVE]);
        presence.turned(ANN, false);
        assert_eq!(told(&presence, false), [INACTIVE]);
        presence.turned(ANN, true);
        presence.turned(ANN, false);
        assert_eq!(told(&presence, false), [], "it is as they were told");
        presence.turned(ANN, true);
        assert_eq!(told(&presence, false), [ACTIVE]);
        presence.left(ANN, true);
        assert_eq!(told(&presence, false), [], "it may come back");
        assert_eq!(told(&presence, true), [INACTIVE], "the one in front has ended");
    }

    #[test]
    fn who_moves_to_another_node_was_never_gone() {
        let presence = presence();
        let node = NodeId::default();
        presence.came(ANN);
        assert_eq!(told(&presence, false), [ACTIVE]);
        presence.left(ANN, true);
        presence.is_elsewhere(node, ANN, Some(true), false);
        assert_eq!(told(&presence, true), []);
        presence.is_elsewhere(node, ANN, Some(false), true);
        assert_eq!(told(&presence, false), [INACTIVE]);
        presence.is_elsewhere(node, ANN, None, false);
        assert_eq!(told(&presence, false), [], "they may come back");
        let news = presence.news(true);
        assert_eq!((news.len(), news[0].status, news[0].is_ours), (1, AWAY, false), "{news:?}");
    }

    #[test]
    fn with_a_node_go_those_who_were_nowhere_else() {
        let presence = presence();
        let (node, seen) = (NodeId::default(), Timestamp(Utc::now()));
        let bob = UserId(2);
        presence.came(ANN);
        let people = |user: UserId| user.0.unsigned_abs() % SHARDS as u64;
        for user in [ANN, bob] {
            let shard = usize::try_from(people(user)).expect("a shard");
            presence.are_elsewhere(node, shard, &[(user, true)], true);
        }
        assert_eq!(told(&presence, true), [ACTIVE, ACTIVE]);
        presence.lost(node, seen);
        let expected = News { user: bob, status: AWAY, is_known: true, seen, is_ours: true };
        assert_eq!(presence.news(true), [expected]);
        assert!(presence.of(ANN).is_online);
    }

    #[test]
    fn a_list_of_people_stands_for_itself() {
        let presence = presence();
        let node = NodeId::default();
        let shard = |people: &[(UserId, bool)], is_news| presence.are_elsewhere(node, 1, people, is_news);
        shard(&[(ANN, true)], false);
        assert_eq!(told(&presence, true), [], "who was there before this node is no news");
        shard(&[(ANN, true), (UserId(65), true)], true);
        assert_eq!(told(&presence, true), [ACTIVE]);
        shard(&[(UserId(65), true)], true);
        assert_eq!((told(&presence, true), presence.of(ANN)), (vec![AWAY], AWAY));
        shard(&[], true);
        assert_eq!(told(&presence, true), [AWAY]);
    }
}
