//! The CPU time and resident memory of processes, as Linux counts them in `/proc`.

use std::fs;
use std::time::Duration;

/// Ticks per second in `/proc/PID/stat` (`USER_HZ`): part of Linux's interface, the same on every machine.
const TICKS_PER_SECOND: u64 = 100;

/// The CPU time that all threads of a process have used so far; `None` if the process has ended, or if there is
/// no `/proc`.
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(Stat::parse(&stat)?.own)
}

/// The CPU time of a process and all its children, ended ones included. PostgreSQL has a child process for each
/// connection.
pub(crate) fn cpu_time_with_children(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent = Stat::parse(&stat)?;
    let children = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        // The time of a child that has just ended is in its parent's line.
        let stat = Stat::parse(&fs::read_to_string(entry.path().join("stat")).ok()?)?;
        (stat.parent == pid).then_some(stat.own)
    });
    Some(parent.own + parent.ended_children + children.sum::<Duration>())
}

/// The resident memory of a process, in bytes.
pub(crate) fn resident_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The fields of `/proc/PID/stat` that are needed.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own: Duration,
    ended_children: Duration,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The second field is the program's name in brackets, which may contain spaces and brackets itself.
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let time = |at: usize| {
            let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
            Some(Duration::from_millis((ticks(at)? + ticks(at + 1)?) * 1000 / TICKS_PER_SECOND))
        };
        Some(Self { parent: fields.get(1)?.parse().ok()?, own: time(11)?, ended_children: time(13)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_parsed_whatever_the_name() {
        let line = "812 (post) gres S) S 7 812 812 0 -1 4194560 1 2 3 4 150 50 10 15 20 0 1 0 99 1000 20";
        let stat = Stat { parent: 7, own: Duration::from_secs(2), ended_children: Duration::from_millis(250) };
        assert_eq!(Stat::parse(line), Some(stat));
        assert_eq!(Stat::parse("812 (cut"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn own_process_has_memory_and_time() {
        let pid = std::process::id();
        assert!(resident_memory(pid).is_some_and(|bytes| bytes > 100_000));
        // In this order, because the time only grows.
        let own = cpu_time(pid).expect("it runs");
        assert!(cpu_time_with_children(pid) >= Some(own));
    }
}
