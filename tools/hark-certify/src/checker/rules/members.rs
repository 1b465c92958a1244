//! Point 6 of the contract: a member who was removed before a message was committed never receives it, and one who was
//! added before does. Two operations are ordered where the first was answered before the second was requested; where
//! they overlap, any order is accepted.

use std::collections::BTreeMap;

use crate::checker::index::HistoryIndex;
use crate::checker::operations::{Outcome, Request};
use crate::checker::rule_check::RuleCheck;
use crate::checker::verdict::RuleResult;
use crate::history::event::{Change, Conversation, Micros, UserId};

/// A request that adds a user to a group or removes them.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) asked_at: Micros,
    /// The time when it had certainly taken effect.
    pub(super) done: Option<Micros>,
    pub(super) is_in: bool,
    pub(super) entry: usize,
}

/// A time span in which a user certainly was a member of a group, or certainly was none.
pub(super) struct Span {
    pub(super) from: Micros,
    /// The time when the next change was requested.
    pub(super) to: Micros,
    pub(super) is_in: bool,
    /// The entry of the request that began it.
    pub(super) entry: usize,
    /// Whether it lasts until the end of the history.
    pub(super) is_last: bool,
}

/// The spans of each pair of group and user.
pub(super) fn spans(index: &HistoryIndex<'_>) -> BTreeMap<(i64, UserId), Vec<Span>> {
    steps(index).into_iter().map(|(membership, steps)| (membership, spans_of(&steps))).collect()
}

/// The membership changes that were not refused, by group and user, in the order of their requests.
pub(super) fn steps(index: &HistoryIndex<'_>) -> BTreeMap<(i64, UserId), Vec<Step>> {
    let mut steps: BTreeMap<(i64, UserId), Vec<Step>> = BTreeMap::new();
    for request in index.requests.iter().filter(|request| request.outcome() != Outcome::Refused) {
        let done = request.replied_at().filter(|_| request.is_done());
        let mut step = |group: Option<i64>, user: Option<UserId>, is_in| {
            if let (Some(group), Some(user)) = (group, user) {
                let step = Step { asked_at: request.at, done, is_in, entry: request.entry };
                steps.entry((group, user)).or_default().push(step);
            }
        };
        let (group, user) = (request.params["groupId"].as_i64(), request.params["userId"].as_i64());
        match request.frame_type.as_str() {
            "newGroup" => {
                let group = request.item()["groupId"].as_i64();
                let others = request.params["userIds"].as_array().into_iter().flatten().map(serde_json::Value::as_i64);
                others.chain([Some(request.user)]).for_each(|user| step(group, user, true));
            }
            "addUserInGroup" => step(group, user, true),
            "removeUserFromGroup" => step(group, user, false),
            "leaveGroup" => step(group, Some(request.user), false),
            _ => {}
        }
    }
    steps
}

fn spans_of(steps: &[Step]) -> Vec<Span> {
    let span = |(nth, step): (usize, &Step)| {
        let from = step.done?;
        // A change without a reply may take effect at any time.
        let is_uncertain = steps[..nth].iter().any(|before| before.done.is_none_or(|done| done > step.asked_at));
        let next = steps[nth + 1..].iter().map(|next| next.asked_at).min();
        let to = next.unwrap_or(Micros::MAX);
        (!is_uncertain && to > from).then_some(Span {
            from,
            to,
            is_in: step.is_in,
            entry: step.entry,
            is_last: next.is_none(),
        })
    };
    steps.iter().enumerate().filter_map(span).collect()
}

/// A user who is no member receives no message that is sent meanwhile, and cannot read it.
pub(in crate::checker) fn removed_receive_nothing(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 6, "a removed member receives no later message");
    for ((group, user), spans) in spans(index) {
        let conversation = Conversation::Group(group);
        for span in spans.iter().filter(|span| !span.is_in) {
            let sent_in = |id| index.sent_at(id).is_some_and(|sent| sent > span.from);
            let committed_in = |id| sent_in(id) && index.visible_since.get(&id).is_some_and(|event| *event < span.to);
            let messages = index.stored_in(conversation).iter().filter(|message| committed_in(message.id));
            messages.for_each(|_| check.add_evidence());
            for seen in index.seen_messages.iter().filter(|seen| seen.user == user && seen.conversation == conversation)
            {
                // A push goes to the members at the time of the commit, however late it arrives.
                let is_premature = seen.at < span.to && sent_in(seen.message.id);
                if is_premature || seen.is_push && committed_in(seen.message.id) {
                    check.add_violation(
                        format!("{user} is not in {conversation} and receives {:?}", seen.message),
                        [span.entry, seen.entry],
                    );
                }
            }
            for request in within(index, user, conversation, span) {
                let may_be_a_repeat = request.is_send() && request.item()["duplicate"] == true;
                let is_let_in = request.is_done() && !may_be_a_repeat;
                let what = || format!("{user} is not in {conversation} and is let in by {}", request.frame_type);
                check.expect(!is_let_in, what, [span.entry].into_iter().chain(request.shown()));
            }
        }
    }
    check.finish()
}

