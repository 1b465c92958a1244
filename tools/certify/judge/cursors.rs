//! Point 4: a cursor never skips anything. What somebody was told by `sync` up to a cursor, and then
//! by a `sync` from that cursor in the end, is together what the final histories say.

use std::collections::{BTreeMap, HashMap};

use super::log::{Asked, Log, Synced};
use super::members::{self, Span, Step};
use super::{Hearing, Ruling};
use crate::certify::record::{Change, Message, Micros, Place, UserId};

/// Folds all that `sync` said, from the first cursor of each person, and holds it to the truth.
pub(super) fn complete(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 4, "a cursor misses nothing");
    let handed_out = handed_out(log);
    let (spans, steps) = (members::spans(log), members::steps(log));
    for synced in &log.synced {
        // Perhaps the cursor is too old, as the server says: then it promises nothing.
        if !synced.complete {
            continue;
        }
        let Some(mut state) = State::at(log, &handed_out, synced.user, synced.cursor) else { continue };
        state.fold_all(synced.changes);
        Comparison {
            log,
            hearing: &mut hearing,
            synced,
            state: &state,
            handed_out: &handed_out,
            spans: &spans,
            steps: &steps,
        }
        .make();
    }
    for asked in log.asked.iter().filter(|asked| asked.kind == "sync" && asked.is_done()) {
        if let Err(what) =
            Change::read_all(asked.user, asked.answer.as_ref().map_or(&serde_json::Value::Null, |answer| &answer.frame))
        {
            hearing.wrong(what, asked.shown());
        }
    }
    hearing.end()
}

/// The reply that first gave somebody a cursor.
fn handed_out<'a>(log: &'a Log<'_>) -> HashMap<(UserId, &'a str), &'a Asked> {
    let mut handed_out = HashMap::new();
    for asked in log.asked.iter().filter(|asked| asked.kind == "sync" && asked.is_done()) {
        if let Some(cursor) = asked.item()["cursor"].as_str() {
            handed_out.entry((asked.user, cursor)).or_insert(asked);
        }
    }
    handed_out
}

/// What somebody knows who goes by `sync` alone.
#[derive(Default)]
struct State {
    me: UserId,
    messages: BTreeMap<(Place, i64), Message>,
    members: BTreeMap<(i64, UserId), bool>,
    /// Read, and arrived.
    markers: BTreeMap<(Place, UserId), (i64, i64)>,
}

impl State {
    /// As of a cursor: all that was told on the way to it from the first one, which was given before
    /// there was anything. None where a step of the way is not known, or the server broke it off.
    fn at(log: &Log<'_>, handed_out: &HashMap<(UserId, &str), &Asked>, user: UserId, cursor: &str) -> Option<Self> {
        let mut way = Vec::new();
        let mut cursor = cursor;
        loop {
            let reply = handed_out.get(&(user, cursor))?;
            if reply.item()["complete"] != true || way.len() > log.asked.len() {
                return None;
            }
            way.push(*reply);
            match reply.params["cursor"].as_str() {
                // A reply without news gives back the cursor that it was asked with.
                Some(before) if before != cursor => cursor = before,
                Some(_) => return None,
                None => break,
            }
        }
        let mut state = Self { me: user, ..Self::default() };
        for reply in way.into_iter().rev() {
            let changes = Change::read_all(user, &reply.answer.as_ref()?.frame).ok()?;
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
            Change::Message(place, message) => {
                self.messages.insert((*place, message.seq), message.clone());
            }
            Change::Member { group, user, is_in } => {
                if *user == self.me && !is_in {
                    self.forget(*group);
                }
                self.members.insert((*group, *user), *is_in);
            }
            Change::Ended { group } => self.forget(*group),
            Change::Marker { place, user, seq, read } => {
                let marker = self.markers.entry((*place, *user)).or_default();
                if *read {
                    marker.0 = *seq;
                }
                marker.1 = marker.1.max(*seq);
            }
            Change::Other => {}
        }
    }

    /// Who is out of a group has nothing of it.
    fn forget(&mut self, group: i64) {
        let place = Place::Group(group);
        self.messages.retain(|(of, _), _| *of != place);
        self.markers.retain(|(of, _), _| *of != place);
        self.members.retain(|(of, _), _| *of != group);
    }
}

struct Comparison<'a, 'b> {
    log: &'a Log<'a>,
    hearing: &'b mut Hearing<'a>,
    synced: &'a Synced<'a>,
    state: &'b State,
    handed_out: &'b HashMap<(UserId, &'a str), &'a Asked>,
    spans: &'b BTreeMap<(i64, UserId), Vec<Span>>,
    steps: &'b BTreeMap<(i64, UserId), Vec<Step>>,
}

