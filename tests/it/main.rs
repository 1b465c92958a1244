//! All tests that need a running server and a real database, in one binary, in parallel. The folders mirror
//! `src`: `frames` has a file for each file of `src/commands`, and a test's name begins with the frame or
//! function that it is about. Each test has a server and a database of its own, on one private PostgreSQL
//! for the run. No test sleeps: it waits for a condition, with a timeout.

#![expect(unreachable_pub, reason = "a test binary has no users; pub marks what its modules share")]

mod architecture;
mod cluster;
mod compat;
mod delivery;
mod documents;
mod frames;
mod http;
mod limits;
mod model_based;
mod server;
mod store;
mod support;
mod wire;
mod ws;
