//! Who is there. Somebody is online from their first socket until five seconds after their last one:
//! who comes back within that time was never gone. What has changed is given out every so often, once
//! and as it is then, so that a flapping connection is no news.

use std::collections::{HashMap, HashSet, VecDeque};
use std::mem;
use std::time::{Duration, Instant};

use chrono::Utc;
use parking_lot::Mutex;

use crate::model::{Timestamp, UserId};

const SHARDS: usize = 64;
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
}

#[derive(Debug, Default)]
struct Here {
    sockets: usize,
    active_sockets: usize,
    /// What others were told last; they know of nobody that they are not told of.
    told: Option<Status>,
    /// Until when a socket that came or went says nothing of the app: it may be the same one that comes back.
    unsettled: Option<Instant>,
    /// When the last socket ended.
    gone: Option<(Instant, Timestamp)>,
}

/// How somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether any socket is open, or was a moment ago.
    pub is_online: bool,
    /// Whether the app is in front on any of them.
    pub active: bool,
}

/// What others are to be told of somebody.
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
}

const AWAY: Status = Status { is_online: false, active: false };

impl Default for Presence {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            changed: Mutex::default(),
            leaving: Mutex::default(),
        }
    }
}

impl Presence {
    /// A socket was opened, with the app in front.
    pub fn came(&self, user: UserId) {
        let mut shard = self.shard(user).lock();
        let here = shard.entry(user).or_default();
        here.sockets += 1;
        here.active_sockets += 1;
        here.gone = None;
        here.unsettled = here.told.map(|_| Instant::now() + GRACE);
        self.changed.lock().insert(user);
    }

    /// A socket has ended.
    pub fn left(&self, user: UserId, was_active: bool) {
        let mut shard = self.shard(user).lock();
        let Some(here) = shard.get_mut(&user) else { return };
        here.sockets -= 1;
        here.active_sockets = here.active_sockets.saturating_sub(usize::from(was_active)).min(here.sockets);
        if here.sockets == 0 {
            let now = Instant::now();
            here.gone = Some((now, Timestamp(Utc::now())));
            self.leaving.lock().push_back((now, user));
        } else {
            here.unsettled = Some(Instant::now() + GRACE);
            self.changed.lock().insert(user);
        }
    }

    /// On one socket the app came to the front or went to the background.
    pub fn turned(&self, user: UserId, active: bool) {
        let mut shard = self.shard(user).lock();
        let Some(here) = shard.get_mut(&user) else { return };
        // A command may outlive its socket, which was counted out as it was then.
        let turned = if active { here.active_sockets + 1 } else { here.active_sockets.saturating_sub(1) };
        here.active_sockets = turned.min(here.sockets);
        here.unsettled = None;
        self.changed.lock().insert(user);
    }

    /// Others were told otherwise that somebody is gone for good: there will be no news of it.
    pub fn forget(&self, user: UserId) {
        if let Some(here) = self.shard(user).lock().get_mut(&user) {
            here.told = None;
            here.unsettled = Some(Instant::now() + GRACE);
        }
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
            let left = shard.get(&user).and_then(|here| here.gone).filter(|(left, _)| *left == since);
            if let Some((_, seen)) = left {
                let is_known = shard.remove(&user).is_some_and(|here| here.told.is_some());
                news.push(News { user, status: AWAY, is_known, seen });
            }
        }
        news
    }

    fn news_of(&self, user: UserId, hurry: bool) -> Option<News> {
        let mut shard = self.shard(user).lock();
        // Of who is leaving there is nothing to say before it is for good.
        let here = shard.get_mut(&user).filter(|here| here.sockets > 0)?;
        if here.unsettled.is_some_and(|until| !hurry && until > Instant::now()) {
            // Once more, when it has settled.
            self.changed.lock().insert(user);
            return None;
        }
        let status = here.status();
        let is_news = here.told.replace(status) != Some(status);
        is_news.then(|| News { user, status, is_known: true, seen: Timestamp(Utc::now()) })
    }

    fn shard(&self, user: UserId) -> &Mutex<HashMap<UserId, Here>> {
        let nth = user.0.unsigned_abs() % SHARDS as u64;
        &self.shards[usize::try_from(nth).expect("less than the number of shards")]
    }
}

impl Here {
    fn status(&self) -> Status {
        Status { is_online: true, active: self.active_sockets > 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId(1);
    const ACTIVE: Status = Status { is_online: true, active: true };
    const INACTIVE: Status = Status { is_online: true, active: false };

    fn told(presence: &Presence, hurry: bool) -> Vec<Status> {
        presence.news(hurry).into_iter().map(|news| news.status).collect()
    }

    #[test]
    fn five_sockets_come_and_go_as_one_person() {
        let presence = Presence::default();
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
        let presence = Presence::default();
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
        let presence = Presence::default();
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
        let presence = Presence::default();
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
}
