//! The judge: from what was seen to what held. Pure, so that a record can be judged again.

mod changes;
mod cursors;
mod history;
mod log;
mod members;
mod messages;
mod order;
mod pings;
mod search;
mod service;
#[cfg(test)]
mod tests;
mod unread;

use self::log::Log;
use super::record::{Entry, Seen};

/// What became of one rule.
#[derive(Clone, Debug)]
pub(crate) struct Ruling {
    /// The point of section 6 of the contract that it belongs to; 0 for what the server owes besides.
    pub(crate) point: u8,
    /// What is to hold.
    pub(crate) rule: &'static str,
    /// How many things were looked at: with none, nothing is said.
    pub(crate) evidence: u64,
    /// Where it does not hold.
    pub(crate) violations: Vec<Violation>,
}

/// A place where a rule does not hold.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// What is wrong.
    pub(crate) what: String,
    /// The entries of the record that show it, as the record has them.
    pub(crate) shown: Vec<String>,
}

/// How much there was, for whoever reads the verdict.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) acknowledged: u64,
    pub(crate) pushes: u64,
    pub(crate) sockets: u64,
    pub(crate) stored: u64,
    /// Of a request that was answered, in microseconds.
    pub(crate) longest_wait: u64,
    /// By name, how often each was done.
    pub(crate) faults: Vec<(String, u64)>,
    /// What could not be made, and why.
    pub(crate) not_made: Vec<(String, String)>,
}

/// What is judged of one record.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// One a rule, in the order of the contract.
    pub(crate) rulings: Vec<Ruling>,
    /// How much there was.
    pub(crate) counts: Counts,
}

impl Verdict {
    /// Whether nothing is violated.
    pub(crate) fn holds(&self) -> bool {
        self.rulings.iter().all(|ruling| ruling.violations.is_empty())
    }
}

/// Judges what was seen in one round.
pub(crate) fn judge(entries: &[Entry]) -> Verdict {
    let lost = history::lost(entries);
    let surviving = history::surviving(entries, lost.as_ref());
    let log = Log::read(&surviving);
    let rulings = vec![
        messages::none_lost(&log),
        order::readable_at_once(&log),
        changes::hold(&log),
        messages::none_twice(&log),
        messages::pushed_is_stored(&log),
        order::dense_and_the_same(&log),
        order::pushes_rise(&log),
        cursors::complete(&log),
        history::no_cursor_hides_what_is_new(&log, entries, lost.as_ref()),
        unread::exact(&log),
        members::removed_get_nothing(&log),
        members::added_get_everything(&log),
        members::never_added_get_nothing(&log),
        service::neighbours_wait_for_nobody(&log),
        service::abuse_refuses_nobody(&log),
        service::burdens_are_bounded(&log),
        service::memory_is_bounded(&log),
        service::everything_is_answered(&log),
        service::away_means_away(&log),
        service::nobody_is_disconnected(&log),
        service::servers_come_back(&log),
        service::starts_or_refuses(&log),
        history::lost_tokens_open_nothing(&log, lost.as_ref()),
        search::finds_what_was_acknowledged(&log),
        pings::are_answered(&log),
    ];
    Verdict { rulings, counts: counts(&log) }
}

fn counts(log: &Log<'_>) -> Counts {
    let mut counts = Counts {
        requests: log.asked.len() as u64,
        acknowledged: log.sends().filter(|send| send.is_done()).count() as u64,
        sockets: log.sockets.len() as u64,
        stored: log.stored.len() as u64,
        longest_wait: log.asked.iter().filter_map(log::Asked::waited).max().unwrap_or_default(),
        ..Counts::default()
    };
    for entry in log.entries {
        match &entry.seen {
            Seen::Push { .. } => counts.pushes += 1,
            Seen::NotMade { fault, why } if !counts.not_made.iter().any(|(name, _)| name == fault) => {
                counts.not_made.push((fault.clone(), why.clone()));
            }
            _ => {}
        }
    }
    for window in &log.faults {
        match counts.faults.iter_mut().find(|(name, _)| *name == window.fault) {
            Some((_, number)) => *number += 1,
            None => counts.faults.push((window.fault.clone(), 1)),
        }
    }
    counts
}

/// A ruling in the making.
struct Hearing<'a> {
    log: &'a Log<'a>,
    ruling: Ruling,
}

impl<'a> Hearing<'a> {
    fn of(log: &'a Log<'a>, point: u8, rule: &'static str) -> Self {
        Self { log, ruling: Ruling { point, rule, evidence: 0, violations: Vec::new() } }
    }

    /// One more thing was looked at.
    fn saw(&mut self) {
        self.ruling.evidence += 1;
    }

    /// One more thing was looked at, and it is wrong; these entries show it.
    fn wrong(&mut self, what: String, shown: impl IntoIterator<Item = usize>) {
        let mut entries: Vec<usize> = shown.into_iter().collect();
        entries.sort_unstable();
        entries.dedup();
        let shown = entries.into_iter().map(|entry| self.log.show(entry)).collect();
        self.ruling.violations.push(Violation { what, shown });
    }

    /// Looks at one thing, which is wrong unless `holds`.
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String, shown: impl IntoIterator<Item = usize>) {
        self.saw();
        if !holds {
            self.wrong(what(), shown);
        }
    }

    fn end(self) -> Ruling {
        self.ruling
    }
}
