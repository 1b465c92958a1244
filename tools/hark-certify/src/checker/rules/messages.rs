//! Points 1 and 2 of the contract: no acknowledged message is lost, none is stored twice, and none is pushed that is
//! not stored.

use std::collections::{BTreeMap, BTreeSet};

use crate::checker::index::{HistoryIndex, name_in};
use crate::checker::rule_check::RuleCheck;
use crate::checker::verdict::RuleResult;

/// Every acknowledged message is in the final history, with the id and the `seq` of its reply.
pub(in crate::checker) fn none_lost(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 1, "no acknowledged message is lost");
    for send in index.sends().filter(|send| send.is_done()) {
        let Some(conversation) = send.conversation() else { continue };
        let id = send.item()["messageId"].as_i64().unwrap_or_default();
        let Some(stored) = index.stored.get(&id) else {
            if index.is_known(conversation) || index.unknown_users.is_empty() {
                check.expect(
                    false,
                    || format!("{} was acknowledged and is not in {conversation}", send.name()),
                    send.shown(),
                );
            }
            continue;
        };
        let shown = send.shown().chain([stored.entry]);
        let as_acknowledged = stored.conversation == conversation
            && Some(stored.message.seq) == send.item()["seq"].as_i64()
            && stored.message.sender == send.user;
        let is_itself = stored.message.deleted || name_in(&stored.message.content) == send.name();
        let what = || format!("{} is stored otherwise than acknowledged: {:?}", send.name(), stored.message);
        check.expect(as_acknowledged && is_itself, what, shown);
    }
    check.finish()
}

/// Each `clientMessageId` is one message, and nothing is stored that was not sent.
pub(in crate::checker) fn none_duplicated(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 2, "no message is stored twice");
    let mut ids: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    let mut shown: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for send in index.sends() {
        shown.entry(send.name()).or_default().extend(send.shown());
    }
    for (id, stored) in &index.stored {
        let by_content = (!stored.message.deleted).then(|| name_in(&stored.message.content));
        let Some(name) = by_content.or_else(|| index.names.get(id).map(String::as_str)) else {
            // A deleted message whose send was never acknowledged has no known name.
            continue;
        };
        ids.entry(name).or_default().insert(*id);
        let is_known = shown.contains_key(name);
        check.expect(is_known, || format!("nobody sent what is stored: {:?}", stored.message), [stored.entry]);
        shown.entry(name).or_default().push(stored.entry);
    }
    let mut acknowledged = BTreeMap::new();
    for send in index.sends().filter(|send| send.is_done()) {
        if let Some(id) = send.item()["messageId"].as_i64() {
            ids.entry(send.name()).or_default().insert(id);
        }
        // A repeat of an acknowledged send has to be answered as a duplicate.
        if let Some(before) = acknowledged.get(send.name())
            && *before < send.at
        {
            let is_said = send.item()["duplicate"] == true;
            check.expect(is_said, || format!("a repeat of {} is not called one", send.name()), send.shown());
        } else if let Some(at) = send.replied_at() {
            acknowledged.entry(send.name()).or_insert(at);
        }
    }
    for (name, ids) in ids {
        let shown = shown.get(name).cloned().unwrap_or_default();
        check.expect(ids.len() == 1, || format!("{name} is {} messages: {ids:?}", ids.len()), shown);
    }
    check.finish()
}

/// Every message in a push or a page is stored with the same `seq`, and every push has the content that was sent.
pub(in crate::checker) fn pushed_is_stored(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 2, "nothing is pushed that is not stored");
    let mut contents = BTreeMap::new();
    for send in index.sends() {
        contents.entry(send.name()).or_insert((send.params["content"].as_str().unwrap_or_default(), send.entry));
    }
    for seen in index.seen_messages.iter().filter(|seen| index.is_known(seen.conversation)) {
        let message = &seen.message;
        let Some(stored) = index.stored.get(&message.id) else {
            check.expect(false, || format!("{message:?} was delivered and is not stored"), [seen.entry]);
            continue;
        };
        let is_same = (stored.conversation, stored.message.seq, stored.message.sender)
            == (seen.conversation, message.seq, message.sender);
        let what = || format!("{message:?} was delivered in {}, and stored is {:?}", seen.conversation, stored.message);
        check.expect(is_same, what, [seen.entry, stored.entry]);
        if seen.is_push {
            let sent = contents.get(name_in(&message.content));
            let as_sent = sent.is_some_and(|(content, _)| *content == message.content);
            let shown = sent.map(|(_, entry)| *entry).into_iter().chain([seen.entry]);
            check.expect(as_sent, || format!("{message:?} was pushed otherwise than sent"), shown);
        }
    }
    check.finish()
}
