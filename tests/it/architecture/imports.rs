//! Imports run one way between the rooms of `src`, and each library is known in the rooms that need it.

use std::collections::BTreeMap;

use super::{Source, sources, without_comments};

/// The rooms that each room may import from, besides its own files. Rooms at one level never import each
/// other, and nothing imports upwards. The store does not know the wire: it returns rows of its own.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("main", &["server", "http", "telemetry", "config"]),
    ("lib", &["store"]),
    (
        "server",
        &[
            "http",
            "ws",
            "commands",
            "app",
            "cluster",
            "store",
            "delivery",
            "auth",
            "limits",
            "wire",
            "embedded_postgres",
            "model",
            "error",
            "config",
            "telemetry",
        ],
    ),
    (
        "http",
        &["commands", "app", "store", "delivery", "auth", "limits", "wire", "model", "error", "config", "telemetry"],
    ),
    (
        "ws",
        &["commands", "app", "store", "delivery", "auth", "limits", "wire", "model", "error", "config", "telemetry"],
    ),
    ("commands", &["app", "store", "delivery", "auth", "limits", "wire", "model", "error", "config", "telemetry"]),
    ("app", &["cluster", "store", "delivery", "auth", "limits", "wire", "model", "error", "config", "telemetry"]),
    ("cluster", &["delivery", "limits", "wire", "model", "error", "config", "telemetry"]),
    ("store", &["limits", "model", "error", "config", "telemetry"]),
    ("delivery", &["limits", "wire", "model", "error", "config", "telemetry"]),
    ("auth", &["limits", "wire", "model", "error", "config", "telemetry"]),
    ("limits", &["model", "error", "config", "telemetry"]),
    ("embedded_postgres", &["error"]),
    ("wire", &["model", "error", "config", "telemetry"]),
    ("model", &["error", "config", "telemetry"]),
    ("error", &[]),
    ("telemetry", &["config"]),
    ("config", &[]),
];

/// Libraries, and the rooms that may use them.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("sqlx::", &["store"]),
    // This is the layer below actix-web, where a connection leaves HTTP.
    ("actix_http::", &["server", "ws"]),
    ("jsonwebtoken::", &["auth"]),
    ("argon2::", &["auth"]),
    // Types that go over the wire derive their schemas.
    ("utoipa::", &["http", "commands", "wire"]),
    ("std::env::", &["config"]),
];

/// Returns the rooms that a text names as `crate::room` or `hark::room`, in `use` or anywhere else.
fn rooms_named(text: &str) -> Vec<String> {
    let code = without_comments(text);
    let mut rooms = Vec::new();
    for rest in code.split("crate::").skip(1).chain(code.split("hark::").skip(1)) {
        let names = rest.strip_prefix('{').map_or(rest, |list| list.split('}').next().unwrap_or_default());
        let several = rest.starts_with('{');
        for name in names.split(',').take(if several { usize::MAX } else { 1 }) {
            let name: String = name.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if !name.is_empty() {
                rooms.push(name);
            }
        }
    }
    rooms
}

#[test]
fn imports_follow_the_rules() {
    let rules: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut broken = Vec::new();
    for source in sources("src") {
        let room = source.room();
        let allowed = rules.get(room.as_str()).unwrap_or_else(|| panic!("{room} has no import rule"));
        for named in rooms_named(&source.text) {
            if named != room && rules.contains_key(named.as_str()) && !allowed.contains(&named.as_str()) {
                broken.push(format!("{} imports {named}", source.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn import_rule_finds_paths_in_code() {
    let text = "use crate::store::Db;\nuse crate::{ws, http::routes};\nlet x = crate::app::App; // crate::model\nhark::server::serve()";
    assert_eq!(rooms_named(text), ["store", "ws", "http", "app", "server"]);
}

#[test]
fn import_rules_form_no_circle() {
    let mut below: Vec<&str> = Vec::new();
    for (room, imports) in MAY_IMPORT.iter().rev() {
        for import in *imports {
            let is_below = below.contains(import) || MAY_IMPORT.iter().all(|(name, _)| name != import);
            assert!(is_below, "{room} stands in the table below {import}");
        }
        below.push(room);
    }
}

/// Returns the file of `commands` that a source belongs to: `commands/groups/admins.rs` is `groups`.
fn command_file(source: &Source) -> Option<String> {
    let module = source.module();
    (module.len() > 1 && module[0] == "commands").then(|| module[1].clone())
}

/// Files of `commands` that the others share: what a command is given and returns, the items that several commands
/// and HTTP put together, and the state of paging.
const SHARED_COMMAND_FILES: [&str; 3] = ["context", "items", "paging"];

#[test]
fn command_files_do_not_import_each_other() {
    let sources = sources("src");
    let files: Vec<(String, String)> =
        sources.iter().filter_map(|source| Some((command_file(source)?, source.code()))).collect();
    for (file, code) in &files {
        for (other, _) in &files {
            assert!(
                other == file
                    || SHARED_COMMAND_FILES.contains(&other.as_str())
                    || (!code.contains(&format!("commands::{other}")) && !code.contains(&format!("super::{other}"))),
                "commands/{file} imports commands/{other}"
            );
        }
    }
}

#[test]
fn libraries_are_used_only_in_their_rooms() {
    for source in sources("src") {
        let (room, code) = (source.room(), without_comments(&source.text));
        for (library, homes) in ONLY_IN {
            // The private PostgreSQL looks for binaries where PATH leads.
            let is_excused = room == "embedded_postgres" && *library == "std::env::";
            assert!(
                !code.contains(library) || homes.contains(&room.as_str()) || is_excused,
                "{} uses {library}, which belongs in {homes:?}",
                source.path.display()
            );
        }
    }
}

#[test]
fn unwrap_is_used_only_in_tests() {
    for source in sources("src") {
        let code = source.text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(!code.contains(".unwrap()"), "{} unwraps", source.path.display());
    }
}
