//! A search that begins after a message was acknowledged finds it, also where it is not indexed yet.

use std::collections::HashMap;

use super::log::{Asked, Log, Outcome};
use super::{Hearing, Ruling};
use crate::certify::record::{Micros, Place, UserId};

/// Somebody who may read a message looks for its name, which is a word of its own.
pub(super) fn finds_what_was_acknowledged(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 0, "search finds what was acknowledged");
    let mut acknowledged: HashMap<&str, &Asked> = HashMap::new();
    for send in log.sends().filter(|send| send.is_done()) {
        let first = acknowledged.entry(send.name()).or_insert(send);
        if send.answered_at() < first.answered_at() {
            *first = send;
        }
    }
    for asked in log.asked.iter().filter(|asked| asked.kind == "searchMessages" && asked.is_done()) {
        let query = asked.params["query"].as_str().unwrap_or_default();
        let Some(send) = acknowledged.get(query) else { continue };
        let (Some(place), Some(id), Some(answered)) =
            (send.place(), send.item()["messageId"].as_i64(), asked.answered_at())
        else {
            continue;
        };
        if send.answered_at().is_none_or(|at| at > asked.at)
            || !may_read(log, place, asked.user, answered)
            || may_be_deleted(log, id, answered)
        {
            continue;
        }
        let is_found = asked.rows().iter().any(|row| row["messageId"] == id);
        let what = || format!("{} looks for {query} of {place} and does not find it", asked.user);
        hearing.expect(is_found, what, send.shown().chain(asked.shown()));
    }
    hearing.end()
}

/// Who writes in a group was in it, and is, unless somebody asked that they be out.
fn may_read(log: &Log<'_>, place: Place, user: UserId, at: Micros) -> bool {
    let group = match place {
        Place::Dialog(one, other) => return user == one || user == other,
        Place::Group(group) => group,
    };
    let about = |asked: &Asked, kind: &str| asked.kind == kind && asked.params["groupId"] == group && asked.at < at;
    let has_written = log.sends().any(|send| send.user == user && send.place() == Some(place) && send.is_done());
    let is_out = log.asked.iter().any(|asked| {
        asked.outcome() != Outcome::Refused
            && (about(asked, "leaveGroup") && asked.user == user
                || about(asked, "removeUserFromGroup") && asked.params["userId"] == user)
    });
    has_written && !is_out
}

fn may_be_deleted(log: &Log<'_>, id: i64, at: Micros) -> bool {
    log.asked.iter().any(|asked| asked.kind == "deleteMessage" && asked.params["messageId"] == id && asked.at < at)
}
