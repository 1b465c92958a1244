//! Plots in SVG.

use std::fmt::Write as _;

use crate::measure::results::{Measurement, float};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 44.0;
/// The height of the plotting area of a latency plot, without axes and legend.
const HEIGHT: f64 = 280.0;
const LINE: f64 = 20.0;
/// A palette that people with colour blindness can tell apart (Okabe and Ito).
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933"];
/// The percentiles on the axis of a latency plot. The plot ends at the last one: beyond it are single events.
const AXIS_PERCENTILES: [f64; 6] = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99];

/// A latency plot: milliseconds by percentile, both on logarithmic axes. Each further nine of the percentile is as wide
/// as the one before.
pub(crate) fn latencies(title: &str, measurements: &[&Measurement]) -> String {
    let shown: Vec<_> = measurements.iter().filter(|measurement| measurement.count > 0).collect();
    let times = || shown.iter().flat_map(|measurement| &measurement.curve).map(|(_, time)| time.max(1e-3).log10());
    let lowest = times().fold(0.0, f64::min).floor();
    let highest = times().fold(1.0, f64::max).ceil();
    let x = |percentile: f64| {
        let nines = -(1.0 - percentile.min(99.99) / 100.0).log10();
        LEFT + nines / 4.0 * (WIDTH - LEFT - RIGHT)
    };
    let y = |time: f64| TOP + (highest - time.max(1e-3).log10()) / (highest - lowest) * HEIGHT;

    let mut drawing = Drawing::new(title, TOP + HEIGHT + 50.0 + LINE * size(shown.len()));
    let mut power = lowest;
    while power <= highest {
        let time = 10_f64.powf(power);
        drawing.rule((LEFT, y(time)), (WIDTH - RIGHT, y(time)));
        drawing.text((LEFT - 8.0, y(time) + 4.0), "end", &format!("{time} ms"));
        power += 1.0;
    }
    for percentile in AXIS_PERCENTILES {
        drawing.rule((x(percentile), TOP), (x(percentile), TOP + HEIGHT));
        drawing.text((x(percentile), TOP + HEIGHT + 18.0), "middle", &format!("{percentile} %"));
    }
    for (nth, measurement) in shown.iter().enumerate() {
        let colour = COLOURS[nth % COLOURS.len()];
        let points: Vec<_> = measurement.curve.iter().map(|(percentile, time)| (x(*percentile), y(*time))).collect();
        drawing.curve(&points, colour);
        let below = TOP + HEIGHT + 42.0 + LINE * size(nth);
        drawing.bar((LEFT, below - 6.0), (18.0, 4.0), colour);
        let legend = format!("{}: p50 {:.2} ms, p99 {:.2} ms", measurement.name, measurement.p50, measurement.p99);
        drawing.text((LEFT + 26.0, below), "start", &legend);
    }
    drawing.end()
}

/// A measured value relative to its target: 1 just meets the target, and more is better.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) ratio: f64,
    pub(crate) caption: String,
}

/// A bar chart with a line at 1: a bar that does not reach it misses its target.
pub(crate) fn bars(title: &str, bars: &[Bar]) -> String {
    const NAMES: f64 = 300.0;
    /// Bars of higher ratios are cut here.
    const MAX_RATIO: f64 = 3.0;
    const ROW: f64 = 34.0;
    let x = |ratio: f64| NAMES + ratio.min(MAX_RATIO) / MAX_RATIO * (WIDTH - NAMES - RIGHT);
    let mut drawing = Drawing::new(title, TOP + ROW * size(bars.len()) + 16.0);
    for (nth, bar) in bars.iter().enumerate() {
        let top = TOP + ROW * size(nth);
        let colour = if bar.ratio >= 1.0 { COLOURS[0] } else { COLOURS[1] };
        drawing.text((NAMES - 8.0, top + 16.0), "end", &bar.name);
        drawing.bar((NAMES, top + 4.0), (x(bar.ratio) - NAMES, 17.0), colour);
        drawing.text((NAMES, top + 32.0), "start", &bar.caption);
    }
    drawing.rule((x(1.0), TOP - 6.0), (x(1.0), TOP + ROW * size(bars.len())));
    drawing.text((x(1.0), TOP - 10.0), "middle", "target");
    drawing.end()
}

fn size(count: usize) -> f64 {
    float(count as u64)
}

/// An SVG document that is being written.
struct Drawing(String);

impl Drawing {
    fn new(title: &str, height: f64) -> Self {
        // The background is white, so that the plot can be read on a dark page.
        let begin = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        let mut drawing = Self(begin);
        drawing.write(format_args!("<text x=\"12\" y=\"22\" font-size=\"15\">{}</text>", escaped(title)));
        drawing
    }

    fn rule(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.write(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#bbbbbb\"/>"
        ));
    }

    fn text(&mut self, (x, y): (f64, f64), anchor: &str, text: &str) {
        let text = escaped(text);
        self.write(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"));
    }

    fn bar(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
        self.write(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
        ));
    }

    fn curve(&mut self, points: &[(f64, f64)], colour: &str) {
        let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let points = points.join(" ");
        self.write(format_args!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        ));
    }

    fn end(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }

    fn write(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("a String takes every write");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::*;

    #[test]
    fn latencies_draws_a_plot() {
        let mut histogram = Histogram::new(3).unwrap();
        for millisecond in 1..=1000 {
            histogram.record(millisecond * 1_000_000).unwrap();
        }
        let reply = Measurement::from_histogram("reply <&>", &histogram, 1000, 1.0);
        let nothing = Measurement::from_histogram("nothing", &Histogram::new(3).unwrap(), 0, 1.0);
        insta::assert_snapshot!(latencies("private", &[&reply, &nothing]));
    }

    #[test]
    fn bars_draws_a_chart() {
        let bar = |name: &str, ratio: f64| Bar { name: name.to_owned(), ratio, caption: format!("{ratio} of it") };
        insta::assert_snapshot!(bars("Targets", &[bar("met", 1.5), bar("not met", 0.5), bar("far beyond", 40.0)]));
    }
}
