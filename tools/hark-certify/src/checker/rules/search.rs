//! A search that begins after a message was acknowledged finds it, even before it is in the search index.

use std::collections::HashMap;

use crate::checker::index::HistoryIndex;
use crate::checker::operations::{Outcome, Request};
use crate::checker::rule_check::RuleCheck;
use crate::checker::verdict::RuleResult;
use crate::history::event::{Conversation, Micros, UserId};

/// Checks the searches for a message's name, which is a unique word, by users who may read the message.
pub(in crate::checker) fn finds_acknowledged(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 0, "search finds what was acknowledged");
    let mut acknowledged: HashMap<&str, &Request> = HashMap::new();
    for send in index.sends().filter(|send| send.is_done()) {
        let first = acknowledged.entry(send.name()).or_insert(send);
        if send.replied_at() < first.replied_at() {
            *first = send;
        }
    }
    for request in index.requests.iter().filter(|request| request.frame_type == "searchMessages" && request.is_done()) {
        let query = request.params["query"].as_str().unwrap_or_default();
        let Some(send) = acknowledged.get(query) else { continue };
        let (Some(conversation), Some(id), Some(answered)) =
            (send.conversation(), send.item()["messageId"].as_i64(), request.replied_at())
        else {
            continue;
        };
        if send.replied_at().is_none_or(|at| at > request.at)
            || !may_read(index, conversation, request.user, answered)
            || may_be_deleted(index, id, answered)
        {
            continue;
        }
        let is_found = request.rows().iter().any(|row| row["messageId"] == id);
        let what = || format!("{} looks for {query} of {conversation} and does not find it", request.user);
        check.expect(is_found, what, send.shown().chain(request.shown()));
    }
    check.finish()
}

/// Whether a user may certainly read a conversation. A user who has sent into a group is a member, unless a client
/// requested their removal.
fn may_read(index: &HistoryIndex<'_>, conversation: Conversation, user: UserId, at: Micros) -> bool {
    let group = match conversation {
        Conversation::Dialog(one, other) => return user == one || user == other,
        Conversation::Group(group) => group,
    };
    let about = |request: &Request, frame_type: &str| {
        request.frame_type == frame_type && request.params["groupId"] == group && request.at < at
    };
    let has_written =
        index.sends().any(|send| send.user == user && send.conversation() == Some(conversation) && send.is_done());
    let is_out = index.requests.iter().any(|request| {
        request.outcome() != Outcome::Refused
            && (about(request, "leaveGroup") && request.user == user
                || about(request, "removeUserFromGroup") && request.params["userId"] == user)
    });
    has_written && !is_out
}

fn may_be_deleted(index: &HistoryIndex<'_>, id: i64, at: Micros) -> bool {
    index
        .requests
        .iter()
        .any(|request| request.frame_type == "deleteMessage" && request.params["messageId"] == id && request.at < at)
}
