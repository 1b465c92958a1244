//! One run of a load: its clock, what it counts, and when.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::time::sleep_until;

use super::processor;
use super::results::{Measurement, Processor};
use super::scan::Scanner;

/// Longest latency that a histogram tells from longer ones.
const LONGEST: Duration = Duration::from_mins(2);
/// Bytes that one read takes at most. All sockets share it: there is one thread.
const READ_BYTES: usize = 256 * 1024;

/// Shared by all sockets of a load.
pub(crate) struct Run {
    begun: Instant,
    windows: RefCell<Vec<Window>>,
    /// From a send's intended time to its reply.
    pub(crate) replies: Meter,
    /// From a send's intended time to each push of it.
    pub(crate) deliveries: Meter,
    /// Whether who sends in a closed loop goes on.
    pub(crate) goes_on: Cell<bool>,
    /// Error codes of replies, and how often each came.
    pub(crate) refused: RefCell<BTreeMap<String, u64>>,
    /// How sockets ended that were not told to, and how many.
    pub(crate) ended: RefCell<BTreeMap<String, u64>>,
    /// Replies that came in another order than their requests.
    pub(crate) replies_out_of_order: Cell<u64>,
    pub(crate) scanner: Scanner,
    pub(crate) read_buffer: RefCell<Box<[u8]>>,
    processes: Processes,
}

/// The processes whose cost is measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Processes {
    pub(crate) server: Option<u32>,
    pub(crate) postgres: Option<u32>,
}

/// A stretch of time that is measured: nanoseconds since the run began.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: u64,
    to: u64,
}

impl Window {
    fn holds(self, moment: u64) -> bool {
        self.from <= moment && moment < self.to
    }

    fn seconds(self) -> f64 {
        Duration::from_nanos(self.to - self.from).as_secs_f64()
    }
}

