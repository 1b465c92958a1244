//! An index of the history: its entries, ordered the way the rules look them up.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::checker::operations::{Closed, FaultWindow, Reply, Request, SeenMessage, Socket, StoredMessage, SyncResult};
use crate::fault::{Fault, Layer};
use crate::history::event::{
    Change, ChatListRow, Conversation, Entry, Event, Member, Message, Micros, Phase, SocketId, UserId,
};

/// Maximum length of the excerpt of an entry that a verdict prints, in characters.
const MAX_EXCERPT_CHARS: usize = 300;

/// The index. Final rows are kept with the number of the entry that holds them.
pub(super) struct HistoryIndex<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) sockets: BTreeMap<SocketId, Socket>,
    pub(super) requests: Vec<Request>,
    pub(super) seen_messages: Vec<SeenMessage>,
    pub(super) faults: Vec<FaultWindow>,
    pub(super) histories: BTreeMap<(Conversation, UserId), (usize, &'a [Message])>,
    pub(super) chats: BTreeMap<UserId, (usize, &'a [ChatListRow])>,
    pub(super) members: BTreeMap<(Conversation, UserId), (usize, &'a [Member])>,
    pub(super) synced: Vec<SyncResult<'a>>,
    /// Each message in any final message history, by id.
    pub(super) stored: HashMap<i64, StoredMessage<'a>>,
    /// Users whose final state could not be read.
    pub(super) unknown_users: HashSet<UserId>,
    /// The time of the first request that sends a message, by the message's name.
    pub(super) first_sent: HashMap<String, Micros>,
    /// The name of each message, by id.
    pub(super) names: HashMap<i64, String>,
    /// The time from which on a message is certainly committed, by id.
    pub(super) visible_since: HashMap<i64, Micros>,
    /// The time after which no client writes.
    pub(super) quiescent_at: Micros,
    /// The time when a backup replaced the data.
    pub(super) restored: Option<Micros>,
}

/// The name of a message: the first word of its content.
pub(super) fn name_in(content: &str) -> &str {
    content.split(' ').next().unwrap_or_default()
}

impl<'a> HistoryIndex<'a> {
    pub(super) fn new(entries: &'a [Entry]) -> Self {
        let mut index = Self {
            entries,
            sockets: BTreeMap::new(),
            requests: Vec::new(),
            seen_messages: Vec::new(),
            faults: Vec::new(),
            histories: BTreeMap::new(),
            chats: BTreeMap::new(),
            members: BTreeMap::new(),
            synced: Vec::new(),
            stored: HashMap::new(),
            unknown_users: HashSet::new(),
            first_sent: HashMap::new(),
            names: HashMap::new(),
            visible_since: HashMap::new(),
            quiescent_at: entries.last().map_or(0, |entry| entry.at),
            restored: None,
        };
        let mut pending = HashMap::new();
        for (nth, entry) in entries.iter().enumerate() {
            index.add(nth, entry, &mut pending);
        }
        index.find_names();
        index
    }

    /// Adds an entry. `pending` holds the requests without a reply, by socket and id.
    fn add(&mut self, nth: usize, entry: &'a Entry, pending: &mut HashMap<(SocketId, u64), usize>) {
        let at = entry.at;
        match &entry.event {
            Event::Opened { socket, user, .. } => {
                self.sockets.insert(*socket, Socket { user: *user, opened: at, closed: None });
            }
            Event::Closed { socket, code, by } => {
                if let Some(socket) = self.sockets.get_mut(socket)
                    && socket.closed.is_none()
                {
                    socket.closed = Some(Closed { at, entry: nth, by: *by, code: *code });
                }
            }
            Event::Request { socket, frame } => {
                let mut frame = parse(frame);
                pending.insert((*socket, frame["id"].as_u64().unwrap_or_default()), self.requests.len());
                self.requests.push(Request {
                    entry: nth,
                    at,
                    socket: *socket,
                    user: self.user(*socket),
                    frame_type: frame["type"].as_str().unwrap_or_default().to_owned(),
                    params: frame["params"].take(),
                    reply: None,
                });
            }
            Event::Reply { socket, frame } => {
                let frame = parse(frame);
                if let Some(request) = pending.remove(&(*socket, frame["id"].as_u64().unwrap_or_default())) {
                    self.requests[request].reply = Some(Reply { entry: nth, at, frame });
                    self.on_reply(request, nth, at);
                }
            }
            Event::Push { socket, frame } => self.on_push(nth, at, *socket, &parse(frame)),
            Event::Fault { fault, phase } => self.add_fault(nth, at, fault, *phase),
            Event::Quiescent => self.quiescent_at = at,
            Event::ChatList { user, rows } => {
                self.chats.insert(*user, (nth, rows));
            }
            Event::History { user, conversation, rows } => {
                self.histories.insert((*conversation, *user), (nth, rows));
                for message in rows {
                    self.stored.entry(message.id).or_insert(StoredMessage {
                        conversation: *conversation,
                        message,
                        entry: nth,
                    });
                }
            }
            Event::Members { user, conversation, rows } => {
                self.members.insert((*conversation, *user), (nth, rows));
            }
            Event::Synced { user, cursor, complete, changes } => {
                self.synced.push(SyncResult { entry: nth, user: *user, cursor, complete: *complete, changes });
            }
            Event::Unknown { user, .. } => {
                self.unknown_users.insert(*user);
            }
            Event::Restored => self.restored = Some(at),
            Event::Round(_)
            | Event::Ready { .. }
            | Event::Memory { .. }
            | Event::Skipped { .. }
            | Event::Ping { .. }
            | Event::Pong { .. }
            | Event::Login { .. }
            | Event::Abuse { .. }
            | Event::Imposed { .. }
            | Event::Startup { .. }
            | Event::Backup
            | Event::Token { .. }
            | Event::Omitted => {}
        }
    }

    fn user(&self, socket: SocketId) -> UserId {
        self.sockets.get(&socket).map_or(0, |socket| socket.user)
    }

    fn add_fault(&mut self, entry: usize, at: Micros, fault: &str, phase: Phase) {
        if phase == Phase::Started {
            self.faults.push(FaultWindow { fault: fault.to_owned(), entry, started: at, down: None, ended: None });
            return;
        }
        let open = |window: &&mut FaultWindow| window.fault == fault && window.ended.is_none();
        if let Some(window) = self.faults.iter_mut().rev().find(open) {
            match phase {
                Phase::DatabaseDown => window.down = Some((at, Micros::MAX)),
                Phase::DatabaseUp => window.down = window.down.map(|(from, _)| (from, at)),
                _ => window.ended = Some(at),
            }
        }
    }

    fn on_push(&mut self, entry: usize, at: Micros, socket: SocketId, frame: &Value) {
        let item = &frame["params"]["item"];
        let frame_type = frame["type"].as_str().unwrap_or_default();
        if matches!(frame_type, "privateMessage" | "messageInGroup" | "editMessage" | "deleteMessage")
            && let (Some(conversation), Some(message)) = (Message::conversation(item), Message::parse(item))
        {
            let is_push = matches!(frame_type, "privateMessage" | "messageInGroup");
            let user = self.user(socket);
            self.seen_messages.push(SeenMessage { entry, at, socket, user, conversation, message, is_push });
        }
    }

    /// Adds the messages that a reply contains.
    fn on_reply(&mut self, request: usize, entry: usize, at: Micros) {
        let request = &self.requests[request];
        let (user, socket) = (request.user, request.socket);
        let rows = request.rows().iter();
        let messages: Vec<(Conversation, Message)> = match request.frame_type.as_str() {
            "sync" => rows
                .filter_map(|row| match Change::parse(user, row)? {
                    Change::Message(conversation, message) => Some((conversation, message)),
                    _ => None,
                })
                .collect(),
            "getlatestMessageGroup" | "getlatestMessageDialog" => {
                let conversation = request.conversation();
                rows.filter_map(|row| Some((conversation?, Message::parse(row)?))).collect()
            }
            "searchMessages" => {
                rows.filter_map(|row| Some((Message::conversation(row)?, Message::parse(row)?))).collect()
            }
            "listConversations" => rows
                .filter_map(|row| {
                    let last = &row["lastMessage"];
                    Some((Message::conversation(last)?, Message::parse(last)?))
                })
                .collect(),
            _ => Vec::new(),
        };
        let seen = messages.into_iter().map(|(conversation, message)| SeenMessage {
            entry,
            at,
            socket,
            user,
            conversation,
            message,
            is_push: false,
        });
        self.seen_messages.extend(seen);
    }

    fn find_names(&mut self) {
        for send in self.requests.iter().filter(|request| request.is_send()) {
            self.first_sent.entry(send.name().to_owned()).or_insert(send.at);
            if let (true, Some(id), Some(at)) = (send.is_done(), send.item()["messageId"].as_i64(), send.replied_at()) {
                self.names.entry(id).or_insert_with(|| send.name().to_owned());
                let since = self.visible_since.entry(id).or_insert(at);
                *since = at.min(*since);
            }
        }
        for seen in &self.seen_messages {
            let since = self.visible_since.entry(seen.message.id).or_insert(seen.at);
            *since = seen.at.min(*since);
            if !seen.message.deleted {
                self.names.entry(seen.message.id).or_insert_with(|| name_in(&seen.message.content).to_owned());
            }
        }
        for stored in self.stored.values().filter(|stored| !stored.message.deleted) {
            let name = || name_in(&stored.message.content).to_owned();
            self.names.entry(stored.message.id).or_insert_with(name);
        }
    }

    /// The faults of a layer.
    pub(super) fn faults_of(&self, layer: Layer) -> impl Iterator<Item = &FaultWindow> {
        self.faults
            .iter()
            .filter(move |window| Fault::by_name(&window.fault).is_some_and(|fault| fault.layer() == layer))
    }

    /// The requests that send a message.
    pub(super) fn sends(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(|request| request.is_send())
    }

    /// The time when a message was first sent; `None` if its name is not known.
    pub(super) fn sent_at(&self, id: i64) -> Option<Micros> {
        self.first_sent.get(self.names.get(&id)?).copied()
    }

    /// The conversations whose final message history is known.
    pub(super) fn conversations(&self) -> BTreeSet<Conversation> {
        self.histories.keys().map(|(conversation, _)| *conversation).collect()
    }

    /// Whether the final message history of a conversation is known from any member.
    pub(super) fn is_known(&self, conversation: Conversation) -> bool {
        self.histories.range((conversation, UserId::MIN)..=(conversation, UserId::MAX)).next().is_some()
    }

    /// The final message history of a conversation, as its first member reads it.
    pub(super) fn stored_in(&self, conversation: Conversation) -> &'a [Message] {
        let first = self.histories.range((conversation, UserId::MIN)..=(conversation, UserId::MAX)).next();
        first.map_or(&[], |(_, (_, rows))| rows)
    }

    /// An excerpt of an entry, for the verdict.
    pub(super) fn excerpt(&self, entry: usize) -> String {
        let Some(shown) = self.entries.get(entry) else { return String::new() };
        let mut text = serde_json::to_string(&shown.event).unwrap_or_default();
        if let Some((end, _)) = text.char_indices().nth(MAX_EXCERPT_CHARS) {
            text.truncate(end);
            text.push('…');
        }
        #[expect(clippy::cast_precision_loss, reason = "the text has a resolution of a millisecond")]
        let seconds = shown.at as f64 / 1e6;
        format!("#{entry} at {seconds:.3} s {text}")
    }
}

/// Parses a frame. Frames were JSON when they were recorded.
fn parse(frame: &RawValue) -> Value {
    serde_json::from_str(frame.get()).unwrap_or_default()
}
