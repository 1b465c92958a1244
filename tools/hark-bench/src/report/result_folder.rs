//! The folder that `hark-bench standard` fills and the report reads.
//!
//! `N` is a round, from 1: what is compared with PostgreSQL is measured several times, in turn with PostgreSQL itself.
//!
//! | file | content |
//! |---|---|
//! | `machine.txt` | one line: the machine |
//! | `N-one-commit.*` `N-one-call.*` | pgbench's log of one_message.sql and of write_message.sql, one connection |
//! | `N-batch.txt` `N-scattered.txt` `N-function.txt` | pgbench's summary of batch_of_256.sql, batch_of_256_dialogs.sql and write_messages_256.sql |
//! | `N-one.json` `N-private-50.json` `N-private-500.json` | `private` |
//! | `N-pages-small.json` `N-pages-large.json` | `pages`, in a small and in a large history |
//! | `N-logins.json` | `logins` |
//! | `group.json` `mixed.json` `idle.json` `storm.json` | the scenarios of these names |

use std::fs;
use std::path::PathBuf;

use crate::measure::results::Results;
use crate::report::pgbench;

/// Messages of one transaction in the batch scripts.
const BATCH_SIZE: f64 = 256.0;

/// The results of a standard benchmark.
pub(crate) struct ResultFolder {
    pub(crate) path: PathBuf,
}

impl ResultFolder {
    /// The results of one scenario; `None` if it was not run.
    pub(crate) fn results(&self, name: &str) -> Option<Results> {
        serde_json::from_str(&fs::read_to_string(self.path.join(format!("{name}.json"))).ok()?).ok()
    }

    /// The results of a scenario in each round, in their order.
    pub(crate) fn rounds(&self, name: &str) -> Vec<Results> {
        (1..).map_while(|round| self.results(&format!("{round}-{name}"))).collect()
    }

    /// The median duration of a pgbench transaction in each round, in milliseconds.
    pub(crate) fn transaction_medians(&self, name: &str) -> Vec<f64> {
        let log = |round| pgbench::read_first(&self.path, &format!("{round}-{name}."));
        (1..).map_while(|round| pgbench::median_of_log(&log(round)?)).collect()
    }

    /// The messages per second that pgbench committed in batches, in each round.
    pub(crate) fn batch_rates(&self, name: &str) -> Vec<f64> {
        let summary = |round| pgbench::read_first(&self.path, &format!("{round}-{name}.txt"));
        (1..).map_while(|round| Some(pgbench::transactions_per_second(&summary(round)?)? * BATCH_SIZE)).collect()
    }

    /// The results of all scenarios that send messages.
    pub(crate) fn all(&self) -> Vec<Results> {
        let singles = ["group", "mixed", "storm"].into_iter().filter_map(|name| self.results(name));
        singles
            .chain(["one", "private-50", "private-500", "logins"].iter().flat_map(|name| self.rounds(name)))
            .collect()
    }
}
