//! Environment variables that look like settings and are unknown, usually misspelt.

use clap::CommandFactory as _;

use super::Cli;

const PREFIX: &str = "HARK_";
/// Variables that Kubernetes sets in every container if a service is named `hark`.
const KUBERNETES_PREFIXES: [&str; 2] = ["HARK_SERVICE_", "HARK_PORT"];

/// A warning for each variable that begins like a setting and is unknown. It suggests the nearest setting, if one is
/// near.
#[must_use]
pub fn unknown_variables() -> Vec<String> {
    let command = Cli::command();
    let settings: Vec<&str> = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
    let mut names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    names.retain(|name| name.starts_with(PREFIX) && !settings.contains(&name.as_str()));
    names.retain(|name| !KUBERNETES_PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    names.sort();
    names.iter().map(|name| sentence(name, &settings)).collect()
}

fn sentence(name: &str, settings: &[&str]) -> String {
    // The common prefix would make all names similar.
    let bare = |name: &str| name.trim_start_matches(PREFIX).to_owned();
    let distance = |setting: &&str| strsim::damerau_levenshtein(&bare(name), &bare(setting));
    let nearest = settings.iter().min_by_key(|setting| distance(setting));
    match nearest.filter(|setting| distance(setting) <= bare(name).len() / 3) {
        Some(nearest) => format!("{name} is not a setting and has no effect; did you mean {nearest}?"),
        None => format!("{name} is not a setting and has no effect; `hark --help` lists all settings"),
    }
}
