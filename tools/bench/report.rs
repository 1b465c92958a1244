//! The tables and plots of docs/performance.md, out of what benches/standard has measured.

mod targets;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use self::targets::Target;
use super::Failure;
use super::judge::Wrongs;
use super::limits;
use super::plot;
use super::results::{Measurement, Results};

/// What is between these is written anew; the rest of the page is people's.
const BEGIN: &str = "<!-- Written by `make bench` from here -->";
const END: &str = "<!-- to here. -->";

/// The folder that benches/standard fills. `N` is a round, from 1: what is compared with PostgreSQL is
/// measured several times, in turn with PostgreSQL itself.
///
/// | file | what |
/// |---|---|
/// | `machine.txt` | one line: what it ran on |
/// | `N-one-commit.*` `N-one-call.*` | pgbench's log of one_message.sql and of write_message.sql, one connection |
/// | `N-batch.txt` `N-scattered.txt` `N-function.txt` | pgbench's summary of batch_of_256.sql, batch_of_256_dialogs.sql and write_messages_256.sql |
/// | `N-one.json` `N-private-50.json` `N-private-500.json` | `private` |
/// | `N-pages-small.json` `N-pages-large.json` | `pages`, of ten thousand messages and of ten million |
/// | `N-logins.json` | `logins` |
/// | `group.json` `mixed.json` `idle.json` `storm.json` | these |
pub(crate) struct Measured {
    folder: PathBuf,
}

impl Measured {
    /// What a run of this tool has left.
    pub(crate) fn results(&self, name: &str) -> Option<Results> {
        serde_json::from_str(&fs::read_to_string(self.folder.join(format!("{name}.json"))).ok()?).ok()
    }

    /// The same of every round, in their order.
    pub(crate) fn rounds(&self, name: &str) -> Vec<Results> {
        (1..).map_while(|round| self.results(&format!("{round}-{name}"))).collect()
    }

    /// Milliseconds of one transaction by PostgreSQL alone, the median of each round.
    pub(crate) fn single(&self, name: &str) -> Vec<f64> {
        let log = |round| limits::read(&self.folder, &format!("{round}-{name}."));
        (1..).map_while(|round| limits::median_of_log(&log(round)?)).collect()
    }

    /// Messages a second that pgbench committed in batches of 256, in each round.
    pub(crate) fn batches(&self, name: &str) -> Vec<f64> {
        let summary = |round| limits::read(&self.folder, &format!("{round}-{name}.txt"));
        (1..).map_while(|round| Some(limits::transactions_a_second(&summary(round)?)? * 256.0)).collect()
    }

    fn all(&self) -> Vec<Results> {
        let singles = ["group", "mixed", "storm"].into_iter().filter_map(|name| self.results(name));
        singles
            .chain(["one", "private-50", "private-500", "logins"].iter().flat_map(|name| self.rounds(name)))
            .collect()
    }
}

/// Writes the tables into `page`, and the plots into the folder beside it that has its name.
///
/// # Errors
/// There is no such page, or it cannot be written.
pub(crate) fn write(folder: &Path, page: &Path) -> Result<(), Failure> {
    let measured = Measured { folder: folder.to_owned() };
    let targets = targets::all(&measured);
    let text = fs::read_to_string(page).map_err(|error| Failure::File(page.to_owned(), error))?;
    let plots = page.with_extension("");
    let name = plots.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let tables = tables(&measured, &targets, &name);
    let text = replaced(&text, &tables).ok_or_else(|| Failure::NoMarkers(page.to_owned()))?;
    let write = |file: PathBuf, text: &str| fs::write(&file, text).map_err(|error| Failure::File(file, error));
    fs::create_dir_all(&plots).map_err(|error| Failure::File(plots.clone(), error))?;
    write(page.to_owned(), &text)?;
    write(
        plots.join("targets.svg"),
        &plot::bars("What was measured, as a part of what it should be", &bars(&targets)),
    )?;
    let curves = latencies(&measured);
    write(
        plots.join("latency.svg"),
        &plot::latencies("From a send to what comes of it", &curves.iter().collect::<Vec<_>>()),
    )?;
    println!("{tables}");
    Ok(())
}

fn bars(targets: &[Target]) -> Vec<plot::Bar> {
    let bar = |target: &Target| plot::Bar {
        name: target.short.to_owned(),
        part: target.part.unwrap_or(0.0),
        label: format!("{}; {}", target.measured, target.wanted),
    };
    targets.iter().map(bar).collect()
}

