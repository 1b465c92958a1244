//! Tests of the checker: the history of a correct server has no violation, and each defect that is planted into one is
//! found. `model` is the correct server, `frames` what it sends, `support` its random actions, `defects` plants
//! defects; the other files use them.

mod availability;
mod defects;
mod frames;
mod model;
mod restores;
mod support;

use proptest::prelude::*;

use self::defects::DEFECTS;
use self::model::{Action, Model};
use self::support::{action, violated};
use crate::checker::check_history;
use crate::history::event::Entry;

/// The first actions of every history: with them each rule has evidence, and each defect can be planted.
const BEGINNING: [Action; 24] = [
    Action::Send { who: 0, group: false, twice: false },
    Action::Send { who: 0, group: true, twice: false },
    Action::Send { who: 1, group: true, twice: true },
    Action::Sync { who: 1 },
    Action::Toggle,
    Action::Send { who: 1, group: true, twice: false },
    Action::Send { who: 0, group: true, twice: false },
    Action::Sync { who: 2 },
    Action::Toggle,
    Action::Send { who: 0, group: true, twice: false },
    Action::Send { who: 2, group: true, twice: false },
    Action::Toggle,
    Action::Send { who: 1, group: true, twice: false },
    Action::Send { who: 1, group: true, twice: false },
    Action::Edit { who: 1 },
    Action::React { who: 1, what: Some("!") },
    Action::Read { who: 0, group: true },
    Action::Page { who: 1 },
    Action::Sync { who: 0 },
    Action::Send { who: 0, group: false, twice: false },
    Action::Send { who: 1, group: false, twice: false },
    Action::Sync { who: 1 },
    Action::Send { who: 0, group: false, twice: false },
    Action::Send { who: 1, group: true, twice: false },
];

/// The history of [`BEGINNING`] and then of these actions.
fn history(actions: &[Action]) -> Vec<Entry> {
    let mut model = Model::new();
    BEGINNING.iter().chain(actions).for_each(|action| model.act(*action));
    model.end()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn correct_history_has_no_violation(actions in prop::collection::vec(action(), 0..60)) {
        let verdict = check_history(&history(&actions));
        prop_assert!(verdict.holds(), "{:#?}", verdict.results);
    }

    #[test]
    fn defect_is_found_in_any_history(actions in prop::collection::vec(action(), 0..30), nth in 0..DEFECTS.len()) {
        let (name, rule, plant) = DEFECTS[nth];
        let mut entries = history(&actions);
        prop_assume!(plant(&mut entries).is_some());
        let violated = violated(&check_history(&entries));
        prop_assert!(violated.contains(&rule), "{name} is not found: {violated:?}");
    }
}

#[test]
fn every_defect_is_found() {
    for (name, rule, plant) in DEFECTS {
        let mut entries = history(&[]);
        plant(&mut entries).unwrap_or_else(|| panic!("{name} cannot be planted"));
        let verdict = check_history(&entries);
        assert!(violated(&verdict).contains(rule), "{name} is not found: {:?}", violated(&verdict));
        let result = verdict.results.iter().find(|result| result.rule == *rule).expect("a result");
        assert!(result.violations.iter().all(|violation| !violation.excerpts.is_empty()), "{name} has no excerpts");
    }
}

#[test]
fn rule_without_evidence_is_not_exercised() {
    let verdict = check_history(&[]);
    assert!(verdict.results.iter().all(|result| result.evidence == 0));
    assert!(verdict.holds());
}

#[test]
fn verdict_is_the_same_after_serialization() {
    let entries = history(&[]);
    let text: Vec<String> = entries.iter().map(|entry| serde_json::to_string(entry).expect("JSON")).collect();
    let again: Vec<Entry> = text.iter().map(|line| serde_json::from_str(line).expect("an entry")).collect();
    let evidence = |entries| check_history(entries).results.iter().map(|result| result.evidence).collect::<Vec<_>>();
    assert_eq!(evidence(&entries), evidence(&again));
    for result in check_history(&entries).results {
        let has_defects = DEFECTS.iter().any(|(_, rule, _)| *rule == result.rule);
        assert!(!has_defects || result.evidence > 0, "no evidence for {}", result.rule);
    }
}