impl Run {
    pub(crate) fn new(processes: Processes) -> Rc<Self> {
        Rc::new(Self {
            begun: Instant::now(),
            windows: RefCell::default(),
            replies: Meter::default(),
            deliveries: Meter::default(),
            goes_on: Cell::new(true),
            refused: RefCell::default(),
            ended: RefCell::default(),
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

    /// Counts one of several kinds of mishap.
    pub(crate) fn count(kinds: &RefCell<BTreeMap<String, u64>>, kind: &str) {
        let mut kinds = kinds.borrow_mut();
        match kinds.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(kinds.insert(kind.to_owned(), 1)),
        }
    }

    /// Waits, and says each second how it goes.
    pub(crate) async fn wait(&self, what: &str, length: Duration) {
        let (begun, mut before) = (Instant::now(), (self.replies.total.get(), self.deliveries.total.get()));
        let mut seconds = 0;
        while begun.elapsed() < length {
            seconds += 1;
            let next = begun + Duration::from_secs(seconds).min(length);
            sleep_until(next.into()).await;
            let now = (self.replies.total.get(), self.deliveries.total.get());
            say_progress(&format!(
                "{what} {seconds:>3} s  {:>8} replies/s  {:>9} deliveries/s  {} refused  {} ended",
                now.0 - before.0,
                now.1 - before.1,
                self.refused.borrow().values().sum::<u64>(),
                self.ended.borrow().values().sum::<u64>(),
            ));
            before = now;
        }
    }

    /// Measures for so long; what it cost meanwhile.
    pub(crate) async fn measure(&self, what: &str, length: Duration) -> Processor {
        let before = self.processes.times();
        let from = self.open_window();
        self.wait(what, length).await;
        self.close_window();
        self.processes.times().since(&before, self.now() - from)
    }

    /// Begins to measure; the moment.
    pub(crate) fn open_window(&self) -> u64 {
        let from = self.now();
        self.windows.borrow_mut().push(Window { from, to: u64::MAX });
        from
    }

    /// Ends what [`Run::open_window`] began; the moment.
    pub(crate) fn close_window(&self) -> u64 {
        let to = self.now();
        if let Some(window) = self.windows.borrow_mut().last_mut() {
            window.to = to;
        }
        to
    }

    /// Waits until `is_done`, or until so long nothing more has come. Whether it was done.
    pub(crate) async fn settle(&self, patience: Duration, is_done: impl Fn() -> bool) -> bool {
        let mut last = (self.progress(), Instant::now());
        while !is_done() {
            sleep_until((Instant::now() + Duration::from_millis(10)).into()).await;
            let progress = self.progress();
            if progress != last.0 {
                last = (progress, Instant::now());
            } else if last.1.elapsed() > patience {
                return false;
            }
        }
        true
    }

    fn progress(&self) -> u64 {
        self.replies.total.get() + self.deliveries.total.get()
    }

    /// What a meter has of a window, counted from 0.
    pub(crate) fn measurement(&self, meter: &Meter, window: usize, name: &str) -> Measurement {
        let seconds = self.windows.borrow()[window].seconds();
        let gauges = meter.gauges.borrow();
        let nothing = Gauge::default();
        let gauge = gauges.get(window).unwrap_or(&nothing);
        Measurement::of(name, &gauge.latency, gauge.happened, seconds)
    }

    fn window_of(&self, moment: u64) -> Option<usize> {
        self.windows.borrow().iter().rposition(|window| window.holds(moment))
    }
}

/// Counts one kind of event, and how long it took.
#[derive(Default)]
pub(crate) struct Meter {
    /// All of the run, inside of windows and outside.
    pub(crate) total: Cell<u64>,
    gauges: RefCell<Vec<Gauge>>,
}

struct Gauge {
    /// Of what was meant to begin in the window, whenever it came to its end.
    latency: Histogram<u64>,
    /// How often it came to its end in the window.
    happened: u64,
}

impl Default for Gauge {
    fn default() -> Self {
        let longest = u64::try_from(LONGEST.as_nanos()).expect("minutes");
        Self { latency: Histogram::new_with_bounds(1000, longest, 3).expect("bounds in order"), happened: 0 }
    }
}

impl Meter {
    /// Something that was meant to begin at `begun` has come to its end.
    pub(crate) fn record(&self, run: &Run, begun: u64, now: u64) {
        self.total.set(self.total.get() + 1);
        if let Some(window) = run.window_of(begun) {
            self.gauge(window, |gauge| gauge.latency.saturating_record(now.saturating_sub(begun)));
        }
        if let Some(window) = run.window_of(now) {
            self.gauge(window, |gauge| gauge.happened += 1);
        }
    }

    fn gauge(&self, window: usize, change: impl FnOnce(&mut Gauge)) {
        let mut gauges = self.gauges.borrow_mut();
        if gauges.len() <= window {
            gauges.resize_with(window + 1, Gauge::default);
        }
        change(&mut gauges[window]);
    }
}

/// Processor time used so far.
struct Times {
    server: Option<Duration>,
    postgres: Option<Duration>,
    load: Option<Duration>,
}

impl Processes {
    fn times(self) -> Times {
        Times {
            server: self.server.and_then(processor::time_of),
            postgres: self.postgres.and_then(processor::time_of_family),
            load: processor::time_of(std::process::id()),
        }
    }

    /// The server's resident memory, in bytes.
    pub(crate) fn server_memory(self) -> Option<u64> {
        self.server.and_then(processor::memory_of)
    }
}

impl Times {
    fn since(&self, before: &Self, nanoseconds: u64) -> Processor {
        let wall = Duration::from_nanos(nanoseconds);
        let cores = |now: Option<Duration>, before: Option<Duration>| {
            Some((now?.saturating_sub(before?)).div_duration_f64(wall))
        };
        Processor {
            server_cores: cores(self.server, before.server),
            postgres_cores: cores(self.postgres, before.postgres),
            load_cores: cores(self.load, before.load),
        }
    }
}

/// One line that changes, where somebody is looking.
pub(crate) fn say_progress(line: &str) {
    let mut out = std::io::stderr().lock();
    if out.is_terminal() {
        // The load goes on, whether it can be written or not.
        let _ = write!(out, "\r\x1b[K{line}");
        let _ = out.flush();
    }
}
