//! What processes cost: their processor time and their memory, as Linux counts them in `/proc`.

use std::fs;
use std::time::Duration;

/// Ticks of the kernel's accounts a second: part of Linux's interface, the same on every machine.
const TICKS_A_SECOND: u64 = 100;

/// Processor time that a process has used so far, all its threads together; `None` where it is gone,
/// or where there is no `/proc`.
pub(crate) fn time_of(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(Stat::read(&stat)?.own)
}

/// The same of a process and its children, those that have ended included: of PostgreSQL, which has a
/// process for each connection.
pub(crate) fn time_of_family(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent = Stat::read(&stat)?;
    let children = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        // One that has just ended is with its parent.
        let stat = Stat::read(&fs::read_to_string(entry.path().join("stat")).ok()?)?;
        (stat.parent == pid).then_some(stat.own)
    });
    Some(parent.own + parent.of_ended_children + children.sum::<Duration>())
}

/// Resident memory of a process, in bytes.
pub(crate) fn memory_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// What of a line of `/proc/PID/stat` is needed.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own: Duration,
    of_ended_children: Duration,
}

impl Stat {
    fn read(line: &str) -> Option<Self> {
        // The second field is a name in brackets and may hold anything.
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let time = |at: usize| {
            let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
            Some(Duration::from_millis((ticks(at)? + ticks(at + 1)?) * 1000 / TICKS_A_SECOND))
        };
        Some(Self { parent: fields.get(1)?.parse().ok()?, own: time(11)?, of_ended_children: time(13)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_name() {
        let line = "812 (post) gres S) S 7 812 812 0 -1 4194560 1 2 3 4 150 50 10 15 20 0 1 0 99 1000 20";
        let stat = Stat { parent: 7, own: Duration::from_secs(2), of_ended_children: Duration::from_millis(250) };
        assert_eq!(Stat::read(line), Some(stat));
        assert_eq!(Stat::read("812 (cut"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_there() {
        let pid = std::process::id();
        assert!(memory_of(pid).is_some_and(|bytes| bytes > 100_000));
        // In this order: meanwhile it only grows.
        let own = time_of(pid).expect("it runs");
        assert!(time_of_family(pid) >= Some(own));
    }
}
