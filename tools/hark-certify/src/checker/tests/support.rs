//! Random actions, and the reading of a verdict.

use proptest::prelude::*;

use super::model::Action;
use crate::checker::verdict::Verdict;

/// A random action.
pub(super) fn action() -> impl Strategy<Value = Action> {
    let who = || 0..3_usize;
    prop_oneof![
        6 => (who(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(who, group, twice)| Action::Send { who, group, twice }),
        1 => who().prop_map(|who| Action::Edit { who }),
        1 => who().prop_map(|who| Action::Delete { who }),
        1 => (who(), prop::option::of(Just("?"))).prop_map(|(who, what)| Action::React { who, what }),
        2 => (who(), any::<bool>()).prop_map(|(who, group)| Action::Read { who, group }),
        1 => who().prop_map(|who| Action::Page { who }),
        2 => who().prop_map(|who| Action::Sync { who }),
        1 => Just(Action::Toggle),
        1 => who().prop_map(|who| Action::Reconnect { who }),
    ]
}

/// The violated rules.
pub(super) fn violated(verdict: &Verdict) -> Vec<&'static str> {
    let add_violation = verdict.results.iter().filter(|result| !result.violations.is_empty());
    add_violation.map(|result| result.rule).collect()
}
