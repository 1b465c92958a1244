//! The record, in the order in which the rules ask for it.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::certify::record::{
    Change, Chat, Entry, Member, Message, Micros, Phase, Place, Seen, Side, SocketId, UserId,
};

/// Longest piece of an entry that a verdict shows.
const SHOWN_CHARS: usize = 300;

/// What the rules ask.
pub(super) struct Log<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) sockets: BTreeMap<SocketId, Socket>,
    pub(super) asked: Vec<Asked>,
    pub(super) told: Vec<Told>,
    pub(super) faults: Vec<Window>,
    pub(super) histories: BTreeMap<(Place, UserId), (usize, &'a [Message])>,
    pub(super) chats: BTreeMap<UserId, (usize, &'a [Chat])>,
    pub(super) members: BTreeMap<(Place, UserId), (usize, &'a [Member])>,
    pub(super) synced: Vec<Synced<'a>>,
    /// All that is in any final history.
    pub(super) stored: HashMap<i64, Stored<'a>>,
    /// Whose final truth is not known.
    pub(super) untold: HashSet<UserId>,
    /// When the first request to send a message was made, by its name.
    pub(super) first_sent: HashMap<String, Micros>,
    /// The name of a message that was acknowledged, by its id.
    pub(super) names: HashMap<i64, String>,
    /// From when on a message is committed for certain.
    pub(super) visible: HashMap<i64, Micros>,
    /// When nobody wrote any more.
    pub(super) quiet: Micros,
    /// When a backup was put in place of the data.
    pub(super) restored: Option<Micros>,
}

/// A socket's life.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) user: UserId,
    pub(super) opened: Micros,
    pub(super) closed: Option<Closed>,
}

/// A socket's end.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) at: Micros,
    pub(super) entry: usize,
    pub(super) by: Side,
    pub(super) code: Option<u16>,
}

/// A request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) entry: usize,
    pub(super) at: Micros,
    pub(super) socket: SocketId,
    pub(super) user: UserId,
    pub(super) kind: String,
    pub(super) params: Value,
    pub(super) answer: Option<Answer>,
}

/// Its answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) entry: usize,
    pub(super) at: Micros,
    pub(super) frame: Value,
}

/// What a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Done, between the request and the reply.
    Done,
    /// Refused: it is not done and never will be.
    Refused,
    /// Nobody knows; it may still be done.
    Unknown,
}

impl Asked {
    pub(super) fn outcome(&self) -> Outcome {
        match &self.answer {
            Some(answer) if answer.frame["success"] == true => Outcome::Done,
            Some(answer) if !matches!(answer.frame["code"].as_str(), Some("overloaded" | "internal")) => {
                Outcome::Refused
            }
            _ => Outcome::Unknown,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.outcome() == Outcome::Done
    }

    pub(super) fn item(&self) -> &Value {
        self.answer.as_ref().map_or(&Value::Null, |answer| &answer.frame["params"]["item"])
    }

    pub(super) fn rows(&self) -> &[Value] {
        let rows = self.answer.as_ref().and_then(|answer| answer.frame["params"]["data"].as_array());
        rows.map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn place(&self) -> Option<Place> {
        Place::of_target(self.user, &self.params)
    }

    pub(super) fn answered_at(&self) -> Option<Micros> {
        self.answer.as_ref().map(|answer| answer.at)
    }

    pub(super) fn waited(&self) -> Option<Micros> {
        self.answered_at().map(|at| at.saturating_sub(self.at))
    }

    /// The entries that show it.
    pub(super) fn shown(&self) -> impl Iterator<Item = usize> + use<> {
        [Some(self.entry), self.answer.as_ref().map(|answer| answer.entry)].into_iter().flatten()
    }

    pub(super) fn is_send(&self) -> bool {
        matches!(self.kind.as_str(), "privateMessage" | "messageInGroup")
    }

    /// The sender's own name of a message.
    pub(super) fn name(&self) -> &str {
        self.params["clientMessageId"].as_str().unwrap_or_default()
    }
}

/// A message that somebody was told of.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) entry: usize,
    pub(super) at: Micros,
    pub(super) socket: SocketId,
    pub(super) user: UserId,
    pub(super) place: Place,
    pub(super) message: Message,
    /// Whether it is the push of a new message.
    pub(super) is_push: bool,
}

/// A message in the final truth.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    pub(super) place: Place,
    pub(super) message: &'a Message,
    pub(super) entry: usize,
}

/// What `sync` says in the end.
pub(super) struct Synced<'a> {
    pub(super) entry: usize,
    pub(super) user: UserId,
    pub(super) cursor: &'a str,
    pub(super) complete: bool,
    pub(super) changes: &'a [Change],
}

