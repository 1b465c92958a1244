//! Point 4 of the contract: a cursor skips nothing. The changes that `sync` returned to a user up to a cursor, followed
//! by those that it returns from that cursor in the end, add up to the final state.

use std::collections::{BTreeMap, HashMap};

use crate::checker::index::HistoryIndex;
use crate::checker::operations::{Request, SyncResult};
use crate::checker::rule_check::RuleCheck;
use crate::checker::rules::members::{self, Span, Step};
use crate::checker::verdict::RuleResult;
use crate::history::event::{Change, Conversation, Message, Micros, UserId};

/// Folds all changes from the first cursor of each user on, and compares the result with the final state.
pub(in crate::checker) fn complete(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 4, "a cursor misses nothing");
    let issued = issued(index);
    let (spans, steps) = (members::spans(index), members::steps(index));
    for synced in &index.synced {
        // The server says that the cursor is too old, and guarantees nothing for it.
        if !synced.complete {
            continue;
        }
        let Some(mut state) = State::at(index, &issued, synced.user, synced.cursor) else { continue };
        state.fold_all(synced.changes);
        Comparison { index, check: &mut check, synced, state: &state, issued: &issued, spans: &spans, steps: &steps }
            .run();
    }
    for request in index.requests.iter().filter(|request| request.frame_type == "sync" && request.is_done()) {
        if let Err(what) = Change::parse_all(
            request.user,
            request.reply.as_ref().map_or(&serde_json::Value::Null, |reply| &reply.frame),
        ) {
            check.add_violation(what, request.shown());
        }
    }
    check.finish()
}

/// The first reply that contained each cursor.
fn issued<'a>(index: &'a HistoryIndex<'_>) -> HashMap<(UserId, &'a str), &'a Request> {
    let mut issued = HashMap::new();
    for request in index.requests.iter().filter(|request| request.frame_type == "sync" && request.is_done()) {
        if let Some(cursor) = request.item()["cursor"].as_str() {
            issued.entry((request.user, cursor)).or_insert(request);
        }
    }
    issued
}

/// The state of a client that knows only what `sync` returned.
#[derive(Default)]
struct State {
    me: UserId,
    messages: BTreeMap<(Conversation, i64), Message>,
    members: BTreeMap<(i64, UserId), bool>,
    /// The read marker and the delivered marker.
    markers: BTreeMap<(Conversation, UserId), (i64, i64)>,
}

impl State {
    /// The state at a cursor: all changes from the first cursor on, which was issued before there was anything. `None`
    /// where a reply on the way is not known, or was not `complete`.
    fn at(
        index: &HistoryIndex<'_>,
        issued: &HashMap<(UserId, &str), &Request>,
        user: UserId,
        cursor: &str,
    ) -> Option<Self> {
        let mut way = Vec::new();
        let mut cursor = cursor;
        loop {
            let reply = issued.get(&(user, cursor))?;
            if reply.item()["complete"] != true || way.len() > index.requests.len() {
                return None;
            }
            way.push(*reply);
            match reply.params["cursor"].as_str() {
                // A reply without changes returns the cursor of its request.
                Some(before) if before != cursor => cursor = before,
                Some(_) => return None,
                None => break,
            }
        }
        let mut state = Self { me: user, ..Self::default() };
        for reply in way.into_iter().rev() {
            let changes = Change::parse_all(user, &reply.reply.as_ref()?.frame).ok()?;
            state.fold_all(&changes);
        }
        Some(state)
    }

    fn fold_all(&mut self, changes: &[Change]) {
        for change in changes {
            self.fold(change);
        }
    }

    fn fold(&mut self, change: &Change) {
        match change {
            Change::Message(conversation, message) => {
                self.messages.insert((*conversation, message.seq), message.clone());
            }
            Change::Member { group, user, is_in } => {
                if *user == self.me && !is_in {
                    self.remove_group(*group);
                }
                self.members.insert((*group, *user), *is_in);
            }
            Change::Dropped { group } => self.remove_group(*group),
            Change::Marker { conversation, user, seq, read } => {
                let marker = self.markers.entry((*conversation, *user)).or_default();
                if *read {
                    marker.0 = *seq;
                }
                marker.1 = marker.1.max(*seq);
            }
            Change::Other => {}
        }
    }

    /// Removes a group: a user who has left it keeps nothing of it.
    fn remove_group(&mut self, group: i64) {
        let conversation = Conversation::Group(group);
        self.messages.retain(|(of, _), _| *of != conversation);
        self.markers.retain(|(of, _), _| *of != conversation);
        self.members.retain(|(of, _), _| *of != group);
    }
}

struct Comparison<'a, 'b> {
    index: &'a HistoryIndex<'a>,
    check: &'b mut RuleCheck<'a>,
    synced: &'a SyncResult<'a>,
    state: &'b State,
    issued: &'b HashMap<(UserId, &'a str), &'a Request>,
    spans: &'b BTreeMap<(i64, UserId), Vec<Span>>,
    steps: &'b BTreeMap<(i64, UserId), Vec<Step>>,
}

