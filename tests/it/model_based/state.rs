//! What the model stores. It keeps no counters: what can be counted is counted.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::operations::{Reference, Target};

/// An id that nothing has.
const UNKNOWN: i64 = 9_000_000_000_000;

/// A messenger without a network or a database. Users, conversations and messages are identified by their
/// index in these lists; what has an id on the wire keeps that too.
#[derive(Debug, Default)]
pub struct Model {
    pub users: Vec<UserState>,
    pub sockets: Vec<Socket>,
    pub conversations: Vec<Conversation>,
    /// Every message of every conversation, the oldest first.
    pub messages: Vec<Message>,
    /// Pairs of a blocking and a blocked user.
    pub blocks: BTreeSet<(usize, usize)>,
    /// A logical clock, which each request advances.
    pub now: u64,
}

#[derive(Debug)]
pub struct UserState {
    pub id: i64,
    pub name: String,
}

#[derive(Debug)]
pub struct Socket {
    pub user: usize,
    /// Whether the socket subscribed to all events, or else to none.
    pub wants_all: bool,
    /// The conversations that are open on the socket.
    pub open: BTreeSet<usize>,
}

#[derive(Debug)]
pub struct Conversation {
    pub kind: Kind,
    /// A group without members has ended.
    pub members: Vec<Member>,
    /// When the newest message came, or else when the conversation was created.
    pub last_active: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Notes have the same user twice.
    Dialog(usize, usize),
    Group {
        id: i64,
        name: String,
    },
}

/// A conversation as one of its members sees it.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing of its own that a member may have done")]
pub struct Member {
    pub user: usize,
    pub joined: u64,
    pub is_admin: bool,
    /// Read up to here, and whether a marker was ever set.
    pub read: i64,
    pub has_read_marker: bool,
    /// Delivered up to here, and whether a marker was ever set.
    pub delivered: i64,
    pub has_delivered_marker: bool,
    /// The history up to here is cleared for this member.
    pub cleared: i64,
    /// Whether the member ever removed the conversation: only messages past `cleared` bring it back.
    pub removed: bool,
    pub spam: bool,
}

#[derive(Debug)]
pub struct Message {
    pub id: i64,
    pub conversation: usize,
    pub seq: i64,
    pub sender: usize,
    pub content: String,
    pub client_id: Option<&'static str>,
    pub reply_to: Option<usize>,
    /// Reactions, in the order in which users first reacted.
    pub reactions: Vec<(usize, &'static str)>,
    pub deleted: bool,
}

impl Conversation {
    pub fn member(&self, user: usize) -> Option<&Member> {
        self.members.iter().find(|member| member.user == user)
    }

    /// Returns the members for whom a message is not cleared.
    pub fn readers(&self, seq: i64) -> Vec<usize> {
        self.members.iter().filter(|member| member.cleared < seq).map(|member| member.user).collect()
    }

    pub fn users(&self) -> Vec<usize> {
        self.members.iter().map(|member| member.user).collect()
    }
}

impl Model {
    /// Returns the id on the wire, or one that nothing has where the thing does not exist.
    pub fn id(&self, thing: Reference) -> Value {
        let id = match thing {
            Reference::User(nth) => self.users.get(nth).map(|user| user.id),
            Reference::Group(nth) => self.group(nth).and_then(|group| self.group_id(group)),
            Reference::Message(nth) => self.message(nth).map(|message| self.messages[message].id),
        };
        json!(id.unwrap_or(UNKNOWN))
    }

    pub fn group(&self, nth_newest: usize) -> Option<usize> {
        self.groups().nth(nth_newest)
    }

    /// Returns the groups, the newest first.
    pub fn groups(&self) -> impl Iterator<Item = usize> {
        (0..self.conversations.len()).rev().filter(|place| self.group_id(*place).is_some())
    }

    pub fn group_id(&self, conversation: usize) -> Option<i64> {
        match self.conversations[conversation].kind {
            Kind::Group { id, .. } => Some(id),
            Kind::Dialog(..) => None,
        }
    }

    pub fn message(&self, nth_newest: usize) -> Option<usize> {
        self.messages.len().checked_sub(nth_newest + 1)
    }

    pub fn dialog(&self, one: usize, other: usize) -> Option<usize> {
        let kind = Kind::Dialog(one.min(other), one.max(other));
        self.conversations.iter().position(|conversation| conversation.kind == kind)
    }

    /// Returns the conversation that `user` names so, or `None` if a dialog does not exist yet.
    pub fn find(&self, user: usize, target: Target) -> Result<Option<usize>, &'static str> {
        match target {
            Target::User(other) if other >= self.users.len() => Err("not_found"),
            Target::User(other) => Ok(self.dialog(user, other)),
            Target::Group(nth) => self.group_for(user, nth).map(Some),
        }
    }

    /// Returns a group, for its members only.
    pub fn group_for(&self, user: usize, nth: usize) -> Result<usize, &'static str> {
        let group = self.group(nth).ok_or("not_found")?;
        match self.conversations[group].members.as_slice() {
            [] => Err("not_found"),
            _ if self.conversations[group].member(user).is_none() => Err("not_a_member"),
            _ => Ok(group),
        }
    }

    /// Returns the membership of a user in a conversation.
    pub fn membership(&mut self, user: usize, conversation: usize) -> &mut Member {
        let members = &mut self.conversations[conversation].members;
        members.iter_mut().find(|member| member.user == user).expect("a member")
    }

    /// Refuses a send to a user who has blocked `user`.
    pub fn ensure_not_blocked(&self, other: usize, user: usize) -> Result<(), &'static str> {
        if self.blocks.contains(&(other, user)) { Err("blocked") } else { Ok(()) }
    }

    /// Returns the messages of a conversation, the oldest first.
    pub fn messages_of(&self, conversation: usize) -> impl DoubleEndedIterator<Item = &Message> {
        self.messages.iter().filter(move |message| message.conversation == conversation)
    }

    pub fn last_seq(&self, conversation: usize) -> i64 {
        self.messages_of(conversation).next_back().map_or(0, |message| message.seq)
    }

    /// Returns the other side of a dialog, or the user's own index in notes.
    pub fn peer(&self, user: usize, conversation: usize) -> Option<usize> {
        match self.conversations[conversation].kind {
            Kind::Dialog(one, other) => Some(if one == user { other } else { one }),
            Kind::Group { .. } => None,
        }
    }

    /// Returns the conversation, as `user` names it.
    pub fn target(&self, user: usize, conversation: usize) -> Value {
        match self.peer(user, conversation) {
            Some(peer) => json!({ "receiverId": self.users[peer].id }),
            None => json!({ "groupId": self.group_id(conversation) }),
        }
    }
}
