//! `fedpipe new-model`: writes the crate of a model, with tests, which builds and trains at once.
//!
//! The sources are those of the author's guide, so that the guide explains what the command writes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use fedpipe_host::{Error, Result};

use crate::{args::new_model_args::NewModelArgs, screen::output::print_result};

/// The author's guide.
const GUIDE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/README.md"));

/// The type of the model in the guide's sources.
const TYPE: &str = "Mine";

/// Writes the crate into a new folder.
pub(crate) fn write_model(args: &NewModelArgs) -> Result<ExitCode> {
    let (folder, name) = (&args.directory, name_of(&args.directory)?);
    let repository = repository(args.repository.as_deref())?;
    let written = write(folder, name, &repository);
    let folder = folder.display();
    written.map_err(|error| Error::Output(format!("cannot write the model to {folder}: {error}")))?;
    let dylib = format!("target/release/lib{}.so", name.replace('-', "_"));
    print_result(format_args!(
        "the model is in {folder}; after `cd {folder}`, `cargo test --release` tests it, `cargo build --release` builds \
         it, and `fedpipe run ./{dylib} --data sample` trains it"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the name of the model: the last part of the folder's path, which cargo takes as the name of a package.
fn name_of(folder: &Path) -> Result<&str> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.split(['-', '_']).all(is_word) {
        return Ok(name);
    }
    Err(Error::Usage(format!(
        "{name:?} is no name of a model; take lower-case letters, digits and single dashes, a letter first, such as \
         my-model"
    )))
}

/// Returns the root of the repository, whose crates the model depends on.
fn repository(given: Option<&Path>) -> Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = given.unwrap_or(&built);
    let has_crates = ["crates/model", "crates/nn"].iter().all(|path| root.join(path).join("Cargo.toml").is_file());
    let found = root.canonicalize().ok().filter(|_| has_crates);
    found.ok_or_else(|| {
        let root = root.display();
        Error::Usage(format!(
            "a model depends on crates of the repository of fedpipe, which is not at {root}; give a clone with \
             --repository DIR"
        ))
    })
}

fn write(folder: &Path, name: &str, repository: &Path) -> io::Result<()> {
    let sources = guide_sources().map(|source| source.replace(TYPE, &type_name(name)));
    fs::create_dir(folder)?;
    fs::create_dir(folder.join("src"))?;
    fs::write(folder.join("Cargo.toml"), manifest(name, repository))?;
    fs::copy(repository.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    fs::write(folder.join(".gitignore"), "/target\n")?;
    let files = ["src/lib.rs", "src/tests.rs"].iter().zip(sources);
    files.into_iter().try_for_each(|(file, source)| fs::write(folder.join(file), source))
}

/// Returns the sources that the guide prints: the model, then its tests.
fn guide_sources() -> impl Iterator<Item = &'static str> {
    let blocks = GUIDE.split("```rust\n").skip(1);
    blocks.filter_map(|block| block.split("```").next())
}

/// Returns the name of a type: `my-model` becomes `MyModel`.
fn type_name(name: &str) -> String {
    let words = name.split(['-', '_']).filter_map(|word| word.split_at_checked(1));
    words.map(|(first, rest)| first.to_ascii_uppercase() + rest).collect()
}

fn manifest(name: &str, repository: &Path) -> String {
    let path = |folder: &str| toml::Value::from(repository.join(folder).display().to_string());
    let (model, nn) = (path("crates/model"), path("crates/nn"));
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nfedpipe-model = {{ path = {model} }} # the trait\n\
         fedpipe-nn = {{ path = {nn} }} # layers, losses and optimisers; a model can do without\n\n\
         # A workspace of its own, also inside of another one.\n[workspace]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_after_its_folder() {
        for (folder, name, of_type) in [("mine", "mine", "Mine"), ("a/my-net_2", "my-net_2", "MyNet2")] {
            assert_eq!(name_of(Path::new(folder)).unwrap(), name);
            assert_eq!(type_name(name), of_type);
        }
        for wrong in ["Mine", "2nd", "a--b", "a-", "mein-größtes", "..", "a b"] {
            let error = name_of(Path::new(wrong)).unwrap_err().to_string();
            assert!(error.contains("is no name of a model; take lower-case letters"), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_guide_has_two_sources() {
        let sources: Vec<&str> = guide_sources().collect();
        assert_eq!(sources.len(), 2);
        assert!(sources[0].contains("export_model!(Mine);") && sources[1].contains("finite_difference"));
    }

    #[test]
    fn a_manifest_is_toml_whatever_the_path() {
        let manifest: toml::Table = manifest("mine", Path::new("/a \"b\"/ö")).parse().unwrap();
        assert_eq!(manifest["dependencies"]["fedpipe-nn"]["path"].as_str(), Some("/a \"b\"/ö/crates/nn"));
        assert_eq!(manifest["lib"]["crate-type"][0].as_str(), Some("cdylib"));
    }

    #[test]
    fn a_folder_that_is_no_repository_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = repository(Some(folder.path())).unwrap_err().to_string();
        assert!(error.ends_with("give a clone with --repository DIR"), "{error}");
        assert!(repository(None).unwrap().join("models/README.md").is_file());
    }
}
