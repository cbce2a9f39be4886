//! What a program of the user's needs of the file system: its own folder, its interpreter's, the system's.
//!
//! A guess, made from the command and the environment: a Landlock ruleset cannot be widened once somebody knows better.
//! Nothing opens a folder that has the data or the results of a run in it.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Places of the system that interpreters and their libraries ask. Of /proc and /sys only what tells of the machine, and of
/// this process, which the program will be (TensorFlow ends without its command line).
const SYSTEM: [&str; 22] = [
    "/bin",
    "/sbin",
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
    "/etc/ld.so.preload",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/ssl/openssl.cnf",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage",
    "/proc/stat",
];

/// Beside the `bin` of an interpreter.
const BESIDE_BIN: [&str; 5] = ["bin", "lib", "lib64", "libexec", "share"];

/// Environments and paths that the environment names.
const VARIABLES: [&str; 4] = ["VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "LD_LIBRARY_PATH"];

/// What a program may read and execute besides its data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Program {
    /// Files, and folders with all that is in them.
    pub open: BTreeSet<PathBuf>,
    /// Folders that may be listed, with all below them; an interpreter looks for a module by listing.
    pub listed: BTreeSet<PathBuf>,
}

impl Program {
    /// For the command `words`, whose first is the file `program`; `closed` are the folders that nothing opens.
    pub fn of(program: &Path, words: &[String], closed: &[PathBuf]) -> Self {
        let closed = closed.iter().filter_map(|path| path.canonicalize().ok()).collect();
        let mut found = Finder { closed, places: Self::default() };
        SYSTEM.iter().for_each(|place| found.open(Path::new(place)));
        found.environment();
        found.executable(program);
        if program.parent().is_some_and(|folder| !folder.ends_with("bin")) {
            program.parent().into_iter().for_each(|folder| found.open(folder));
        }
        for word in words.iter().skip(1) {
            found.word(word);
        }
        found.places
    }
}

struct Finder {
    closed: Vec<PathBuf>,
    places: Program,
}

impl Finder {
    /// Opens a file or a folder; of a folder with something closed in it, what is not; of one that is shared, nothing.
    fn open(&mut self, path: &Path) {
        let Ok(path) = path.canonicalize() else { return };
        if self.closed.iter().any(|closed| path.starts_with(closed)) {
            return;
        }
        if is_shared(&path) {
            return;
        }
        if !self.holds_closed(&path) {
            self.places.open.insert(path);
            return;
        }
        // An interpreter finds modules in the folder of its script by listing it.
        self.places.listed.insert(path.clone());
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        let entries = entries.filter_map(|entry| entry.path().canonicalize().ok());
        // A link may lead anywhere: to a folder above this one, too.
        let fit = entries.filter(|entry| entry.starts_with(&path) && !self.holds_closed(entry));
        let fit: Vec<PathBuf> = fit.collect();
        self.places.open.extend(fit);
    }

    fn holds_closed(&self, path: &Path) -> bool {
        self.closed.iter().any(|closed| closed.starts_with(path) || path.starts_with(closed))
    }

    fn environment(&mut self) {
        for variable in VARIABLES {
            let paths = env::var_os(variable).unwrap_or_default();
            env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).for_each(|path| self.open(&path));
        }
        let Some(home) = env::home_dir() else { return };
        self.open(&env::var_os("KERAS_HOME").map_or_else(|| home.join(".keras"), PathBuf::from).join("keras.json"));
        self.python_libraries(&home.join(".local"));
    }

    /// A word of the command: a file or folder, a program in PATH, or `-m`, which looks for a module in this folder.
    fn word(&mut self, word: &str) {
        let path = Path::new(word);
        match (word, path.is_dir(), path.is_file()) {
            ("-m", ..) => self.open(Path::new(".")),
            (_, true, _) => self.open(path),
            (_, _, true) => {
                self.executable(path);
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                self.open(folder.unwrap_or(Path::new(".")));
            }
            // The words of `sh -c "exec python3 client.py"`.
            _ if word.contains(char::is_whitespace) => {
                word.split(|c: char| c.is_whitespace() || "'\"".contains(c)).for_each(|word| self.word(word));
            }
            _ => in_path(word).iter().for_each(|path| self.executable(path)),
        }
    }

    /// Opens a program, the environment or installation that it belongs to, and the interpreter that its first line names.
    fn executable(&mut self, program: &Path) {
        let Ok(program) = std::path::absolute(program) else { return };
        self.open(&program);
        if let Some(environment) = program.parent().and_then(Path::parent)
            && let Ok(config) = fs::read_to_string(environment.join("pyvenv.cfg"))
        {
            self.open(environment);
            self.python_paths(environment);
            let home = config.lines().find_map(|line| line.strip_prefix("home")?.trim_start().strip_prefix('='));
            home.into_iter().for_each(|home| self.installation(Path::new(home.trim())));
        }
        let canonical = program.canonicalize().unwrap_or_default();
        canonical.parent().filter(|folder| folder.ends_with("bin")).into_iter().for_each(|bin| self.installation(bin));
        for word in first_line(&canonical).split_whitespace() {
            let interpreter = Path::new(word);
            match interpreter.is_absolute() {
                true => self.open(interpreter),
                false => in_path(word).iter().filter(|path| **path != canonical).for_each(|path| self.open(path)),
            }
        }
    }

    /// Opens an installation by its `bin`.
    fn installation(&mut self, bin: &Path) {
        let Ok(bin) = bin.canonicalize() else { return };
        let Some(prefix) = bin.parent().filter(|prefix| !is_shared(prefix)) else { return };
        // What lies in ~/.local/share are the user's data.
        let fit = |folder: &&&str| **folder != "share" || !prefix.ends_with(".local");
        BESIDE_BIN.iter().filter(fit).for_each(|folder| self.open(&prefix.join(folder)));
        self.python_paths(prefix);
    }

    /// Opens the packages that a user has installed below `prefix`.
    fn python_libraries(&mut self, prefix: &Path) {
        for packages in site_packages(prefix) {
            self.open(&packages);
        }
        self.python_paths(prefix);
    }

    /// Opens what the packages below `prefix` name in their `.pth` files: packages that are used where they are written,
    /// and those of an environment that this one lies over (`uv run --with` has a line with `site.addsitedir("PATH")`).
    fn python_paths(&mut self, prefix: &Path) {
        for packages in site_packages(prefix) {
            let files = fs::read_dir(&packages).into_iter().flatten().flatten().map(|entry| entry.path());
            let texts = files.filter(|file| file.extension().is_some_and(|ending| ending == "pth"));
            for text in texts.filter_map(|file| fs::read_to_string(file).ok()) {
                let words = text.lines().flat_map(|line| line.split(['"', '\'']));
                words.map(|word| packages.join(word.trim())).filter(|path| path.is_dir()).for_each(|path| {
                    self.open(&path);
                });
            }
        }
    }
}

