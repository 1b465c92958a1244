//! The tables and plots of docs/performance.md, from the results of `hark-bench standard`.
//!
//! This file uses `targets`, which uses `result_folder`, which uses `pgbench`; `plot` stands alone.

pub(crate) mod pgbench;
pub(crate) mod plot;
mod result_folder;
mod targets;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use self::result_folder::ResultFolder;
use self::targets::Target;
use crate::error::BenchError;
use crate::measure::checker::Violations;
use crate::measure::results::{Measurement, Results};

/// The part of the page between these markers is generated; the rest is written by hand.
const BEGIN: &str = "<!-- Written by `make bench` from here -->";
const END: &str = "<!-- to here. -->";

/// Writes the tables into `page`, and the plots into the folder beside it with the same name.
///
/// # Errors
/// [`BenchError`]: the page or its markers are missing, or a file cannot be written.
pub(crate) fn write(folder: &Path, page: &Path) -> Result<(), BenchError> {
    let results = ResultFolder { path: folder.to_owned() };
    let targets = targets::all(&results);
    let text = fs::read_to_string(page).map_err(|error| BenchError::File(page.to_owned(), error))?;
    let plots = page.with_extension("");
    let name = plots.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let tables = tables(&results, &targets, &name);
    let text = replace_tables(&text, &tables).ok_or_else(|| BenchError::NoMarkers(page.to_owned()))?;
    let write = |file: PathBuf, text: &str| fs::write(&file, text).map_err(|error| BenchError::File(file, error));
    fs::create_dir_all(&plots).map_err(|error| BenchError::File(plots.clone(), error))?;
    write(page.to_owned(), &text)?;
    write(plots.join("targets.svg"), &plot::bars("Measured values relative to their targets", &bars(&targets)))?;
    let curves = latencies(&results);
    write(plots.join("latency.svg"), &plot::latencies("Latency of sends", &curves.iter().collect::<Vec<_>>()))?;
    println!("{tables}");
    Ok(())
}

fn bars(targets: &[Target]) -> Vec<plot::Bar> {
    let bar = |target: &Target| plot::Bar {
        name: target.label.to_owned(),
        ratio: target.ratio.unwrap_or(0.0),
        caption: format!("{}; {}", target.measured, target.required),
    };
    targets.iter().map(bar).collect()
}

