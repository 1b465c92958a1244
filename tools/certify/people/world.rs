//! What all people of a round share.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::accounts::Account;
use crate::certify::record::UserId;

/// Who is there, and which groups.
#[derive(Debug)]
pub(crate) struct World {
    /// Where to go: `http://…`, one a server.
    pub(crate) servers: Vec<String>,
    /// Everybody.
    pub(crate) people: Vec<Account>,
    /// All groups.
    pub(crate) groups: Vec<Group>,
    pairs: Mutex<HashMap<(i64, UserId), Pair>>,
    cursors: Mutex<HashMap<UserId, Vec<String>>>,
    cut: watch::Sender<u64>,
}

/// A group: some are always in it, the others come and go.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Which.
    pub(crate) id: i64,
    /// Its first admin, who adds and removes.
    pub(crate) admin: UserId,
    /// Who comes and goes.
    pub(crate) floating: Vec<UserId>,
}

/// Whether somebody is in a group, as far as anybody can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    /// They are.
    In,
    /// They are not.
    Out,
    /// A change is under way.
    Busy,
    /// A change was not answered: nobody touches it any more, because it may still happen.
    Unsure,
}

/// A world without groups, of people whose truth is to be asked.
pub(crate) fn world_of(servers: Vec<String>, people: Vec<Account>) -> World {
    World::new(servers, people, Vec::new(), HashMap::new())
}

impl World {
    /// Before anybody has done anything; `pairs` says who is in which group.
    pub(crate) fn new(
        servers: Vec<String>,
        people: Vec<Account>,
        groups: Vec<Group>,
        pairs: HashMap<(i64, UserId), Pair>,
    ) -> Self {
        Self {
            servers,
            people,
            groups,
            pairs: Mutex::new(pairs),
            cursors: Mutex::default(),
            cut: watch::Sender::default(),
        }
    }

    /// Has about half of the open sockets cut in the middle of a frame.
    pub(crate) fn cut_sockets(&self) {
        self.cut.send_modify(|nth| *nth += 1);
    }

    /// Hears of each time that sockets are to be cut.
    pub(crate) fn cuts(&self) -> watch::Receiver<u64> {
        self.cut.subscribe()
    }

    /// Whether somebody is in a group.
    pub(crate) fn pair(&self, group: i64, user: UserId) -> Pair {
        self.pairs.lock().get(&(group, user)).copied().unwrap_or(Pair::In)
    }

    /// Takes a pair that is as `expected`, so that nobody else changes it meanwhile.
    pub(crate) fn take(&self, group: i64, user: UserId, expected: Pair) -> bool {
        let mut pairs = self.pairs.lock();
        let pair = pairs.entry((group, user)).or_insert(Pair::In);
        let is_so = *pair == expected;
        if is_so {
            *pair = Pair::Busy;
        }
        is_so
    }

    /// Gives a pair back.
    pub(crate) fn put(&self, group: i64, user: UserId, pair: Pair) {
        self.pairs.lock().insert((group, user), pair);
    }

    /// Keeps a cursor that somebody was given.
    pub(crate) fn keep_cursor(&self, user: UserId, cursor: &str) {
        let mut cursors = self.cursors.lock();
        let of_user = cursors.entry(user).or_default();
        if !of_user.iter().any(|kept| kept == cursor) {
            of_user.push(cursor.to_owned());
        }
    }

    /// The cursors that somebody was given, the first one first.
    pub(crate) fn cursors(&self, user: UserId) -> Vec<String> {
        self.cursors.lock().get(&user).cloned().unwrap_or_default()
    }
}
