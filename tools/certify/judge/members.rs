//! Point 6: who was removed before a message committed never receives it, who was added before it
//! does. Times prove an order where one thing was answered before the other was asked for; where
//! they do not, nothing is said.

use std::collections::BTreeMap;

use super::log::{Asked, Log, Outcome};
use super::{Hearing, Ruling};
use crate::certify::record::{Change, Micros, Place, UserId};

/// A request that somebody be in a group or not.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) asked: Micros,
    /// When it was done for certain.
    pub(super) done: Option<Micros>,
    pub(super) is_in: bool,
    pub(super) entry: usize,
}

/// A time for which somebody was in a group for certain, or out of it.
pub(super) struct Span {
    pub(super) from: Micros,
    /// When the next change was asked for.
    pub(super) to: Micros,
    pub(super) is_in: bool,
    /// The request that began it.
    pub(super) entry: usize,
    /// Whether it goes on until the end.
    pub(super) is_last: bool,
}

/// Everybody's spans in every group.
pub(super) fn spans(log: &Log<'_>) -> BTreeMap<(i64, UserId), Vec<Span>> {
    steps(log).into_iter().map(|(pair, steps)| (pair, spans_of(&steps))).collect()
}

/// All requests about members that were not refused, in the order in which they were made.
pub(super) fn steps(log: &Log<'_>) -> BTreeMap<(i64, UserId), Vec<Step>> {
    let mut steps: BTreeMap<(i64, UserId), Vec<Step>> = BTreeMap::new();
    for asked in log.asked.iter().filter(|asked| asked.outcome() != Outcome::Refused) {
        let done = asked.answered_at().filter(|_| asked.is_done());
        let mut step = |group: Option<i64>, user: Option<UserId>, is_in| {
            if let (Some(group), Some(user)) = (group, user) {
                let step = Step { asked: asked.at, done, is_in, entry: asked.entry };
                steps.entry((group, user)).or_default().push(step);
            }
        };
        let (group, user) = (asked.params["groupId"].as_i64(), asked.params["userId"].as_i64());
        match asked.kind.as_str() {
            "newGroup" => {
                let group = asked.item()["groupId"].as_i64();
                let others = asked.params["userIds"].as_array().into_iter().flatten().map(serde_json::Value::as_i64);
                others.chain([Some(asked.user)]).for_each(|user| step(group, user, true));
            }
            "addUserInGroup" => step(group, user, true),
            "removeUserFromGroup" => step(group, user, false),
            "leaveGroup" => step(group, Some(asked.user), false),
            _ => {}
        }
    }
    steps
}

fn spans_of(steps: &[Step]) -> Vec<Span> {
    let span = |(nth, step): (usize, &Step)| {
        let from = step.done?;
        // What was not answered may still happen, at any time.
        let is_unsure = steps[..nth].iter().any(|before| before.done.is_none_or(|done| done > step.asked));
        let next = steps[nth + 1..].iter().map(|next| next.asked).min();
        let to = next.unwrap_or(Micros::MAX);
        (!is_unsure && to > from).then_some(Span {
            from,
            to,
            is_in: step.is_in,
            entry: step.entry,
            is_last: next.is_none(),
        })
    };
    steps.iter().enumerate().filter_map(span).collect()
}

/// Nothing of what is sent while somebody is out of a group reaches them, and they may not read it.
pub(super) fn removed_get_nothing(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 6, "who was removed before a message gets it never");
    for ((group, user), spans) in spans(log) {
        let place = Place::Group(group);
        for span in spans.iter().filter(|span| !span.is_in) {
            let sent_in = |id| log.sent_at(id).is_some_and(|sent| sent > span.from);
            let committed_in = |id| sent_in(id) && log.visible.get(&id).is_some_and(|seen| *seen < span.to);
            let messages = log.stored_in(place).iter().filter(|message| committed_in(message.id));
            messages.for_each(|_| hearing.saw());
            for told in log.told.iter().filter(|told| told.user == user && told.place == place) {
                // A push goes to the members as of the commit, however late it comes.
                let too_early = told.at < span.to && sent_in(told.message.id);
                if too_early || told.is_push && committed_in(told.message.id) {
                    hearing.wrong(
                        format!("{user} is not in {place} and is told {:?}", told.message),
                        [span.entry, told.entry],
                    );
                }
            }
            for asked in within(log, user, place, span) {
                let may_be_a_repeat = asked.is_send() && asked.item()["duplicate"] == true;
                let is_let_in = asked.is_done() && !may_be_a_repeat;
                let what = || format!("{user} is not in {place} and is let in by {}", asked.kind);
                hearing.expect(!is_let_in, what, [span.entry].into_iter().chain(asked.shown()));
            }
        }
    }
    hearing.end()
}