fn latencies(folder: &ResultFolder) -> Vec<Measurement> {
    let named = |results: Option<Results>, measurement: &str, name: &str| {
        Some(Measurement { name: name.to_owned(), ..results?.measurement(measurement)?.clone() })
    };
    [
        named(folder.rounds("private-50").pop(), "reply", "private, 50 senders, 4 in flight: reply"),
        named(folder.rounds("private-500").pop(), "reply", "private, 500 senders, 1 in flight: reply"),
        named(folder.results("group"), "delivery", "group of 1,000, 16 in flight: delivery"),
        named(folder.results("mixed"), "reply to any request", "mixed, 200 people, open loop: reply to any request"),
        named(folder.rounds("one").pop(), "reply", "private, one at a time: reply"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The page with the tables between its markers replaced; `None` if the markers are missing.
fn replace_tables(page: &str, tables: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", tables.trim()))
}

fn tables(folder: &ResultFolder, targets: &[Target], plots: &str) -> String {
    let mut text = String::new();
    let machine = fs::read_to_string(folder.path.join("machine.txt")).unwrap_or_default();
    let mut line = |line: &str| writeln!(text, "{line}").expect("a String takes every write");
    line(&format!("Measured on {}.\n", machine.trim()));
    line("| target | required | measured | |\n|---|---|---|---|");
    for target in targets {
        let verdict = target.ratio.map_or("not measured", |ratio| if ratio >= 1.0 { "met" } else { "**not met**" });
        line(&format!("| {} | {} | {} | {verdict} |", target.description, target.required, target.measured));
    }
    line(&format!("\n![Targets]({plots}/targets.svg)\n"));
    line(&violations(&folder.all()));
    line("\n### PostgreSQL alone\n\n| pgbench | rounds |\n|---|---|");
    let list = |values: &[f64], unit: &str, digits: usize| {
        let values: Vec<_> = values.iter().map(|value| format!("{value:.digits$}")).collect();
        if values.is_empty() { "not measured".to_owned() } else { format!("{} {unit}", values.join(" · ")) }
    };
    line(&format!(
        "| one message, one connection, p50 | {} |",
        list(&folder.transaction_medians("one-commit"), "ms", 3)
    ));
    line(&format!(
        "| the same by Hark's `write_messages`, p50 | {} |",
        list(&folder.transaction_medians("one-call"), "ms", 3)
    ));
    line(&format!("| batches of 256, in 64 dialogs | {} |", list(&folder.batch_rates("batch"), "messages/s", 0)));
    line(&format!("| batches of 256, in 256 dialogs | {} |", list(&folder.batch_rates("scattered"), "messages/s", 0)));
    line(&format!(
        "| Hark's `write_messages`, 256 at a time, in 64 dialogs | {} |",
        list(&folder.batch_rates("function"), "messages/s", 0)
    ));

    line("\n### Hark\n\n| | per second | p50 ms | p95 ms | p99 ms | max ms | server µs each | PostgreSQL µs each |");
    line("|---|---|---|---|---|---|---|---|");
    for (title, results, measurement, cost) in [
        ("one message at a time", folder.rounds("one").pop(), "reply", "message"),
        ("private, 50 senders, 4 in flight", folder.rounds("private-50").pop(), "reply", "message"),
        ("private, 500 senders, 1 in flight", folder.rounds("private-500").pop(), "reply", "message"),
        ("group of 1,000, 2 writers, 8 in flight: deliveries", folder.results("group"), "delivery", "delivery"),
        ("mixed, 200 people: requests", folder.results("mixed"), "reply to any request", "request"),
        ("500 messages/s, before the storm", folder.results("storm"), "reply, before", ""),
        ("500 messages/s, while 10,000 sockets reconnect", folder.results("storm"), "reply, during", ""),
        ("a reconnect in the storm", folder.results("storm"), "reconnect", ""),
        ("500 messages/s, before the logins", folder.rounds("logins").pop(), "reply, before", ""),
        ("500 messages/s, beside 40 logins/s", folder.rounds("logins").pop(), "reply, during", ""),
    ] {
        let Some(results) = results else { continue };
        let Some(Measurement { per_second, p50, p95, p99, max, .. }) = results.measurement(measurement) else {
            continue;
        };
        let costs = |who: &str| {
            let cost = results.figures.get(&format!("{who} µs per {cost}"));
            cost.map_or_else(String::new, |cost| format!("{cost:.2}"))
        };
        let (server, postgres) = (costs("server"), costs("postgres"));
        line(&format!(
            "| {title} | {per_second:.0} | {p50:.2} | {p95:.2} | {p99:.2} | {max:.2} | {server} | {postgres} |"
        ));
    }
    line(&format!("\n![Latencies]({plots}/latency.svg)"));
    line("\n### Pages\n\n| p50, median of the rounds | 10 thousand ms | 10 million ms | ratio |\n|---|---|---|---|");
    for page in targets::pages(folder) {
        line(&format!("| {} | {:.3} | {:.3} | {:.2} |", page.name, page.small, page.large, page.ratio));
    }
    text
}

/// A sentence with the violations, errors and disconnects of all runs.
fn violations(all: &[Results]) -> String {
    let mut sum = Violations::default();
    all.iter().filter_map(|results| results.violations).for_each(|violations| sum.add(violations));
    let count = |kinds: fn(&Results) -> u64| all.iter().map(kinds).sum::<u64>();
    let errors = count(|results| results.errors.values().sum());
    let disconnects = count(|results| results.disconnects.values().sum());
    format!(
        "In all of these runs together: {} messages lost, {} duplicated, {} out of order; {errors} errors, \
         {disconnects} unexpected disconnects.",
        sum.lost, sum.duplicated, sum.out_of_order
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_tables_keeps_the_prose_around_them() {
        let page = format!("# Fast\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n");
        let again = replace_tables(&page, "new\n").expect("markers");
        assert_eq!(again, format!("# Fast\n\nBefore.\n\n{BEGIN}\n\nnew\n\n{END}\n\nAfter.\n"));
        assert_eq!(replace_tables(&again, "new"), Some(again.clone()));
        assert_eq!(replace_tables("no markers", "new"), None);
    }

    #[test]
    fn performance_page_has_the_markers() {
        let page = include_str!("../../../../docs/performance.md");
        assert!(replace_tables(page, "").is_some(), "the markers are gone");
    }
}
