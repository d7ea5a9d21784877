//! The rules of the tree that a compiler does not know: who may import whom, where each foreign world lives, what is
//! documented, what is called what. Each failure says what to do instead.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules by level: each may use those of lower levels, and level 0 also itself.
const LEVELS: [&[&str]; 7] = [
    &["tensor", "error", "infer", "cost", "pem"],
    &["config", "observe", "wire"],
    &["compute", "discover", "models"],
    &["admit", "balance", "batch"],
    &["accept"],
    &["role"],
    &["lib", "main", "cli"],
];

/// The stages of a call. They never import one another, whatever their levels: what is common to two of them belongs to
/// a level below, and what joins them to `role`.
const STAGES: [&str; 5] = ["accept", "admit", "balance", "batch", "compute"];

/// What of the world outside may be named only in one place, beneath these paths.
const HOMES: [(&[&str], &[&str]); 9] = [
    (&["ort::"], &["src/compute/session"]),
    (&["kube::", "k8s_openapi::"], &["src/discover/slices"]),
    (&["hickory_resolver::"], &["src/discover/dns"]),
    (&["opentelemetry_proto::", "opentelemetry_semantic_conventions::"], &["src/observe/"]),
    (&["tonic::transport::Server", "tonic::transport::server", "hyper::server"], &["src/accept/"]),
    // The gateway's calls, and those of `infergate bench`, which are to cost as little as they can.
    (&["h2::client", "hyper::client::conn::http2"], &["src/balance/endpoint", "src/cli/client"]),
    (&["hyper::client::conn::http1"], &["src/cli/endpoints"]),
    (&["pprof::"], &["src/accept/admin/profile"]),
    (&["prost_reflect::", "miette::"], &["src/models/triton/"]),
];

/// Words that no module is named with: what is called so is not understood yet, or has another name here.
const NO_NAMES: [&str; 8] = ["manager", "helper", "util", "utils", "processor", "context", "upstream", "common"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file with its path from the root of the repository.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The module right beneath `src/` that the file belongs to.
    fn module(&self) -> &str {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
    }

    /// Its lines with their numbers, comments left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The number of its last line before the tests at its end.
    fn last_before_tests(&self) -> usize {
        let tests = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        self.text[..tests].lines().count()
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }
}

/// Files of the repository that git does not ignore and that are text, sorted.
fn sources(folder: &str) -> Vec<Source> {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap_or_default();
    let ignored: BTreeSet<&str> = ignored.lines().map(|line| line.trim_matches('/')).chain([".git"]).collect();
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if ignored.contains(&*name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push(Source { path: relative(&path), text });
            }
        }
    }
    found.sort_by(|left, right| left.path.cmp(&right.path));
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}

/// The Rust files of a folder.
fn rust(folder: &str) -> Vec<Source> {
    let found: Vec<Source> = sources(folder).into_iter().filter(|source| source.path.ends_with(".rs")).collect();
    assert!(!found.is_empty(), "no Rust files in {folder}");
    found
}

/// Fails with every line, and with what to do.
fn expect_none(wrong: Vec<String>, instead: &str) {
    assert!(wrong.is_empty(), "\n  {}\n{instead}\n", wrong.join("\n  "));
}

fn level(module: &str) -> Option<usize> {
    LEVELS.iter().position(|modules| modules.contains(&module))
}

/// Modules right beneath the crate that a line names: `crate::a::B`, `crate::{a::B, c}`.
fn imports(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            // Only the first name of each entry: the entries of an inner group are deeper.
            Some(group) => {
                let mut depth = 0;
                for entry in group.split_inclusive([',', '{', '}']) {
                    if depth == 0 {
                        found.extend(first_name(entry.trim()));
                    }
                    depth += entry.matches('{').count() as i32 - entry.matches('}').count() as i32;
                }
            }
            None => found.extend(first_name(rest)),
        }
    }
    found
}

