//! Debian's package, downloaded and unpacked without root by the system's own tools, which check its signature.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Progress;

/// Where the package puts the files.
pub(crate) const SYSTEM: &str = "/usr/share/datasets/fashion-mnist";

/// Downloads and unpacks a package into `scratch`; returns the directory with the files, or why it could not be had.
pub(super) fn unpack(package: &str, scratch: &Path, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, String> {
    let root = scratch.join("root");
    fs::create_dir_all(&root).map_err(|error| error.to_string())?;
    if run(apt(scratch).args(["download", package]), &["download", package], progress).is_err() {
        // The system knows no such package, or an old version of it: ask with lists of our own, since the system's are
        // root's.
        let lists = private_lists(scratch).map_err(|error| error.to_string())?;
        run(apt(scratch).args(&lists).arg("update"), &["update"], progress)?;
        run(apt(scratch).args(&lists).args(["download", package]), &["download", package], progress)?;
    }
    let archive = find_archive(scratch).ok_or_else(|| format!("apt-get downloaded no {package}"))?;
    run(Command::new("dpkg").arg("-x").arg(&archive).arg(&root), &["-x", package], progress)?;
    Ok(root.join(SYSTEM.trim_start_matches('/')))
}

fn apt(dir: &Path) -> Command {
    let mut apt = Command::new("apt-get");
    // Root's apt would become a user that may not enter the private directory.
    apt.args(["-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=10"]);
    apt.current_dir(dir);
    apt
}

fn private_lists(scratch: &Path) -> std::io::Result<[String; 6]> {
    let (lists, cache) = (scratch.join("lists"), scratch.join("cache"));
    fs::create_dir_all(lists.join("partial"))?;
    fs::create_dir_all(cache.join("archives/partial"))?;
    Ok([
        "-o".to_owned(),
        format!("Dir::State::lists={}", lists.display()),
        "-o".to_owned(),
        format!("Dir::Cache={}", cache.display()),
        "-o".to_owned(),
        "Acquire::Languages=none".to_owned(),
    ])
}

fn find_archive(dir: &Path) -> Option<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).ok()?.filter_map(|file| Some(file.ok()?.path())).collect();
    files.sort();
    files.into_iter().find(|path| path.extension() == Some(OsStr::new("deb")))
}

/// Runs a command to its end; where it fails, the error is the last line that says why. `told` are the words that the
/// caller is told.
fn run(command: &mut Command, told: &[&str], progress: &mut dyn FnMut(Progress)) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    progress(Progress::Running { command: format!("{program} {}", told.join(" ")) });
    let output = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program} could not be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
    Err(format!("{program} failed ({}): {}", output.status, last.trim_start_matches("E: ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_says_why() {
        let mut told = Vec::new();
        let mut fail = Command::new("sh");
        fail.args(["-c", "echo W: a warning >&2; echo 'E: no such package' >&2; echo >&2; exit 3"]);
        let error = run(&mut fail, &["download"], &mut |progress| told.push(progress)).unwrap_err();
        assert_eq!(error, "sh failed (exit status: 3): no such package");
        assert_eq!(told, [Progress::Running { command: "sh download".to_owned() }]);
        let error = run(&mut Command::new("no-such-program"), &[], &mut |_| ()).unwrap_err();
        assert!(error.starts_with("no-such-program could not be started"), "{error}");
    }

    #[test]
    fn the_package_is_found_among_other_files() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find_archive(dir.path()), None);
        fs::create_dir(dir.path().join("lists")).unwrap();
        fs::write(dir.path().join("x_1_all.deb"), "").unwrap();
        assert_eq!(find_archive(dir.path()), Some(dir.path().join("x_1_all.deb")));
    }
}
