//! Point 3: `seq` has no gap, and the order is the same for all.

use std::collections::BTreeMap;

use super::log::Log;
use super::messages::places;
use super::{Hearing, Ruling};

/// Every member's final history counts from 1 without a gap, and all members have the same one.
pub(super) fn dense_and_the_same(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 3, "seq has no gap, and all members see one order");
    for place in places(log) {
        let first = log.stored_in(place);
        for ((_, user), (entry, rows)) in log.histories.range((place, i64::MIN)..=(place, i64::MAX)) {
            for (row, seq) in rows.iter().zip(1..) {
                if row.seq != seq {
                    hearing.wrong(format!("{user} reads {} in {place} where {seq} is due: {row:?}", row.seq), [*entry]);
                    break;
                }
                hearing.saw();
            }
            let differs = rows.iter().zip(first).find(|(row, other)| row != other);
            let what = || match differs {
                Some((row, other)) => format!("{user} reads {row:?} in {place}, and another member {other:?}"),
                None => format!("{user} reads {} messages in {place}, and another member {}", rows.len(), first.len()),
            };
            hearing.expect(differs.is_none() && rows.len() == first.len(), what, [*entry]);
        }
    }
    hearing.end()
}

/// On one socket, the new messages of one conversation come with a rising `seq`.
pub(super) fn pushes_rise(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 3, "pushes come in the order of seq");
    let mut last = BTreeMap::new();
    for told in log.told.iter().filter(|told| told.is_push) {
        let (seq, entry) = last.insert((told.socket, told.place), (told.message.seq, told.entry)).unwrap_or((0, 0));
        let what = || format!("{} of {} is pushed after {seq}", told.message.seq, told.place);
        hearing.expect(told.message.seq > seq, what, [entry, told.entry]);
    }
    hearing.end()
}

/// A page that is asked for after an acknowledgement has the message: what is acknowledged is
/// committed. And a page has no hole.
pub(super) fn readable_at_once(log: &Log<'_>) -> Ruling {
    let mut hearing = Hearing::of(log, 1, "what is acknowledged can be read at once");
    let mut acknowledged: Vec<_> =
        log.sends().filter(|send| send.is_done()).filter_map(|send| Some((send.answered_at()?, send))).collect();
    acknowledged.sort_unstable_by_key(|(at, _)| *at);
    let mut newest = BTreeMap::new();
    let mut acknowledged = acknowledged.into_iter().peekable();
    for read in &log.asked {
        while let Some((_, send)) = acknowledged.next_if(|(at, _)| *at < read.at) {
            let (Some(place), Some(seq)) = (send.place(), send.item()["seq"].as_i64()) else { continue };
            let known = newest.entry(place).or_insert((seq, send));
            if seq > known.0 {
                *known = (seq, send);
            }
        }
        let is_page = matches!(read.kind.as_str(), "getlatestMessageGroup" | "getlatestMessageDialog");
        let (true, true, Some(place)) = (is_page, read.is_done(), read.place()) else { continue };
        let seqs: Vec<i64> = read.rows().iter().filter_map(|row| row["seq"].as_i64()).collect();
        let is_dense = seqs.windows(2).all(|pair| pair[0] == pair[1] + 1);
        hearing.expect(is_dense, || format!("a page of {place} has a hole: {seqs:?}"), read.shown());
        if let Some((seq, send)) = newest.get(&place) {
            let top = seqs.first().copied().unwrap_or_default();
            let what = || format!("{seq} of {place} was acknowledged, and a page asked for later ends with {top}");
            hearing.expect(top >= *seq, what, send.shown().chain(read.shown()));
        }
    }
    hearing.end()
}
