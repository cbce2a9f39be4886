//! Downloads and unpacks a package of Debian without root, by apt-get, which checks the signature, and dpkg.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::data_step::DataStep;

/// The directory in which the package installs the files.
pub(crate) const SYSTEM: &str = "/usr/share/datasets/fashion-mnist";

/// Downloads and unpacks a package into `scratch`. Returns the directory with the files, or the reason of a failure.
pub(super) fn unpack(package: &str, scratch: &Path, progress: &mut dyn FnMut(DataStep)) -> Result<PathBuf, String> {
    let root = scratch.join("root");
    fs::create_dir_all(&root).map_err(|error| error.to_string())?;
    if run_tool(apt(scratch).args(["download", package]), &["download", package], progress).is_err() {
        // The system's package lists lack the package or have an old version, and only root can update them. A second
        // attempt uses private lists.
        let lists = private_lists(scratch).map_err(|error| error.to_string())?;
        run_tool(apt(scratch).args(&lists).arg("update"), &["update"], progress)?;
        run_tool(apt(scratch).args(&lists).args(["download", package]), &["download", package], progress)?;
    }
    let archive = find_archive(scratch).ok_or_else(|| format!("apt-get downloaded no {package}"))?;
    run_tool(Command::new("dpkg").arg("-x").arg(&archive).arg(&root), &["-x", package], progress)?;
    Ok(root.join(SYSTEM.trim_start_matches('/')))
}

fn apt(dir: &Path) -> Command {
    let mut apt = Command::new("apt-get");
    // If root runs apt, apt would switch to a user that cannot enter the private directory.
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

/// Runs a command to its end and reports it as a step with the arguments `shown`.
///
/// # Errors
/// The last line of the command's standard error.
fn run_tool(command: &mut Command, shown: &[&str], progress: &mut dyn FnMut(DataStep)) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    progress(DataStep::Running { command: format!("{program} {}", shown.join(" ")) });
    let output = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program} could not be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("without a message");
    Err(format!("{program} failed ({}): {}", output.status, last.trim_start_matches("E: ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_gives_its_last_line() {
        let mut steps = Vec::new();
        let mut fail = Command::new("sh");
        fail.args(["-c", "echo W: a warning >&2; echo 'E: no such package' >&2; echo >&2; exit 3"]);
        let error = run_tool(&mut fail, &["download"], &mut |step| steps.push(step)).unwrap_err();
        assert_eq!(error, "sh failed (exit status: 3): no such package");
        assert_eq!(steps, [DataStep::Running { command: "sh download".to_owned() }]);
        let error = run_tool(&mut Command::new("no-such-program"), &[], &mut |_| ()).unwrap_err();
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