/// Who is in a group until the end has all that was sent since; and nobody is refused who is in it.
pub(super) fn added_get_everything(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 6, "who was added before a message gets it");
    for ((group, user), spans) in spans(log) {
        let place = Place::Group(group);
        for span in spans.iter().filter(|span| span.is_in) {
            for asked in within(log, user, place, span) {
                let code = asked.answer.as_ref().and_then(|answer| answer.frame["code"].as_str());
                let what = || format!("{user} is in {place} and is refused {}", asked.kind);
                let shown = [span.entry].into_iter().chain(asked.shown());
                hearing.expect(code != Some("not_a_member"), what, shown);
            }
            if !span.is_last || !log.chats.contains_key(&user) || log.untold.contains(&user) {
                continue;
            }
            let Some((entry, rows)) = log.histories.get(&(place, user)) else {
                hearing.expect(false, || format!("{user} is in {place} and cannot read it"), [span.entry]);
                continue;
            };
            for message in log.stored_in(place) {
                if log.sent_at(message.id).is_some_and(|sent| sent > span.from) {
                    let has_it = rows.binary_search_by_key(&message.seq, |row| row.seq).is_ok();
                    let what = || format!("{user} was added to {place} before {message:?} and does not have it");
                    hearing.expect(has_it, what, [span.entry, *entry]);
                }
            }
        }
    }
    hearing.end()
}

/// Who nobody asked to be in a group gets nothing of it, and is let in to nothing.
pub(super) fn never_added_get_nothing(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 6, "who was never added to a group gets nothing of it");
    let steps = steps(log);
    let was_added = |group, user, at| {
        let steps = steps.get(&(group, user));
        steps.is_some_and(|steps| steps.iter().any(|step| step.is_in && step.asked < at))
    };
    let is_known = |group| steps.range((group, UserId::MIN)..=(group, UserId::MAX)).next().is_some();
    // Of a group that was made before the record begins nobody knows who is in it; after a restore it is of
    // a lost history.
    let is_strange = |group, user, at| (is_known(group) || log.restored.is_some()) && !was_added(group, user, at);
    for told in &log.told {
        let Place::Group(group) = told.place else { continue };
        hearing.saw();
        if is_strange(group, told.user, told.at) {
            let what = format!("{} was never added to {} and is told {:?}", told.user, told.place, told.message);
            hearing.wrong(what, [told.entry]);
        }
    }
    for asked in log.asked.iter().filter(|asked| asked.is_done()) {
        let reads = matches!(asked.kind.as_str(), "messageInGroup" | "getlatestMessageGroup" | "readMessages");
        if let (true, Some(Place::Group(group)), Some(at)) = (reads, asked.place(), asked.answered_at()) {
            let what = || format!("{} was never added to group {group} and is let in by {}", asked.user, asked.kind);
            hearing.expect(!is_strange(group, asked.user, at), what, asked.shown());
        }
    }
    for synced in &log.synced {
        for change in synced.changes {
            if let Change::Message(Place::Group(group), message) = change
                && is_strange(*group, synced.user, Micros::MAX)
            {
                let what = format!("{} was never added to group {group} and is told {message:?}", synced.user);
                hearing.wrong(what, [synced.entry]);
            }
        }
    }
    hearing.end()
}

/// What somebody asked of a group and was answered, all of it within a span.
fn within<'a>(log: &'a Log<'_>, user: UserId, place: Place, span: &Span) -> impl Iterator<Item = &'a Asked> {
    let (from, to) = (span.from, span.to);
    log.asked.iter().filter(move |asked| {
        asked.user == user
            && matches!(asked.kind.as_str(), "messageInGroup" | "getlatestMessageGroup" | "readMessages")
            && asked.place() == Some(place)
            && asked.at > from
            && asked.answered_at().is_some_and(|at| at < to)
    })
}
