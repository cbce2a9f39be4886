//! The claims of the READMEs about the source. Each kind of claim is a table; a failure names the claim.

use std::{collections::BTreeSet, path::Path};

use crate::{
    common::repository,
    markdown::{Document, documents, files, read},
};

/// Figures, and the constants that they repeat: file, words, source, constant.
const FIGURES: &[(&str, &str, &str, &str)] = &[
    ("crates/cli/README.md", "`--tolerance` (0.02)", "crates/record/src/experiment.rs", "tolerance: f64 = 0.02"),
    (
        "crates/cli/README.md",
        "(`--client-timeout`, 600 s)",
        "crates/record/src/experiment/sections.rs",
        "client_timeout: f64 = 600.0",
    ),
    ("crates/cli/README.md", "for three rounds in a row", "crates/strategy/src/convergence.rs", "PATIENCE: u32 = 3;"),
    (
        "crates/cli/README.md",
        "at least 256M, by default",
        "crates/host/src/experiment/limits.rs",
        "LEAST: u64 = 256 * MEBIBYTE;",
    ),
    (
        "crates/cli/README.md",
        "what the clients printed, the first MiB",
        "crates/host/src/process/log.rs",
        "CAP: usize = 1 << 20;",
    ),
    (
        "crates/cli/README.md",
        "the state after the last round and the one before",
        "crates/host/src/run/saver.rs",
        "KEPT: usize = 2;",
    ),
    ("crates/README.md", "Above 64 clients", "crates/host/src/experiment/processes.rs", "MAX_PROCESSES: u32 = 64;"),
    ("crates/client/SECURITY.md", "6 levels deep", "crates/host/src/experiment/closed.rs", "LEVELS: usize = 6;"),
    (
        "crates/client/SECURITY.md",
        "at most 20,000 entries",
        "crates/host/src/experiment/closed.rs",
        "ENTRIES: usize = 20_000;",
    ),
    (
        "crates/client/SECURITY.md",
        "| descriptors | 64 |",
        "crates/client/src/sandbox/resource_limits.rs",
        "DESCRIPTORS: u64 = 64;",
    ),
    (
        "crates/client/SECURITY.md",
        "| 1,024 |",
        "crates/client/src/sandbox/resource_limits.rs",
        "DESCRIPTORS_OF_A_PROGRAM: u64 = 1024;",
    ),
    ("crates/data/README.md", "(2 GiB;", "crates/data/src/cache.rs", "LIMIT: u64 = 2 << 30;"),
    ("crates/data/README.md", "at most 1,000 times", "crates/data/src/scheme/mod.rs", "TRIES: u64 = 1000;"),
    ("crates/data/README.md", "a multiple of 64", "crates/data/src/partition_file.rs", "ALIGNMENT: usize = 64;"),
    (
        "crates/protocol/README.md",
        "# The pipe protocol, version 2",
        "crates/protocol/src/constants.rs",
        "PROTOCOL: u32 = 2;",
    ),
    (
        "crates/protocol/README.md",
        "at most 1 MiB from a client",
        "crates/protocol/src/frame.rs",
        "MAX_REPLY_HEADER: u32 = 1 << 20;",
    ),
    (
        "crates/protocol/README.md",
        "block b holds the examples 500b to 500b + 499",
        "crates/protocol/src/constants.rs",
        "EVALUATION_BLOCK: usize = 500;",
    ),
    (
        "crates/protocol/README.md",
        "at most 2³⁰ weights",
        "crates/protocol/src/weight_layout.rs",
        "MOST: usize = 1 << 30;",
    ),
    (
        "crates/protocol/README.md",
        "its absolute value exceeds 2⁴⁰",
        "crates/strategy/src/range.rs",
        "GREATEST_OF_A_CLIENT: f32 = (1_u64 << 40) as f32;",
    ),
    ("CHANGELOG.md", "at most 1,000 characters", "crates/record/src/cause.rs", "MOST: usize = 1000;"),
    ("crates/host/FAULTS.md", "`--client-timeout 4`", "crates/cli/tests/faults/stage.rs", "--client-timeout 4"),
];

/// Lengths in lines: file, words, and the file that has this length. A text after a `#` selects the block with that
/// text, of the file before it or of the same one.
const LENGTHS: &[(&str, &str, &str)] = &[
    ("README.md", "some 75 lines", "models/README.md#export_model!(MineModel)"),
    ("crates/python/README.md", "A client in 34 lines", "#fedpipe.serve("),
    ("crates/python/README.md", "129 lines", "crates/python/tests/fixtures/client.c"),
    ("crates/python/README.md", "140 lines", "crates/python/tests/fixtures/fedpipe.h"),
];

/// Files in examples that belong to the reader.
const EXAMPLES: [&str; 8] = [
    "counts.py",
    "halfway.py",
    "client.py",
    "strategy.py",
    "experiment.toml",
    "app/experiment.toml",
    "src/lib.rs",
    "src/tests.rs",
];

