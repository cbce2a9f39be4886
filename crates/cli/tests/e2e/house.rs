//! The rules of the house that cargo and the compiler do not check: the arrows between crates, the files with `unsafe`,
//! imports and words. `crates/README.md` has the reasons.

mod imports;
mod words;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::common::repository;

/// All arrows between our crates, except dev-dependencies and those of test fixtures.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "fedpipe",
        &["fedpipe-host", "fedpipe-client", "fedpipe-data", "fedpipe-strategy", "fedpipe-record", "fedpipe-report"],
    ),
    ("fedpipe-host", &["fedpipe-protocol", "fedpipe-data", "fedpipe-strategy", "fedpipe-record", "fedpipe-spec"]),
    ("fedpipe-client", &["fedpipe-protocol", "fedpipe-model", "fedpipe-data", "fedpipe-strategy", "fedpipe-random"]),
    ("fedpipe-strategy", &["fedpipe-protocol", "fedpipe-random", "fedpipe-spec"]),
    ("fedpipe-record", &["fedpipe-protocol", "fedpipe-data", "fedpipe-strategy", "fedpipe-spec"]),
    ("fedpipe-report", &["fedpipe-record"]),
    ("fedpipe-protocol", &[]),
    ("fedpipe-data", &["fedpipe-random", "fedpipe-spec"]),
    ("fedpipe-random", &[]),
    ("fedpipe-spec", &[]),
    ("fedpipe-model", &[]),
    ("fedpipe-nn", &["fedpipe-model", "fedpipe-random"]),
];

/// Our crates on which a model may depend.
const A_MODELS_ARROWS: &[&str] = &["fedpipe-model", "fedpipe-nn"];

/// Foreign crates that only some of our crates may name: those that open a dylib, or cross its door.
const GUARDED: &[(&str, &[&str])] =
    &[("abi_stable", &["fedpipe-model", "fedpipe-client"]), ("libloading", &["fedpipe-client"])];

/// Files in which `unsafe` is allowed, and folders, which end in `/`.
const UNSAFE: &[&str] = &[
    "crates/client/src/inherited.rs",
    "crates/client/src/loader.rs",
    "crates/client/src/sandbox/",
    "crates/data/src/map.rs",
    "crates/host/src/process/spawn.rs",
    "crates/model/src/abi.rs",
    "crates/nn/src/isa.rs",
];

#[derive(Debug)]
struct Package {
    folder: PathBuf,
    manifest: toml::Table,
}

impl Package {
    fn name(&self) -> &str {
        self.manifest["package"]["name"].as_str().unwrap()
    }

    fn is_model(&self) -> bool {
        self.folder.parent().unwrap().ends_with("models")
    }

    /// Returns the names of its dependencies outside of tests, on any platform.
    fn dependencies(&self) -> Vec<String> {
        let tables = ["dependencies", "build-dependencies"];
        let target = self.manifest.get("target").and_then(toml::Value::as_table);
        let platforms = target.into_iter().flat_map(|target| target.values().filter_map(toml::Value::as_table));
        let all = [&self.manifest].into_iter().chain(platforms);
        let named = all.flat_map(|table| tables.iter().filter_map(|name| table.get(*name)?.as_table()));
        named.flat_map(|table| table.iter().map(|(key, value)| package_name(key, value))).collect()
    }
}

/// Returns the name of a dependency, also for `alias = { package = "name" }`.
fn package_name(key: &str, value: &toml::Value) -> String {
    value.get("package").and_then(toml::Value::as_str).unwrap_or(key).to_owned()
}

/// Returns the packages in `crates/` and `models/`.
fn packages() -> Vec<Package> {
    let folders = ["crates", "models"].map(|folder| fs::read_dir(repository().join(folder)).unwrap());
    let folders = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let package = |folder: PathBuf| {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).ok()?.parse().unwrap();
        Some(Package { folder, manifest })
    };
    folders.filter_map(package).collect()
}