impl Comparison<'_, '_> {
    fn make(&mut self) {
        let me = self.synced.user;
        let log = self.log;
        for ((place, user), (entry, rows)) in &log.histories {
            if *user == me {
                // What was written before somebody was added is in the history, and need not be here.
                if let Some(from) = self.knows_from(*place) {
                    self.messages(*place, *entry, rows, from);
                    self.markers(*place, from);
                    self.members(*place, from);
                }
            }
        }
    }

    fn wrong(&mut self, what: &str, entry: usize) {
        let (user, cursor) = (self.synced.user, self.synced.cursor);
        let what = format!("{user} asks what came after {cursor}: {what}");
        let given = self.handed_out.get(&(user, cursor)).map(|reply| reply.shown());
        self.hearing.wrong(what, given.into_iter().flatten().chain([entry, self.synced.entry]));
    }

    /// From when on everything of a place is to be known; None where that cannot be said.
    fn knows_from(&self, place: Place) -> Option<Micros> {
        match place {
            Place::Dialog(..) => Some(0),
            Place::Group(group) => {
                let last = self.spans.get(&(group, self.synced.user))?.last()?;
                (last.is_last && last.is_in).then_some(last.from)
            }
        }
    }

    fn messages(&mut self, place: Place, entry: usize, rows: &[Message], from: Micros) {
        for row in rows {
            self.hearing.saw();
            match self.state.messages.get(&(place, row.seq)) {
                Some(known) if known == row => {}
                Some(known) => self.wrong(&format!("{known:?} is in {place}, and stored is {row:?}"), entry),
                None if self.is_due(row, from) => self.wrong(&format!("{row:?} of {place} is missing"), entry),
                None => {}
            }
        }
        let known = self.state.messages.range((place, 0)..=(place, i64::MAX)).count();
        if known > rows.len() {
            self.wrong(&format!("{known} messages are in {place}, and stored are {}", rows.len()), entry);
        }
    }

    fn is_due(&self, row: &Message, from: Micros) -> bool {
        from == 0 || self.log.sent_at(row.id).is_some_and(|sent| sent > from)
    }

    /// A marker that was moved is told of as it is. Who comes to a group anew has a new one.
    fn markers(&mut self, place: Place, from: Micros) {
        let log = self.log;
        let Some((entry, rows)) = log.members.get(&(place, self.synced.user)) else { return };
        for member in *rows {
            if let Place::Group(group) = place
                && self.steps.get(&(group, member.user)).is_some_and(|steps| steps.len() > 1)
            {
                continue;
            }
            self.hearing.saw();
            let moved = |kind: &str| {
                let mine = log.asked.iter().filter(|asked| {
                    asked.user == member.user && asked.kind == kind && asked.is_done() && asked.place() == Some(place)
                });
                mine.filter(|asked| asked.at > from).filter_map(|asked| asked.item()["seq"].as_i64()).max()
            };
            let (read, arrived) = self.state.markers.get(&(place, member.user)).copied().unwrap_or_default();
            let read_is_due = moved("readMessages").is_some_and(|seq| seq > read);
            let arrived_is_due = moved("deliveredMessages").is_some_and(|seq| seq > arrived);
            let differs = read > 0 && read != member.read_seq || arrived > 0 && arrived != member.delivered_seq;
            if differs || read_is_due || arrived_is_due {
                let what = format!("{member:?} of {place} is known with read {read} and delivered {arrived}");
                self.wrong(&what, *entry);
            }
        }
    }

    /// Who is known to be in or out is so, and who came or went since is known to have.
    fn members(&mut self, place: Place, from: Micros) {
        let (Place::Group(group), log) = (place, self.log) else { return };
        let Some((entry, rows)) = log.members.get(&(place, self.synced.user)) else { return };
        for ((_, user), is_in) in self.state.members.range((group, i64::MIN)..=(group, i64::MAX)) {
            self.hearing.saw();
            if rows.iter().any(|member| member.user == *user) != *is_in {
                self.wrong(&format!("{user} is known to be in {place}: {is_in}, and is not so"), *entry);
            }
        }
        for ((_, user), spans) in self.spans.range((group, i64::MIN)..=(group, i64::MAX)) {
            let news = spans.iter().any(|span| span.is_last && log.entries[span.entry].at > from);
            if news && !self.state.members.contains_key(&(group, *user)) {
                self.wrong(&format!("{user} came to {place} or left it, and that is not known"), *entry);
            }
        }
    }
}
