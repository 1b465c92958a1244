//! Point 1 of the contract, for changes: acknowledged edits, deletions, reactions and markers hold, and nothing is
//! changed that nobody asked for.

use std::collections::BTreeMap;

use crate::checker::index::HistoryIndex;
use crate::checker::operations::{Outcome, Request};
use crate::checker::rule_check::RuleCheck;
use crate::checker::verdict::RuleResult;

/// Checks each stored message and each marker.
pub(in crate::checker) fn hold(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 1, "acknowledged edits, deletions, reactions and markers hold");
    messages(index, &mut check);
    reactions(index, &mut check);
    markers(index, &mut check);
    check.finish()
}

fn messages(index: &HistoryIndex<'_>, check: &mut RuleCheck<'_>) {
    let mut edits: BTreeMap<i64, Vec<&Request>> = BTreeMap::new();
    let mut deletions: BTreeMap<i64, Vec<&Request>> = BTreeMap::new();
    for request in &index.requests {
        let Some(id) = request.params["messageId"].as_i64() else { continue };
        match request.frame_type.as_str() {
            "editMessage" => edits.entry(id).or_default().push(request),
            "deleteMessage" => deletions.entry(id).or_default().push(request),
            _ => {}
        }
    }
    let mut sent: BTreeMap<&str, &str> = BTreeMap::new();
    for send in index.sends() {
        sent.entry(send.name()).or_insert(send.params["content"].as_str().unwrap_or_default());
    }
    for (id, stored) in &index.stored {
        let (edits, deletions) = (edits.get(id), deletions.get(id));
        let all = || edits.into_iter().chain(deletions).flatten().flat_map(|request| request.shown());
        let shown = all().chain([stored.entry]);
        let deletions = deletions.map(Vec::as_slice).unwrap_or_default();
        if stored.message.deleted {
            let asked_for = deletions.iter().any(|request| request.outcome() != Outcome::Refused);
            check.expect(asked_for, || format!("nobody deleted {:?}", stored.message), shown);
            continue;
        }
        if deletions.iter().any(|request| request.is_done()) {
            check.expect(false, || format!("a deletion was acknowledged of {:?}", stored.message), shown);
            continue;
        }
        let last = last_of(edits.map(Vec::as_slice).unwrap_or_default());
        let as_edited = last.values.iter().any(|request| request.params["content"] == stored.message.content);
        let name = index.names.get(id).map(String::as_str).unwrap_or_default();
        let as_sent = last.may_be_none && sent.get(name) == Some(&stored.message.content.as_str());
        let what = || format!("no request says what is stored: {:?}", stored.message);
        check.expect(as_edited || as_sent, what, shown);
    }
}

fn reactions(index: &HistoryIndex<'_>, check: &mut RuleCheck<'_>) {
    let mut requests: BTreeMap<(i64, i64), Vec<&Request>> = BTreeMap::new();
    for request in index.requests.iter().filter(|request| request.frame_type == "reactToMessage") {
        if let Some(id) = request.params["messageId"].as_i64() {
            requests.entry((id, request.user)).or_default().push(request);
        }
    }
    for (id, stored) in &index.stored {
        for (user, reaction) in &stored.message.reactions {
            let asked_for = requests.contains_key(&(*id, *user));
            let what = || format!("nobody asked for {reaction} of {user} to {:?}", stored.message);
            check.expect(asked_for, what, [stored.entry]);
        }
    }
    for ((id, user), requests) in requests {
        let Some(stored) = index.stored.get(&id).filter(|stored| !stored.message.deleted) else { continue };
        let reaction = stored.message.reactions.iter().find(|(who, _)| *who == user).map(|(_, what)| what.as_str());
        let last = last_of(&requests);
        let as_asked = last.values.iter().any(|request| request.params["reaction"].as_str() == reaction);
        let what = || format!("{user} reacted otherwise than {reaction:?} to {:?}", stored.message);
        let shown = requests.iter().flat_map(|request| request.shown()).chain([stored.entry]);
        check.expect(as_asked || last.may_be_none && reaction.is_none(), what, shown);
    }
}

/// A marker never goes back. That of a member who joins a group again starts at the newest message.
fn markers(index: &HistoryIndex<'_>, check: &mut RuleCheck<'_>) {
    for request in index.requests.iter().filter(|request| request.frame_type == "readMessages" && request.is_done()) {
        let (Some(conversation), Some(seq)) = (request.conversation(), request.item()["seq"].as_i64()) else {
            continue;
        };
        let Some((entry, rows)) = index.members.get(&(conversation, request.user)) else { continue };
        let Some(member) = rows.iter().find(|member| member.user == request.user) else { continue };
        let what =
            || format!("{} has read {seq} of {conversation}, and the marker is at {}", request.user, member.read_seq);
        check.expect(member.read_seq >= seq, what, request.shown().chain([*entry]));
    }
}

/// The requests for the same change that may have taken effect last.
struct Last<'a> {
    values: Vec<&'a Request>,
    /// Whether possibly none of them took effect.
    may_be_none: bool,
}

/// A request is not the last one where it was answered before another one was made that certainly took effect.
fn last_of<'a>(requests: &[&'a Request]) -> Last<'a> {
    let done: Vec<_> = requests.iter().filter(|request| request.is_done()).collect();
    let is_past = |request: &Request| {
        // A request without a reply may take effect at any time.
        let answered = (request.outcome() == Outcome::Done).then(|| request.replied_at()).flatten();
        answered.is_some_and(|at| done.iter().any(|later| later.at > at))
    };
    let possible = |request: &&&Request| request.outcome() != Outcome::Refused && !is_past(request);
    Last { values: requests.iter().filter(possible).copied().collect(), may_be_none: done.is_empty() }
}
