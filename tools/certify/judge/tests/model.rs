//! A server that does everything right, in memory, and the record of those who use it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::certify::record::{
    Change, Chat, Entry, Member, Message, Micros, Place, Round, Seen, Side, SocketId, UserId,
};
use crate::certify::recorder::raw;

/// Three people; 1 made the group, 2 is always in it, and 3 comes and goes.
pub(super) const PEOPLE: [UserId; 3] = [1, 2, 3];
pub(super) const GROUP: i64 = 10;
const TICK: Micros = 1000;

/// Something that somebody does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// A message to the group, or to the next person; `twice` where the first reply is lost.
    Send {
        who: usize,
        group: bool,
        twice: bool,
    },
    /// Of the newest message of one's own.
    Edit {
        who: usize,
    },
    Delete {
        who: usize,
    },
    /// To the newest message of the group.
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
    /// 1 adds 3 or removes them.
    Toggle,
    Reconnect {
        who: usize,
    },
}

#[derive(Clone)]
struct Kept {
    message: Message,
    name: String,
    change: u64,
}

/// The server and the record.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) entries: Vec<Entry>,
    now: Micros,
    /// Counts changes; a cursor is what it was.
    change: u64,
    places: BTreeMap<Place, Vec<Kept>>,
    is_in: bool,
    /// Who came and went in the group.
    events: Vec<(u64, UserId, bool)>,
    markers: BTreeMap<(Place, UserId), (i64, u64)>,
    sockets: [SocketId; 3],
    cursors: BTreeMap<UserId, Vec<(String, u64)>>,
    ids: [u64; 3],
    next: i64,
    /// Names of messages, which their senders give, are given once, whatever the server forgets.
    named: u64,
    /// Drawn anew by each restore; cursors name it.
    epoch: u64,
    /// Cursors of histories that were lost.
    lost: Vec<(UserId, String)>,
}

