//! The part of the file system that a program of the user's needs: its own folder, its interpreter's, the system's.
//!
//! The places are a guess from the command and the environment, made once a run. A Landlock ruleset cannot be widened
//! later. The launchers open these places except the closed paths in them.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The places of the system that interpreters and their libraries read. Of /proc and /sys these are only the files
/// about the machine and about this process, which becomes the program (TensorFlow exits without its command line).
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

/// The folders beside the `bin` of an interpreter.
const BESIDE_BIN: [&str; 5] = ["bin", "lib", "lib64", "libexec", "share"];

/// The variables that name environments and paths.
const VARIABLES: [&str; 4] = ["VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "LD_LIBRARY_PATH"];

/// The paths that a program needs.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Files, and folders with all that is in them.
    pub(super) open: BTreeSet<PathBuf>,
    /// The folders among them that may hold other data than the program's, the command's own folder first: all except
    /// the system's and those of an installation.
    pub(super) searched: Vec<PathBuf>,
}

impl Places {
    /// Finds the places of the command `words`, whose first is the file `program`.
    pub(super) fn of(program: &Path, words: &[String]) -> Self {
        // Links remain: the launcher resolves /proc/self, which then is the program's own.
        let open = SYSTEM.iter().map(PathBuf::from).collect();
        let mut found = Self { open, searched: Vec::new() };
        found.executable(program);
        if program.parent().is_some_and(|folder| !folder.ends_with("bin")) {
            program.parent().into_iter().for_each(|folder| found.open_folder(folder));
        }
        for word in words.iter().skip(1) {
            found.word(word);
        }
        found.environment();
        found
    }

    /// Opens a file, or a folder of the system or of an installation.
    fn open(&mut self, path: &Path) {
        let Ok(path) = path.canonicalize() else { return };
        if !holds_home(&path) {
            self.open.insert(path);
        }
    }

    /// Opens a folder of the user's with all its contents, unless it is shared.
    fn open_folder(&mut self, path: &Path) {
        // A word without a folder names a file of the current folder.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let Ok(path) = path.canonicalize() else { return };
        if is_shared(&path) || self.searched.contains(&path) {
            return;
        }
        self.open.insert(path.clone());
        self.searched.push(path);
    }

    fn environment(&mut self) {
        for variable in VARIABLES {
            let paths = env::var_os(variable).unwrap_or_default();
            env::split_paths(&paths)
                .filter(|path| !path.as_os_str().is_empty())
                .for_each(|path| self.open_folder(&path));
        }
        let Some(home) = env::home_dir() else { return };
        self.open(&env::var_os("KERAS_HOME").map_or_else(|| home.join(".keras"), PathBuf::from).join("keras.json"));
        self.python_libraries(&home.join(".local"));
    }

    /// Opens the places of a word of the command: a file or folder, a program in PATH, or `-m`, which searches this
    /// folder for a module.
    fn word(&mut self, word: &str) {
        let path = Path::new(word);
        match (word, path.is_dir(), path.is_file()) {
            ("-m", ..) => self.open_folder(Path::new(".")),
            (_, true, _) => self.open_folder(path),
            (_, _, true) => {
                self.executable(path);
                path.parent().into_iter().for_each(|folder| self.open_folder(folder));
                shell_commands(path).iter().for_each(|words| words.iter().for_each(|word| self.word(word)));
            }
            // The words of `sh -c "exec python3 client.py"`.
            _ if word.contains(char::is_whitespace) => {
                word.split(|c: char| c.is_whitespace() || "'\"".contains(c)).for_each(|word| self.word(word));
            }
            _ => in_path(word).iter().for_each(|path| self.executable(path)),
        }
    }

