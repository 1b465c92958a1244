//! The documents agree with the code: everything they name exists, and everything that exists is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser as _};
use hark::commands::Command;
use hark::config::Cli;
use hark::model::Topic;

use super::examples::{Section, sections};

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &str) -> String {
    fs::read_to_string(checkout().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the part of a document under a heading, up to the next heading of the same level.
pub fn part<'a>(document: &'a str, heading: &str) -> &'a str {
    let (_, rest) = document.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let level = heading.split(' ').next().unwrap_or_default();
    rest.split_once(&format!("\n{level} ")).map_or(rest, |(part, _)| part)
}

/// Returns the cells of every table row, without the header and the line below it.
fn rows(text: &str) -> Vec<Vec<String>> {
    let is_row = |line: &str| line.starts_with('|');
    let lines: Vec<&str> = text.lines().collect();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let names = |nth: usize| lines.get(nth + 1).is_some_and(|next| next.starts_with("|--"));
    let rows = lines.iter().enumerate().filter(|(nth, line)| is_row(line) && !line.starts_with("|--") && !names(*nth));
    rows.map(|(_, line)| cells(line)).collect()
}

/// Returns the first cells of the tables under a heading, without backticks.
fn first_cells(document: &str, heading: &str) -> BTreeSet<String> {
    rows(part(document, heading)).into_iter().map(|row| row[0].trim_matches('`').to_owned()).collect()
}

#[test]
fn frames_reference_has_one_section_for_each_frame() {
    let limits = Cli::parse_from(["hark"]).config.limits;
    let frames = Command::frames(&limits);
    let types: BTreeSet<&str> = frames.iter().map(|frame| frame.kind).collect();
    let sections = sections();
    assert_eq!(sections.iter().map(|section| section.kind.as_str()).collect::<BTreeSet<_>>(), types);
    for Section { kind, examples } in &sections {
        let request = examples.first().unwrap_or_else(|| panic!("{kind} has no example"));
        assert_eq!(request["type"], kind.as_str(), "the first example of a section is its request");
    }
}

#[test]
fn frames_reference_lists_every_push_with_its_event() {
    let frames = read("docs/frames.md");
    let documented: BTreeSet<(String, String)> = rows(part(&frames, "## Pushes"))
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[1].trim_matches('`').to_owned()))
        .collect();
    let event = |topic: Option<Topic>| topic.map_or("always", Topic::name).to_owned();
    let pushed = hark::commands::pushes().into_iter().map(|(kind, topic, _)| (kind.to_owned(), event(topic)));
    assert_eq!(documented, pushed.collect());
}

#[test]
fn frames_reference_explains_every_event() {
    let mut events: BTreeSet<String> = Topic::ALL.map(Topic::name).map(str::to_owned).into();
    events.insert("all".to_owned());
    assert_eq!(first_cells(&read("docs/frames.md"), "## Events"), events);
}

/// Converts `RateLimited` to `rate_limited`, as serde does.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[test]
fn frames_reference_explains_every_error_code() {
    let source = read("src/error.rs");
    let (_, rest) = source.split_once("pub enum Code {").expect("the codes");
    let (variants, _) = rest.split_once("\n}").expect("their end");
    let variants = variants.lines().filter_map(|line| line.trim().strip_suffix(','));
    let names = variants.filter(|name| !name.starts_with("//") && !name.starts_with('#'));
    // `self` is a keyword in Rust; a serde attribute beside the variant gives the name.
    let codes: BTreeSet<String> =
        names.map(|name| if name == "Oneself" { "self".to_owned() } else { snake_case(name) }).collect();
    assert!(codes.contains("bad_json") && codes.contains("rate_limited"), "the codes are somewhere else: {codes:?}");
    assert_eq!(first_cells(&read("docs/frames.md"), "## Error codes"), codes);
}

#[test]
fn frames_reference_explains_every_close_code() {
    let source = read("src/wire/close.rs");
    let (_, rest) = source.split_once("fn code(self)").expect("the codes");
    let (body, _) = rest.split_once("\n    }\n").expect("their end");
    let codes = body.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once("=> "));
    let codes: BTreeSet<String> = codes.map(|(_, code)| code.to_owned()).collect();
    assert!(codes.contains("4001"), "the codes are somewhere else: {codes:?}");
    assert_eq!(first_cells(&read("docs/frames.md"), "## Close codes"), codes);
}

#[test]
fn readme_lists_every_setting_with_its_default() {
    let mut settings = BTreeMap::new();
    for argument in Cli::command().get_arguments() {
        let Some(variable) = argument.get_env().and_then(|name| name.to_str()) else { continue };
        let flag = variable.strip_prefix("HARK_").unwrap_or(variable).to_lowercase().replace('_', "-");
        assert_eq!(argument.get_long(), Some(flag.as_str()), "flags are named after variables");
        let default = argument.get_default_values().first();
        let default = default.map_or("none".to_owned(), |value| format!("`{}`", value.to_string_lossy()));
        settings.insert(variable.to_owned(), default);
    }
    assert!(settings.len() > 25, "the settings are somewhere else: {settings:?}");

    let readme = read("README.md");
    let documented: BTreeMap<String, String> = rows(part(&readme, "## Configuration"))
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[1].clone()))
        .collect();
    assert_eq!(documented, settings);
}

#[test]
fn readme_shows_both_commands_and_the_makefile_has_them() {
    let (readme, makefile) = (read("README.md"), read("Makefile"));
    for command in ["run", "test"] {
        assert!(readme.lines().any(|line| line.starts_with(&format!("make {command}"))), "make {command}");
        assert!(makefile.lines().any(|line| line.starts_with(&format!("{command}:"))), "{command}:");
    }
}

/// Returns every document of the checkout.
fn documents() -> Vec<PathBuf> {
    let folders = [checkout().to_owned(), checkout().join("docs")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder of the checkout"));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// Returns a document without its code.
fn prose(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// Returns the anchor of each heading of a document.
fn anchors(prose: &str) -> BTreeSet<String> {
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    headings.map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn links_between_documents_resolve() {
    let documents = documents();
    assert!(documents.len() >= 4, "the documents are somewhere else: {documents:?}");
    for document in documents {
        let prose_here = prose(&document);
        let links = prose_here.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { document.clone() } else { document.parent().expect("a folder").join(file) };
            assert!(target.exists(), "{} links to {link}, which is not there", document.display());
            assert!(
                anchor.is_empty() || anchors(&prose(&target)).contains(anchor),
                "{} links to {link}, which has no such heading",
                document.display()
            );
        }
    }
}
