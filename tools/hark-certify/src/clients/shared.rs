//! The state that all clients of a round share.

use std::collections::HashMap;

use hark_harness::accounts::Account;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::history::event::UserId;

/// The servers, accounts, groups and cursors of a round.
#[derive(Debug)]
pub(crate) struct SharedState {
    /// The URLs of the servers.
    pub(crate) servers: Vec<String>,
    /// The users.
    pub(crate) accounts: Vec<Account>,
    /// The groups.
    pub(crate) groups: Vec<Group>,
    memberships: Mutex<HashMap<(i64, UserId), Membership>>,
    cursors: Mutex<HashMap<UserId, Vec<String>>>,
    cut: watch::Sender<u64>,
}

/// A group. Some members are permanent, the others join and leave.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// The id.
    pub(crate) id: i64,
    /// The admin, who adds and removes the floating members.
    pub(crate) admin: UserId,
    /// The users who join and leave.
    pub(crate) floating: Vec<UserId>,
}

/// The membership of a user in a group, as far as the clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    /// The user is a member.
    In,
    /// The user is no member.
    Out,
    /// A change has been requested.
    Changing,
    /// A change was not answered. No client changes this membership any more, because that change may still take
    /// effect.
    Unknown,
}

impl SharedState {
    /// The state at the start of a round. Memberships that are not listed are [`Membership::In`].
    pub(crate) fn new(
        servers: Vec<String>,
        accounts: Vec<Account>,
        groups: Vec<Group>,
        memberships: HashMap<(i64, UserId), Membership>,
    ) -> Self {
        Self {
            servers,
            accounts,
            groups,
            memberships: Mutex::new(memberships),
            cursors: Mutex::default(),
            cut: watch::Sender::default(),
        }
    }

    /// Tells the devices to cut their sockets in the middle of a frame; about half of them do.
    pub(crate) fn cut_sockets(&self) {
        self.cut.send_modify(|nth| *nth += 1);
    }

    /// Changes each time that sockets are to be cut.
    pub(crate) fn cuts(&self) -> watch::Receiver<u64> {
        self.cut.subscribe()
    }

    /// The membership of a user in a group.
    pub(crate) fn membership(&self, group: i64, user: UserId) -> Membership {
        self.memberships.lock().get(&(group, user)).copied().unwrap_or(Membership::In)
    }

    /// Marks a membership as changing where it is `expected`, so that no other client changes it meanwhile. Returns
    /// whether it was.
    pub(crate) fn begin_change(&self, group: i64, user: UserId, expected: Membership) -> bool {
        let mut memberships = self.memberships.lock();
        let membership = memberships.entry((group, user)).or_insert(Membership::In);
        let is_so = *membership == expected;
        if is_so {
            *membership = Membership::Changing;
        }
        is_so
    }

    /// Sets a membership after a change.
    pub(crate) fn set_membership(&self, group: i64, user: UserId, membership: Membership) {
        self.memberships.lock().insert((group, user), membership);
    }

    /// Adds a cursor that a user received.
    pub(crate) fn add_cursor(&self, user: UserId, cursor: &str) {
        let mut cursors = self.cursors.lock();
        let of_user = cursors.entry(user).or_default();
        if !of_user.iter().any(|known| known == cursor) {
            of_user.push(cursor.to_owned());
        }
    }

    /// The cursors that a user received, the first one first.
    pub(crate) fn cursors(&self, user: UserId) -> Vec<String> {
        self.cursors.lock().get(&user).cloned().unwrap_or_default()
    }
}