    /// Opens a program, the environment or installation that it belongs to, and the interpreter that its first line
    /// names.
    fn executable(&mut self, program: &Path) {
        let Ok(program) = std::path::absolute(program) else { return };
        self.open(&program);
        if let Some(environment) = program.parent().and_then(Path::parent)
            && let Ok(config) = fs::read_to_string(environment.join("pyvenv.cfg"))
        {
            self.open_folder(environment);
            self.python_paths(environment);
            let home = config.lines().find_map(|line| line.strip_prefix("home")?.trim_start().strip_prefix('='));
            home.into_iter().for_each(|home| self.installation(Path::new(home.trim())));
        }
        let canonical = program.canonicalize().unwrap_or_default();
        canonical.parent().filter(|folder| folder.ends_with("bin")).into_iter().for_each(|bin| self.installation(bin));
        for word in first_line(&canonical).split_whitespace() {
            let interpreter = Path::new(word);
            if interpreter.is_absolute() {
                self.open(interpreter)
            } else {
                in_path(word).iter().filter(|path| **path != canonical).for_each(|path| self.open(path))
            }
        }
    }

    /// Opens an installation by its `bin`.
    fn installation(&mut self, bin: &Path) {
        let Ok(bin) = bin.canonicalize() else { return };
        let Some(prefix) = bin.parent().filter(|prefix| !holds_home(prefix)) else { return };
        // The folder ~/.local/share holds the user's data.
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

    /// Opens the paths in the `.pth` files of the packages below `prefix`: packages under development, and those of the
    /// environment below this one (`uv run --with` writes a line with `site.addsitedir("PATH")`).
    fn python_paths(&mut self, prefix: &Path) {
        for packages in site_packages(prefix) {
            let files = fs::read_dir(&packages).into_iter().flatten().flatten().map(|entry| entry.path());
            let texts = files.filter(|file| file.extension().is_some_and(|ending| ending == "pth"));
            for text in texts.filter_map(|file| fs::read_to_string(file).ok()) {
                let words = text.lines().flat_map(|line| line.split(['"', '\'']));
                words.map(|word| packages.join(word.trim())).filter(|path| path.is_dir()).for_each(|path| {
                    self.open_folder(&path);
                });
            }
        }
    }
}

/// Returns `true` for a folder that holds the user's home or that all users may write to.
fn is_shared(path: &Path) -> bool {
    let temporary = env::temp_dir().canonicalize().is_ok_and(|temporary| temporary == path);
    let all_write = |path: &Path| path.metadata().is_ok_and(|about| about.permissions().mode() & 0o002 != 0);
    temporary || holds_home(path) || all_write(path)
}

/// Returns `true` for the user's home and all that is above it, and for `/`.
fn holds_home(path: &Path) -> bool {
    let home = env::home_dir().and_then(|home| home.canonicalize().ok());
    path.parent().is_none() || home.is_some_and(|home| home.starts_with(path))
}

/// Returns the words of the commands that a shell script becomes (`exec COMMAND`). A line without `exec` starts another
/// process, which isolation refuses.
fn shell_commands(script: &Path) -> Vec<Vec<String>> {
    /// The bytes of a script that are searched.
    const MOST: u64 = 64 << 10;
    let is_shell = |name: &Path| name.file_name().is_some_and(|name| name.to_string_lossy().ends_with("sh"));
    let line = first_line(script);
    let is_script = script.extension().is_some_and(|ending| ending == "sh");
    if !is_script && !line.split_whitespace().take(2).any(|word| is_shell(Path::new(word))) {
        return Vec::new();
    }
    let mut text = Vec::new();
    let _ = File::open(script).and_then(|file| file.take(MOST).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let commands = text.lines().filter_map(|line| shlex::split(line.trim().strip_prefix("exec ")?));
    commands.collect()
}

fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let versions = fs::read_dir(prefix.join("lib")).into_iter().flatten().flatten();
    let versions = versions.filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"));
    versions.map(|entry| entry.path().join("site-packages")).filter(|path| path.is_dir()).collect()
}

/// Returns the program of this name that PATH names first; none for a path.
pub(super) fn in_path(word: &str) -> Option<PathBuf> {
    which::which_global(word).ok().filter(|_| !word.contains('/'))
}

/// Returns the text after `#!` of a script; an empty text for another program.
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
    use crate::disk::test_files::write_file;

