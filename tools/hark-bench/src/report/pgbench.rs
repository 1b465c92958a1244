//! Parses the output of pgbench.

use std::fs;
use std::path::Path;

/// The transactions per second in pgbench's summary.
pub(crate) fn transactions_per_second(summary: &str) -> Option<f64> {
    let line = summary.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split(' ').next()?.parse().ok()
}

/// The median duration in pgbench's log of single transactions, in milliseconds.
pub(crate) fn median_of_log(log: &str) -> Option<f64> {
    // Fields of a line: client, transaction, microseconds, …
    let mut times: Vec<f64> = log.lines().filter_map(|line| line.split(' ').nth(2)?.parse().ok()).collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).map(|microseconds| microseconds / 1000.0)
}

/// The content of the first file in `folder` whose name begins with `prefix`.
pub(crate) fn read_first(folder: &Path, prefix: &str) -> Option<String> {
    let mut entries = fs::read_dir(folder).ok()?.flatten();
    let found = entries.find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))?;
    fs::read_to_string(found.path()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_per_second_reads_the_summary() {
        let summary = "latency average = 3.404 ms\ninitial connection time = 2.1 ms\n\
                       tps = 290.660950 (without initial connection time)\n";
        assert_eq!(transactions_per_second(summary), Some(290.660_950));
        assert_eq!(transactions_per_second("pgbench: error: no such table"), None);
    }

    #[test]
    fn median_of_log_reads_the_durations() {
        let log = "0 1 900 0 1790000000 1\n0 2 1000 0 1790000000 2\n0 3 7000 0 1790000000 3\n";
        assert_eq!(median_of_log(log), Some(1.0));
        assert_eq!(median_of_log(""), None);
    }
}
