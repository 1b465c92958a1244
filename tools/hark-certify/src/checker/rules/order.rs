//! Point 3 of the contract: `seq` has no gap, and all members see the same order.

use std::collections::BTreeMap;

use crate::checker::index::HistoryIndex;

use crate::checker::rule_check::RuleCheck;
use crate::checker::verdict::RuleResult;

/// The final history of each member counts from 1 without a gap, and is the same for all members.
pub(in crate::checker) fn dense_and_same_for_all(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 3, "seq has no gap, and all members see one order");
    for conversation in index.conversations() {
        let first = index.stored_in(conversation);
        for ((_, user), (entry, rows)) in index.histories.range((conversation, i64::MIN)..=(conversation, i64::MAX)) {
            for (row, seq) in rows.iter().zip(1..) {
                if row.seq != seq {
                    check.add_violation(
                        format!("{user} reads {} in {conversation} where {seq} is due: {row:?}", row.seq),
                        [*entry],
                    );
                    break;
                }
                check.add_evidence();
            }
            let differs = rows.iter().zip(first).find(|(row, other)| row != other);
            let what = || match differs {
                Some((row, other)) => format!("{user} reads {row:?} in {conversation}, and another member {other:?}"),
                None => format!(
                    "{user} reads {} messages in {conversation}, and another member {}",
                    rows.len(),
                    first.len()
                ),
            };
            check.expect(differs.is_none() && rows.len() == first.len(), what, [*entry]);
        }
    }
    check.finish()
}

/// On each socket, the new messages of a conversation are pushed with a rising `seq`.
pub(in crate::checker) fn pushes_rise(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 3, "pushes come in the order of seq");
    let mut last = BTreeMap::new();
    for seen in index.seen_messages.iter().filter(|seen| seen.is_push) {
        let (seq, entry) =
            last.insert((seen.socket, seen.conversation), (seen.message.seq, seen.entry)).unwrap_or((0, 0));
        let what = || format!("{} of {} is pushed after {seq}", seen.message.seq, seen.conversation);
        check.expect(seen.message.seq > seq, what, [entry, seen.entry]);
    }
    check.finish()
}

/// A page that is requested after an acknowledgement contains the message, because what is acknowledged is committed.
/// And no page has a gap.
pub(in crate::checker) fn readable_at_once(index: &HistoryIndex<'_>) -> RuleResult {
    let mut check = RuleCheck::new(index, 1, "what is acknowledged can be read at once");
    let mut acknowledged: Vec<_> =
        index.sends().filter(|send| send.is_done()).filter_map(|send| Some((send.replied_at()?, send))).collect();
    acknowledged.sort_unstable_by_key(|(at, _)| *at);
    let mut newest = BTreeMap::new();
    let mut acknowledged = acknowledged.into_iter().peekable();
    for read in &index.requests {
        while let Some((_, send)) = acknowledged.next_if(|(at, _)| *at < read.at) {
            let (Some(conversation), Some(seq)) = (send.conversation(), send.item()["seq"].as_i64()) else { continue };
            let known = newest.entry(conversation).or_insert((seq, send));
            if seq > known.0 {
                *known = (seq, send);
            }
        }
        let is_page = matches!(read.frame_type.as_str(), "getlatestMessageGroup" | "getlatestMessageDialog");
        let (true, true, Some(conversation)) = (is_page, read.is_done(), read.conversation()) else { continue };
        let seqs: Vec<i64> = read.rows().iter().filter_map(|row| row["seq"].as_i64()).collect();
        let is_dense = seqs.windows(2).all(|membership| membership[0] == membership[1] + 1);
        check.expect(is_dense, || format!("a page of {conversation} has a hole: {seqs:?}"), read.shown());
        if let Some((seq, send)) = newest.get(&conversation) {
            let top = seqs.first().copied().unwrap_or_default();
            let what =
                || format!("{seq} of {conversation} was acknowledged, and a page asked for later ends with {top}");
            check.expect(top >= *seq, what, send.shown().chain(read.shown()));
        }
    }
    check.finish()
}
