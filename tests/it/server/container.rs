//! The container files (Dockerfile, docker-compose.yml, .env.example) agree with the code. The tests need
//! no container engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use hark::config::Cli;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the lines below a key of a YAML file with their indentation, without comments.
fn below(yaml: &str, key: &str) -> String {
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let mut lines = yaml.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    let found = lines.find(|line| line.trim_end() == key).unwrap_or_else(|| panic!("no {key:?} in {yaml}"));
    let block = lines.take_while(|line| indentation(line) > indentation(found));
    block.collect::<Vec<_>>().join("\n")
}

/// Parses `NAME: value` on every line.
fn pairs(block: &str) -> BTreeMap<&str, &str> {
    block.lines().filter_map(|line| line.trim().split_once(": ")).collect()
}

#[test]
fn compose_file_passes_every_setting() {
    let compose = read("docker-compose.yml");
    let hark = below(&compose, "  hark:");
    // The whole file is passed, whatever a variable is called.
    assert!(hark.lines().any(|line| line == "    env_file: .env"), "{hark}");
    let fixed = below(&hark, "    environment:");
    let fixed = pairs(&fixed);
    let command = Cli::command();
    let settings: BTreeSet<&str> =
        command.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
    assert!(settings.len() > 25, "the settings are somewhere else: {settings:?}");
    for (name, value) in &fixed {
        assert!(settings.contains(name), "{name} is no setting");
        let is_handed_on = value.contains(&format!("${{{name}"));
        // The published port and the database service determine these settings.
        let is_the_containers_own = match *name {
            "HARK_LISTEN" => below(&hark, "    ports:").contains("${HARK_LISTEN:-127.0.0.1:3000}:3000"),
            "DATABASE_URL" => value.contains("@postgres:5432/"),
            _ => false,
        };
        assert!(is_handed_on || is_the_containers_own, "{name} of .env never reaches the container: {value}");
    }
}

#[test]
fn compose_services_have_no_capabilities_and_a_read_only_file_system() {
    let compose = read("docker-compose.yml");
    for service in ["  postgres:", "  hark:"] {
        let service = below(&compose, service);
        assert!(below(&service, "    cap_drop:").contains("- ALL"), "{service}");
        assert!(below(&service, "    security_opt:").contains("- no-new-privileges:true"), "{service}");
        assert!(service.lines().any(|line| line == "    read_only: true"), "{service}");
    }
}

/// Returns the sources of every `COPY` from the checkout.
fn copied(dockerfile: &str) -> BTreeSet<&str> {
    let lines = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|rest| !rest.starts_with("--"));
    let sources = lines.flat_map(|rest| {
        let mut words: Vec<_> = rest.split_whitespace().collect();
        words.pop();
        words
    });
    sources.collect()
}

#[test]
fn dockerfile_copies_exactly_what_a_build_reads() {
    let (dockerfile, ignored) = (read("Dockerfile"), read(".dockerignore"));
    let sources = copied(&dockerfile);
    let sent: BTreeSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert_eq!(sources, sent, "what .dockerignore lets through is what the Dockerfile copies");
    for source in &sources {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(source).exists(), "{source}");
    }
    // These files are compiled into the binary from outside of `src`.
    let page = read("src/http/landing.rs");
    assert!(page.contains("../web/") && sources.contains("web"), "{page}");
    assert!(read("src/store/database/migrations.rs").contains("sqlx::migrate!()") && sources.contains("migrations"));
}

#[test]
fn dockerfile_has_a_health_check_and_a_numeric_user() {
    let dockerfile = read("Dockerfile");
    let line = |instruction: &str| {
        let mut lines = dockerfile.lines().filter_map(|line| line.strip_prefix(instruction));
        lines.next_back().unwrap_or_else(|| panic!("no {instruction}")).trim().to_owned()
    };
    let (user, group) = line("USER ").split_once(':').map(|(u, g)| (u.parse::<u32>(), g.parse::<u32>())).expect("both");
    assert!(user.is_ok_and(|id| id > 0) && group.is_ok_and(|id| id > 0), "{dockerfile}");
    let check = line("HEALTHCHECK ");
    let command = check.split_once("CMD [\"hark\", \"").and_then(|(_, rest)| rest.strip_suffix("\"]"));
    let command = command.unwrap_or_else(|| panic!("a command of hark: {check}"));
    assert!(Cli::command().find_subcommand(command).is_some(), "hark {command}");
    assert!(dockerfile.contains("ca-certificates"), "sslmode=verify-full needs them");
}