/// Whether a folder holds much that is no part of a program: `/`, the user's home, or what all users write to.
fn is_shared(path: &Path) -> bool {
    let home = env::home_dir().and_then(|home| home.canonicalize().ok());
    let temporary = env::temp_dir().canonicalize().ok();
    path.parent().is_none() || [home, temporary].iter().flatten().any(|shared| shared == path)
}

fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let versions = fs::read_dir(prefix.join("lib")).into_iter().flatten().flatten();
    let versions = versions.filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"));
    versions.map(|entry| entry.path().join("site-packages")).filter(|path| path.is_dir()).collect()
}

fn in_path(word: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH").filter(|_| !word.is_empty() && !word.contains('/'))?;
    env::split_paths(&folders).map(|folder| folder.join(word)).find(|path| path.is_file())
}

/// What follows `#!`, where a program is a script.
fn first_line(program: &Path) -> String {
    let mut start = Vec::new();
    let read = File::open(program).and_then(|file| file.take(256).read_to_end(&mut start));
    let text = String::from_utf8_lossy(&start);
    let line = text.strip_prefix("#!").filter(|_| read.is_ok()).and_then(|rest| rest.lines().next());
    line.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        path.canonicalize().unwrap()
    }

    #[test]
    fn a_folder_with_the_data_in_it_is_opened_but_for_them() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let script = write(&root.join("client.py"), "");
        let module = write(&root.join("parts/model.py"), "");
        write(&root.join("deep/cache/partitions/0"), "");
        std::os::unix::fs::symlink(&root, root.join("parts/up")).unwrap();
        std::os::unix::fs::symlink(root.join("deep"), root.join("link")).unwrap();
        let words = ["python3".to_owned(), script.display().to_string()];
        let found = Program::of(Path::new("/usr/bin/env"), &words, &[root.join("deep/cache")]);
        assert!(found.open.contains(&script) && found.open.contains(module.parent().unwrap()), "{found:?}");
        let closed = root.join("deep/cache");
        assert!(!found.open.iter().any(|open| closed.starts_with(open) || open.starts_with(&closed)), "{found:?}");
        assert!(found.listed.contains(&root));
        let found = Program::of(Path::new("/usr/bin/env"), &words, &[]);
        assert!(found.open.contains(&root) && found.listed.is_empty(), "{found:?}");
    }

    #[test]
    fn the_words_of_a_shell_are_words_of_the_command() {
        let place = tempfile::tempdir().unwrap();
        let script = write(&place.path().join("client.py"), "");
        let line = format!("exec env A=1 '{}' \"$@\"", script.display());
        let found = Program::of(Path::new("/bin/sh"), &["sh".into(), "-c".into(), line], &[]);
        assert!(found.open.contains(&script), "{found:?}");
    }

    #[test]
    fn an_environment_brings_its_interpreter_and_its_paths() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        write(&root.join("base/bin/python3.11"), "");
        let library = write(&root.join("base/lib/python3.11/os.py"), "");
        write(&root.join("venv/pyvenv.cfg"), &format!("home = {}\nversion = 3.11\n", root.join("base/bin").display()));
        let package = write(&root.join("mine/package.py"), "");
        let below = write(&root.join("below/site-packages/below.py"), "");
        let packages = root.join("venv/lib/python3.11/site-packages");
        write(&packages.join("mine.pth"), &format!("import nothing\n{}\n", root.join("mine").display()));
        let line = format!("import site; site.addsitedir(\"{}\")", below.parent().unwrap().display());
        write(&packages.join("overlay.pth"), &line);
        fs::create_dir_all(root.join("venv/bin")).unwrap();
        let python = root.join("venv/bin/python");
        std::os::unix::fs::symlink(root.join("base/bin/python3.11"), &python).unwrap();
        for (program, word) in [(python.as_path(), "x"), (Path::new("/usr/bin/env"), python.to_str().unwrap())] {
            let found = Program::of(program, &["python".into(), word.into()], &[]);
            for file in [&library, &package, &packages, &below] {
                assert!(file.ancestors().any(|folder| found.open.contains(folder)), "{program:?}: {file:?} {found:?}");
            }
            assert!(!found.open.contains(&root), "{found:?}");
        }
    }
}
