//! A model-based test of the whole protocol: random requests of several users go to a server and to a small
//! in-memory model, and after each request both must agree on the reply or the code of the refusal, on the
//! pushes of every socket in their order, and on everything that every user may read.
//!
//! Reading order: `operations.rs`, the possible requests; `state.rs`, what the model stores; `rules`, what
//! a request does; `views.rs`, what every user may read; `run.rs`, how both are compared. Where the model
//! and the server disagree, docs/frames.md decides. Presence and typing are left out, because they depend
//! on timing.
//!
//! A failure is shrunk to a few requests and printed as these, with the frames as they were sent; nothing
//! is written to a file. `PROPTEST_CASES` sets the number of cases and `PROPTEST_RNG_SEED` the seed. This
//! command runs for about half an hour:
//!
//! ```text
//! PROPTEST_CASES=1500 cargo test --test it server_agrees_with_the_model -- --nocapture
//! ```

mod operations;
mod rules;
mod run;
mod state;
mod views;

use std::cell::Cell;
use std::env;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

use crate::support::TestServer;

/// The number of cases where `PROPTEST_CASES` is not set.
const CASES: u32 = 24;
/// The largest number of requests of a case.
const MAX_OPERATIONS: usize = 30;

#[test]
#[expect(clippy::disallowed_methods, reason = "a setting of proptest, which has another default")]
fn server_agrees_with_the_model() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(TestServer::start());
    let config = ProptestConfig { failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default() };
    let config =
        if env::var_os("PROPTEST_CASES").is_some() { config } else { ProptestConfig { cases: CASES, ..config } };
    // A missing push costs its whole timeout; while a failure shrinks, a short one is enough.
    let shrinking = Cell::new(false);
    let operations = operations::any_case(MAX_OPERATIONS);
    let (cases, requests) = (Cell::new(0), Cell::new(0));
    let result = TestRunner::new(config).run(&operations, |operations| {
        cases.set(cases.get() + 1);
        requests.set(requests.get() + operations.len());
        let case = run::run(&server, &operations, shrinking.get());
        runtime.block_on(case).map_err(|mismatch| {
            shrinking.set(true);
            TestCaseError::fail(mismatch)
        })
    });
    println!("{} cases, {} requests", cases.get(), requests.get());
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// Former failures that are too rare for random cases to find again.
#[test]
fn server_agrees_with_the_model_on_former_failures() {
    use operations::{Operation, Request, Target, Text};

    let ask = |socket, request| Operation { socket, request };
    let content_request = || Request::MessageInGroup(0, Text { content: "tea", client_id: None });
    let cases = [
        // A new member of a group can read everything that was sent before.
        vec![ask(0, Request::NewGroup(vec![])), ask(0, content_request()), ask(0, Request::AddUserInGroup(0, 1))],
        // A member who joins a group again does not find it marked as spam, and gets its messages.
        vec![
            ask(0, Request::NewGroup(vec![1])),
            ask(2, Request::MarkSpam(Target::Group(0), true)),
            ask(0, content_request()),
            ask(2, Request::LeaveGroup(0)),
            ask(0, Request::AddUserInGroup(0, 1)),
            ask(0, content_request()),
        ],
    ];
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(TestServer::start());
    for case in cases {
        runtime.block_on(run::run(&server, &case, false)).unwrap_or_else(|mismatch| panic!("{mismatch}"));
    }
}
