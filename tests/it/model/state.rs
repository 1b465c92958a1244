//! What the model remembers. All of it: there are no counters, what can be counted is counted.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::operations::{Target, Thing};

/// An id that nothing has.
const UNKNOWN: i64 = 9_000_000_000_000;

/// A messenger without a network, a database or other people's bugs. People, conversations and
/// messages are known by their place in these lists; what has an id on the wire keeps that too.
#[derive(Debug, Default)]
pub struct Model {
    pub people: Vec<Person>,
    pub sockets: Vec<Socket>,
    pub conversations: Vec<Conversation>,
    /// Every message of every conversation, the oldest first.
    pub messages: Vec<Message>,
    /// Who takes nothing from whom.
    pub blocks: BTreeSet<(usize, usize)>,
    /// Counts what was asked for: later is greater.
    pub now: u64,
}

#[derive(Debug)]
pub struct Person {
    pub id: i64,
    pub name: String,
}

#[derive(Debug)]
pub struct Socket {
    pub user: usize,
    /// Whether it asked for all extra pushes; else for none.
    pub wants_all: bool,
    /// The conversations that are open on it.
    pub open: BTreeSet<usize>,
}

#[derive(Debug)]
pub struct Conversation {
    pub kind: Kind,
    /// A group without members has ended.
    pub members: Vec<Member>,
    /// When its newest message came, or else when it was made.
    pub moved: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Twice the same for notes.
    Dialog(usize, usize),
    Group {
        id: i64,
        name: String,
    },
}

/// How a conversation stands for somebody in it.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing of its own that a member may have done")]
pub struct Member {
    pub user: usize,
    pub joined: u64,
    pub is_admin: bool,
    /// Read up to here, and whether that was ever said.
    pub read: i64,
    pub said_read: bool,
    /// Arrived up to here, and whether that was ever said.
    pub delivered: i64,
    pub said_delivered: bool,
    /// The history up to here is gone for them.
    pub cleared: i64,
    /// Whether they ever removed it from their lists: only messages past `cleared` bring it back.
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
    /// Who reacted first is first.
    pub reactions: Vec<(usize, &'static str)>,
    pub deleted: bool,
}

impl Conversation {
    pub fn member(&self, user: usize) -> Option<&Member> {
        self.members.iter().find(|member| member.user == user)
    }

    /// Those for whom a message is not gone.
    pub fn readers(&self, seq: i64) -> Vec<usize> {
        self.members.iter().filter(|member| member.cleared < seq).map(|member| member.user).collect()
    }

    pub fn users(&self) -> Vec<usize> {
        self.members.iter().map(|member| member.user).collect()
    }
}

impl Model {
    /// The id on the wire; one that nothing has where there is no such thing.
    pub fn id(&self, thing: Thing) -> Value {
        let id = match thing {
            Thing::User(nth) => self.people.get(nth).map(|person| person.id),
            Thing::Group(nth) => self.group(nth).and_then(|group| self.group_id(group)),
            Thing::Message(nth) => self.message(nth).map(|message| self.messages[message].id),
        };
        json!(id.unwrap_or(UNKNOWN))
    }

    pub fn group(&self, nth_newest: usize) -> Option<usize> {
        self.groups().nth(nth_newest)
    }

    /// The newest first.
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

    /// The conversation that `user` names so; `None` where a dialog has not begun.
    pub fn find(&self, user: usize, target: Target) -> Result<Option<usize>, &'static str> {
        match target {
            Target::User(other) if other >= self.people.len() => Err("not_found"),
            Target::User(other) => Ok(self.dialog(user, other)),
            Target::Group(nth) => self.group_for(user, nth).map(Some),
        }
    }

    /// A group, for its members alone.
    pub fn group_for(&self, user: usize, nth: usize) -> Result<usize, &'static str> {
        let group = self.group(nth).ok_or("not_found")?;
        match self.conversations[group].members.as_slice() {
            [] => Err("not_found"),
            _ if self.conversations[group].member(user).is_none() => Err("not_a_member"),
            _ => Ok(group),
        }
    }

    /// How the conversation stands for somebody who is in it.
    pub fn membership(&mut self, user: usize, conversation: usize) -> &mut Member {
        let members = &mut self.conversations[conversation].members;
        members.iter_mut().find(|member| member.user == user).expect("a member")
    }

    /// Refuses what would get a word through to somebody who has blocked `user`.
    pub fn takes_from(&self, other: usize, user: usize) -> Result<(), &'static str> {
        if self.blocks.contains(&(other, user)) { Err("blocked") } else { Ok(()) }
    }

    /// The messages of a conversation, the oldest first.
    pub fn said_in(&self, conversation: usize) -> impl DoubleEndedIterator<Item = &Message> {
        self.messages.iter().filter(move |message| message.conversation == conversation)
    }

    pub fn last_seq(&self, conversation: usize) -> i64 {
        self.said_in(conversation).next_back().map_or(0, |message| message.seq)
    }

    /// The other side of a dialog; oneself in notes.
    pub fn peer(&self, user: usize, conversation: usize) -> Option<usize> {
        match self.conversations[conversation].kind {
            Kind::Dialog(one, other) => Some(if one == user { other } else { one }),
            Kind::Group { .. } => None,
        }
    }

    /// The conversation, as `user` names it.
    pub fn target(&self, user: usize, conversation: usize) -> Value {
        match self.peer(user, conversation) {
            Some(peer) => json!({ "receiverId": self.people[peer].id }),
            None => json!({ "groupId": self.group_id(conversation) }),
        }
    }
}