/// Words for things that are not in this repository.
const OUTSIDE: [&str; 4] = ["DESIGN", "STYLE.md", "shared/", "issue #"];

pub(crate) fn check(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{} claims are not so:\n{}", wrong.len(), wrong.join("\n"));
}

/// Collects the failures that `look` finds in each Markdown file.
pub(crate) fn check_documents(look: impl Fn(&Document, &mut Vec<String>)) {
    let mut wrong = Vec::new();
    for document in documents() {
        let mut here = Vec::new();
        look(&document, &mut here);
        wrong.extend(here.into_iter().map(|why| format!("{}: {why}", document.path)));
    }
    check(wrong);
}

pub(crate) fn document(path: &str) -> Document {
    Document { path: path.into(), text: read(path) }
}

#[test]
fn figures_are_those_of_the_source() {
    let holds = |file: &str, words: &str| document(file).running_text().contains(words);
    let wrong = FIGURES.iter().filter_map(|(file, words, source, constant)| match () {
        () if !holds(file, words) => Some(format!("{file} no longer says {words:?}: change or drop the row")),
        () if !read(source).contains(constant) => Some(format!("{file}: {words:?}, but {source} has no {constant:?}")),
        () => None,
    });
    check(wrong.collect());
}

#[test]
fn lengths_in_lines_are_those_of_the_files() {
    let mut wrong = Vec::new();
    for (path, words, of) in LENGTHS {
        let length = match of.split_once('#') {
            Some((of, text)) => {
                let source = document(if of.is_empty() { path } else { of });
                source.blocks().iter().find(|block| block.contains(text)).map_or(0, |block| block.lines().count())
            }
            None => read(of).lines().count(),
        };
        let document = document(path);
        let stated: usize = words.split(' ').find_map(|word| word.parse().ok()).unwrap();
        let rough = words.starts_with("some ");
        if !document.running_text().contains(words) || length.abs_diff(stated) > if rough { stated / 20 } else { 0 } {
            wrong.push(format!("{path} says {words:?}, {of} has {length}"));
        }
    }
    for document in documents() {
        let known = LENGTHS.iter().filter(|(path, ..)| *path == document.path).count();
        let text = document.running_text();
        let claims = text.match_indices(" lines").filter(|(at, _)| text[..*at].ends_with(|c: char| c.is_ascii_digit()));
        if claims.count() != known {
            wrong.push(format!("{} has another number of claims than the {known} that are held here", document.path));
        }
    }
    check(wrong);
}

#[test]
fn the_sample_has_the_bytes_that_its_readme_says() {
    let folder = repository().join("crates/data/sample");
    let size = |kind: &str, file: &str| folder.join(format!("{kind}-{file}-ubyte.gz")).metadata().unwrap().len();
    let sizes = ["train", "t10k"].map(|kind| size(kind, "images-idx3") + size(kind, "labels-idx1"));
    let stated = document("crates/data/sample/README.md").text.replace(',', "");
    check(
        sizes.iter().filter(|size| !stated.contains(&size.to_string())).map(|size| format!("{size} bytes")).collect(),
    );
}

#[test]
fn links_lead_somewhere() {
    check_documents(|document, wrong| {
        for link in document.links().into_iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = document.folder().join(path);
            let file = if path.is_empty() { repository().join(&document.path) } else { target };
            if !file.exists() {
                wrong.push(format!("{link} leads to no file"));
            } else if !anchor.is_empty() {
                let text = std::fs::read_to_string(if file.is_dir() { file.join("README.md") } else { file }).unwrap();
                if !(Document { path: String::new(), text }).anchors().iter().any(|known| known == anchor) {
                    wrong.push(format!("{link} leads to no heading"));
                }
            }
        }
    });
}

/// Returns `true` if a document may name a file or a folder so. A path is relative to the document, its package, the
/// sources of the package, `crates` or the repository. A bare name is that of a file of the package; a document outside
/// of packages may name any file.
fn names_a_file(document: &Document, name: &str, files: &[String]) -> bool {
    let (name, package) = (name.trim_end_matches('/'), document.package());
    let is_there = |path: &Path| files.iter().any(|file| Path::new(file).starts_with(path));
    let is_below = |file: &&String| Path::new(file).starts_with(&package);
    let bases = [document.folder_in_repository(), package.clone(), package.join("src"), "crates".into(), "".into()];
    bases.iter().any(|base| is_there(&base.join(name)))
        || !name.contains('/') && files.iter().filter(is_below).any(|file| file.ends_with(&format!("/{name}")))
}

#[test]
fn files_that_are_named_exist() {
    let files = files();
    check_documents(|document, wrong| {
        for span in document.spans() {
            let is_source = [".rs", ".py", ".c", ".h", ".sh", ".md"].iter().any(|end| span.ends_with(end));
            let is_ours = ["crates/", "models/"].iter().any(|start| span.starts_with(start));
            let is_path =
                span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) && !span.starts_with(['/', '.']);
            let is_example = EXAMPLES.contains(&span.as_str());
            if (is_source || is_ours) && is_path && !is_example && !names_a_file(document, &span, &files) {
                wrong.push(format!("{span} is no file that this document can mean: write its path"));
            }
        }
    });
}