fn latencies(measured: &Measured) -> Vec<Measurement> {
    let named = |results: Option<Results>, of: &str, name: &str| {
        Some(Measurement { name: name.to_owned(), ..results?.measurement(of)?.clone() })
    };
    [
        named(measured.rounds("private-50").pop(), "reply", "private, 50 senders, 4 in flight: reply"),
        named(measured.rounds("private-500").pop(), "reply", "private, 500 senders, 1 in flight: reply"),
        named(measured.results("group"), "delivery", "group of 1,000, 16 in flight: delivery"),
        named(measured.results("mixed"), "reply to anything", "mixed, 200 people, open load: reply to anything"),
        named(measured.rounds("one").pop(), "reply", "private, one at a time: reply"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The page with other tables between its markers.
fn replaced(page: &str, tables: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", tables.trim()))
}

fn tables(measured: &Measured, targets: &[Target], plots: &str) -> String {
    let mut text = String::new();
    let machine = fs::read_to_string(measured.folder.join("machine.txt")).unwrap_or_default();
    let mut line = |line: &str| writeln!(text, "{line}").expect("a String takes every write");
    line(&format!("Measured on {}.\n", machine.trim()));
    line("| what | at least | measured | |\n|---|---|---|---|");
    for target in targets {
        let verdict = target.part.map_or("not measured", |part| if part >= 1.0 { "met" } else { "**not met**" });
        line(&format!("| {} | {} | {} | {verdict} |", target.what, target.wanted, target.measured));
    }
    line(&format!("\n![Targets]({plots}/targets.svg)\n"));
    line(&wrongs(&measured.all()));
    line("\n### PostgreSQL alone\n\n| pgbench | rounds |\n|---|---|");
    let list = |values: &[f64], unit: &str, digits: usize| {
        let values: Vec<_> = values.iter().map(|value| format!("{value:.digits$}")).collect();
        if values.is_empty() { "not measured".to_owned() } else { format!("{} {unit}", values.join(" · ")) }
    };
    line(&format!("| one message, one connection, p50 | {} |", list(&measured.single("one-commit"), "ms", 3)));
    line(&format!("| the same by Hark's `write_messages`, p50 | {} |", list(&measured.single("one-call"), "ms", 3)));
    line(&format!("| batches of 256, in 64 dialogs | {} |", list(&measured.batches("batch"), "messages/s", 0)));
    line(&format!("| batches of 256, in 256 dialogs | {} |", list(&measured.batches("scattered"), "messages/s", 0)));
    line(&format!(
        "| Hark's `write_messages`, 256 at a time, in 64 dialogs | {} |",
        list(&measured.batches("function"), "messages/s", 0)
    ));

    line("\n### Hark\n\n| | a second | p50 ms | p95 ms | p99 ms | max ms | server µs each | PostgreSQL µs each |");
    line("|---|---|---|---|---|---|---|---|");
    for (title, results, of, cost) in [
        ("one message at a time", measured.rounds("one").pop(), "reply", "message"),
        ("private, 50 senders, 4 in flight", measured.rounds("private-50").pop(), "reply", "message"),
        ("private, 500 senders, 1 in flight", measured.rounds("private-500").pop(), "reply", "message"),
        ("group of 1,000, 2 writers, 8 in flight: deliveries", measured.results("group"), "delivery", "delivery"),
        ("mixed, 200 people: requests", measured.results("mixed"), "reply to anything", "request"),
        ("500 messages/s, before the storm", measured.results("storm"), "reply, before", ""),
        ("the same, while 10,000 sockets come back", measured.results("storm"), "reply, meanwhile", ""),
        ("a socket coming back in the storm", measured.results("storm"), "reconnect", ""),
        ("500 messages/s, before the logins", measured.rounds("logins").pop(), "reply, before", ""),
        ("the same, while 40 a second log in", measured.rounds("logins").pop(), "reply, meanwhile", ""),
    ] {
        let Some(results) = results else { continue };
        let Some(Measurement { per_second, p50, p95, p99, max, .. }) = results.measurement(of) else { continue };
        let costs = |who: &str| {
            let cost = results.figures.get(&format!("{who} µs a {cost}"));
            cost.map_or_else(String::new, |cost| format!("{cost:.2}"))
        };
        let (server, postgres) = (costs("server"), costs("postgres"));
        line(&format!(
            "| {title} | {per_second:.0} | {p50:.2} | {p95:.2} | {p99:.2} | {max:.2} | {server} | {postgres} |"
        ));
    }
    line(&format!("\n![Latencies]({plots}/latency.svg)"));
    line("\n### Pages\n\n| p50, median of the rounds | 10 thousand ms | 10 million ms | ratio |\n|---|---|---|---|");
    for page in targets::pages(measured) {
        line(&format!("| {} | {:.3} | {:.3} | {:.2} |", page.name, page.small, page.large, page.ratio));
    }
    text
}

/// One sentence on what went wrong in all of the runs.
fn wrongs(all: &[Results]) -> String {
    let mut wrongs = Wrongs::default();
    all.iter().filter_map(|results| results.wrongs).for_each(|of| wrongs.add(of));
    let count = |kinds: fn(&Results) -> u64| all.iter().map(kinds).sum::<u64>();
    let refused = count(|results| results.refused.values().sum());
    let ended = count(|results| results.ended.values().sum());
    format!(
        "In all of these runs together: lost {}, doubled {}, out of order {}; {refused} requests refused, {ended} \
         sockets ended that should not have.",
        wrongs.lost, wrongs.doubled, wrongs.out_of_order
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_around_the_tables_stays() {
        let page = format!("# Fast\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n");
        let again = replaced(&page, "new\n").expect("markers");
        assert_eq!(again, format!("# Fast\n\nBefore.\n\n{BEGIN}\n\nnew\n\n{END}\n\nAfter.\n"));
        assert_eq!(replaced(&again, "new"), Some(again.clone()));
        assert_eq!(replaced("no markers", "new"), None);
    }

    #[test]
    fn the_page_of_this_repository_can_be_written() {
        let page = include_str!("../../docs/performance.md");
        assert!(replaced(page, "").is_some(), "the markers are gone");
    }
}
