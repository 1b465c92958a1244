//! All tests that go through the real socket and the real database, in one binary, in parallel.
//! Each has a server of its own with a database of its own, on one private PostgreSQL for the run.
//! No test sleeps: it waits for what it needs, with a deadline.

#![expect(unreachable_pub, reason = "a test binary has no outside; pub says what its modules share")]

mod accounts;
mod admins;
mod authorization;
mod behind;
mod certify;
mod chat_lists;
mod clients;
mod connection;
mod contacts;
mod container;
mod conversations;
mod databases;
mod delivery;
mod documents;
mod edits;
mod envelopes;
mod export;
mod faults;
mod groups;
mod histories;
mod hostile;
mod house;
mod http_connection;
mod http_conventions;
mod http_conversations;
mod load;
mod messages;
mod migrations;
mod model;
mod nodes;
mod notifications;
mod people;
mod poolers;
mod presence;
mod private_postgres;
mod process;
mod read_only;
mod receipts;
mod reference;
mod repeats;
mod replies;
mod restores;
mod search;
mod seed_000;
mod seed_001;
mod seed_002;
mod seed_003;
mod seed_004;
mod seeds_wrongs;
mod settings;
mod subscriptions;
mod support;
mod sync;
mod typing;
mod unread;
mod wishes;
mod writer;