/// A table whose first column is headed "file", "module", "room" or "folder" describes a layout.
#[test]
fn tables_of_a_layout_name_files_that_exist() {
    let files = files();
    check_documents(|document, wrong| {
        for (kind, names) in document.layout_tables() {
            let forms = |name: &str| match kind.as_str() {
                "module" => vec![format!("{name}.rs"), format!("{name}/mod.rs")],
                _ => vec![name.to_owned()],
            };
            let absent = names.iter().filter(|name| !forms(name).iter().any(|f| names_a_file(document, f, &files)));
            wrong.extend(absent.map(|name| format!("there is no {kind} {name}")));
        }
    });
}

#[test]
fn the_rooms_of_the_host_are_those_that_are_described() {
    let host = repository().join("crates/host/src");
    let entries = std::fs::read_dir(&host).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap());
    let rooms: BTreeSet<String> = folders.map(|name| format!("{name}/")).collect();
    let readme = document("crates/host/README.md");
    let listed = readme.layout_tables().into_iter().filter(|(kind, _)| kind == "room").flat_map(|(_, names)| names);
    assert_eq!(listed.collect::<BTreeSet<_>>(), rooms, "crates/host/README.md");
    let picture = document("CONTRIBUTING.md");
    let lines = picture.blocks()[0].lines().skip_while(|line| !line.starts_with("  host ")).skip(1);
    let drawn = lines.map_while(|line| line.strip_prefix("    ")?.split_whitespace().next()).map(str::to_owned);
    assert_eq!(drawn.collect::<BTreeSet<_>>(), rooms, "CONTRIBUTING.md");
}

/// The picture lists each crate, and each crate is there.
#[test]
fn the_crates_are_those_of_the_picture() {
    let picture = document("CONTRIBUTING.md");
    let lines = picture.blocks()[0].lines().filter_map(|line| line.strip_prefix("  "));
    let drawn = lines.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_whitespace().next());
    let entries = std::fs::read_dir(repository().join("crates")).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap());
    assert_eq!(drawn.map(str::to_owned).collect::<BTreeSet<_>>(), folders.collect::<BTreeSet<_>>());
}

#[test]
fn nothing_outside_of_the_repository_is_promised() {
    check_documents(|document, wrong| {
        // The changelog may name the reason of a change.
        let outside = OUTSIDE.iter().filter(|word| document.path != "CHANGELOG.md" && document.text.contains(*word));
        wrong.extend(outside.map(|word| format!("{word:?}")));
    });
}

#[test]
fn recipes_and_tests_that_are_named_exist() {
    let justfile = read("justfile");
    let heads =
        justfile.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()) && !line.contains(":="));
    let recipes: Vec<&str> = heads.filter_map(|line| line.split([' ', ':']).next()).collect();
    let sources: String = files().iter().filter(|path| path.ends_with(".rs")).map(|path| read(path)).collect();
    check_documents(|document, wrong| {
        for code in document.spans().into_iter().chain(document.code_lines()) {
            let words: Vec<&str> = code.split_whitespace().collect();
            match words.as_slice() {
                ["just", recipe, ..] if !recipes.contains(recipe) => {
                    wrong.push(format!("{code:?}: there is no such recipe"));
                }
                ["cargo", "test", ..] if !names_a_test(&words, &sources) => {
                    wrong.push(format!("{code:?}: there is no such test"));
                }
                ["cargo", "test", ..] if !names_a_target(&words) => {
                    wrong.push(format!("{code:?}: there is no such target"));
                }
                _ => {}
            }
        }
    });
}

/// Returns the word after a flag.
fn after<'w>(words: &[&'w str], flag: &str) -> Option<&'w str> {
    words.iter().skip_while(|word| **word != flag).nth(1).copied()
}

/// Returns `true` if a call of `cargo test` names a test or a module of the sources, or none.
fn names_a_test(words: &[&str], sources: &str) -> bool {
    let values = ["-p", "--package", "--test"].map(|flag| after(words, flag));
    // A place for a name, and the model of the author's guide, are no names.
    let name = words.last().filter(|word| !["test", "NAME", "mine"].contains(word));
    let name = name.filter(|word| !word.starts_with("--") && !values.contains(&Some(**word)));
    name.is_none_or(|name| ["fn {}", "mod {};"].iter().any(|item| sources.contains(&item.replace("{}", name))))
}

/// Returns `true` if a call of `cargo test` names a target of the package, or none.
fn names_a_target(words: &[&str]) -> bool {
    let Some((package, target)) = after(words, "-p").or(after(words, "--package")).zip(after(words, "--test")) else {
        return true;
    };
    let folder = package.trim_start_matches("fedpipe-").replace("fedpipe", "cli");
    ["/main.rs", ".rs"].iter().any(|end| repository().join(format!("crates/{folder}/tests/{target}{end}")).exists())
}