/// A fault, from its beginning to when all worked again.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) fault: String,
    pub(super) entry: usize,
    pub(super) begun: Micros,
    /// PostgreSQL was away for certain between these.
    pub(super) away: Option<(Micros, Micros)>,
    pub(super) over: Option<Micros>,
}

impl Window {
    /// Whether it and a span of time have a moment in common.
    pub(super) fn meets(&self, from: Micros, to: Micros) -> bool {
        self.begun <= to && self.over.is_none_or(|over| over >= from)
    }
}

/// The name that a content begins with.
pub(super) fn name_in(content: &str) -> &str {
    content.split(' ').next().unwrap_or_default()
}

impl<'a> Log<'a> {
    pub(super) fn read(entries: &'a [Entry]) -> Self {
        let mut log = Self {
            entries,
            sockets: BTreeMap::new(),
            asked: Vec::new(),
            told: Vec::new(),
            faults: Vec::new(),
            histories: BTreeMap::new(),
            chats: BTreeMap::new(),
            members: BTreeMap::new(),
            synced: Vec::new(),
            stored: HashMap::new(),
            untold: HashSet::new(),
            first_sent: HashMap::new(),
            names: HashMap::new(),
            visible: HashMap::new(),
            quiet: entries.last().map_or(0, |entry| entry.at),
            restored: None,
        };
        let mut waiting = HashMap::new();
        for (nth, entry) in entries.iter().enumerate() {
            log.take(nth, entry, &mut waiting);
        }
        log.find_names();
        log
    }

    fn take(&mut self, nth: usize, entry: &'a Entry, waiting: &mut HashMap<(SocketId, u64), usize>) {
        let at = entry.at;
        match &entry.seen {
            Seen::Opened { socket, user, .. } => {
                self.sockets.insert(*socket, Socket { user: *user, opened: at, closed: None });
            }
            Seen::Closed { socket, code, by } => {
                if let Some(socket) = self.sockets.get_mut(socket)
                    && socket.closed.is_none()
                {
                    socket.closed = Some(Closed { at, entry: nth, by: *by, code: *code });
                }
            }
            Seen::Request { socket, frame } => {
                let mut frame = parse(frame);
                waiting.insert((*socket, frame["id"].as_u64().unwrap_or_default()), self.asked.len());
                self.asked.push(Asked {
                    entry: nth,
                    at,
                    socket: *socket,
                    user: self.user(*socket),
                    kind: frame["type"].as_str().unwrap_or_default().to_owned(),
                    params: frame["params"].take(),
                    answer: None,
                });
            }
            Seen::Reply { socket, frame } => {
                let frame = parse(frame);
                if let Some(asked) = waiting.remove(&(*socket, frame["id"].as_u64().unwrap_or_default())) {
                    self.asked[asked].answer = Some(Answer { entry: nth, at, frame });
                    self.hear_reply(asked, nth, at);
                }
            }
            Seen::Push { socket, frame } => self.hear_push(nth, at, *socket, &parse(frame)),
            Seen::Fault { fault, phase } => self.take_fault(nth, at, fault, *phase),
            Seen::Quiet => self.quiet = at,
            Seen::Chats { user, rows } => {
                self.chats.insert(*user, (nth, rows));
            }
            Seen::History { user, place, rows } => {
                self.histories.insert((*place, *user), (nth, rows));
                for message in rows {
                    self.stored.entry(message.id).or_insert(Stored { place: *place, message, entry: nth });
                }
            }
            Seen::Members { user, place, rows } => {
                self.members.insert((*place, *user), (nth, rows));
            }
            Seen::Synced { user, cursor, complete, changes } => {
                self.synced.push(Synced { entry: nth, user: *user, cursor, complete: *complete, changes });
            }
            Seen::Untold { user, .. } => {
                self.untold.insert(*user);
            }
            Seen::Restored => self.restored = Some(at),
            Seen::Round(_)
            | Seen::Ready { .. }
            | Seen::Memory { .. }
            | Seen::NotMade { .. }
            | Seen::Ping { .. }
            | Seen::Pong { .. }
            | Seen::Login { .. }
            | Seen::Abuse { .. }
            | Seen::Burden { .. }
            | Seen::Start { .. }
            | Seen::Backup
            | Seen::Token { .. }
            | Seen::Lost => {}
        }
    }

    fn user(&self, socket: SocketId) -> UserId {
        self.sockets.get(&socket).map_or(0, |socket| socket.user)
    }

    fn take_fault(&mut self, entry: usize, at: Micros, fault: &str, phase: Phase) {
        if phase == Phase::Begun {
            self.faults.push(Window { fault: fault.to_owned(), entry, begun: at, away: None, over: None });
            return;
        }
        let open = |window: &&mut Window| window.fault == fault && window.over.is_none();
        if let Some(window) = self.faults.iter_mut().rev().find(open) {
            match phase {
                Phase::Away => window.away = Some((at, Micros::MAX)),
                Phase::Back => window.away = window.away.map(|(from, _)| (from, at)),
                _ => window.over = Some(at),
            }
        }
    }

