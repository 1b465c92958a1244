//! The verdict on a round: what became of each rule.

/// The result of one rule.
#[derive(Clone, Debug)]
pub(crate) struct RuleResult {
    /// The point of the contract in docs/certify.md that the rule belongs to; 0 for what the server owes besides.
    pub(crate) point: u8,
    /// The rule, as a sentence.
    pub(crate) rule: &'static str,
    /// The number of cases that were checked. Without any, the rule was not exercised.
    pub(crate) evidence: u64,
    /// The cases that violate the rule.
    pub(crate) violations: Vec<Violation>,
}

/// A case that violates a rule.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// What is wrong.
    pub(crate) description: String,
    /// Excerpts of the entries that show it.
    pub(crate) excerpts: Vec<String>,
}

/// The volume of a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) acknowledged: u64,
    pub(crate) pushes: u64,
    pub(crate) sockets: u64,
    pub(crate) stored: u64,
    /// The highest latency of a request that was answered, in microseconds.
    pub(crate) longest_wait: u64,
    /// The number of injections by fault.
    pub(crate) faults: Vec<(String, u64)>,
    /// Faults that cannot be injected on this machine, with the reason.
    pub(crate) skipped: Vec<(String, String)>,
}

/// The verdict on the history of a round, or on several together.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// The result of each rule, in the order of the contract.
    pub(crate) results: Vec<RuleResult>,
    /// The volume.
    pub(crate) counts: Counts,
}

impl Verdict {
    /// Whether no rule is violated.
    pub(crate) fn holds(&self) -> bool {
        self.results.iter().all(|result| result.violations.is_empty())
    }
}
