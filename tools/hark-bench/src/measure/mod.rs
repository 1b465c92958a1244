//! Measuring: what a run counts, and what it found. In the order of imports, the lowest first: `scanner`, `checker`,
//! `proc_stats`, `results`, `run`.

pub(crate) mod checker;
pub(crate) mod proc_stats;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod scanner;