/// A user who is a member until the end has all messages since then, and no member is refused.
pub(in crate::checker) fn added_receive_everything(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 6, "an added member receives every later message");
    for ((group, user), spans) in spans(index) {
        let conversation = Conversation::Group(group);
        for span in spans.iter().filter(|span| span.is_in) {
            for request in within(index, user, conversation, span) {
                let code = request.reply.as_ref().and_then(|reply| reply.frame["code"].as_str());
                let what = || format!("{user} is in {conversation} and is refused {}", request.frame_type);
                let shown = [span.entry].into_iter().chain(request.shown());
                check.expect(code != Some("not_a_member"), what, shown);
            }
            if !span.is_last || !index.chats.contains_key(&user) || index.unknown_users.contains(&user) {
                continue;
            }
            let Some((entry, rows)) = index.histories.get(&(conversation, user)) else {
                check.expect(false, || format!("{user} is in {conversation} and cannot read it"), [span.entry]);
                continue;
            };
            for message in index.stored_in(conversation) {
                if index.sent_at(message.id).is_some_and(|sent| sent > span.from) {
                    let has_it = rows.binary_search_by_key(&message.seq, |row| row.seq).is_ok();
                    let what = || format!("{user} was added to {conversation} before {message:?} and does not have it");
                    check.expect(has_it, what, [span.entry, *entry]);
                }
            }
        }
    }
    check.finish()
}

/// A user who was not added to a group receives nothing of it, and cannot read or write in it.
pub(in crate::checker) fn strangers_receive_nothing(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 6, "a non-member receives nothing of a group");
    let steps = steps(index);
    let was_added = |group, user, at| {
        let steps = steps.get(&(group, user));
        steps.is_some_and(|steps| steps.iter().any(|step| step.is_in && step.asked_at < at))
    };
    let is_known = |group| steps.range((group, UserId::MIN)..=(group, UserId::MAX)).next().is_some();
    // The members of a group that was created before the history begins are not known. After a restore such a group is
    // one of a lost history.
    let is_stranger = |group, user, at| (is_known(group) || index.restored.is_some()) && !was_added(group, user, at);
    for seen in &index.seen_messages {
        let Conversation::Group(group) = seen.conversation else { continue };
        check.add_evidence();
        if is_stranger(group, seen.user, seen.at) {
            let what =
                format!("{} was never added to {} and receives {:?}", seen.user, seen.conversation, seen.message);
            check.add_violation(what, [seen.entry]);
        }
    }
    for request in index.requests.iter().filter(|request| request.is_done()) {
        let reads = matches!(request.frame_type.as_str(), "messageInGroup" | "getlatestMessageGroup" | "readMessages");
        if let (true, Some(Conversation::Group(group)), Some(at)) =
            (reads, request.conversation(), request.replied_at())
        {
            let what =
                || format!("{} was never added to group {group} and is let in by {}", request.user, request.frame_type);
            check.expect(!is_stranger(group, request.user, at), what, request.shown());
        }
    }
    for synced in &index.synced {
        for change in synced.changes {
            if let Change::Message(Conversation::Group(group), message) = change
                && is_stranger(*group, synced.user, Micros::MAX)
            {
                let what = format!("{} was never added to group {group} and receives {message:?}", synced.user);
                check.add_violation(what, [synced.entry]);
            }
        }
    }
    check.finish()
}

/// The requests of a user in a group that were made and answered within a span.
fn within<'a>(
    index: &'a HistoryIndex<'_>,
    user: UserId,
    conversation: Conversation,
    span: &Span,
) -> impl Iterator<Item = &'a Request> {
    let (from, to) = (span.from, span.to);
    index.requests.iter().filter(move |request| {
        request.user == user
            && matches!(request.frame_type.as_str(), "messageInGroup" | "getlatestMessageGroup" | "readMessages")
            && request.conversation() == Some(conversation)
            && request.at > from
            && request.replied_at().is_some_and(|at| at < to)
    })
}
