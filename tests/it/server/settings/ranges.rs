//! Ranges of settings: the program accepts exactly what the help and the README say; and variables that are
//! no settings.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clap::{Arg, CommandFactory as _, Parser as _};
use hark::config::{Cli, Command};

use super::{BAD_SETTING, GOOD_SECRET, hark};
use crate::support::{Process, database, eventually};

/// Returns the first `N to M` of a text.
fn range(text: &str) -> Option<(u64, u64)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |word: &str| word.trim_end_matches([',', ';', '.', ':']).parse().ok();
    words.windows(3).find_map(|three| (three[1] == "to").then(|| number(three[0]).zip(number(three[2])))?)
}

fn settings() -> Vec<Arg> {
    let command = Cli::command();
    command.get_arguments().filter(|argument| argument.get_env().is_some()).cloned().collect()
}

/// Returns whether the program accepts this value of a setting.
fn takes(setting: &Arg, value: &str) -> bool {
    let flag = format!("--{}={value}", setting.get_long().expect("a flag"));
    match Cli::try_parse_from(["hark", &flag]) {
        Ok(_) => true,
        Err(error) => {
            let text = error.to_string();
            assert_eq!(error.exit_code(), BAD_SETTING, "{text}");
            let variable = setting.get_env().expect("a variable").to_string_lossy();
            assert!(text.contains(variable.as_ref()), "{variable} is not named: {text}");
            false
        }
    }
}

/// Returns what the README's tables say of each variable.
fn readme() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(path).expect("the README");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.map(|(variable, rest)| (variable.to_owned(), rest.to_owned())).collect()
}

#[test]
fn number_setting_is_accepted_within_its_documented_range_only() {
    let readme = readme();
    let mut numbers = 0;
    for setting in settings() {
        let variable = setting.get_env().expect("a variable").to_string_lossy().into_owned();
        // A setting that accepts 20 and no word is a number.
        let is_number = ["1", "20", "40000", "2000000"].iter().any(|value| takes(&setting, value));
        if !is_number || takes(&setting, "word") {
            continue;
        }
        numbers += 1;
        let help = setting.get_help().expect("a sentence").to_string();
        let (least, most) = range(&help).unwrap_or_else(|| panic!("the help of {variable} has no range: {help}"));
        assert_eq!(range(&readme[&variable]), Some((least, most)), "the README's range of {variable}");
        for value in [least, least + 1, u64::midpoint(least, most), most - 1, most] {
            assert!(takes(&setting, &value.to_string()), "{variable} refuses {value}");
        }
        let beyond = [most + 1, most * 10, u64::from(u32::MAX) * 1_000_000, u64::MAX];
        for value in beyond.into_iter().filter(|value| *value > most) {
            assert!(!takes(&setting, &value.to_string()), "{variable} takes {value}");
        }
        if let Some(below) = least.checked_sub(1) {
            assert!(!takes(&setting, &below.to_string()), "{variable} takes {below}");
        }
        for value in ["-1", "1.5", "1e3", "", " ", "0x10", "ten", "99999999999999999999"] {
            assert!(!takes(&setting, value), "{variable} takes {value:?}");
        }
    }
    assert!(numbers >= 21, "the numbers are somewhere else: {numbers}");
}

#[test]
fn boolean_setting_accepts_true_and_false_only() {
    let readme = readme();
    let mut flags = 0;
    for setting in settings() {
        if !takes(&setting, "true") || takes(&setting, "word") {
            continue;
        }
        flags += 1;
        let variable = setting.get_env().expect("a variable").to_string_lossy().into_owned();
        assert!(takes(&setting, "false"), "{variable}");
        for value in ["yes", "no", "on", "off", "1", "0", "t", "TRUE", "", "truee"] {
            assert!(!takes(&setting, value), "{variable} takes {value:?}");
        }
        let help = setting.get_help().expect("a sentence").to_string();
        assert!(help.contains("true or false"), "{help}");
        assert!(readme[&variable].contains("`true` or `false`"), "{}", readme[&variable]);
    }
    assert!(flags >= 3, "the flags are somewhere else: {flags}");
}

#[test]
fn log_setting_accepts_levels_and_targets() {
    let setting = settings().into_iter().find(|setting| setting.get_long() == Some("log")).expect("it is there");
    for filter in ["error", "warn", "INFO", "debug", "trace", "off", "info,hark=debug", "hark::store=trace, warn"] {
        assert!(takes(&setting, filter), "{filter}");
    }
    for filter in ["verbose", "all", "hark", "info,hark", "hark=", "hark=loud", "information", ",", "info;warn"] {
        assert!(!takes(&setting, filter), "{filter}");
    }
}

#[test]
fn default_settings_are_consistent() {
    let config = Cli::parse_from(["hark"]).config;
    assert_eq!(config.check(Command::Serve), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn misspelt_variable_is_reported_with_the_nearest_setting() {
    // The start ends here: nothing listens at this port.
    let (url, secret) = (("DATABASE_URL", "postgres://hark@127.0.0.1:1/hark"), ("HARK_JWT_SECRET", GOOD_SECRET));
    for (misspelt, meant) in [
        ("HARK_MAX_FRAME_BYTE", "HARK_MAX_FRAME_BYTES"),
        ("HARK_MAXFRAMEBYTES", "HARK_MAX_FRAME_BYTES"),
        ("HARK_TRUSTPROXY", "HARK_TRUST_PROXY"),
        ("HARK_LOGIN_PER_MINUTE", "HARK_LOGINS_PER_MINUTE"),
        ("HARK_ALOWED_ORIGNS", "HARK_ALLOWED_ORIGINS"),
        ("HARK_DATABASE_URL", "DATABASE_URL"),
        ("HARK_PORT_FORWARDING_OF_SHIPS", ""),
        ("HARK_SOMETHING_ELSE", "hark --help"),
    ] {
        let run = hark(&[], &[url, secret, (misspelt, "7")]).await;
        assert_eq!(run.status.code(), Some(1), "{}", run.stderr);
        let warning = run.stderr.lines().find(|line| line.contains(misspelt));
        if meant.is_empty() {
            // Kubernetes sets this for a service of this name.
            assert_eq!(warning, None);
        } else {
            let warning = warning.unwrap_or_else(|| panic!("{misspelt} is not named: {}", run.stderr));
            assert!(warning.contains("WARN") && warning.contains(meant), "{warning}");
        }
    }
    let run = hark(&[], &[url, secret, ("HARK_MAX_PAGE_ROWS", "50")]).await;
    assert!(!run.stderr.contains("no setting"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_logged_whatever_targets_the_filter_names() {
    let database = database::create().await;
    let folder = tempfile::TempDir::new().expect("a folder");
    let log = folder.path().join("log");
    let mut command = crate::support::hark(folder.path());
    command.env("DATABASE_URL", database::url(&database)).env("HARK_JWT_SECRET", GOOD_SECRET);
    command.env("HARK_LOG", "hrak=debug").stderr(fs::File::create(&log).expect("a file"));
    let process = Process::run(command).await;
    database::allow_connections(&database, false).await;
    database::administer(&database, "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}'")
        .await;
    eventually("the error is in the log", async || {
        process.get("/readyz").await;
        fs::read_to_string(&log).expect("the log").contains("ERROR")
    })
    .await;
}
