//! The database: the write pipeline, checks before the start, outages and restores.

mod case_folding;
mod idempotency;
mod migrations;
mod outages;
mod poolers;
mod preflight;
mod read_only;
mod restores;
mod writer;