#[test]
fn crates_depend_on_each_other_as_the_design_says() {
    let packages = packages();
    let ours: Vec<&str> = packages.iter().map(Package::name).collect();
    let known: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in &packages {
        let name = package.name();
        let allowed = if package.is_model() { Some(A_MODELS_ARROWS) } else { known.get(name).copied() };
        let Some(allowed) = allowed else {
            wrong.push(format!("{name} is a new crate: say in the design, and here, what it may depend on"));
            continue;
        };
        for other in package.dependencies() {
            if ours.contains(&other.as_str()) && !allowed.contains(&other.as_str()) {
                let may = if allowed.is_empty() { "nothing of ours".into() } else { allowed.join(", ") };
                wrong.push(format!("{name} → {other} is forbidden: {name} may depend on {may}"));
            }
            let guarded = GUARDED.iter().find(|(guarded, _)| *guarded == other);
            if let Some((_, by)) = guarded.filter(|(_, by)| !by.contains(&name)) {
                wrong.push(format!("{name} → {other} is forbidden: that is for {}", by.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ours.len() >= 9, "{ours:?}");
}

#[test]
fn every_arrow_of_the_design_exists() {
    let dependencies: BTreeMap<String, Vec<String>> =
        packages().iter().map(|package| (package.name().to_owned(), package.dependencies())).collect();
    for (from, arrows) in ARROWS {
        let missing: Vec<&&str> =
            arrows.iter().filter(|to| dependencies[*from].iter().all(|name| name != **to)).collect();
        assert!(missing.is_empty(), "{from} has no dependency {missing:?}; the picture in crates/README.md is wrong");
    }
}

#[test]
fn every_dependency_is_used() {
    let mut unused = Vec::new();
    for package in packages() {
        let sources = sources(&package.folder.join("src"));
        let code: String = sources.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        let is_unused = |name: &String| !code.contains(&name.replace('-', "_"));
        unused.extend(
            package.dependencies().into_iter().filter(is_unused).map(|to| format!("{} → {to}", package.name())),
        );
    }
    assert!(unused.is_empty(), "no source of the crate names the dependency: {unused:?}");
}

#[test]
fn every_package_has_the_workspaces_lints() {
    let without: Vec<String> = packages()
        .iter()
        .filter(|package| package.manifest.get("lints").and_then(|lints| lints.get("workspace")).is_none())
        .map(|package| package.name().to_owned())
        .collect();
    assert!(without.is_empty(), "without `lints.workspace = true`: {without:?}");
}

/// A file without an exception has no `unsafe`, since the workspace's lints deny it.
#[test]
fn unsafe_stands_in_the_files_that_the_design_names() {
    let mut wrong = Vec::new();
    for package in packages() {
        for file in sources(&package.folder.join("src")) {
            let text = fs::read_to_string(&file).unwrap();
            let excepted = ["allow(unsafe_code", "expect(unsafe_code"].iter().any(|attribute| text.contains(attribute));
            let path = relative(&file);
            let listed = UNSAFE.iter().any(|at| path == *at || (at.ends_with('/') && path.starts_with(at)));
            // Code that is compiled for tests alone is no part of the product.
            let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
            if excepted && !listed && !is_test {
                wrong.push(format!(
                    "{path} allows `unsafe`: write it without, or list the file in the design, and here"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let gone: Vec<_> = UNSAFE.iter().filter(|path| !repository().join(path).exists()).collect();
    assert!(gone.is_empty(), "listed and not there: {gone:?}");
}

/// A number in a sentence may be 1, for which `fedpipe_data::counted` writes the singular.
#[test]
fn counted_nouns_are_written_by_the_helper() {
    const NOUNS: [&str; 14] = [
        "clients",
        "rounds",
        "examples",
        "bytes",
        "weights",
        "processes",
        "partitions",
        "images",
        "labels",
        "shards",
        "entries",
        "files",
        "lines",
        "updates",
    ];
    const BETWEEN: [&str; 5] = ["training", "test", "whole", "old", "client"];
    // Numbers that are never 1: a limit, and a length beyond one.
    const MANY: [&str; 2] = ["has more than {MOST} weights", "has {length} bytes, a socket's path"];
    let is_noun = |word: &str| NOUNS.contains(&word.trim_end_matches(|c: char| !c.is_alphanumeric()));
    let counts = |after: &str| {
        let mut words = after.split(' ').skip(1);
        let first = words.next().unwrap_or_default();
        after.starts_with(' ') && (is_noun(first) || BETWEEN.contains(&first) && words.next().is_some_and(is_noun))
    };
    let mut wrong = Vec::new();
    for package in packages() {
        let folder = package.folder.join("src");
        let is_of_tests =
            |file: &Path| file.ends_with("tests.rs") || file.parent().is_some_and(|of| of.ends_with("tests"));
        for file in sources(&folder).iter().filter(|file| !is_of_tests(file)) {
            let text = fs::read_to_string(file).unwrap();
            // The tests of a file are at its end.
            let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").enumerate();
            let lines = lines.filter(|(_, line)| !MANY.iter().any(|many| line.contains(many)));
            let spliced = lines.filter(|(_, line)| line.contains('"') && line.split('}').skip(1).any(counts));
            wrong.extend(spliced.map(|(index, line)| format!("{}:{}: {}", file.display(), index + 1, line.trim())));
        }
    }
    assert!(wrong.is_empty(), "a number beside a plural: use `counted`\n{}", wrong.join("\n"));
}

#[test]
fn every_model_forbids_unsafe() {
    let models: Vec<Package> = packages().into_iter().filter(Package::is_model).collect();
    assert!(models.len() >= 2);
    for model in models {
        let source = fs::read_to_string(model.folder.join("src/lib.rs")).unwrap();
        assert!(source.contains("#![forbid(unsafe_code)]"), "{} does not forbid unsafe code", model.name());
    }
}

/// Returns the Rust files below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let below = folders.iter().flat_map(|folder| sources(folder));
    files.into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "rs")).chain(below).collect()
}

/// Returns the path of a file relative to the repository.
fn relative(file: &Path) -> String {
    file.strip_prefix(repository()).unwrap_or(file).display().to_string()
}
