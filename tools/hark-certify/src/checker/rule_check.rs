//! The check of one rule: it collects evidence and violations.

use crate::checker::index::HistoryIndex;
use crate::checker::verdict::{RuleResult, Violation};

/// A rule that is being checked.
pub(super) struct RuleCheck<'a> {
    index: &'a HistoryIndex<'a>,
    result: RuleResult,
}

impl<'a> RuleCheck<'a> {
    pub(super) fn new(index: &'a HistoryIndex<'a>, point: u8, rule: &'static str) -> Self {
        Self { index, result: RuleResult { point, rule, evidence: 0, violations: Vec::new() } }
    }

    /// Counts a case that complies with the rule.
    pub(super) fn add_evidence(&mut self) {
        self.result.evidence += 1;
    }

    /// Adds a violation, with the numbers of the entries that show it.
    pub(super) fn add_violation(&mut self, description: String, entries: impl IntoIterator<Item = usize>) {
        let mut entries: Vec<usize> = entries.into_iter().collect();
        entries.sort_unstable();
        entries.dedup();
        let excerpts = entries.into_iter().map(|entry| self.index.excerpt(entry)).collect();
        self.result.violations.push(Violation { description, excerpts });
    }

    /// Checks one case: counts it, and adds a violation unless it complies.
    pub(super) fn expect(
        &mut self,
        complies: bool,
        description: impl FnOnce() -> String,
        entries: impl IntoIterator<Item = usize>,
    ) {
        self.add_evidence();
        if !complies {
            self.add_violation(description(), entries);
        }
    }

    pub(super) fn finish(self) -> RuleResult {
        self.result
    }
}
