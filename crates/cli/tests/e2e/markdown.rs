//! The Markdown files of the repository, and the code in them.
#![allow(dead_code, reason = "the tests of the command line use some of it")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A Markdown file.
#[derive(Debug)]
pub(crate) struct Document {
    /// The path, relative to the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Returns the files of the repository, relative to it, except files that are built or hidden.
pub(crate) fn files() -> Vec<String> {
    const BUILT: [&str; 4] = ["target", "runs", "__pycache__", "shared"];
    let mut found = Vec::new();
    let mut folders = vec![repository().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with('.') || BUILT.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path)
            } else {
                found.push(path.strip_prefix(repository()).unwrap().display().to_string())
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn documents() -> Vec<Document> {
    let paths = files().into_iter().filter(|path| path.ends_with(".md"));
    paths.map(|path| Document { text: read(&path), path }).collect()
}

impl Document {
    pub(crate) fn folder(&self) -> PathBuf {
        repository().join(&self.path).parent().unwrap().to_path_buf()
    }

    /// Returns the folder, relative to the repository.
    pub(crate) fn folder_in_repository(&self) -> PathBuf {
        Path::new(&self.path).parent().unwrap_or(Path::new("")).to_path_buf()
    }

    /// Returns the folder of the package that the document is in, relative to the repository; empty if there is none.
    pub(crate) fn package(&self) -> PathBuf {
        let is_package = |folder: &&Path| {
            ["Cargo.toml", "pyproject.toml"].iter().any(|manifest| repository().join(folder).join(manifest).exists())
        };
        let folder = self.folder_in_repository();
        folder.ancestors().find(is_package).unwrap_or(Path::new("")).to_path_buf()
    }

    /// Returns the tables whose first column is headed by the kind of a place in the source: the kind, and the code in
    /// the first column.
    pub(crate) fn layout_tables(&self) -> Vec<(String, Vec<String>)> {
        const KINDS: [&str; 4] = ["file", "module", "room", "folder"];
        let first_cell = |line: &str| line.strip_prefix("| ").and_then(|row| Some(row.split_once(" |")?.0.to_owned()));
        let rows = |at: usize| self.text.lines().skip(at + 2).map_while(first_cell);
        let code = |cell: String| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let heads = self.text.lines().enumerate().filter_map(|(at, line)| Some((at, first_cell(line)?)));
        let tables = heads.filter(|(_, kind)| KINDS.contains(&kind.as_str()));
        tables.map(|(at, kind)| (kind, rows(at).flat_map(code).collect())).collect()
    }

    /// Returns the text with one space for each run of white space.
    pub(crate) fn running_text(&self) -> String {
        self.text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Returns the blocks between fences.
    pub(crate) fn blocks(&self) -> Vec<&str> {
        self.text
            .split("```")
            .skip(1)
            .step_by(2)
            .map(|block| block.split_once('\n').map_or("", |(_, code)| code))
            .collect()
    }

    /// Returns the code within sentences.
    pub(crate) fn spans(&self) -> Vec<String> {
        let prose: String = self.text.split("```").step_by(2).collect();
        let spans = prose.split('`').skip(1).step_by(2);
        spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    /// Returns the lines of the blocks without comments, with continued lines joined.
    pub(crate) fn code_lines(&self) -> Vec<String> {
        let blocks = self.blocks().concat().replace("\\\n", " ");
        let without_comment = |line: &str| line.split(" #").next().unwrap_or_default().trim().to_owned();
        blocks.lines().map(without_comment).collect()
    }

    /// Returns the targets of links.
    pub(crate) fn links(&self) -> Vec<&str> {
        self.text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
    }

    /// Returns the anchors of the headings, as GitHub makes them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let headings = self.text.lines().filter(|line| line.starts_with('#'));
        let anchor = |line: &str| {
            let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            words.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
        };
        headings.map(anchor).collect()
    }
}

/// Returns the words of a line of shell code, of which only double quotes are interpreted.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, piece) in line.split('"').enumerate() {
        match index % 2 {
            0 => words.extend(piece.split_whitespace().map(str::to_owned)),
            _ => words.push(piece.to_owned()),
        }
    }
    words
}
