//! Code imports from the file where a thing lives, never through the root of its crate. No room of the host imports
//! from a room above it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::{packages, relative, sources};

/// The rooms of the host by floor, from the ground up. A room imports from itself and from the floors below its own.
const FLOORS: &[&[&str]] =
    &[&["error"], &["disk"], &["process"], &["experiment"], &["fleet"], &["node", "run"], &["inference"]];

/// Files of the host that belong to no room: the entries for fuzzing reach every floor.
const NO_ROOM: &[&str] = &["fuzzing"];

/// A path such as `crate::fleet::cores`, in code or in a link of the documentation.
#[derive(Debug, PartialEq, Eq)]
struct CratePath {
    /// The name directly below the root.
    first: String,
    /// `true` if more names follow.
    continues: bool,
    line: usize,
}

/// Returns the paths below the crate's root in `text`. `$crate::…` of a macro is none of them.
fn crate_paths(text: &str) -> Vec<CratePath> {
    const ROOT: &str = "crate::";
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || c == ':';
    let mut found = Vec::new();
    for (at, _) in text.match_indices(ROOT).filter(|(at, _)| !text[..*at].ends_with(is_part)) {
        let line = text[..at].lines().count().max(1);
        let rest = &text[at + ROOT.len()..];
        for tree in rest.strip_prefix('{').map_or(vec![rest], items) {
            let tree = tree.trim_start();
            let first: String = tree.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let continues = tree[first.len()..].starts_with("::");
            found.extend((!first.is_empty()).then_some(CratePath { first, continues, line }));
        }
    }
    found
}

/// Returns the items of a list of imports, which ends with the brace that closes it.
fn items(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

/// Returns the names of the modules that the root of a crate declares.
fn modules(root: &str) -> BTreeSet<&str> {
    let declared = root.lines().filter_map(|line| line.trim_start().strip_suffix(';')?.rsplit_once("mod "));
    declared.filter(|(before, _)| before.is_empty() || before.starts_with("pub")).map(|(_, name)| name).collect()
}

/// Returns the names that the root of a crate re-exports.
fn re_exports(root: &str) -> BTreeSet<&str> {
    let uses = root.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let names = uses.flat_map(|tree| tree.split(|c: char| "{},".contains(c)));
    names.map(|path| path.trim().rsplit("::").next().unwrap_or_default()).collect()
}

fn root_of(folder: &Path) -> PathBuf {
    let lib = folder.join("src/lib.rs");
    if lib.exists() { lib } else { folder.join("src/main.rs") }
}

#[test]
fn imports_name_the_file_where_a_thing_lives() {
    let mut wrong = Vec::new();
    for package in packages() {
        let root = root_of(&package.folder);
        let text = fs::read_to_string(&root).unwrap();
        let (modules, exports) = (modules(&text), re_exports(&text));
        for file in sources(&package.folder.join("src")).into_iter().filter(|file| *file != root) {
            let text = fs::read_to_string(&file).unwrap();
            let through_root = crate_paths(&text).into_iter().filter(|path| {
                let is_module = modules.contains(path.first.as_str());
                !is_module || (!path.continues && exports.contains(path.first.as_str()))
            });
            wrong.extend(through_root.map(|p| format!("{}:{}: crate::{}", relative(&file), p.line, p.first)));
            // The tests of the root itself import from it.
            let is_below_root = file.parent() == root.parent() && !file.ends_with("tests.rs");
            let parents = text.lines().enumerate().filter(|(_, line)| is_below_root && line.starts_with("use super::"));
            wrong.extend(parents.map(|(at, line)| format!("{}:{}: {line}", relative(&file), at + 1)));
        }
    }
    assert!(wrong.is_empty(), "{} imports through the root of a crate:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_room_of_the_host_imports_from_a_room_above_it() {
    let floors: BTreeMap<&str, usize> =
        FLOORS.iter().enumerate().flat_map(|(floor, rooms)| rooms.iter().map(move |room| (*room, floor))).collect();
    let host = super::repository().join("crates/host/src");
    let mut wrong = Vec::new();
    for file in sources(&host).into_iter().filter(|file| !file.ends_with("lib.rs")) {
        let first = file.strip_prefix(&host).unwrap().iter().next().unwrap().to_string_lossy().into_owned();
        let room = first.trim_end_matches(".rs");
        if NO_ROOM.contains(&room) {
            continue;
        }
        let Some(floor) = floors.get(room) else {
            wrong.push(format!("{} is in a new room: give the room a floor here", relative(&file)));
            continue;
        };
        let text = fs::read_to_string(&file).unwrap();
        for path in crate_paths(&text).into_iter().filter(|path| path.first != room) {
            if floors.get(path.first.as_str()).is_none_or(|other| other >= floor) {
                wrong.push(format!("{}:{}: crate::{} from {room}", relative(&file), path.line, path.first));
            }
        }
    }
    assert!(wrong.is_empty(), "{} imports run up, or across a floor:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn paths_below_the_root_are_found() {
    let text =
        "use crate::{\n    Error, disk::{self, lock::{Lock}},\n    run,\n};\n/// [`X`](crate::Part)\n$crate::abi!();";
    let expected = [("Error", false, 1), ("disk", true, 1), ("run", false, 1), ("Part", false, 5)];
    let expected = expected.map(|(first, continues, line)| CratePath { first: first.into(), continues, line });
    assert_eq!(crate_paths(text), expected);
    let root = "#[cfg(test)]\nmod testing;\npub mod math;\npub use counted::counted;\npub use a::{B, c::D};\n";
    assert_eq!(modules(root), BTreeSet::from(["math", "testing"]));
    assert_eq!(re_exports(root).into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>(), ["B", "D", "counted"]);
}