impl Comparison<'_, '_> {
    fn run(&mut self) {
        let me = self.synced.user;
        let index = self.index;
        for ((conversation, user), (entry, rows)) in &index.histories {
            if *user == me {
                // Messages from before the user was added are in the history, but `sync` need not return them.
                if let Some(from) = self.known_from(*conversation) {
                    self.messages(*conversation, *entry, rows, from);
                    self.markers(*conversation, from);
                    self.members(*conversation, from);
                }
            }
        }
    }

    fn add_violation(&mut self, what: &str, entry: usize) {
        let (user, cursor) = (self.synced.user, self.synced.cursor);
        let what = format!("{user} asks what came after {cursor}: {what}");
        let given = self.issued.get(&(user, cursor)).map(|reply| reply.shown());
        self.check.add_violation(what, given.into_iter().flatten().chain([entry, self.synced.entry]));
    }

    /// The time from which on the client has to know everything of a conversation; `None` if that is not certain.
    fn known_from(&self, conversation: Conversation) -> Option<Micros> {
        match conversation {
            Conversation::Dialog(..) => Some(0),
            Conversation::Group(group) => {
                let last = self.spans.get(&(group, self.synced.user))?.last()?;
                (last.is_last && last.is_in).then_some(last.from)
            }
        }
    }

    fn messages(&mut self, conversation: Conversation, entry: usize, rows: &[Message], from: Micros) {
        for row in rows {
            self.check.add_evidence();
            match self.state.messages.get(&(conversation, row.seq)) {
                Some(known) if known == row => {}
                Some(known) => {
                    self.add_violation(&format!("{known:?} is in {conversation}, and stored is {row:?}"), entry);
                }
                None if self.is_due(row, from) => {
                    self.add_violation(&format!("{row:?} of {conversation} is missing"), entry);
                }
                None => {}
            }
        }
        let known = self.state.messages.range((conversation, 0)..=(conversation, i64::MAX)).count();
        if known > rows.len() {
            self.add_violation(
                &format!("{known} messages are in {conversation}, and stored are {}", rows.len()),
                entry,
            );
        }
    }

    fn is_due(&self, row: &Message, from: Micros) -> bool {
        from == 0 || self.index.sent_at(row.id).is_some_and(|sent| sent > from)
    }

    /// A marker that has moved is known with its final value. A member who joins a group again has a new one.
    fn markers(&mut self, conversation: Conversation, from: Micros) {
        let index = self.index;
        let Some((entry, rows)) = index.members.get(&(conversation, self.synced.user)) else { return };
        for member in *rows {
            if let Conversation::Group(group) = conversation
                && self.steps.get(&(group, member.user)).is_some_and(|steps| steps.len() > 1)
            {
                continue;
            }
            self.check.add_evidence();
            let moved = |frame_type: &str| {
                let mine = index.requests.iter().filter(|request| {
                    request.user == member.user
                        && request.frame_type == frame_type
                        && request.is_done()
                        && request.conversation() == Some(conversation)
                });
                mine.filter(|request| request.at > from).filter_map(|request| request.item()["seq"].as_i64()).max()
            };
            let (read, delivered) = self.state.markers.get(&(conversation, member.user)).copied().unwrap_or_default();
            let read_is_due = moved("readMessages").is_some_and(|seq| seq > read);
            let delivered_is_due = moved("deliveredMessages").is_some_and(|seq| seq > delivered);
            let differs = read > 0 && read != member.read_seq || delivered > 0 && delivered != member.delivered_seq;
            if differs || read_is_due || delivered_is_due {
                let what = format!("{member:?} of {conversation} is known with read {read} and delivered {delivered}");
                self.add_violation(&what, *entry);
            }
        }
    }

    /// Known memberships are those of the final state, and every later change of one is known.
    fn members(&mut self, conversation: Conversation, from: Micros) {
        let (Conversation::Group(group), index) = (conversation, self.index) else { return };
        let Some((entry, rows)) = index.members.get(&(conversation, self.synced.user)) else { return };
        for ((_, user), is_in) in self.state.members.range((group, i64::MIN)..=(group, i64::MAX)) {
            self.check.add_evidence();
            if rows.iter().any(|member| member.user == *user) != *is_in {
                self.add_violation(&format!("{user} is known to be in {conversation}: {is_in}, and is not so"), *entry);
            }
        }
        for ((_, user), spans) in self.spans.range((group, i64::MIN)..=(group, i64::MAX)) {
            let news = spans.iter().any(|span| span.is_last && index.entries[span.entry].at > from);
            if news && !self.state.members.contains_key(&(group, *user)) {
                self.add_violation(&format!("{user} came to {conversation} or left it, and that is not known"), *entry);
            }
        }
    }
}