fn first_name(path: &str) -> Option<&str> {
    let end = path.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(path.len());
    // Macros and types at the crate's root are no modules.
    Some(&path[..end]).filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// Why `from` may not import `to`.
fn objection(from: &str, to: &str) -> Option<String> {
    let (Some(own), Some(other)) = (level(from), level(to)) else {
        return Some(format!("{from} or {to} is in no level: give it one here and in ARCHITECTURE.md"));
    };
    if from == to || (own == 0 && other == 0) {
        return None;
    }
    if STAGES.contains(&from) && STAGES.contains(&to) {
        return Some("stages never import one another".to_owned());
    }
    (other >= own).then(|| format!("{from} is of level {own}, {to} of level {other}"))
}

#[test]
fn no_module_imports_another_against_the_layers() {
    let mut wrong = Vec::new();
    for source in rust("src") {
        for (number, line) in source.code() {
            for import in imports(line) {
                let objection = objection(source.module(), import);
                wrong.extend(objection.map(|why| format!("{} imports {import}: {why}", source.at(number))));
            }
        }
    }
    expect_none(
        wrong,
        "Move what is shared into a level below (`infer`, `tensor`, `error`), hand it in from `role`, or draw the new \
         arrow in ARCHITECTURE.md and here, and say why.",
    );
}

#[test]
fn imports_are_found_in_each_of_their_forms() {
    assert_eq!(imports("use crate::infer::Stage;"), ["infer"]);
    assert_eq!(imports("    let x: crate::tensor::Dim = crate::wire::oip::id();"), ["tensor", "wire"]);
    assert_eq!(imports("use crate::{error::Error, infer::{Stage, model::X}, wire};"), ["error", "infer", "wire"]);
    assert_eq!(imports("use super::queue;"), [""; 0]);
    assert_eq!(objection("batch", "compute"), Some("stages never import one another".to_owned()));
    assert_eq!(objection("compute", "models"), Some("compute is of level 2, models of level 2".to_owned()));
    assert_eq!(objection("balance", "discover"), None);
    assert_eq!(objection("wire", "error"), None);
}

#[test]
fn modules_reach_others_by_their_names_and_not_by_counting_upwards() {
    let counts = |source: &Source| -> Vec<String> {
        let depth = source.path.matches('/').count();
        // So many steps lead from the file's own module to the crate's root, past every rule about imports.
        let steps = "super::".repeat(if source.path.ends_with("/mod.rs") { depth - 1 } else { depth });
        let own = source.code().take_while(|(number, _)| *number <= source.last_before_tests());
        own.filter(|(_, line)| line.contains(&steps)).map(|(number, _)| source.at(number)).collect()
    };
    let nested = rust("src").into_iter().filter(|source| source.path.matches('/').count() > 1);
    expect_none(nested.flat_map(|source| counts(&source)).collect(), "Write `crate::` and the module's name.");
}

/// Files that are compiled for tests alone: `#[cfg(test)] mod name;` in the file above them.
fn only_for_tests(sources: &[Source]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in sources {
        let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
        let above = PathBuf::from(&source.path);
        let folder = if matches!(above.file_name(), Some(name) if name == "mod.rs") {
            above.parent().unwrap().to_owned()
        } else {
            above.with_extension("")
        };
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            let Some(name) = pair[1].strip_suffix(';').and_then(|line| line.split("mod ").nth(1)) else { continue };
            found.insert(folder.join(format!("{name}.rs")).to_str().unwrap().to_owned());
        }
    }
    found
}

/// Whether a line names a path such as `ort::`, and not merely the end of a longer name.
fn names(line: &str, path: &str) -> bool {
    let in_use = format!("use {};", path.trim_end_matches("::"));
    line.contains(&in_use)
        || line
            .match_indices(path)
            .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':')))
}

#[test]
fn each_foreign_world_has_one_home() {
    let sources = rust("src");
    let tests = only_for_tests(&sources);
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| !tests.contains(&source.path)) {
        for (paths, homes) in HOMES.iter().filter(|(_, homes)| !homes.iter().any(|home| source.path.starts_with(home)))
        {
            for (number, line) in source.code() {
                let named = paths.iter().filter(|path| names(line, path));
                wrong.extend(
                    named.map(|path| format!("{} names {path}, home of it is {}", source.at(number), homes[0])),
                );
            }
        }
    }
    expect_none(wrong, "Let its home offer what is needed in our own words; so swapping that world touches one place.");
}

