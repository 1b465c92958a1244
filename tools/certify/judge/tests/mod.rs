//! The judge is judged: records of a server that does everything right are clean, and each defect
//! that is planted in one is found.

mod defects;
mod history;
mod model;
mod service;

use proptest::prelude::*;

use self::defects::DEFECTS;
use self::model::{Act, Model};
use super::{Verdict, judge};
use crate::certify::record::Entry;

/// Each rule has something to look at, and each defect a place where it can be planted.
const BEGINNING: [Act; 24] = [
    Act::Send { who: 0, group: false, twice: false },
    Act::Send { who: 0, group: true, twice: false },
    Act::Send { who: 1, group: true, twice: true },
    Act::Sync { who: 1 },
    Act::Toggle,
    Act::Send { who: 1, group: true, twice: false },
    Act::Send { who: 0, group: true, twice: false },
    Act::Sync { who: 2 },
    Act::Toggle,
    Act::Send { who: 0, group: true, twice: false },
    Act::Send { who: 2, group: true, twice: false },
    Act::Toggle,
    Act::Send { who: 1, group: true, twice: false },
    Act::Send { who: 1, group: true, twice: false },
    Act::Edit { who: 1 },
    Act::React { who: 1, what: Some("!") },
    Act::Read { who: 0, group: true },
    Act::Page { who: 1 },
    Act::Sync { who: 0 },
    Act::Send { who: 0, group: false, twice: false },
    Act::Send { who: 1, group: false, twice: false },
    Act::Sync { who: 1 },
    Act::Send { who: 0, group: false, twice: false },
    Act::Send { who: 1, group: true, twice: false },
];

fn act() -> impl Strategy<Value = Act> {
    let who = || 0..3_usize;
    prop_oneof![
        6 => (who(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(who, group, twice)| Act::Send { who, group, twice }),
        1 => who().prop_map(|who| Act::Edit { who }),
        1 => who().prop_map(|who| Act::Delete { who }),
        1 => (who(), prop::option::of(Just("?"))).prop_map(|(who, what)| Act::React { who, what }),
        2 => (who(), any::<bool>()).prop_map(|(who, group)| Act::Read { who, group }),
        1 => who().prop_map(|who| Act::Page { who }),
        2 => who().prop_map(|who| Act::Sync { who }),
        1 => Just(Act::Toggle),
        1 => who().prop_map(|who| Act::Reconnect { who }),
    ]
}

/// What was seen of these acts, after those that every record begins with.
fn record(acts: &[Act]) -> Vec<Entry> {
    let mut model = Model::new();
    BEGINNING.iter().chain(acts).for_each(|act| model.act(*act));
    model.end()
}

/// The rules that are violated.
fn violated(verdict: &Verdict) -> Vec<&'static str> {
    let wrong = verdict.rulings.iter().filter(|ruling| !ruling.violations.is_empty());
    wrong.map(|ruling| ruling.rule).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_server_that_does_everything_right_is_found_to(acts in prop::collection::vec(act(), 0..60)) {
        let verdict = judge(&record(&acts));
        prop_assert!(verdict.holds(), "{:#?}", verdict.rulings);
    }

    #[test]
    fn a_defect_is_found(acts in prop::collection::vec(act(), 0..30), nth in 0..DEFECTS.len()) {
        let (name, rule, plant) = DEFECTS[nth];
        let mut entries = record(&acts);
        prop_assume!(plant(&mut entries).is_some());
        let violated = violated(&judge(&entries));
        prop_assert!(violated.contains(&rule), "{name} is not found: {violated:?}");
    }
}

#[test]
fn each_defect_is_found() {
    for (name, rule, plant) in DEFECTS {
        let mut entries = record(&[]);
        plant(&mut entries).unwrap_or_else(|| panic!("there is no place for {name}"));
        let verdict = judge(&entries);
        assert!(violated(&verdict).contains(rule), "{name} is not found: {:?}", violated(&verdict));
        let ruling = verdict.rulings.iter().find(|ruling| ruling.rule == *rule).expect("a ruling");
        assert!(ruling.violations.iter().all(|violation| !violation.shown.is_empty()), "{name} is not shown");
    }
}

#[test]
fn a_rule_that_nothing_was_seen_of_is_not_said_to_hold() {
    let verdict = judge(&[]);
    assert!(verdict.rulings.iter().all(|ruling| ruling.evidence == 0));
    assert!(verdict.holds());
}

#[test]
fn a_record_is_judged_the_same_after_it_was_written_down() {
    let entries = record(&[]);
    let text: Vec<String> = entries.iter().map(|entry| serde_json::to_string(entry).expect("JSON")).collect();
    let again: Vec<Entry> = text.iter().map(|line| serde_json::from_str(line).expect("an entry")).collect();
    let evidence = |entries| judge(entries).rulings.iter().map(|ruling| ruling.evidence).collect::<Vec<_>>();
    assert_eq!(evidence(&entries), evidence(&again));
    for ruling in judge(&entries).rulings {
        let has_defects = DEFECTS.iter().any(|(_, rule, _)| *rule == ruling.rule);
        assert!(!has_defects || ruling.evidence > 0, "nothing is seen of {}", ruling.rule);
    }
}
