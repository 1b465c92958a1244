//! A correct server in memory, and the history of its clients.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::frames::{frame_of, item, row};
use crate::history::event::{
    Change, ChatListRow, Conversation, Entry, Event, Member, Message, Micros, Round, Side, SocketId, UserId,
};

/// Three users: 1 created the group, 2 is always a member, and 3 joins and leaves.
pub(super) const USERS: [UserId; 3] = [1, 2, 3];
pub(super) const GROUP: i64 = 10;
const TICK: Micros = 1000;

/// An action of a user. `who` is an index of [`USERS`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// Sends a message to the group, or to the next user; with `twice` the first reply is lost, and the send is
    /// repeated.
    Send {
        who: usize,
        group: bool,
        twice: bool,
    },
    /// Edits the user's own newest message.
    Edit {
        who: usize,
    },
    /// Deletes the user's own newest message.
    Delete {
        who: usize,
    },
    /// Reacts to the newest message of the group.
    React {
        who: usize,
        what: Option<&'static str>,
    },
    Read {
        who: usize,
        group: bool,
    },
    Page {
        who: usize,
    },
    Sync {
        who: usize,
    },
    /// User 1 adds user 3 to the group, or removes them.
    Toggle,
    Reconnect {
        who: usize,
    },
}

#[derive(Clone)]
struct StoredMessage {
    message: Message,
    name: String,
    change: u64,
}

/// The server's state and the history.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) entries: Vec<Entry>,
    now: Micros,
    /// The number of changes so far; a cursor is such a number.
    change: u64,
    conversations: BTreeMap<Conversation, Vec<StoredMessage>>,
    /// Whether user 3 is a member of the group.
    is_in: bool,
    /// The membership changes of the group.
    events: Vec<(u64, UserId, bool)>,
    markers: BTreeMap<(Conversation, UserId), (i64, u64)>,
    sockets: [SocketId; 3],
    cursors: BTreeMap<UserId, Vec<(String, u64)>>,
    ids: [u64; 3],
    next: i64,
    /// The number of message names so far. Clients choose them, so a restore does not reset it.
    named: u64,
    /// The epoch in the cursors; each restore begins a new one.
    epoch: u64,
    /// The cursors of lost histories.
    lost: Vec<(UserId, String)>,
}

impl Model {
    /// A server where all users are connected and have a cursor, with the group of users 1 and 2.
    pub(super) fn new() -> Self {
        let mut model = Self {
            entries: Vec::new(),
            now: 0,
            change: 0,
            conversations: BTreeMap::new(),
            is_in: false,
            events: Vec::new(),
            markers: BTreeMap::new(),
            sockets: [0, 1, 2],
            cursors: BTreeMap::new(),
            ids: [0; 3],
            next: 0,
            named: 0,
            epoch: 0,
            lost: Vec::new(),
        };
        for (socket, user) in (0..).zip(USERS) {
            model.note(Event::Opened { socket, user, server: 0 });
        }
        let first = json!({ "item": { "cursor": "0.0", "more": false, "complete": true } });
        for (who, user) in USERS.into_iter().enumerate() {
            model.call(who, "sync", &json!({}), &first);
            model.cursors.entry(user).or_default().push(("0.0".to_owned(), 0));
        }
        model.change += 1;
        model.events.extend([(model.change, 1, true), (model.change, 2, true)]);
        let params = json!({ "groupName": "Group", "userIds": [2] });
        model.call(0, "newGroup", &params, &json!({ "item": { "groupId": GROUP } }));
        model.note(Event::Round(Round { name: "model".to_owned(), seed: 0 }));
        model
    }

    pub(super) fn note(&mut self, event: Event) {
        self.now += TICK;
        self.entries.push(Entry { at: self.now, event });
    }

    /// Records a request without its reply.
    fn ask(&mut self, who: usize, frame_type: &str, params: &Value) {
        self.ids[who] += 1;
        let frame = json!({ "type": frame_type, "params": params, "id": self.ids[who] });
        self.note(Event::Request { socket: self.sockets[who], frame: frame_of(&frame) });
    }