#[test]
fn a_name_is_more_than_the_end_of_another() {
    assert!(names("use ort::session::Session;", "ort::"));
    assert!(names("    let x = ort::init();", "ort::"));
    assert!(names("use ort;", "ort::"));
    assert!(!names("use crate::support::X;", "ort::"));
    assert!(!names("use crate::ort::X;", "ort::"));
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let all = rust("src").into_iter().chain(rust("tests")).chain(rust("benches"));
    let silent = all.filter(|source| !source.text.starts_with("//!"));
    expect_none(
        silent.map(|source| source.path).collect(),
        "Begin the file with `//!`: one line on what it is for and what it must never do.",
    );
}

#[test]
fn the_map_says_what_each_module_is() {
    let map = rust("src").into_iter().find(|source| source.path == "src/lib.rs").unwrap();
    let lines: Vec<&str> = map.text.lines().collect();
    let is_module = |line: &str| line.starts_with("pub mod ") || line.starts_with("mod ");
    let silent = (0..lines.len()).filter(|at| is_module(lines[*at]) && !lines[at.saturating_sub(1)].starts_with("///"));
    expect_none(
        silent.map(|at| format!("{}: {}", map.at(at + 1), lines[at])).collect(),
        "Put a line of `///` above it: this file is the map.",
    );
}

#[test]
fn a_test_that_is_left_out_says_why() {
    let silent = ["#[ignore", "]"].concat();
    let all = rust("src").into_iter().chain(rust("tests"));
    let wrong = all.flat_map(|source| {
        let lines = source.code().filter(|(_, line)| line.contains(&silent));
        lines.map(|(number, _)| source.at(number)).collect::<Vec<_>>()
    });
    expect_none(wrong.collect(), "Write `#[ignore = \"needs …\"]`: what it needs, and how to have it.");
}

#[test]
fn no_test_sleeps_to_hope() {
    let call = ["sleep", "("].concat();
    let tests_of_src = rust("src").into_iter().map(|source| {
        let before = source.last_before_tests();
        (source, before)
    });
    let all = tests_of_src.chain(rust("tests").into_iter().map(|source| (source, 0)));
    let wrong = all.flat_map(|(source, before)| {
        let lines = source.code().filter(|(number, line)| *number > before && line.contains(&call));
        lines.map(|(number, _)| source.at(number)).collect::<Vec<_>>()
    });
    expect_none(
        wrong.collect(),
        "Wait for what happens (a Gate, a channel, `eventually`), or pause the clock: a sleep is too short on a busy \
         machine and too long on every other.",
    );
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    let mut wrong = Vec::new();
    for source in rust("src").into_iter().chain(rust("tests")) {
        let parts = source.path.trim_end_matches(".rs").split(['/', '_']);
        wrong.extend(parts.filter(|part| NO_NAMES.contains(part)).map(|part| format!("{}: {part}", source.path)));
        for (number, line) in source.code() {
            let Some(name) = line.trim_start().trim_start_matches("pub ").strip_prefix("mod ") else { continue };
            let name = name.trim_end_matches([';', '{', ' ']);
            let vague = name.split('_').any(|word| NO_NAMES.contains(&word));
            wrong.extend(vague.then(|| format!("{}: {name}", source.at(number))));
        }
    }
    expect_none(
        wrong,
        "Name it after the one idea that it holds, in the words of the glossary in ARCHITECTURE.md; where there is no \
         such word, it is two things.",
    );
}

#[test]
fn nothing_names_a_place_on_somebodys_machine() {
    let places = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat(), ["/Us", "ers/"].concat()];
    let wrong = sources("").into_iter().flat_map(|source| {
        let named = |line: &str| places.iter().any(|place| line.contains(place));
        let lines = source.text.lines().enumerate().filter(|(_, line)| named(line));
        lines.map(|(index, _)| source.at(index + 1)).collect::<Vec<_>>()
    });
    expect_none(wrong.collect(), "Write a path from the root of the repository, or one that the reader chooses.");
}
