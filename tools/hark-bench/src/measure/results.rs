//! The results of a run: as text for the terminal, and as JSON for the report.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::measure::checker::Violations;

/// The percentiles of a latency plot.
const CURVE_PERCENTILES: [f64; 14] =
    [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 99.95, 99.99, 100.0];
/// Above this, the load generator itself may be the bottleneck of the measurement.
const MAX_LOAD_CORES: f64 = 0.9;

/// The results of one run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Results {
    /// The subcommand.
    pub(crate) scenario: String,
    /// The options of the run.
    pub(crate) settings: BTreeMap<String, Value>,
    /// Latencies and rates, one for each kind of operation.
    pub(crate) measurements: Vec<Measurement>,
    /// Single numbers; the name of each contains its unit.
    pub(crate) figures: BTreeMap<String, f64>,
    /// The CPU usage during the measurement.
    pub(crate) cpu: CpuUsage,
    /// Lost, duplicated and misordered messages; `None` if nothing was sent.
    pub(crate) violations: Option<Violations>,
    /// The number of error replies by code.
    pub(crate) errors: BTreeMap<String, u64>,
    /// The number of connections that ended and were to stay open, by reason.
    pub(crate) disconnects: BTreeMap<String, u64>,
}

/// The latencies and the rate of one kind of operation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measurement {
    pub(crate) name: String,
    /// The number of latencies: of operations that were due in the window.
    pub(crate) count: u64,
    /// The rate of operations that were completed in the window.
    pub(crate) per_second: f64,
    /// The median in milliseconds; all fields below are in milliseconds too.
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    /// Pairs of percentile and latency.
    pub(crate) curve: Vec<(f64, f64)>,
}

/// CPU usage in cores: CPU seconds per second.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CpuUsage {
    pub(crate) server_cores: Option<f64>,
    /// The usage of PostgreSQL with all its connections.
    pub(crate) postgres_cores: Option<f64>,
    /// The usage of this load generator.
    pub(crate) load_cores: Option<f64>,
}

impl Measurement {
    /// The measurement of a histogram of nanoseconds, with `completed` operations in `seconds` seconds.
    pub(crate) fn from_histogram(name: &str, latency: &Histogram<u64>, completed: u64, seconds: f64) -> Self {
        let count = latency.len();
        let at = |percentile| milliseconds(latency.value_at_percentile(percentile));
        Self {
            name: name.to_owned(),
            count,
            per_second: float(completed) / seconds,
            p50: at(50.0),
            p95: at(95.0),
            p99: at(99.0),
            max: milliseconds(latency.max()),
            curve: if count == 0 {
                Vec::new()
            } else {
                CURVE_PERCENTILES.map(|percentile| (percentile, at(percentile))).into()
            },
        }
    }
}

impl Results {
    /// Empty results of a scenario.
    pub(crate) fn new(scenario: &str) -> Self {
        Self { scenario: scenario.to_owned(), ..Self::default() }
    }

    /// Adds an option of the run.
    pub(crate) fn add_setting(&mut self, name: &str, value: impl Into<Value>) {
        self.settings.insert(name.to_owned(), value.into());
    }

    /// Adds a figure. Infinities and NaN, such as a ratio to zero, are left out, because JSON cannot hold them.
    pub(crate) fn add_figure(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.figures.insert(name.to_owned(), value);
        }
    }

    /// The scenario and its options in one line.
    pub(crate) fn title(&self) -> String {
        let settings: Vec<String> = self.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        format!("{} ({})", self.scenario, settings.join(", "))
    }

    /// The measurement with this name.
    pub(crate) fn measurement(&self, name: &str) -> Option<&Measurement> {
        self.measurements.iter().find(|measurement| measurement.name == name)
    }

    /// Adds the CPU time of one operation `name`, in microseconds, for the server and for PostgreSQL.
    pub(crate) fn add_cost(&mut self, name: &str, per_second: f64) {
        let CpuUsage { server_cores, postgres_cores, .. } = self.cpu;
        for (who, cores) in [("server", server_cores), ("postgres", postgres_cores)] {
            if let Some(cores) = cores
                && per_second > 0.0
            {
                self.add_figure(&format!("{who} µs per {name}"), cores * 1e6 / per_second);
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
        let CpuUsage { server_cores, postgres_cores, load_cores } = self.cpu;
        for (who, cores) in [("server", server_cores), ("PostgreSQL", postgres_cores), ("load", load_cores)] {
            if let Some(cores) = cores {
                writeln!(f, "  {who}: {cores:.2} cores")?;
            }
        }
        if let Some(Violations { lost, duplicated, out_of_order }) = self.violations {
            writeln!(f, "  lost {lost}, duplicated {duplicated}, out of order {out_of_order}")?;
        }
        for (kind, counts) in [("errors", &self.errors), ("disconnects", &self.disconnects)] {
            for (reason, count) in counts {
                writeln!(f, "  {kind}: {count} × {reason}")?;
            }
        }
        if load_cores.is_some_and(|cores| cores > MAX_LOAD_CORES) {
            writeln!(f, "  The load's thread was saturated: it may be the bottleneck instead of the server.")?;
        }
        Ok(())
    }
}

/// Converts nanoseconds to milliseconds.
fn milliseconds(nanoseconds: u64) -> f64 {
    float(nanoseconds) / 1e6
}

/// Converts a count for arithmetic.
#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of a run are far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_serialization() {
        let mut histogram = Histogram::new(3).unwrap();
        histogram.record(2_000_000).unwrap();
        let mut results = Results::new("storm");
        results.measurements = vec![Measurement::from_histogram("reply", &histogram, 50, 2.0)];
        results.add_figure("p99 during / p99 before", 1.0 / 0.0);
        results.add_figure("seconds until all reconnected", 1.5);
        let text = serde_json::to_string(&results).unwrap();
        let read: Results = serde_json::from_str(&text).unwrap();
        assert_eq!(read.figures.len(), 1, "infinity is no number");
        let reply = read.measurement("reply").unwrap();
        assert_eq!((reply.count, reply.per_second), (1, 25.0));
        assert!((reply.p50 - 2.0).abs() < 0.01, "{}", reply.p50);
    }
}
