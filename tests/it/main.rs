//! All tests that go through the real socket and the real database, in one binary, in parallel.
//! Each has a server of its own with a database of its own, on one private PostgreSQL for the run.
//! No test sleeps: it waits for what it needs, with a deadline.

#![expect(unreachable_pub, reason = "a test binary has no outside; pub says what its modules share")]

mod support;

mod accounts;
mod admins;
mod authorization;
mod connection;
mod contacts;
mod delivery;
mod documents;
mod envelopes;
mod export;
mod faults;
mod groups;
mod histories;
mod hostile;
mod house;
mod messages;
mod model;
mod notifications;
mod people;
mod private_postgres;
mod process;
mod reference;
mod repeats;
mod search;
mod seed_002;
mod settings;
mod sync;
