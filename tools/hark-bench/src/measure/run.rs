//! One run of a load: its clock, its counters, and the time windows in which it measures.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::time::sleep_until;

use crate::measure::proc_stats;
use crate::measure::results::{CpuUsage, Measurement};
use crate::measure::scanner::Scanner;

/// Maximum latency that a histogram resolves.
const MAX_LATENCY: Duration = Duration::from_mins(2);
/// The size of the read buffer. All sockets share one, because there is one thread.
const READ_BYTES: usize = 256 * 1024;

/// The state that all sockets of a load share.
pub(crate) struct Run {
    begun: Instant,
    windows: RefCell<Vec<Window>>,
    /// From the time when a send was due to its reply.
    pub(crate) replies: Meter,
    /// From the time when a send was due to each push of the message.
    pub(crate) deliveries: Meter,
    /// Whether a sender in a closed loop follows each reply with another message.
    pub(crate) is_sending: Cell<bool>,
    /// The number of error replies by code.
    pub(crate) errors: RefCell<BTreeMap<String, u64>>,
    /// The number of connections that ended unasked, by reason.
    pub(crate) disconnects: RefCell<BTreeMap<String, u64>>,
    /// The number of replies in another order than their requests.
    pub(crate) replies_out_of_order: Cell<u64>,
    pub(crate) scanner: Scanner,
    pub(crate) read_buffer: RefCell<Box<[u8]>>,
    processes: ProcessIds,
}

/// The processes whose CPU usage and memory are measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessIds {
    pub(crate) server: Option<u32>,
    pub(crate) postgres: Option<u32>,
}

/// A time window of the measurement, in nanoseconds since the run began; `to` is exclusive.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: u64,
    to: u64,
}

impl Window {
    fn contains(self, moment: u64) -> bool {
        self.from <= moment && moment < self.to
    }

    fn seconds(self) -> f64 {
        Duration::from_nanos(self.to - self.from).as_secs_f64()
    }
}

impl Run {
    pub(crate) fn new(processes: ProcessIds) -> Rc<Self> {
        Rc::new(Self {
            begun: Instant::now(),
            windows: RefCell::default(),
            replies: Meter::default(),
            deliveries: Meter::default(),
            is_sending: Cell::new(true),
            errors: RefCell::default(),
            disconnects: RefCell::default(),
            replies_out_of_order: Cell::new(0),
            scanner: Scanner::default(),
            read_buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            processes,
        })
    }

    /// Nanoseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).expect("five hundred years are over")
    }

    /// Counts one event of a kind.
    pub(crate) fn tally(kinds: &RefCell<BTreeMap<String, u64>>, kind: &str) {
        let mut kinds = kinds.borrow_mut();
        match kinds.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(kinds.insert(kind.to_owned(), 1)),
        }
    }

    /// Waits for `length`, and prints the progress each second.
    pub(crate) async fn wait(&self, what: &str, length: Duration) {
        let (begun, mut before) = (Instant::now(), (self.replies.total.get(), self.deliveries.total.get()));
        let mut seconds = 0;
        while begun.elapsed() < length {
            seconds += 1;
            let next = begun + Duration::from_secs(seconds).min(length);
            sleep_until(next.into()).await;
            let now = (self.replies.total.get(), self.deliveries.total.get());
            print_progress(&format!(
                "{what} {seconds:>3} s  {:>8} replies/s  {:>9} deliveries/s  {} errors  {} disconnects",
                now.0 - before.0,
                now.1 - before.1,
                self.errors.borrow().values().sum::<u64>(),
                self.disconnects.borrow().values().sum::<u64>(),
            ));
            before = now;
        }
    }

    /// Measures in a window of this length, and returns the CPU usage in it.
    pub(crate) async fn measure(&self, what: &str, length: Duration) -> CpuUsage {
        let before = self.processes.cpu_times();
        let from = self.start_window();
        self.wait(what, length).await;
        self.end_window();
        self.processes.cpu_times().since(&before, self.now() - from)
    }

    /// Starts a window, and returns its start.
    pub(crate) fn start_window(&self) -> u64 {
        let from = self.now();
        self.windows.borrow_mut().push(Window { from, to: u64::MAX });
        from
    }

    /// Ends the last window, and returns its end.
    pub(crate) fn end_window(&self) -> u64 {
        let to = self.now();
        if let Some(window) = self.windows.borrow_mut().last_mut() {
            window.to = to;
        }
        to
    }

    /// Waits until `is_done`, or until nothing was received for `quiet_limit`; returns whether it is done.
    pub(crate) async fn wait_until_settled(&self, quiet_limit: Duration, is_done: impl Fn() -> bool) -> bool {
        let mut last = (self.progress(), Instant::now());
        while !is_done() {
            sleep_until((Instant::now() + Duration::from_millis(10)).into()).await;
            let progress = self.progress();
            if progress != last.0 {
                last = (progress, Instant::now());
            } else if last.1.elapsed() > quiet_limit {
                return false;
            }
        }
        true
    }

    fn progress(&self) -> u64 {
        self.replies.total.get() + self.deliveries.total.get()
    }

    /// The measurement of a meter in a window, numbered from 0.
    pub(crate) fn measurement(&self, meter: &Meter, window: usize, name: &str) -> Measurement {
        let seconds = self.windows.borrow()[window].seconds();
        let stats = meter.windows.borrow();
        let empty = WindowStats::default();
        let stats = stats.get(window).unwrap_or(&empty);
        Measurement::from_histogram(name, &stats.latency, stats.completed, seconds)
    }

    fn window_of(&self, moment: u64) -> Option<usize> {
        self.windows.borrow().iter().rposition(|window| window.contains(moment))
    }
}