    fn hear_push(&mut self, entry: usize, at: Micros, socket: SocketId, frame: &Value) {
        let item = &frame["params"]["item"];
        let kind = frame["type"].as_str().unwrap_or_default();
        if matches!(kind, "privateMessage" | "messageInGroup" | "editMessage" | "deleteMessage")
            && let (Some(place), Some(message)) = (Message::place(item), Message::read(item))
        {
            let is_push = matches!(kind, "privateMessage" | "messageInGroup");
            let user = self.user(socket);
            self.told.push(Told { entry, at, socket, user, place, message, is_push });
        }
    }

    /// What a reply tells of messages.
    fn hear_reply(&mut self, asked: usize, entry: usize, at: Micros) {
        let asked = &self.asked[asked];
        let (user, socket) = (asked.user, asked.socket);
        let rows = asked.rows().iter();
        let messages: Vec<(Place, Message)> = match asked.kind.as_str() {
            "sync" => rows
                .filter_map(|row| match Change::read(user, row)? {
                    Change::Message(place, message) => Some((place, message)),
                    _ => None,
                })
                .collect(),
            "getlatestMessageGroup" | "getlatestMessageDialog" => {
                let place = asked.place();
                rows.filter_map(|row| Some((place?, Message::read(row)?))).collect()
            }
            "searchMessages" => rows.filter_map(|row| Some((Message::place(row)?, Message::read(row)?))).collect(),
            "listConversations" => rows
                .filter_map(|row| {
                    let last = &row["lastMessage"];
                    Some((Message::place(last)?, Message::read(last)?))
                })
                .collect(),
            _ => Vec::new(),
        };
        let told = messages.into_iter().map(|(place, message)| Told {
            entry,
            at,
            socket,
            user,
            place,
            message,
            is_push: false,
        });
        self.told.extend(told);
    }

    fn find_names(&mut self) {
        for send in self.asked.iter().filter(|asked| asked.is_send()) {
            self.first_sent.entry(send.name().to_owned()).or_insert(send.at);
            if let (true, Some(id), Some(at)) = (send.is_done(), send.item()["messageId"].as_i64(), send.answered_at())
            {
                self.names.entry(id).or_insert_with(|| send.name().to_owned());
                let seen = self.visible.entry(id).or_insert(at);
                *seen = at.min(*seen);
            }
        }
        for told in &self.told {
            let seen = self.visible.entry(told.message.id).or_insert(told.at);
            *seen = told.at.min(*seen);
            if !told.message.deleted {
                self.names.entry(told.message.id).or_insert_with(|| name_in(&told.message.content).to_owned());
            }
        }
        for stored in self.stored.values().filter(|stored| !stored.message.deleted) {
            let name = || name_in(&stored.message.content).to_owned();
            self.names.entry(stored.message.id).or_insert_with(name);
        }
    }

    /// The requests to send.
    pub(super) fn sends(&self) -> impl Iterator<Item = &Asked> {
        self.asked.iter().filter(|asked| asked.is_send())
    }

    /// When a message was first sent.
    pub(super) fn sent_at(&self, id: i64) -> Option<Micros> {
        self.first_sent.get(self.names.get(&id)?).copied()
    }

    /// Whether anybody's final history of a place is known.
    pub(super) fn is_told(&self, place: Place) -> bool {
        self.histories.range((place, UserId::MIN)..=(place, UserId::MAX)).next().is_some()
    }

    /// The messages that are stored in a place, as the first of its members reads them.
    pub(super) fn stored_in(&self, place: Place) -> &'a [Message] {
        let first = self.histories.range((place, UserId::MIN)..=(place, UserId::MAX)).next();
        first.map_or(&[], |(_, (_, rows))| rows)
    }

    /// An entry as a verdict shows it.
    pub(super) fn show(&self, entry: usize) -> String {
        let Some(shown) = self.entries.get(entry) else { return String::new() };
        let mut text = serde_json::to_string(&shown.seen).unwrap_or_default();
        if let Some((end, _)) = text.char_indices().nth(SHOWN_CHARS) {
            text.truncate(end);
            text.push('…');
        }
        #[expect(clippy::cast_precision_loss, reason = "for people: a millisecond will do")]
        let seconds = shown.at as f64 / 1e6;
        format!("#{entry} at {seconds:.3} s {text}")
    }
}

/// Frames were JSON when they were written down.
fn parse(frame: &RawValue) -> Value {
    serde_json::from_str(frame.get()).unwrap_or_default()
}
