//! A model of the whole: random requests of several people go to a server and to a small model in
//! memory, and after each of them both have to say the same: the reply or the code of the refusal,
//! the pushes of every socket in their order, and all that everybody may read.
//!
//! To be read in this order: `model/operations.rs`, what may be asked; `model/state.rs`, what the
//! model remembers; `model/rules.rs`, what a request does; `model/views.rs`, what everybody may
//! read; `model/run.rs`, how both are compared. Where the model and the server disagree, protocol.md
//! says who is wrong. Who is online and who is typing is not in it: that has timing.
//!
//! A failure is shrunk to a few requests and printed as these, with the frames as they were sent.
//! Nothing of it is kept in a file. `PROPTEST_CASES` says how many cases to run, and
//! `PROPTEST_RNG_SEED` with which seed. This runs for about half an hour:
//!
//! ```text
//! PROPTEST_CASES=1500 cargo test --test it the_model_does -- --nocapture
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

/// Cases where nobody says how many.
const CASES: u32 = 24;
/// Most requests of a case.
const OPERATIONS: usize = 30;

#[test]
#[expect(clippy::disallowed_methods, reason = "a setting of proptest, which has another default")]
fn the_server_does_what_the_model_does() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(TestServer::start());
    let config = ProptestConfig { failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default() };
    let config =
        if env::var_os("PROPTEST_CASES").is_some() { config } else { ProptestConfig { cases: CASES, ..config } };
    // A push that is missing costs its whole deadline; while a failure shrinks, a short one will do.
    let shrinking = Cell::new(false);
    let operations = operations::any_case(OPERATIONS);
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

/// Too rare to wait for.
#[test]
fn the_server_does_what_it_once_did_not() {
    use operations::{Operation, Request, Target, Text};

    let ask = |socket, request| Operation { socket, request };
    let said = || Request::MessageInGroup(0, Text { content: "tea", client_id: None });
    let cases = [
        // Who comes to a group has everything that was said before.
        vec![ask(0, Request::NewGroup(vec![])), ask(0, said()), ask(0, Request::AddUserInGroup(0, 1))],
        // Who comes back to a group does not find it spam, and hears of its messages.
        vec![
            ask(0, Request::NewGroup(vec![1])),
            ask(2, Request::MarkSpam(Target::Group(0), true)),
            ask(0, said()),
            ask(2, Request::LeaveGroup(0)),
            ask(0, Request::AddUserInGroup(0, 1)),
            ask(0, said()),
        ],
    ];
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(TestServer::start());
    for case in cases {
        runtime.block_on(run::run(&server, &case, false)).unwrap_or_else(|mismatch| panic!("{mismatch}"));
    }
}
