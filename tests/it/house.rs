//! The layout of the house and its import rules, held by a test instead of by memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each room may import from, besides its own files. `app → store | delivery | auth` and so
/// on: names at one level never import each other, and nothing imports upwards.
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
            "store",
            "delivery",
            "auth",
            "wire",
            "embedded_postgres",
            "model",
            "error",
            "config",
            "telemetry",
        ],
    ),
    ("http", &["commands", "app", "store", "delivery", "auth", "wire", "model", "error", "config", "telemetry"]),
    ("ws", &["commands", "app", "store", "delivery", "auth", "wire", "model", "error", "config", "telemetry"]),
    ("commands", &["app", "store", "delivery", "auth", "wire", "model", "error", "config", "telemetry"]),
    ("app", &["store", "delivery", "auth", "wire", "model", "error", "config", "telemetry"]),
    ("store", &["wire", "model", "error", "config", "telemetry"]),
    ("delivery", &["wire", "model", "error", "config", "telemetry"]),
    ("auth", &["wire", "model", "error", "config", "telemetry"]),
    ("embedded_postgres", &["error"]),
    ("wire", &["model", "error", "config", "telemetry"]),
    ("model", &["error", "config", "telemetry"]),
    ("error", &[]),
    ("config", &[]),
    ("telemetry", &["config"]),
];

/// Libraries, and the rooms that know them.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("sqlx::", &["store"]),
    // What is below actix-web: where a connection leaves HTTP, and nowhere else.
    ("actix_http::", &["server", "ws"]),
    ("jsonwebtoken::", &["auth"]),
    ("argon2::", &["auth"]),
    // What goes over the wire says its schema where it stands.
    ("utoipa::", &["http", "commands", "wire"]),
    ("std::env::", &["config"]),
];

fn sources() -> Vec<(PathBuf, String)> {
    fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).expect("a folder of the checkout") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 30, "the sources are somewhere else");
    found
}

/// `src/commands/groups.rs` is in the room `commands`, in the file `groups`.
fn room_and_file(path: &Path) -> (String, String) {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("a file of src");
    let names: Vec<String> = inside.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
    (names[0].clone(), names.last().expect("a name").clone())
}

/// The rooms that a source names: `crate::room`, in `use` or anywhere else, comments left out.
fn rooms_named(text: &str) -> Vec<String> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
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
fn imports_run_one_way() {
    let rules: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let (room, file) = room_and_file(&path);
        let allowed = rules.get(room.as_str()).unwrap_or_else(|| panic!("{room} is no room of the house"));
        for named in rooms_named(&text) {
            if named != room && rules.contains_key(named.as_str()) && !allowed.contains(&named.as_str()) {
                broken.push(format!("{room}/{file} imports {named}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_rule_sees_what_it_looks_for() {
    let text = "use crate::store::Db;\nuse crate::{ws, http::routes};\nlet x = crate::app::App; // crate::model\nhark::server::serve()";
    assert_eq!(rooms_named(text), ["store", "ws", "http", "app", "server"]);
}

#[test]
fn files_of_commands_do_not_import_each_other() {
    for (path, text) in sources() {
        let (room, file) = room_and_file(&path);
        if room != "commands" || file == "mod" {
            continue;
        }
        for (other, _) in sources() {
            let (other_room, other_file) = room_and_file(&other);
            let named = format!("commands::{other_file}");
            let sibling = format!("super::{other_file}");
            if other_room == "commands" && other_file != file && other_file != "mod" {
                assert!(
                    !text.contains(&named) && !text.contains(&sibling),
                    "commands/{file} imports commands/{other_file}"
                );
            }
        }
    }
}

#[test]
fn libraries_stay_in_their_rooms() {
    for (path, text) in sources() {
        let (room, file) = room_and_file(&path);
        for (library, homes) in ONLY_IN {
            let named = text.lines().any(|line| line.split("//").next().unwrap_or_default().contains(library));
            // The private PostgreSQL looks for binaries where PATH says.
            let excused = room == "embedded_postgres" && *library == "std::env::";
            assert!(
                !named || homes.contains(&room.as_str()) || excused,
                "{room}/{file} knows {library}, which lives in {homes:?}"
            );
        }
    }
}

#[test]
fn nothing_unwraps_outside_of_tests() {
    for (path, text) in sources() {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(!code.contains(".unwrap()"), "{} unwraps", path.display());
    }
}

#[test]
fn every_migration_says_why() {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    for entry in fs::read_dir(migrations).expect("the migrations") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a migration");
        assert!(text.starts_with("-- "), "{} does not say what it is for", path.display());
    }
}
