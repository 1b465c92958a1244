//! Files of `src` that use each other in a circle cannot be read one after the other, so there are none.
//!
//! A `mod.rs` may re-export the files below it. A path through such a façade counts as a path to the file that
//! it leads to, and the re-export itself counts as nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, sources};

type Module = Vec<String>;

/// The modules of a crate, the names that each re-exports, and which modules each uses.
#[derive(Default)]
struct Graph {
    modules: BTreeSet<Module>,
    /// For a module and a name: the path that the name is re-exported from.
    exports: BTreeMap<(Module, String), Module>,
    /// For a module and one that it uses: the names that it uses of it.
    uses: BTreeMap<Module, BTreeMap<Module, BTreeSet<String>>>,
}

/// A path in code, from the root of the crate, and whether it is a re-export.
struct Path {
    names: Module,
    is_export: bool,
}

/// Splits code into names, `::`, braces and everything else by character.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_name(first) {
            rest.find(|c| !is_name(c)).unwrap_or(rest.len())
        } else if first == '"' {
            // The content of a string is no path.
            let mut is_escaped = false;
            let end = rest[1..].find(|c| {
                let is_end = c == '"' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                is_end
            });
            end.map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push(&rest[..length]);
        }
        rest = &rest[length..];
    }
    tokens
}

/// Reads the part of a path after its beginning, with the lists in it, and adds every path to `found`.
/// Returns how many tokens it has.
fn read_tree(tokens: &[&str], beginning: &[String], found: &mut Vec<Module>) -> usize {
    let mut names = beginning.to_vec();
    let mut at = 0;
    while tokens.get(at) == Some(&"::") {
        match tokens.get(at + 1) {
            Some(&"{") => {
                at += 2;
                while let Some(token) = tokens.get(at).filter(|token| **token != "}") {
                    let mut inner = names.clone();
                    at += 1;
                    if is_name(token) {
                        if *token != "self" {
                            inner.push((*token).to_owned());
                        }
                        at += read_tree(&tokens[at..], &inner, found);
                    }
                    // An alias is the next two tokens.
                    if tokens.get(at) == Some(&"as") {
                        at += 2;
                    }
                }
                return at + 1;
            }
            Some(name) if is_name(name) => {
                names.push((*name).to_owned());
                at += 2;
            }
            _ => break,
        }
    }
    found.push(names);
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Returns every path of a source that begins with `crate`, `super`, `self`, or the name of a child module.
fn paths_of(module: &Module, code: &str, modules: &BTreeSet<Module>) -> Vec<Path> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    let (mut at, mut is_export) = (0, false);
    while at < tokens.len() {
        let token = tokens[at];
        if token == ";" || token == "}" {
            is_export = false;
        }
        // `pub use` and `pub(super) use` re-export.
        if token == "use" {
            is_export = tokens[..at].iter().rev().take(4).take_while(|t| **t != ";" && **t != "}").any(|t| *t == "pub");
        }
        let is_continued = at > 0 && (tokens[at - 1] == "::" || tokens[at - 1] == ".");
        let leads_on = tokens.get(at + 1) == Some(&"::");
        let child = [module.as_slice(), &[token.to_owned()]].concat();
        let mut beginning = match token {
            _ if is_continued || !leads_on => None,
            "crate" => Some(Vec::new()),
            "self" => Some(module.clone()),
            "super" => Some(module[..module.len().saturating_sub(1)].to_vec()),
            _ if modules.contains(&child) => Some(child),
            _ => None,
        };
        at += 1;
        if let Some(beginning) = &mut beginning {
            while tokens.get(at) == Some(&"::") && tokens.get(at + 1) == Some(&"super") {
                beginning.pop();
                at += 2;
            }
            let mut found = Vec::new();
            at += read_tree(&tokens[at..], beginning, &mut found);
            paths.extend(found.into_iter().map(|names| Path { names, is_export }));
        }
    }
    paths
}

impl Graph {
    fn of(sources: &[Source]) -> Self {
        // The command line is a crate of its own.
        let sources = sources.iter().filter(|source| !source.path.ends_with("main.rs"));
        let sources: Vec<(Module, String)> =
            sources.filter(|source| !source.path.ends_with("tests.rs")).map(|s| (s.module(), s.code())).collect();
        let mut graph = Self { modules: sources.iter().map(|(module, _)| module.clone()).collect(), ..Self::default() };
        let paths: Vec<(&Module, Vec<Path>)> =
            sources.iter().map(|(module, code)| (module, paths_of(module, code, &graph.modules))).collect();
        for (module, paths) in &paths {
            for path in paths.iter().filter(|path| path.is_export) {
                let name = path.names.last().cloned().unwrap_or_default();
                graph.exports.insert(((*module).clone(), name), path.names.clone());
            }
        }
        for (module, paths) in &paths {
            let mut uses: BTreeMap<Module, BTreeSet<String>> = BTreeMap::new();
            for path in paths.iter().filter(|path| !path.is_export) {
                let (used, name) = graph.resolve(&path.names);
                if used != **module {
                    uses.entry(used).or_default().extend(name);
                }
            }
            graph.uses.insert((*module).clone(), uses);
        }
        graph
    }

