//! Points 1 and 2: no acknowledged message is lost, none is there twice, none is pushed that is not
//! stored.

use std::collections::{BTreeMap, BTreeSet};

use super::log::{Log, name_in};
use super::{Hearing, Ruling};
use crate::certify::record::Place;

/// Every acknowledged message is in the final history, under the `seq` that its sender was told.
pub(super) fn none_lost(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 1, "no acknowledged message is lost");
    for send in log.sends().filter(|send| send.is_done()) {
        let Some(place) = send.place() else { continue };
        let id = send.item()["messageId"].as_i64().unwrap_or_default();
        let Some(stored) = log.stored.get(&id) else {
            if log.is_told(place) || log.untold.is_empty() {
                hearing.expect(
                    false,
                    || format!("{} was acknowledged and is not in {place}", send.name()),
                    send.shown(),
                );
            }
            continue;
        };
        let shown = send.shown().chain([stored.entry]);
        let as_told = stored.place == place
            && Some(stored.message.seq) == send.item()["seq"].as_i64()
            && stored.message.sender == send.user;
        let is_itself = stored.message.deleted || name_in(&stored.message.content) == send.name();
        let what = || format!("{} is stored otherwise than acknowledged: {:?}", send.name(), stored.message);
        hearing.expect(as_told && is_itself, what, shown);
    }
    hearing.end()
}

/// One name, one message; and nothing is stored that nobody sent.
pub(super) fn none_twice(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 2, "no message is stored twice");
    let mut ids: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    let mut shown: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for send in log.sends() {
        shown.entry(send.name()).or_default().extend(send.shown());
    }
    for (id, stored) in &log.stored {
        let by_content = (!stored.message.deleted).then(|| name_in(&stored.message.content));
        let Some(name) = by_content.or_else(|| log.names.get(id).map(String::as_str)) else {
            // Who deleted it knew it, but perhaps not by an acknowledgement.
            continue;
        };
        ids.entry(name).or_default().insert(*id);
        let is_known = shown.contains_key(name);
        hearing.expect(is_known, || format!("nobody sent what is stored: {:?}", stored.message), [stored.entry]);
        shown.entry(name).or_default().push(stored.entry);
    }
    let mut acknowledged = BTreeMap::new();
    for send in log.sends().filter(|send| send.is_done()) {
        if let Some(id) = send.item()["messageId"].as_i64() {
            ids.entry(send.name()).or_default().insert(id);
        }
        // A repeat of what was acknowledged before is known to be one.
        if let Some(before) = acknowledged.get(send.name())
            && *before < send.at
        {
            let is_said = send.item()["duplicate"] == true;
            hearing.expect(is_said, || format!("a repeat of {} is not called one", send.name()), send.shown());
        } else if let Some(at) = send.answered_at() {
            acknowledged.entry(send.name()).or_insert(at);
        }
    }
    for (name, ids) in ids {
        let shown = shown.get(name).cloned().unwrap_or_default();
        hearing.expect(ids.len() == 1, || format!("{name} is {} messages: {ids:?}", ids.len()), shown);
    }
    hearing.end()
}

/// Whatever was told of a message, by a push or a page, is stored at the same `seq`; and a new one was
/// pushed as it was sent.
pub(super) fn pushed_is_stored(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 2, "nothing is pushed that is not stored");
    let mut contents = BTreeMap::new();
    for send in log.sends() {
        contents.entry(send.name()).or_insert((send.params["content"].as_str().unwrap_or_default(), send.entry));
    }
    for told in log.told.iter().filter(|told| log.is_told(told.place)) {
        let message = &told.message;
        let Some(stored) = log.stored.get(&message.id) else {
            hearing.expect(false, || format!("{message:?} was told and is not stored"), [told.entry]);
            continue;
        };
        let is_same =
            (stored.place, stored.message.seq, stored.message.sender) == (told.place, message.seq, message.sender);
        let what = || format!("{message:?} was told in {}, and stored is {:?}", told.place, stored.message);
        hearing.expect(is_same, what, [told.entry, stored.entry]);
        if told.is_push {
            let sent = contents.get(name_in(&message.content));
            let as_sent = sent.is_some_and(|(content, _)| *content == message.content);
            let shown = sent.map(|(_, entry)| *entry).into_iter().chain([told.entry]);
            hearing.expect(as_sent, || format!("{message:?} was pushed otherwise than sent"), shown);
        }
    }
    hearing.end()
}

/// The places of all that was sent.
pub(super) fn places(log: &Log<'_>) -> BTreeSet<Place> {
    log.histories.keys().map(|(place, _)| *place).collect()
}
