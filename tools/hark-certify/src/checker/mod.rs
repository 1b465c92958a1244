//! The checker: from the history of a round to a verdict. It is pure, so that a recorded history can be checked again.
//!
//! In the order of imports, the lowest first: `verdict`, `operations`, `index`, `rule_check`, `rules`, this file.

mod index;
mod operations;
mod rule_check;
mod rules;
#[cfg(test)]
mod tests;
pub(crate) mod verdict;

use self::index::HistoryIndex;
use self::operations::Request;
use self::rules::{
    availability, changes, cursors, isolation, members, messages, order, pings, restores, search, unread,
};
use self::verdict::{Counts, Verdict};
use crate::history::event::{Entry, Event};

/// Checks the history of one round.
pub(crate) fn check_history(entries: &[Entry]) -> Verdict {
    let lost = restores::lost(entries);
    let surviving = restores::surviving(entries, lost.as_ref());
    let index = HistoryIndex::new(&surviving);
    let results = vec![
        messages::none_lost(&index),
        order::readable_at_once(&index),
        changes::hold(&index),
        messages::none_duplicated(&index),
        messages::pushed_is_stored(&index),
        order::dense_and_same_for_all(&index),
        order::pushes_rise(&index),
        cursors::complete(&index),
        restores::cursors_hide_nothing_new(&index, entries, lost.as_ref()),
        unread::exact(&index),
        members::removed_receive_nothing(&index),
        members::added_receive_everything(&index),
        members::strangers_receive_nothing(&index),
        isolation::clients_delay_nobody(&index),
        isolation::abuse_refuses_nobody(&index),
        isolation::imposed_rows_are_bounded(&index),
        isolation::memory_is_bounded(&index),
        availability::requests_are_answered(&index),
        availability::nothing_is_acknowledged_while_down(&index),
        availability::sockets_survive_outages(&index),
        availability::servers_recover(&index),
        availability::startup_works_or_refuses(&index),
        restores::lost_sessions_open_nothing(&index, lost.as_ref()),
        search::finds_acknowledged(&index),
        pings::are_answered(&index),
    ];
    Verdict { results, counts: counts(&index) }
}

fn counts(index: &HistoryIndex<'_>) -> Counts {
    let mut counts = Counts {
        requests: index.requests.len() as u64,
        acknowledged: index.sends().filter(|send| send.is_done()).count() as u64,
        sockets: index.sockets.len() as u64,
        stored: index.stored.len() as u64,
        longest_wait: index.requests.iter().filter_map(Request::latency).max().unwrap_or_default(),
        ..Counts::default()
    };
    for entry in index.entries {
        match &entry.event {
            Event::Push { .. } => counts.pushes += 1,
            Event::Skipped { fault, reason } if !counts.skipped.iter().any(|(name, _)| name == fault) => {
                counts.skipped.push((fault.clone(), reason.clone()));
            }
            _ => {}
        }
    }
    for window in &index.faults {
        match counts.faults.iter_mut().find(|(name, _)| *name == window.fault) {
            Some((_, number)) => *number += 1,
            None => counts.faults.push((window.fault.clone(), 1)),
        }
    }
    counts
}
