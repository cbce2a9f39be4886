//! The rules for words that a test can check. They are about the start of files and of doc comments, the width of
//! comments and of Markdown, and names.

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::{packages, relative, sources};
use crate::{common::repository, markdown::documents};

/// The formatter's width. It holds for comments as well.
const WIDTH: usize = 120;

/// The columns of prose in Markdown.
const MARKDOWN_WIDTH: usize = 150;

/// Words with which no doc comment begins: a reader expects a noun or a verb.
const NO_START: [&str; 6] = ["What", "Whether", "How", "Who", "Whose", "That"];

/// Names that several files may have: the role of the file is fixed by its folder.
const ROLES: [&str; 6] = ["lib.rs", "main.rs", "mod.rs", "tests.rs", "error.rs", "vectors.rs"];

/// Types that several crates declare. Each crate has an error. The others are values that a client takes from the
/// model's door and gives to the pipe.
const SHARED_TYPES: [&str; 10] =
    ["Error", "Result", "Kind", "Layout", "OptionSpec", "Place", "RegressionSums", "Target", "Task", "Tensor"];

/// Returns the files with their texts.
fn with_text(files: impl Iterator<Item = PathBuf>) -> Vec<(PathBuf, String)> {
    files.map(|file| (file.clone(), fs::read_to_string(&file).unwrap())).collect()
}

/// Returns the sources of the crates and models.
fn product() -> Vec<(PathBuf, String)> {
    with_text(packages().into_iter().flat_map(|package| sources(&package.folder.join("src"))))
}

/// Returns all Rust files of the repository: sources, tests, fixtures, benches, examples and fuzz targets.
fn everything() -> Vec<(PathBuf, String)> {
    let files = ["crates", "models"].into_iter().flat_map(|folder| sources(&repository().join(folder)));
    with_text(files.filter(|file| !file.components().any(|part| part.as_os_str() == "target")))
}

fn check(wrong: &[String], rule: &str) {
    assert!(wrong.is_empty(), "{rule}; {} offenders:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_file_begins_with_its_purpose() {
    let wrong: Vec<String> =
        everything().iter().filter(|(_, text)| !text.starts_with("//!")).map(|(file, _)| relative(file)).collect();
    check(&wrong, "a file begins with `//!`");
}

#[test]
fn comments_fit_the_formatters_width() {
    let mut wrong = Vec::new();
    for (file, text) in everything() {
        let comments = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//"));
        let wide = comments.filter(|(_, line)| line.chars().count() > WIDTH);
        wrong.extend(wide.map(|(at, _)| format!("{}:{}", relative(&file), at + 1)));
    }
    check(&wrong, "a comment has at most 120 columns");
}

/// Tables and code have no width: a table's row is one line.
#[test]
fn prose_in_markdown_fits_the_width() {
    let mut wrong = Vec::new();
    for document in documents() {
        let mut is_code = false;
        for (at, line) in document.text.lines().enumerate() {
            is_code ^= line.trim_start().starts_with("```");
            if !is_code && !line.trim_start().starts_with('|') && line.chars().count() > MARKDOWN_WIDTH {
                wrong.push(format!("{}:{}", document.path, at + 1));
            }
        }
    }
    check(&wrong, "a line of Markdown has at most 150 columns");
}

#[test]
fn doc_comments_begin_with_a_noun_or_a_verb() {
    let mut wrong = Vec::new();
    for (file, text) in everything() {
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
fn files_have_names_of_their_own() {
    let mut paths = BTreeMap::<String, Vec<String>>::new();
    for (file, _) in product() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        paths.entry(name).or_default().push(relative(&file));
    }
    let shared = paths.into_iter().filter(|(name, paths)| paths.len() > 1 && !ROLES.contains(&name.as_str()));
    check(&shared.map(|(_, paths)| paths.join(", ")).collect::<Vec<_>>(), "a file shares its name with no other file");
}

/// Returns the name of the type that a line without indentation declares, if the declaration has a visibility.
fn declared_type(line: &str) -> Option<&str> {
    let visible = line.strip_prefix("pub")?;
    let declaration = visible.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(visible, |(_, rest)| rest);
    let (kind, name) = declaration.trim_start().split_once(' ')?;
    let is_type = ["struct", "enum", "trait", "type", "union"].contains(&kind);
    is_type.then(|| name.split(|c: char| !c.is_alphanumeric()).next())?
}

/// The README of the crate promises an example for each type.
#[test]
fn types_that_an_author_touches_have_an_example() {
    let mut wrong = Vec::new();
    for file in sources(&repository().join("crates/model/src")).iter().filter(|file| !file.ends_with("abi.rs")) {
        let text = fs::read_to_string(file).unwrap();
        let mut doc = String::new();
        for line in text.lines() {
            if line.starts_with("///") {
                doc += line;
            } else if !line.starts_with("#[") {
                let name = declared_type(line).filter(|_| line.starts_with("pub ") && !doc.contains("```"));
                wrong.extend(name.map(|name| format!("{}: {name}", relative(file))));
                doc.clear();
            }
        }
    }
    check(&wrong, "a type of the model's API has an example");
}

#[test]
fn types_have_names_of_their_own() {
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for (file, text) in product() {
        for name in text.lines().filter_map(declared_type).filter(|name| !SHARED_TYPES.contains(name)) {
            places.entry(name.to_owned()).or_default().push(relative(&file));
        }
    }
    let shared = places.into_iter().filter(|(_, places)| places.len() > 1);
    let shared: Vec<String> = shared.map(|(name, places)| format!("{name}: {}", places.join(", "))).collect();
    check(&shared, "a type shares its name with no other type");
}
