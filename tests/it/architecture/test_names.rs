//! Tests are found by name: those of a frame begin with the frame, and documents name tests that exist.

use std::collections::BTreeSet;

use clap::Parser as _;
use hark::commands::Command;
use hark::config::Cli;

use super::{Source, sources};

/// Returns the test functions of a source.
fn tests_of(source: &Source) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in source.text.lines().map(str::trim) {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
            names.push(rest.split('(').next().unwrap_or_default().to_owned());
            is_test = false;
        }
    }
    names
}

/// Converts the type of a frame to snake case: `markSpam` is `mark_spam`.
fn snake_case(kind: &str) -> String {
    let letter = |c: char| if c.is_ascii_uppercase() { format!("_{}", c.to_ascii_lowercase()) } else { c.to_string() };
    kind.chars().map(letter).collect()
}

/// Returns the frames with which no test's name begins.
fn frames_without_tests<'a>(frames: &[&'a str], tests: &BTreeSet<String>) -> Vec<&'a str> {
    let begins = |test: &str, frame: &str| test.strip_prefix(frame).is_some_and(|rest| rest.starts_with('_'));
    let has_test = |frame: &str| tests.iter().any(|test| begins(test, &snake_case(frame)));
    frames.iter().copied().filter(|frame| !has_test(frame)).collect()
}

#[test]
fn frames_are_each_the_beginning_of_a_tests_name() {
    let limits = Cli::parse_from(["hark"]).config.limits;
    let frames = Command::frames(&limits);
    let kinds: Vec<&str> = frames.iter().map(|frame| frame.kind).collect();
    assert!(kinds.len() > 40, "the frames are somewhere else: {kinds:?}");
    let tests: BTreeSet<String> = sources("tests/it").iter().flat_map(tests_of).collect();
    let missing = frames_without_tests(&kinds, &tests);
    assert!(missing.is_empty(), "`cargo test --test it FRAME` finds no test of {missing:?}");
}

#[test]
fn frames_without_tests_are_found() {
    let tests = ["mark_spam_hides", "typing", "sync2_works", "the_add_contact_test"].map(str::to_owned).into();
    let missing = frames_without_tests(&["markSpam", "typing", "sync", "addContact"], &tests);
    assert_eq!(missing, ["typing", "sync", "addContact"]);
}

#[test]
fn faults_of_predecessors_name_tests_that_exist() {
    let sources = sources("tests/it");
    let mut tests = BTreeSet::new();
    for source in &sources {
        let module = source.module().join("::");
        tests.extend(tests_of(source).into_iter().map(|test| format!("{module}::{test}")));
    }
    let table = sources.iter().find(|source| source.path.ends_with("compat/predecessor_faults.rs"));
    let table = table.expect("the table of faults").text.lines().filter(|line| line.starts_with("//! | "));
    let named: Vec<&str> = table.flat_map(|line| line.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 15, "the table is somewhere else: {named:?}");
    for name in named {
        assert!(tests.contains(name), "there is no test {name}");
    }
}