/// Counts and times one kind of operation.
#[derive(Default)]
pub(crate) struct Meter {
    /// The number of operations of the whole run, in windows and outside.
    pub(crate) total: Cell<u64>,
    windows: RefCell<Vec<WindowStats>>,
}

struct WindowStats {
    /// Latencies of the operations that were due in the window, whenever they were completed.
    latency: Histogram<u64>,
    /// The number of operations that were completed in the window, whenever they were due.
    completed: u64,
}

impl Default for WindowStats {
    fn default() -> Self {
        let max = u64::try_from(MAX_LATENCY.as_nanos()).expect("two minutes fit");
        Self { latency: Histogram::new_with_bounds(1000, max, 3).expect("bounds in order"), completed: 0 }
    }
}

impl Meter {
    /// Records an operation that was due at `due` and is completed at `now`.
    pub(crate) fn record(&self, run: &Run, due: u64, now: u64) {
        self.total.set(self.total.get() + 1);
        if let Some(window) = run.window_of(due) {
            self.update(window, |stats| stats.latency.saturating_record(now.saturating_sub(due)));
        }
        if let Some(window) = run.window_of(now) {
            self.update(window, |stats| stats.completed += 1);
        }
    }

    fn update(&self, window: usize, change: impl FnOnce(&mut WindowStats)) {
        let mut windows = self.windows.borrow_mut();
        if windows.len() <= window {
            windows.resize_with(window + 1, WindowStats::default);
        }
        change(&mut windows[window]);
    }
}

/// The CPU time used so far.
struct CpuTimes {
    server: Option<Duration>,
    postgres: Option<Duration>,
    load: Option<Duration>,
}

impl ProcessIds {
    fn cpu_times(self) -> CpuTimes {
        CpuTimes {
            server: self.server.and_then(proc_stats::cpu_time),
            postgres: self.postgres.and_then(proc_stats::cpu_time_with_children),
            load: proc_stats::cpu_time(std::process::id()),
        }
    }

    /// The server's resident memory, in bytes.
    pub(crate) fn server_memory(self) -> Option<u64> {
        self.server.and_then(proc_stats::resident_memory)
    }
}

impl CpuTimes {
    fn since(&self, before: &Self, nanoseconds: u64) -> CpuUsage {
        let wall = Duration::from_nanos(nanoseconds);
        let cores = |now: Option<Duration>, before: Option<Duration>| {
            Some((now?.saturating_sub(before?)).div_duration_f64(wall))
        };
        CpuUsage {
            server_cores: cores(self.server, before.server),
            postgres_cores: cores(self.postgres, before.postgres),
            load_cores: cores(self.load, before.load),
        }
    }
}

/// Prints a progress line over the last one, where standard error is a terminal.
pub(crate) fn print_progress(line: &str) {
    let mut out = std::io::stderr().lock();
    if out.is_terminal() {
        // A progress line that cannot be written is no reason to stop.
        let _ = write!(out, "\r\x1b[K{line}");
        let _ = out.flush();
    }
}