    #[test]
    fn the_words_of_a_shell_are_words_of_the_command() {
        let place = tempfile::tempdir().unwrap();
        let script = write_file(&place.path().join("client.py"), "");
        let line = format!("exec env A=1 '{}' \"$@\"", script.display());
        let found = Places::of(Path::new("/bin/sh"), &["sh".into(), "-c".into(), line]);
        assert!(found.open.contains(&script), "{found:?}");
    }

    #[test]
    fn the_command_that_a_shell_script_becomes_is_opened() {
        let place = tempfile::tempdir().unwrap();
        let client = write_file(&place.path().join("far/client.py"), "");
        let other = write_file(&place.path().join("other/client.py"), "");
        let text = format!("set -e\n{} x\n  exec python3 '{}' \"$@\"\n", other.display(), client.display());
        let named = write_file(&place.path().join("a/start.sh"), &text);
        let with_line = write_file(&place.path().join("b/start"), &format!("#!/usr/bin/env bash\n{text}"));
        let no_script = write_file(&place.path().join("c/start.py"), &text);
        for (script, is_opened) in [(named, true), (with_line, true), (no_script, false)] {
            let found = Places::of(Path::new("/bin/sh"), &["sh".into(), script.display().to_string()]);
            assert_eq!(found.open.contains(&client), is_opened, "{script:?} {found:?}");
            assert!(!found.open.contains(&other), "{script:?} {found:?}");
        }
    }

    #[test]
    fn an_environment_brings_its_interpreter_and_its_paths() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        write_file(&root.join("base/bin/python3.11"), "");
        let library = write_file(&root.join("base/lib/python3.11/os.py"), "");
        write_file(
            &root.join("venv/pyvenv.cfg"),
            &format!("home = {}\nversion = 3.11\n", root.join("base/bin").display()),
        );
        let package = write_file(&root.join("mine/package.py"), "");
        let below = write_file(&root.join("below/site-packages/below.py"), "");
        let packages = root.join("venv/lib/python3.11/site-packages");
        write_file(&packages.join("mine.pth"), &format!("import nothing\n{}\n", root.join("mine").display()));
        let line = format!("import site; site.addsitedir(\"{}\")", below.parent().unwrap().display());
        write_file(&packages.join("overlay.pth"), &line);
        fs::create_dir_all(root.join("venv/bin")).unwrap();
        let python = root.join("venv/bin/python");
        std::os::unix::fs::symlink(root.join("base/bin/python3.11"), &python).unwrap();
        for (program, word) in [(python.as_path(), "x"), (Path::new("/usr/bin/env"), python.to_str().unwrap())] {
            let found = Places::of(program, &["python".into(), word.into()]);
            for file in [&library, &package, &packages, &below] {
                assert!(file.ancestors().any(|folder| found.open.contains(folder)), "{program:?}: {file:?} {found:?}");
            }
            assert!(!found.open.contains(&root), "{found:?}");
        }
    }

    #[test]
    fn of_a_script_in_a_shared_folder_the_script_alone_is_opened() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let script = write_file(&root.join("client.py"), "");
        let words = ["python3".to_owned(), script.display().to_string(), root.display().to_string()];
        for (mode, shared) in [(0o700, false), (0o755, false), (0o777, true), (0o1777, true)] {
            fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
            let found = Places::of(Path::new("/usr/bin/env"), &words);
            assert!(found.open.contains(&script), "{mode:o} {found:?}");
            assert_eq!((found.open.contains(&root), found.searched.contains(&root)), (!shared, !shared), "{mode:o}");
        }
    }

    #[test]
    fn the_home_and_what_is_above_it_and_what_all_users_write_to_is_shared() {
        let home = env::home_dir().unwrap().canonicalize().unwrap();
        let above = home.ancestors().map(Path::to_owned);
        let places = ["/tmp", "/var/tmp", "/dev/shm"].iter().filter_map(|place| Path::new(place).canonicalize().ok());
        for place in above.chain(places) {
            assert!(is_shared(&place), "{place:?}");
        }
        assert!(!is_shared(Path::new("/usr/share")));
    }
}