    fn reply(&mut self, who: usize, frame_type: &str, params: &Value) {
        let frame = json!({ "type": frame_type, "success": true, "params": params, "id": self.ids[who] });
        self.note(Event::Reply { socket: self.sockets[who], frame: frame_of(&frame) });
    }

    fn call(&mut self, who: usize, frame_type: &str, params: &Value, answer: &Value) {
        self.ask(who, frame_type, params);
        self.reply(who, frame_type, answer);
    }

    /// The `seq` of the newest message; 0 if there is none.
    fn newest(&self, conversation: Conversation) -> i64 {
        self.conversations.get(&conversation).and_then(|stored| stored.last()).map_or(0, |stored| stored.message.seq)
    }

    fn members(&self, conversation: Conversation) -> Vec<UserId> {
        match conversation {
            Conversation::Dialog(low, high) => vec![low, high],
            Conversation::Group(_) => USERS.into_iter().filter(|user| *user != 3 || self.is_in).collect(),
        }
    }

    /// Performs an action, and records its requests, pushes and replies.
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Send { who, group, twice } => self.send(who, group, twice),
            Action::Edit { who } => self.alter(who, "editMessage"),
            Action::Delete { who } => self.alter(who, "deleteMessage"),
            Action::React { who, what } => self.react(who, what),
            Action::Read { who, group } => self.read(who, group),
            Action::Page { who } => self.page(who),
            Action::Sync { who } => self.sync(who),
            Action::Toggle => self.toggle(),
            Action::Reconnect { who } => self.reconnect(who),
        }
    }

    fn conversation(who: usize, group: bool) -> Conversation {
        if group { Conversation::Group(GROUP) } else { Conversation::dialog(USERS[who], USERS[(who + 1) % 3]) }
    }

    fn send(&mut self, who: usize, group: bool, twice: bool) {
        let (conversation, user) = (Self::conversation(who, group), USERS[who]);
        (self.next, self.named) = (self.next + 1, self.named + 1);
        let (id, name) = (1000 + self.next, format!("m{}", self.named));
        let frame_type = if group { "messageInGroup" } else { "privateMessage" };
        let mut params = conversation.target(user);
        params["content"] = json!(format!("{name} hello"));
        params["clientMessageId"] = json!(name);
        self.ask(who, frame_type, &params);
        if !self.members(conversation).contains(&user) {
            let frame = json!({ "error": true, "type": frame_type, "code": "not_a_member", "id": self.ids[who] });
            return self.note(Event::Reply { socket: self.sockets[who], frame: frame_of(&frame) });
        }
        self.change += 1;
        let seq = self.newest(conversation) + 1;
        let content = format!("{name} hello");
        let message = Message { id, seq, sender: user, content, deleted: false, reactions: Vec::new() };
        self.conversations.entry(conversation).or_default().push(StoredMessage {
            message: message.clone(),
            name,
            change: self.change,
        });
        for other in self.members(conversation).into_iter().filter(|other| *other != user) {
            let item = item(conversation, &message);
            let frame = json!({ "type": frame_type, "success": true, "params": { "item": item } });
            let socket = self.sockets[position(other)];
            self.note(Event::Push { socket, frame: frame_of(&frame) });
        }
        if twice {
            self.reconnect(who);
            self.ask(who, frame_type, &params);
        }
        self.reply(who, frame_type, &json!({ "item": { "messageId": id, "seq": seq, "duplicate": twice } }));
    }

    fn alter(&mut self, who: usize, frame_type: &str) {
        let user = USERS[who];
        let mine = |stored: &&mut StoredMessage| stored.message.sender == user && !stored.message.deleted;
        let Some(stored) = self.conversations.values_mut().flatten().filter(mine).last() else { return };
        self.change += 1;
        let mut params = json!({ "messageId": stored.message.id });
        if frame_type == "editMessage" {
            stored.message.content = format!("{} edited {}", stored.name, self.change);
            params["content"] = json!(stored.message.content);
        } else {
            (stored.message.content, stored.message.deleted) = (String::new(), true);
            stored.message.reactions.clear();
        }
        stored.change = self.change;
        self.call(who, frame_type, &params, &json!({ "item": {} }));
    }

    fn react(&mut self, who: usize, what: Option<&str>) {
        let (conversation, user) = (Conversation::Group(GROUP), USERS[who]);
        if !self.members(conversation).contains(&user) {
            return;
        }
        let Some(stored) = self.conversations.get_mut(&conversation).and_then(|stored| stored.last_mut()) else {
            return;
        };
        if stored.message.deleted {
            return;
        }
        self.change += 1;
        stored.change = self.change;
        stored.message.reactions.retain(|(other, _)| *other != user);
        stored.message.reactions.extend(what.map(|what| (user, what.to_owned())));
        stored.message.reactions.sort();
        let params = json!({ "messageId": stored.message.id, "reaction": what });
        self.call(who, "reactToMessage", &params, &json!({}));
    }

    fn read(&mut self, who: usize, group: bool) {
        let (conversation, user) = (Self::conversation(who, group), USERS[who]);
        let newest = self.newest(conversation);
        if newest == 0 || !self.members(conversation).contains(&user) {
            return;
        }
        self.change += 1;
        self.markers.insert((conversation, user), (newest, self.change));
        let mut params = conversation.target(user);
        params["seq"] = json!(newest);
        let mut item = params.clone();
        item["userId"] = json!(user);
        self.call(who, "readMessages", &params, &json!({ "item": item }));
    }

    fn page(&mut self, who: usize) {
        let (conversation, user) = (Conversation::Group(GROUP), USERS[who]);
        if !self.members(conversation).contains(&user) {
            return;
        }
        let newest = self.conversations.get(&conversation).into_iter().flatten().rev().take(20);
        let rows: Vec<Value> = newest.map(|stored| item(conversation, &stored.message)).collect();
        self.call(who, "getlatestMessageGroup", &conversation.target(user), &json!({ "data": rows }));
    }

    fn sync(&mut self, who: usize) {
        let user = USERS[who];
        let (cursor, before) = self.cursors[&user].last().expect("everybody has one").clone();
        let rows: Vec<Value> = self.since(user, before).iter().map(|change| row(user, change)).collect();
        let next = if before == self.change { cursor.clone() } else { format!("{}.{}", self.epoch, self.change) };
        let item = json!({ "cursor": next, "more": false, "complete": true });
        self.call(who, "sync", &json!({ "cursor": cursor }), &json!({ "data": rows, "item": item }));
        if before != self.change {
            let change = self.change;
            self.cursors.entry(user).or_default().push((next, change));
        }
    }

    /// The changes for a user after a cursor, with their current values.
    fn since(&self, user: UserId, cursor: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        let inside = self.members(Conversation::Group(GROUP)).contains(&user);
        for (change, who, is_in) in &self.events {
            if *change > cursor && (inside || *who == user) {
                changes.push(Change::Member { group: GROUP, user: *who, is_in: *is_in });
            }
        }
        for (conversation, stored) in &self.conversations {
            if self.members(*conversation).contains(&user) {
                let news = stored.iter().filter(|stored| stored.change > cursor);
                changes.extend(news.map(|stored| Change::Message(*conversation, stored.message.clone())));
            }
        }
        for ((conversation, who), (seq, change)) in &self.markers {
            if *change > cursor && self.members(*conversation).contains(&user) {
                changes.push(Change::Marker { conversation: *conversation, user: *who, seq: *seq, read: true });
            }
        }
        changes
    }

    fn toggle(&mut self) {
        self.change += 1;
        let frame_type = if self.is_in { "removeUserFromGroup" } else { "addUserInGroup" };
        self.ask(0, frame_type, &json!({ "groupId": GROUP, "userId": 3 }));
        self.is_in = !self.is_in;
        self.events.push((self.change, 3, self.is_in));
        // The marker of a member who joins again starts at the newest message.
        self.markers.remove(&(Conversation::Group(GROUP), 3));
        if self.is_in {
            let newest = self.newest(Conversation::Group(GROUP));
            self.markers.insert((Conversation::Group(GROUP), 3), (newest, 0));
        }
        self.reply(0, frame_type, &json!({}));
    }

    fn reconnect(&mut self, who: usize) {
        self.note(Event::Closed { socket: self.sockets[who], code: None, by: Side::Server });
        self.sockets[who] += 3;
        self.note(Event::Opened { socket: self.sockets[who], user: USERS[who], server: 0 });
    }

    /// Searches for the newest message of a conversation by its name, as a user who may read it.
    pub(super) fn search(&mut self, who: usize, group: bool) {
        let conversation = Self::conversation(who, group);
        let Some(stored) = self.conversations.get(&conversation).and_then(|stored| stored.last()) else { return };
        let (query, rows) = (json!({ "query": stored.name }), json!({ "data": [item(conversation, &stored.message)] }));
        self.call(who, "searchMessages", &query, &rows);
    }

    /// Takes a backup.
    pub(super) fn back_up(&mut self) -> Self {
        self.note(Event::Backup);
        self.clone()
    }

    /// Replaces the server's state by a backup. The state of the clients stays.
    pub(super) fn restore(&mut self, backup: Self) {
        let held = std::mem::replace(self, backup);
        let cursors = held.cursors.into_iter();
        self.lost =
            cursors.flat_map(|(user, cursors)| cursors.into_iter().map(move |(text, _)| (user, text))).collect();
        let Self { lost, cursors, .. } = self;
        lost.retain(|(user, text)| !cursors[user].iter().any(|(known, _)| known == text));
        (self.entries, self.now, self.sockets, self.ids) = (held.entries, held.now, held.sockets, held.ids);
        (self.named, self.epoch) = (held.named, held.epoch + 1);
        self.note(Event::Restored);
    }

    /// Returns the history, with the final state at its end.
    pub(super) fn end(mut self) -> Vec<Entry> {
        self.note(Event::Quiescent);
        for user in USERS {
            let conversations: Vec<Conversation> = self
                .conversations
                .keys()
                .copied()
                .filter(|conversation| self.members(*conversation).contains(&user))
                .collect();
            let chats = conversations.iter().map(|conversation| self.chat(user, *conversation)).collect();
            self.note(Event::ChatList { user, rows: chats });
            for conversation in conversations {
                let rows = self.conversations[&conversation].iter().map(|stored| stored.message.clone()).collect();
                self.note(Event::History { user, conversation, rows });
                let marker = |user| self.markers.get(&(conversation, user)).map_or(0, |(seq, _)| *seq);
                let member = |user| Member { user, read_seq: marker(user), delivered_seq: marker(user) };
                let rows = self.members(conversation).into_iter().map(member).collect();
                self.note(Event::Members { user, conversation, rows });
            }
            for (cursor, change) in self.cursors[&user].clone() {
                let changes = self.since(user, change);
                self.note(Event::Synced { user, cursor, complete: true, changes });
            }
        }
        for (user, cursor) in std::mem::take(&mut self.lost) {
            self.note(Event::Synced { user, cursor, complete: false, changes: Vec::new() });
        }
        self.entries
    }

    fn chat(&self, user: UserId, conversation: Conversation) -> ChatListRow {
        let stored = &self.conversations[&conversation];
        let read_seq = self.markers.get(&(conversation, user)).map_or(0, |(seq, _)| *seq);
        let unread =
            stored.iter().filter(|stored| stored.message.seq > read_seq && stored.message.sender != user).count();
        ChatListRow {
            conversation,
            last_seq: self.newest(conversation),
            read_seq,
            unread: unread.try_into().expect("few"),
        }
    }
}

fn position(user: UserId) -> usize {
    USERS.iter().position(|other| *other == user).expect("one of them")
}
