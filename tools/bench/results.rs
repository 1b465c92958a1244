//! What a run has found: for people, and as JSON for machines.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::judge::Wrongs;

/// The percentiles that a plot goes through.
const CURVE: [f64; 14] = [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 99.95, 99.99, 100.0];
/// A load that takes more of a core than this may be what is measured.
const BUSY_CORES: f64 = 0.9;

/// All that is known of one run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Results {
    /// The subcommand.
    pub(crate) scenario: String,
    /// How it was asked for.
    pub(crate) settings: BTreeMap<String, Value>,
    /// What took time, each with how long it took.
    pub(crate) measurements: Vec<Measurement>,
    /// Single numbers; their names say the unit.
    pub(crate) figures: BTreeMap<String, f64>,
    /// What it cost while it was measured.
    pub(crate) processor: Processor,
    /// Lost, doubled, out of order; left out where nothing was sent.
    pub(crate) wrongs: Option<Wrongs>,
    /// Error codes of replies, and how often each came.
    pub(crate) refused: BTreeMap<String, u64>,
    /// How sockets ended that were to stay open, and how many.
    pub(crate) ended: BTreeMap<String, u64>,
}

/// One kind of thing that was done many times.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measurement {
    pub(crate) name: String,
    /// How many latencies there are below.
    pub(crate) count: u64,
    /// How many came to their end, a second.
    pub(crate) per_second: f64,
    /// Milliseconds, as all that follow.
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    /// Percentiles with their milliseconds.
    pub(crate) curve: Vec<(f64, f64)>,
}

/// Processor time while something was measured, in cores: seconds of processor a second.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Processor {
    pub(crate) server_cores: Option<f64>,
    /// With all its connections.
    pub(crate) postgres_cores: Option<f64>,
    /// Of this tool.
    pub(crate) load_cores: Option<f64>,
}

impl Measurement {
    /// Of a histogram of nanoseconds.
    pub(crate) fn of(name: &str, latency: &Histogram<u64>, happened: u64, seconds: f64) -> Self {
        let count = latency.len();
        let at = |percentile| milliseconds(latency.value_at_percentile(percentile));
        Self {
            name: name.to_owned(),
            count,
            per_second: float(happened) / seconds,
            p50: at(50.0),
            p95: at(95.0),
            p99: at(99.0),
            max: milliseconds(latency.max()),
            curve: if count == 0 { Vec::new() } else { CURVE.map(|percentile| (percentile, at(percentile))).into() },
        }
    }
}

impl Results {
    /// The results of nothing yet.
    pub(crate) fn of(scenario: &str) -> Self {
        Self { scenario: scenario.to_owned(), ..Self::default() }
    }

    /// Notes how it was asked for.
    pub(crate) fn setting(&mut self, name: &str, value: impl Into<Value>) {
        self.settings.insert(name.to_owned(), value.into());
    }

    /// Notes a number, if it is one: a ratio to nothing is none, and JSON has no word for it.
    pub(crate) fn figure(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.figures.insert(name.to_owned(), value);
        }
    }

    /// What was run, in one line.
    pub(crate) fn title(&self) -> String {
        let settings: Vec<String> = self.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        format!("{} ({})", self.scenario, settings.join(", "))
    }

    /// The measurement of this name.
    pub(crate) fn measurement(&self, name: &str) -> Option<&Measurement> {
        self.measurements.iter().find(|measurement| measurement.name == name)
    }

    /// Notes what each of `name` cost of the processor, in microseconds.
    pub(crate) fn costs(&mut self, name: &str, per_second: f64) {
        let Processor { server_cores, postgres_cores, .. } = self.processor;
        for (who, cores) in [("server", server_cores), ("postgres", postgres_cores)] {
            if let Some(cores) = cores
                && per_second > 0.0
            {
                self.figure(&format!("{who} µs a {name}"), cores * 1e6 / per_second);
            }
        }
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title())?;
        let width = self.measurements.iter().map(|of| of.name.len()).max().unwrap_or_default();
        for of in &self.measurements {
            writeln!(
                f,
                "  {:width$}  {:>10.1}/s   p50 {:>8.3} ms   p95 {:>8.3} ms   p99 {:>8.3} ms   max {:>8.3} ms",
                of.name, of.per_second, of.p50, of.p95, of.p99, of.max
            )?;
        }
        for (name, value) in &self.figures {
            writeln!(f, "  {name}: {value:.2}")?;
        }
        let Processor { server_cores, postgres_cores, load_cores } = self.processor;
        for (who, cores) in [("server", server_cores), ("PostgreSQL", postgres_cores), ("this tool", load_cores)] {
            if let Some(cores) = cores {
                writeln!(f, "  {who}: {cores:.2} cores")?;
            }
        }
        if let Some(Wrongs { lost, doubled, out_of_order }) = self.wrongs {
            writeln!(f, "  lost {lost}, doubled {doubled}, out of order {out_of_order}")?;
        }
        for (what, counts) in [("refused", &self.refused), ("sockets that ended", &self.ended)] {
            for (why, count) in counts {
                writeln!(f, "  {what}: {count} × {why}")?;
            }
        }
        if load_cores.is_some_and(|cores| cores > BUSY_CORES) {
            writeln!(f, "  The load's own thread was busy nearly all the time: it may be the limit, not the server.")?;
        }
        Ok(())
    }
}

/// Nanoseconds as milliseconds.
fn milliseconds(nanoseconds: u64) -> f64 {
    float(nanoseconds) / 1e6
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of a run are far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_a_file() {
        let mut histogram = Histogram::new(3).unwrap();
        histogram.record(2_000_000).unwrap();
        let mut results = Results::of("storm");
        results.measurements = vec![Measurement::of("reply", &histogram, 50, 2.0)];
        results.figure("p99 meanwhile / p99 before", 1.0 / 0.0);
        results.figure("seconds until all were back", 1.5);
        let text = serde_json::to_string(&results).unwrap();
        let read: Results = serde_json::from_str(&text).unwrap();
        assert_eq!(read.figures.len(), 1, "infinity is no number");
        let reply = read.measurement("reply").unwrap();
        assert_eq!((reply.count, reply.per_second), (1, 25.0));
        assert!((reply.p50 - 2.0).abs() < 0.01, "{}", reply.p50);
    }
}