    /// Returns the module that a path leads to, through re-exports, and the name in it.
    fn resolve(&self, names: &[String]) -> (Module, Option<String>) {
        let mut names = names.to_vec();
        // A chain of re-exports is short, and a wrong one must not run forever.
        for _ in 0..8 {
            let length = (0..=names.len()).rev().find(|length| self.modules.contains(&names[..*length]));
            let length = length.unwrap_or(0);
            let export = names.get(length).and_then(|name| self.exports.get(&(names[..length].to_vec(), name.clone())));
            match export {
                Some(path) if path[..] != names[..] => names = [path, &names[length + 1..]].concat(),
                _ => return (names[..length].to_vec(), names.get(length).cloned()),
            }
        }
        panic!("{names:?} is re-exported in a circle")
    }

    /// Returns the graph without the uses between a module and those below it.
    fn between_siblings(mut self) -> Self {
        for (module, used) in &mut self.uses {
            used.retain(|used, _| !used.starts_with(module) && !module.starts_with(used));
        }
        self
    }

    /// Returns the modules that use each other in a circle, as groups.
    fn circles(&self) -> Vec<BTreeSet<Module>> {
        let reached: BTreeMap<&Module, BTreeSet<&Module>> =
            self.uses.keys().map(|module| (module, self.reached_from(module))).collect();
        let mut circles: Vec<BTreeSet<Module>> = Vec::new();
        for (module, below) in &reached {
            let is_mutual = |other: &&Module| reached.get(*other).is_some_and(|back| back.contains(*module));
            let circle: BTreeSet<Module> = below.iter().copied().filter(is_mutual).cloned().collect();
            if !circle.is_empty() && !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        circles
    }

    fn reached_from(&self, module: &Module) -> BTreeSet<&Module> {
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<&Module> = self.uses.get(module).into_iter().flat_map(BTreeMap::keys).collect();
        while let Some(next) = waiting.pop() {
            if reached.insert(next) {
                waiting.extend(self.uses.get(next).into_iter().flat_map(BTreeMap::keys));
            }
        }
        reached
    }

    /// Returns the uses within a circle with the names used, one a line.
    fn describe(&self, circle: &BTreeSet<Module>) -> String {
        let mut lines = vec!["these files form a circle:".to_owned()];
        for module in circle {
            for (used, names) in self.uses[module].iter().filter(|(used, _)| circle.contains(*used)) {
                lines.push(format!("  {} uses {} {names:?}", module.join("/"), used.join("/")));
            }
        }
        lines.join("\n")
    }
}

fn assert_no_circle(graph: &Graph) {
    let edges: usize = graph.uses.values().map(BTreeMap::len).sum();
    assert!(edges > 200, "the imports are somewhere else: {edges}");
    let circles: Vec<String> = graph.circles().iter().map(|circle| graph.describe(circle)).collect();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn circles_between_sibling_files_do_not_exist() {
    assert_no_circle(&Graph::of(&sources("src")).between_siblings());
}

/// A `mod.rs` either uses the files below it or is used by them: what they share has a file of its own.
#[test]
fn circles_through_a_mod_rs_do_not_exist() {
    assert_no_circle(&Graph::of(&sources("src")));
}

fn graph_of(files: &[(&str, &str)]) -> Graph {
    let source = |(path, text): &(&str, &str)| Source { path: path.into(), text: (*text).to_owned() };
    Graph::of(&files.iter().map(source).collect::<Vec<_>>())
}

#[test]
fn circle_of_siblings_is_found() {
    let graph = graph_of(&[
        ("room/mod.rs", "mod a; mod b; mod c; mod d;"),
        ("room/a.rs", "use super::{b::B, c};"),
        ("room/b.rs", "fn f() { crate::room::c::f() } // crate::room::a"),
        ("room/c.rs", "use super::a;"),
        ("room/d.rs", "use super::{a, b, c}; const S: &str = \"crate::room::d\";"),
    ]);
    let circles = graph.circles();
    assert_eq!(circles.len(), 1);
    assert_eq!(circles[0].iter().map(|module| module.join("/")).collect::<Vec<_>>(), ["room/a", "room/b", "room/c"]);
}

#[test]
fn circle_through_a_facade_is_found_only_where_the_facade_is_used() {
    let user = ("room/b.rs", "use super::A;");
    let facade = ("room/mod.rs", "mod a; mod b; pub use self::a::A; pub(crate) use b::B;");
    assert!(graph_of(&[facade, ("room/a.rs", ""), user]).circles().is_empty());
    assert_eq!(graph_of(&[facade, ("room/a.rs", "use super::B;"), user]).circles().len(), 1);
    let own = ("room/mod.rs", "mod a; pub struct Own; fn f() { a::f() }");
    assert_eq!(graph_of(&[own, ("room/a.rs", "use super::Own;")]).circles().len(), 1);
    assert!(graph_of(&[own, ("room/a.rs", "")]).circles().is_empty());
}
