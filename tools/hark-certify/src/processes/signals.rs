//! Signals to processes, and what `/proc` says about processes.

use std::fs;
use std::io;

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal, test_kill_process};
use tokio::process::Command;

/// Sends a signal. It is no error if the process has ended.
pub(crate) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = raw(pid) {
        // It fails if the process has just ended.
        let _ = kill_process(pid, signal);
    }
}

/// Sends a signal to each of the processes.
pub(crate) fn send_all(pids: &[u32], signal: Signal) {
    for pid in pids {
        send(*pid, signal);
    }
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    raw(pid).is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH)) && state(pid) != Some('Z')
}

/// The children of a process.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

/// The command line of a process, which PostgreSQL sets as its title.
pub(crate) fn title(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}

/// The resident memory of a process, in KiB.
pub(crate) fn memory_kib(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    number.ok_or_else(|| io::Error::other("no VmRSS"))
}

fn raw(pid: u32) -> Option<Pid> {
    Pid::from_raw(pid.cast_signed())
}

fn state(pid: u32) -> Option<char> {
    stat(pid).map(|(state, _)| state)
}

/// The state and the parent in `/proc/PID/stat`. The name before them may contain spaces and brackets.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Makes the kernel send `signal` to the process of `command` when the starting thread ends, for whatever reason.
pub(super) fn end_with_parent(command: &mut Command, signal: Signal) {
    let request = move || Ok(set_parent_process_death_signal(Some(signal))?);
    // SAFETY: the closure is one system call, which is allowed between fork and exec.
    unsafe { command.pre_exec(request) };
}
