//! `fedpipe new-model`: writes the crate of a model, with tests, which builds and trains at once.
//!
//! The sources are those of the author's guide, so that the guide explains what the command writes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use fedpipe_host::{Error, Result};

use crate::{args::new_model_args::NewModelArgs, inputs::own_file, screen::output::print_result};

/// The author's guide.
const GUIDE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/README.md"));

/// The type of the model in the guide's sources. The suffix keeps the type of a model `network` apart from `Network`.
const TYPE: &str = "MineModel";

/// The names that a library cannot have: those of the standard library, and of the crates that a model depends on.
const TAKEN: [&str; 7] = ["alloc", "core", "fedpipe-model", "fedpipe-nn", "proc-macro", "std", "test"];

/// The crates for authors in an installation, relative to the folder above that of the command. `just stage` puts them
/// there.
const INSTALLED: &str = "share/fedpipe/source";

/// The sources that a model builds against: a clone of fedpipe's repository, or the part of it in an installation.
struct Repository {
    root: PathBuf,
    /// `true` if the model lies in the folder `models` of the clone, so that it is a member of the workspace.
    is_home: bool,
}

/// Writes the crate into a new folder.
pub(crate) fn write_model(args: &NewModelArgs) -> Result<ExitCode> {
    let (folder, name) = (&args.directory, name_of(&args.directory)?);
    let installed = own_file::path().ok().and_then(|command| Some(command.parent()?.parent()?.join(INSTALLED)));
    let repository = repository_for(folder, args.repository.as_deref(), installed.as_deref())?;
    if folder.symlink_metadata().is_ok() {
        return Err(Error::Usage(format!("{} exists already; give a folder that does not", folder.display())));
    }
    let written = write(folder, name, &repository);
    let folder = folder.display();
    written.map_err(|error| Error::Output(format!("cannot write the model to {folder}: {error}")))?;
    if repository.is_home {
        print_result(format_args!(
            "the model is in {folder}, a member of the workspace; `cargo test --package {name}` tests it, and `just run \
             {name} --data sample` builds and trains it"
        ))?;
    } else {
        let dylib = format!("target/release/lib{}.so", name.replace('-', "_"));
        print_result(format_args!(
            "the model is in {folder}; after `cd {folder}`, `cargo test --release` tests it, `cargo build --release` \
             builds it, and `fedpipe run ./{dylib} --data sample` trains it"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the name of the model: the last part of the folder's path, which cargo takes as the name of a package.
fn name_of(folder: &Path) -> Result<&str> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if TAKEN.contains(&name.replace('_', "-").as_str()) {
        return Err(Error::Usage(format!(
            "{name:?} is the name of another library; take another one, such as my-{name}"
        )));
    }
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.split(['-', '_']).all(is_word) {
        return Ok(name);
    }
    Err(Error::Usage(format!(
        "{name:?} is no name of a model; take lower-case letters, digits and single dashes, a letter first, such as \
         my-model"
    )))
}

/// Returns the sources on whose crates the model depends: the given ones, the clone in which the model lies, those that
/// are installed with this command, or the clone that this command was built in.
fn repository_for(folder: &Path, given: Option<&Path>, installed: Option<&Path>) -> Result<Repository> {
    let parent = std::path::absolute(folder).ok().and_then(|folder| folder.parent()?.canonicalize().ok());
    let around = parent.as_deref().and_then(Path::parent).filter(|root| has_crates(root));
    if let Some((root, parent)) = around.zip(parent.as_deref()).filter(|(_, parent)| parent.ends_with("crates")) {
        let (folder, models) = (folder.display(), root.join("models"));
        return Err(Error::Usage(format!(
            "{folder} is in the folder {} of fedpipe's own crates; put the model into {}",
            parent.display(),
            models.display()
        )));
    }
    let home = around.filter(|_| parent.as_deref().is_some_and(|parent| parent.ends_with("models")));
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let installed = installed.filter(|root| has_crates(root));
    let root = given.or(home).or(installed).unwrap_or(&built);
    let found = root.canonicalize().ok().filter(|root| has_crates(root));
    let found = found.ok_or_else(|| {
        let root = root.display();
        Error::Usage(format!(
            "a model depends on crates of the repository of fedpipe, which is not at {root}; give a clone with \
             --repository DIR"
        ))
    })?;
    let is_home = home == Some(&*found);
    Ok(Repository { root: found, is_home })
}

fn has_crates(root: &Path) -> bool {
    ["crates/model", "crates/nn"].iter().all(|path| root.join(path).join("Cargo.toml").is_file())
}

fn write(folder: &Path, name: &str, repository: &Repository) -> io::Result<()> {
    let sources = guide_sources().map(|source| source.replace(TYPE, &type_name(name)));
    fs::create_dir(folder)?;
    fs::create_dir(folder.join("src"))?;
    if repository.is_home {
        fs::write(folder.join("Cargo.toml"), members_manifest(name))?;
    } else {
        fs::write(folder.join("Cargo.toml"), manifest(name, &repository.root))?;
        fs::copy(repository.root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
        fs::write(folder.join(".gitignore"), "/target\n")?;
    }
    let files = ["src/lib.rs", "src/tests.rs"].iter().zip(sources);
    files.into_iter().try_for_each(|(file, source)| fs::write(folder.join(file), source))
}

/// Returns the sources that the guide prints: the model, then its tests.
fn guide_sources() -> impl Iterator<Item = &'static str> {
    let blocks = GUIDE.split("```rust\n").skip(1);
    blocks.filter_map(|block| block.split("```").next())
}

/// Returns the name of a type: `my-net` becomes `MyNetModel`.
fn type_name(name: &str) -> String {
    let words = name.split(['-', '_']).filter_map(|word| word.split_at_checked(1));
    words.map(|(first, rest)| first.to_ascii_uppercase() + rest).chain(["Model".to_owned()]).collect()
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

/// Returns the manifest of a member of the repository's workspace.
fn members_manifest(name: &str) -> String {
    let of_workspace = ["version", "edition", "rust-version", "license", "repository"];
    let of_workspace = of_workspace.map(|key| format!("{key}.workspace = true\n")).concat();
    format!(
        "[package]\nname = \"{name}\"\n{of_workspace}\n[lints]\nworkspace = true\n\n[dependencies]\n\
         fedpipe-model.workspace = true\nfedpipe-nn.workspace = true\n\n[lib]\ncrate-type = [\"cdylib\"]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_after_its_folder() {
        for (folder, name, of_type) in [("mine", "mine", "MineModel"), ("a/my-net_2", "my-net_2", "MyNet2Model")] {
            assert_eq!(name_of(Path::new(folder)).unwrap(), name);
            assert_eq!(type_name(name), of_type);
        }
        for wrong in ["Mine", "2nd", "a--b", "a-", "mein-größtes", "..", "a b"] {
            let error = name_of(Path::new(wrong)).unwrap_err().to_string();
            assert!(error.contains("is no name of a model; take lower-case letters"), "{wrong}: {error}");
        }
        let error = name_of(Path::new("fedpipe_nn")).unwrap_err().to_string();
        assert_eq!(error, "\"fedpipe_nn\" is the name of another library; take another one, such as my-fedpipe_nn");
    }

    #[test]
    fn the_guide_has_two_sources() {
        let sources: Vec<&str> = guide_sources().collect();
        assert_eq!(sources.len(), 2);
        assert!(sources[0].contains("export_model!(MineModel);") && sources[1].contains("finite_difference"));
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
        let outside = folder.path().join("mine");
        let error = repository_for(&outside, Some(folder.path()), None).err().unwrap().to_string();
        assert!(error.ends_with("give a clone with --repository DIR"), "{error}");
        let built = repository_for(&outside, None, Some(folder.path())).unwrap();
        assert!(built.root.join("models/README.md").is_file() && !built.is_home);
    }

    #[test]
    fn an_installation_has_the_sources_unless_others_are_given() {
        let folders = ["installed", "clone"].map(|_| tempfile::tempdir().unwrap());
        for root in &folders {
            for path in ["crates/model", "crates/nn"] {
                fs::create_dir_all(root.path().join(path)).unwrap();
                fs::write(root.path().join(path).join("Cargo.toml"), "").unwrap();
            }
        }
        let [installed, clone] = folders.each_ref().map(|root| root.path().canonicalize().unwrap());
        let root = |given: Option<&Path>| repository_for(Path::new("mine"), given, Some(&installed)).unwrap().root;
        assert_eq!((root(None), root(Some(&clone))), (installed.clone(), clone));
    }

    /// A model in `models` of a clone is a member of its workspace. cargo refuses a second workspace there.
    #[test]
    fn a_model_inside_a_clone_is_a_member_of_its_workspace() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["crates/model", "crates/nn", "models"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("Cargo.toml"), "").unwrap();
        }
        let inside = root.path().join("models/mine");
        let repository = repository_for(&inside, None, None).unwrap();
        assert!(repository.is_home && repository.root == root.path().canonicalize().unwrap());
        write(&inside, "mine", &repository).unwrap();
        let manifest: toml::Table = fs::read_to_string(inside.join("Cargo.toml")).unwrap().parse().unwrap();
        assert_eq!(manifest["dependencies"]["fedpipe-nn"]["workspace"].as_bool(), Some(true));
        assert!(!inside.join("Cargo.lock").exists() && manifest.get("workspace").is_none());
        let error = repository_for(&root.path().join("crates/mine"), None, None).err().unwrap().to_string();
        assert!(error.contains("fedpipe's own crates; put the model into "), "{error}");
    }
}
