//! The rules for words that a test can check: the start of files and of doc comments, the width of comments, and the
//! names of files.

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::{packages, relative, sources};

/// The formatter's width. It holds for comments as well.
const WIDTH: usize = 120;

/// Words with which no doc comment begins: a reader expects a noun or a verb.
const NO_START: [&str; 6] = ["What", "Whether", "How", "Who", "Whose", "That"];

/// Names that several files of one crate may have: the role of the file is fixed by its folder.
const ROLES: [&str; 4] = ["lib.rs", "main.rs", "mod.rs", "tests.rs"];

/// Returns all source files of the crates and models, with their text.
fn texts() -> Vec<(PathBuf, String)> {
    let files = packages().into_iter().flat_map(|package| sources(&package.folder.join("src")));
    files.map(|file| (file.clone(), fs::read_to_string(&file).unwrap())).collect()
}

fn check(wrong: &[String], rule: &str) {
    assert!(wrong.is_empty(), "{rule}; {} offenders:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_file_begins_with_its_purpose() {
    let wrong: Vec<String> =
        texts().iter().filter(|(_, text)| !text.starts_with("//!")).map(|(file, _)| relative(file)).collect();
    check(&wrong, "a file begins with `//!`");
}

#[test]
fn comments_fit_the_formatters_width() {
    let mut wrong = Vec::new();
    for (file, text) in texts() {
        let comments = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//"));
        let wide = comments.filter(|(_, line)| line.chars().count() > WIDTH);
        wrong.extend(wide.map(|(at, _)| format!("{}:{}", relative(&file), at + 1)));
    }
    check(&wrong, "a comment has at most 120 columns");
}

#[test]
fn doc_comments_begin_with_a_noun_or_a_verb() {
    let mut wrong = Vec::new();
    for (file, text) in texts() {
        let mut is_inside = false;
        for (at, line) in text.lines().enumerate() {
            let doc = line.trim_start().strip_prefix("///").or_else(|| line.strip_prefix("//!"));
            let first = doc.and_then(|doc| doc.split_whitespace().next()).unwrap_or_default();
            if !is_inside && NO_START.contains(&first.trim_end_matches(',')) {
                wrong.push(format!("{}:{}: {}", relative(&file), at + 1, line.trim()));
            }
            // An empty line ends a paragraph.
            is_inside = !first.is_empty();
        }
    }
    check(&wrong, "a doc comment begins with a noun or a verb");
}

#[test]
fn files_of_a_crate_have_names_of_their_own() {
    let mut wrong = Vec::new();
    for package in packages() {
        let mut paths = BTreeMap::<String, Vec<String>>::new();
        for file in sources(&package.folder.join("src")) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            paths.entry(name).or_default().push(relative(&file));
        }
        let shared = paths.into_iter().filter(|(name, paths)| paths.len() > 1 && !ROLES.contains(&name.as_str()));
        wrong.extend(shared.map(|(_, paths)| paths.join(", ")));
    }
    check(&wrong, "a file shares its name with no other file of its crate");
}