impl Model {
    /// Everybody is there and has a cursor, and the group is made, with 1 and 2 in it.
    pub(super) fn new() -> Self {
        let mut model = Self {
            entries: Vec::new(),
            now: 0,
            change: 0,
            places: BTreeMap::new(),
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
        for (socket, user) in (0..).zip(PEOPLE) {
            model.note(Seen::Opened { socket, user, server: 0 });
        }
        let first = json!({ "item": { "cursor": "0.0", "more": false, "complete": true } });
        for (who, user) in PEOPLE.into_iter().enumerate() {
            model.call(who, "sync", &json!({}), &first);
            model.cursors.entry(user).or_default().push(("0.0".to_owned(), 0));
        }
        model.change += 1;
        model.events.extend([(model.change, 1, true), (model.change, 2, true)]);
        let params = json!({ "groupName": "Group", "userIds": [2] });
        model.call(0, "newGroup", &params, &json!({ "item": { "groupId": GROUP } }));
        model.note(Seen::Round(Round { name: "model".to_owned(), seed: 0 }));
        model
    }

    pub(super) fn note(&mut self, seen: Seen) {
        self.now += TICK;
        self.entries.push(Entry { at: self.now, seen });
    }

    /// A request that is not answered yet.
    fn ask(&mut self, who: usize, kind: &str, params: &Value) {
        self.ids[who] += 1;
        let frame = json!({ "type": kind, "params": params, "id": self.ids[who] });
        self.note(Seen::Request { socket: self.sockets[who], frame: frame_of(&frame) });
    }

    fn reply(&mut self, who: usize, kind: &str, params: &Value) {
        let frame = json!({ "type": kind, "success": true, "params": params, "id": self.ids[who] });
        self.note(Seen::Reply { socket: self.sockets[who], frame: frame_of(&frame) });
    }

    fn call(&mut self, who: usize, kind: &str, params: &Value, answer: &Value) {
        self.ask(who, kind, params);
        self.reply(who, kind, answer);
    }

    /// `seq` of the newest message, 0 where there is none.
    fn newest(&self, place: Place) -> i64 {
        self.places.get(&place).and_then(|kept| kept.last()).map_or(0, |kept| kept.message.seq)
    }

    fn members(&self, place: Place) -> Vec<UserId> {
        match place {
            Place::Dialog(low, high) => vec![low, high],
            Place::Group(_) => PEOPLE.into_iter().filter(|user| *user != 3 || self.is_in).collect(),
        }
    }

    /// Everything of one act, its requests, pushes and replies.
    pub(super) fn act(&mut self, act: Act) {
        match act {
            Act::Send { who, group, twice } => self.send(who, group, twice),
            Act::Edit { who } => self.alter(who, "editMessage"),
            Act::Delete { who } => self.alter(who, "deleteMessage"),
            Act::React { who, what } => self.react(who, what),
            Act::Read { who, group } => self.read(who, group),
            Act::Page { who } => self.page(who),
            Act::Sync { who } => self.sync(who),
            Act::Toggle => self.toggle(),
            Act::Reconnect { who } => self.reconnect(who),
        }
    }

    fn place(who: usize, group: bool) -> Place {
        if group { Place::Group(GROUP) } else { Place::dialog(PEOPLE[who], PEOPLE[(who + 1) % 3]) }
    }

    fn send(&mut self, who: usize, group: bool, twice: bool) {
        let (place, user) = (Self::place(who, group), PEOPLE[who]);
        (self.next, self.named) = (self.next + 1, self.named + 1);
        let (id, name) = (1000 + self.next, format!("m{}", self.named));
        let kind = if group { "messageInGroup" } else { "privateMessage" };
        let mut params = place.target(user);
        params["content"] = json!(format!("{name} hello"));
        params["clientMessageId"] = json!(name);
        self.ask(who, kind, &params);
        if !self.members(place).contains(&user) {
            let frame = json!({ "error": true, "type": kind, "code": "not_a_member", "id": self.ids[who] });
            return self.note(Seen::Reply { socket: self.sockets[who], frame: frame_of(&frame) });
        }
        self.change += 1;
        let seq = self.newest(place) + 1;
        let content = format!("{name} hello");
        let message = Message { id, seq, sender: user, content, deleted: false, reactions: Vec::new() };
        self.places.entry(place).or_default().push(Kept { message: message.clone(), name, change: self.change });
        for other in self.members(place).into_iter().filter(|other| *other != user) {
            let item = item(place, &message);
            let frame = json!({ "type": kind, "success": true, "params": { "item": item } });
            let socket = self.sockets[position(other)];
            self.note(Seen::Push { socket, frame: frame_of(&frame) });
        }
        if twice {
            self.reconnect(who);
            self.ask(who, kind, &params);
        }
        self.reply(who, kind, &json!({ "item": { "messageId": id, "seq": seq, "duplicate": twice } }));
    }

    fn alter(&mut self, who: usize, kind: &str) {
        let user = PEOPLE[who];
        let mine = |kept: &&mut Kept| kept.message.sender == user && !kept.message.deleted;
        let Some(kept) = self.places.values_mut().flatten().filter(mine).last() else { return };
        self.change += 1;
        let mut params = json!({ "messageId": kept.message.id });
        if kind == "editMessage" {
            kept.message.content = format!("{} edited {}", kept.name, self.change);
            params["content"] = json!(kept.message.content);
        } else {
            (kept.message.content, kept.message.deleted) = (String::new(), true);
            kept.message.reactions.clear();
        }
        kept.change = self.change;
        self.call(who, kind, &params, &json!({ "item": {} }));
    }

    fn react(&mut self, who: usize, what: Option<&str>) {
        let (place, user) = (Place::Group(GROUP), PEOPLE[who]);
        if !self.members(place).contains(&user) {
            return;
        }
        let Some(kept) = self.places.get_mut(&place).and_then(|kept| kept.last_mut()) else { return };
        if kept.message.deleted {
            return;
        }
        self.change += 1;
        kept.change = self.change;
        kept.message.reactions.retain(|(other, _)| *other != user);
        kept.message.reactions.extend(what.map(|what| (user, what.to_owned())));
        kept.message.reactions.sort();
        let params = json!({ "messageId": kept.message.id, "reaction": what });
        self.call(who, "reactToMessage", &params, &json!({}));
    }

    fn read(&mut self, who: usize, group: bool) {
        let (place, user) = (Self::place(who, group), PEOPLE[who]);
        let newest = self.newest(place);
        if newest == 0 || !self.members(place).contains(&user) {
            return;
        }
        self.change += 1;
        self.markers.insert((place, user), (newest, self.change));
        let mut params = place.target(user);
        params["seq"] = json!(newest);
        let mut item = params.clone();
        item["userId"] = json!(user);
        self.call(who, "readMessages", &params, &json!({ "item": item }));
    }

    fn page(&mut self, who: usize) {
        let (place, user) = (Place::Group(GROUP), PEOPLE[who]);
        if !self.members(place).contains(&user) {
            return;
        }
        let newest = self.places.get(&place).into_iter().flatten().rev().take(20);
        let rows: Vec<Value> = newest.map(|kept| item(place, &kept.message)).collect();
        self.call(who, "getlatestMessageGroup", &place.target(user), &json!({ "data": rows }));
    }

    fn sync(&mut self, who: usize) {
        let user = PEOPLE[who];
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

    /// What changed for somebody after a cursor, as it is now.
    fn since(&self, user: UserId, cursor: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        let inside = self.members(Place::Group(GROUP)).contains(&user);
        for (change, who, is_in) in &self.events {
            if *change > cursor && (inside || *who == user) {
                changes.push(Change::Member { group: GROUP, user: *who, is_in: *is_in });
            }
        }
        for (place, kept) in &self.places {
            if self.members(*place).contains(&user) {
                let news = kept.iter().filter(|kept| kept.change > cursor);
                changes.extend(news.map(|kept| Change::Message(*place, kept.message.clone())));
            }
        }
        for ((place, who), (seq, change)) in &self.markers {
            if *change > cursor && self.members(*place).contains(&user) {
                changes.push(Change::Marker { place: *place, user: *who, seq: *seq, read: true });
            }
        }
        changes
    }

    fn toggle(&mut self) {
        self.change += 1;
        let kind = if self.is_in { "removeUserFromGroup" } else { "addUserInGroup" };
        self.ask(0, kind, &json!({ "groupId": GROUP, "userId": 3 }));
        self.is_in = !self.is_in;
        self.events.push((self.change, 3, self.is_in));
        // Who comes anew begins at the newest message.
        self.markers.remove(&(Place::Group(GROUP), 3));
        if self.is_in {
            let newest = self.newest(Place::Group(GROUP));
            self.markers.insert((Place::Group(GROUP), 3), (newest, 0));
        }
        self.reply(0, kind, &json!({}));
    }

    fn reconnect(&mut self, who: usize) {
        self.note(Seen::Closed { socket: self.sockets[who], code: None, by: Side::Server });
        self.sockets[who] += 3;
        self.note(Seen::Opened { socket: self.sockets[who], user: PEOPLE[who], server: 0 });
    }

    /// A search for the name of the newest message of a place, by somebody who may read it.
    pub(super) fn search(&mut self, who: usize, group: bool) {
        let place = Self::place(who, group);
        let Some(kept) = self.places.get(&place).and_then(|kept| kept.last()) else { return };
        let (query, rows) = (json!({ "query": kept.name }), json!({ "data": [item(place, &kept.message)] }));
        self.call(who, "searchMessages", &query, &rows);
    }

    /// Keeps everything aside.
    pub(super) fn back_up(&mut self) -> Self {
        self.note(Seen::Backup);
        self.clone()
    }

    /// Puts what was kept aside in place of everything but what clients hold.
    pub(super) fn restore(&mut self, kept: Self) {
        let held = std::mem::replace(self, kept);
        let cursors = held.cursors.into_iter();
        self.lost =
            cursors.flat_map(|(user, cursors)| cursors.into_iter().map(move |(text, _)| (user, text))).collect();
        let Self { lost, cursors, .. } = self;
        lost.retain(|(user, text)| !cursors[user].iter().any(|(known, _)| known == text));
        (self.entries, self.now, self.sockets, self.ids) = (held.entries, held.now, held.sockets, held.ids);
        (self.named, self.epoch) = (held.named, held.epoch + 1);
        self.note(Seen::Restored);
    }

    /// The record, with the truth at its end.
    pub(super) fn end(mut self) -> Vec<Entry> {
        self.note(Seen::Quiet);
        for user in PEOPLE {
            let places: Vec<Place> =
                self.places.keys().copied().filter(|place| self.members(*place).contains(&user)).collect();
            let chats = places.iter().map(|place| self.chat(user, *place)).collect();
            self.note(Seen::Chats { user, rows: chats });
            for place in places {
                let rows = self.places[&place].iter().map(|kept| kept.message.clone()).collect();
                self.note(Seen::History { user, place, rows });
                let marker = |user| self.markers.get(&(place, user)).map_or(0, |(seq, _)| *seq);
                let member = |user| Member { user, read_seq: marker(user), delivered_seq: marker(user) };
                let rows = self.members(place).into_iter().map(member).collect();
                self.note(Seen::Members { user, place, rows });
            }
            for (cursor, change) in self.cursors[&user].clone() {
                let changes = self.since(user, change);
                self.note(Seen::Synced { user, cursor, complete: true, changes });
            }
        }
        for (user, cursor) in std::mem::take(&mut self.lost) {
            self.note(Seen::Synced { user, cursor, complete: false, changes: Vec::new() });
        }
        self.entries
    }

    fn chat(&self, user: UserId, place: Place) -> Chat {
        let kept = &self.places[&place];
        let read_seq = self.markers.get(&(place, user)).map_or(0, |(seq, _)| *seq);
        let unread = kept.iter().filter(|kept| kept.message.seq > read_seq && kept.message.sender != user).count();
        Chat { place, last_seq: self.newest(place), read_seq, unread: unread.try_into().expect("few") }
    }
}

fn position(user: UserId) -> usize {
    PEOPLE.iter().position(|other| *other == user).expect("one of them")
}

pub(super) fn frame_of(value: &Value) -> Box<serde_json::value::RawValue> {
    raw(&value.to_string()).expect("JSON")
}

/// A message as it goes over the wire.
pub(super) fn item(place: Place, message: &Message) -> Value {
    let reactions: Vec<Value> =
        message.reactions.iter().map(|(user, what)| json!({ "userId": user, "reaction": what })).collect();
    let mut item = place.target(message.sender);
    for (key, value) in [
        ("messageId", json!(message.id)),
        ("seq", json!(message.seq)),
        ("senderId", json!(message.sender)),
        ("content", json!(message.content)),
        ("deletedAt", if message.deleted { json!("2026-11-20T09:40:39.018Z") } else { Value::Null }),
        ("reactions", json!(reactions)),
    ] {
        item[key] = value;
    }
    item
}

fn row(user: UserId, change: &Change) -> Value {
    match change {
        Change::Message(place, message) => json!({ "type": "editMessage", "item": item(*place, message) }),
        Change::Member { group, user, is_in } => {
            let kind = if *is_in { "addUserInGroup" } else { "removeUserFromGroup" };
            json!({ "type": kind, "item": { "groupId": group, "userId": user } })
        }
        Change::Marker { place, user: who, seq, .. } => {
            let mut item = place.target(user);
            (item["userId"], item["seq"]) = (json!(who), json!(seq));
            json!({ "type": "readMessages", "item": item })
        }
        Change::Ended { .. } | Change::Other => Value::Null,
    }
}
