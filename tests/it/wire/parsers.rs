//! Runs the properties of the fuzz targets over their corpus and over mutations that proptest makes of it.
//! `scripts/fuzz` runs longer, guided by libFuzzer's coverage.

#[path = "../../../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

/// Returns the initial inputs of a target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(folder).expect("a corpus");
    let mut inputs: Vec<_> = entries.map(|entry| fs::read(entry.expect("an entry").path()).expect("a file")).collect();
    assert!(inputs.len() >= 5, "the corpus of {target} is somewhere else");
    inputs.sort();
    inputs
}

/// Returns the words of libFuzzer's dictionary, without their quotes.
fn words() -> Vec<Vec<u8>> {
    let dictionary = include_str!("../../../fuzz/json.dict").lines().filter(|line| line.starts_with('"'));
    let words = dictionary.map(|line| line[1..line.len() - 1].replace("\\\"", "\"").replace("\\\\", "\\"));
    words.map(String::into_bytes).collect()
}

/// A mutation of an input.
#[derive(Clone, Debug)]
enum Change {
    /// Overwrites some bytes.
    Put(Index, Vec<u8>),
    /// Inserts bytes.
    Insert(Index, Vec<u8>),
    /// Removes a range.
    Cut(Index, Index),
    /// Repeats a range many times.
    Repeat(Index, Index, usize),
}

impl Change {
    fn apply(&self, input: &mut Vec<u8>) {
        let place = |index: &Index, input: &[u8]| index.index(input.len() + 1);
        let part = |one: &Index, other: &Index, input: &[u8]| {
            let (one, other) = (place(one, input), place(other, input));
            one.min(other)..one.max(other)
        };
        match self {
            Self::Put(at, bytes) => {
                let at = place(at, input);
                let end = (at + bytes.len()).min(input.len());
                input.splice(at..end, bytes.iter().copied());
            }
            Self::Insert(at, bytes) => {
                let at = place(at, input);
                input.splice(at..at, bytes.iter().copied());
            }
            Self::Cut(from, to) => drop(input.drain(part(from, to, input))),
            Self::Repeat(from, to, times) => {
                let part = part(from, to, input);
                let repeated = input[part.clone()].repeat(*times);
                input.splice(part.end..part.end, repeated);
            }
        }
    }
}

/// Generates inputs of a corpus, each mutated in a few places.
fn changed(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let bytes = || {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 1..4),
            prop::sample::select(words()),
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
        ]
    };
    let change = prop_oneof![
        (any::<Index>(), bytes()).prop_map(|(at, bytes)| Change::Put(at, bytes)),
        (any::<Index>(), bytes()).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Cut(from, to)),
        (any::<Index>(), any::<Index>(), 1..50_usize).prop_map(|(from, to, times)| Change::Repeat(from, to, times)),
    ];
    (prop::sample::select(corpus), prop::collection::vec(change, 0..6)).prop_map(|(mut input, changes)| {
        for change in changes {
            change.apply(&mut input);
        }
        input.truncate(70_000);
        input
    })
}

/// Runs a target over its corpus and over so many mutated inputs.
fn run(target: &str, cases: u32, check: fn(&[u8])) {
    let corpus = corpus(target);
    for input in &corpus {
        check(input);
    }
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let checked = TestRunner::new(config).run(&changed(corpus), |input| {
        check(&input);
        Ok(())
    });
    checked.unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn frame_parser_survives_mutated_input() {
    run("frame", 10_000, fuzz::frames::check);
}

#[test]
fn body_and_query_parser_survives_mutated_input() {
    run("fields", 5_000, fuzz::fields::check);
}

#[test]
fn token_parser_accepts_own_tokens_only() {
    run("token", 2_000, fuzz::tokens::check);
}

#[test]
#[should_panic(expected = "\"SQL\") in")]
fn fuzz_check_finds_a_sentence_that_reveals_internals() {
    fuzz::frames::check_sentence(&hark::error::Error::bad_params("params.limit broke the SQL"));
}
