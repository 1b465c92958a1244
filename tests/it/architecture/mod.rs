//! Rules of the code base that no compiler checks: which room imports which, that files form no circle, that
//! migrations and tests are named as documented.

mod circles;
mod imports;
mod migrations;
mod test_names;

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file of the checkout.
struct Source {
    /// The path below the folder that was asked for, as in `commands/groups.rs`.
    path: PathBuf,
    text: String,
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every Rust file below a folder of the checkout, in the order of their paths.
fn sources(folder: &str) -> Vec<Source> {
    fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).expect("a folder of the checkout") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(root, &path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                found.push(Source { path: path.strip_prefix(root).expect("a file below it").to_owned(), text });
            }
        }
    }
    let root = checkout().join(folder);
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    assert!(found.len() > 30, "the sources are somewhere else");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

impl Source {
    /// Returns the code without line comments, and without the unit tests at the end of the file.
    fn code(&self) -> String {
        without_comments(self.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default())
    }

    /// Returns the module path below the crate: `commands/groups.rs` and `commands/groups/mod.rs` are both
    /// `["commands", "groups"]`, and `lib.rs` is empty.
    fn module(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.path.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
        if names.last().is_some_and(|name| name == "mod" || name == "lib") {
            names.pop();
        }
        names
    }

    /// Returns the room, which is the first part of the path: `main.rs` is the room `main`.
    fn room(&self) -> String {
        let first = self.path.iter().next().expect("a name");
        Path::new(first).with_extension("").to_string_lossy().into_owned()
    }
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}
