//! Programs that start processes to find another program, which a confined client cannot do.
//!
//! A shim, such as pyenv's, is a script in a folder `shims`. It starts a version manager, which finds the program and
//! becomes it. The host asks the manager instead. It asks only for shims in PATH: the manager is not confined, and a
//! path in a command may name a program of another user's.

use std::{
    fs::File,
    io::{self, Read},
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use fedpipe_record::cause::tame;
use nix::{
    poll::PollTimeout,
    sys::signal::{Signal, killpg},
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::{
    error::{
        Error, Result,
        start_error::{StartCall, failed},
    },
    process::poll::wait_readable,
};

/// The time that a version manager has.
const PATIENCE: Duration = Duration::from_secs(10);

/// Returns the program that a shim in PATH currently stands for; none for a program that is no shim.
///
/// # Errors
/// Returns [`Error::Model`] for a shim of a missing program. If the program is `confined`, also for any other shim and
/// for uv.
pub(crate) fn stands_for(program: &Path, in_path: bool, confined: bool) -> Result<Option<PathBuf>> {
    let is_shim = program.parent().is_some_and(|folder| folder.ends_with("shims"));
    let found = if is_shim && in_path && program.is_absolute() { program_of(program)? } else { None };
    let refusal = |what: &str, remedy: &str| {
        let shown = program.display();
        Err(Error::Model(format!("{shown} {what}, and isolation refuses that; {remedy}, or give --isolation off")))
    };
    match found {
        None if confined && is_shim => refusal(
            "is a shim, which starts processes to find the program that it stands for",
            "name the program itself",
        ),
        None if confined && program.ends_with("uv") => refusal(
            "starts the program as another process",
            "write `uv run fedpipe run --client \"python client.py\"`, or name .venv/bin/python",
        ),
        found => Ok(found),
    }
}

/// Asks the manager of a shim. The shims of pyenv, rbenv and asdf end in `exec MANAGER exec …`, and such a manager
/// answers `MANAGER which NAME`. Returns none for another script.
fn program_of(shim: &Path) -> Result<Option<PathBuf>> {
    let Some(manager) = manager(shim) else { return Ok(None) };
    let name = shim.file_name().unwrap_or_default();
    let call = format!("{} is a shim, and `{manager} which {}`", shim.display(), name.display());
    let no = |why: String| Error::Model(format!("{call} {why}, so that it cannot be started"));
    let mut command = Command::new(&manager);
    let output = output(command.arg("which").arg(name)).map_err(|error| no(format!("cannot be asked: {error}")))?;
    let printed = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr });
    match Some(PathBuf::from(printed.trim())).filter(|path| output.status.success() && path.is_file()) {
        Some(program) => Ok(Some(program)),
        None => Err(no(format!("names no program: {}", tame(&printed)))),
    }
}

/// Returns the version manager that the script executes.
fn manager(shim: &Path) -> Option<String> {
    let mut start = Vec::new();
    File::open(shim).and_then(|file| file.take(4096).read_to_end(&mut start)).ok()?;
    let text = String::from_utf8(start).ok().filter(|text| text.starts_with("#!"))?;
    let words = text.lines().filter_map(shlex::split).find(|words| words.first().is_some_and(|word| word == "exec"))?;
    words.get(2).filter(|word| *word == "exec").and(words.get(1).cloned())
}

/// Runs a command to its end and returns its output.
fn output(command: &mut Command) -> io::Result<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.process_group(0).spawn().map_err(failed(StartCall::Program)).map_err(io::Error::other)?;
    let exited = wait_for_exit(&child);
    // Its descendants would keep the pipes open. Until the child is reaped, its number cannot be another process's.
    let _ = killpg(nix::unistd::Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let output = child.wait_with_output()?;
    exited.map(|()| output)
}

fn wait_for_exit(child: &Child) -> io::Result<()> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty());
    let pidfd = pidfd.map_err(failed(StartCall::PidFd)).map_err(io::Error::other)?;
    let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    if wait_readable(pidfd.as_fd(), patience)? {
        return Ok(());
    }
    Err(io::Error::other(format!("it has not answered within {} s", PATIENCE.as_secs())))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// Creates a shim whose manager runs the script `says`.
    fn shim(folder: &Path, says: &str) -> PathBuf {
        let (manager, shim) = (folder.join("manager"), folder.join("python3"));
        let script = format!("#!/bin/sh\n[ \"$*\" = 'which python3' ] || exit 9\n{says}\n");
        let text = format!("#!/usr/bin/env bash\nset -e\nexec \"{}\" exec \"$program\" \"$@\"\n", manager.display());
        for (path, text) in [(&manager, script), (&shim, text)] {
            // A copy by another process: a fork of another test inherits a descriptor of this process that is open for
            // writing, and the kernel executes no file that is.
            let draft = path.with_extension("draft");
            fs::write(&draft, text).unwrap();
            fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
            assert!(Command::new("cp").arg("-p").arg(&draft).arg(path).status().unwrap().success());
        }
        shim
    }

    #[test]
    fn a_shim_stands_for_the_program_that_its_manager_names() {
        let folder = tempfile::tempdir().unwrap();
        let shim = shim(folder.path(), "echo /bin/sh");
        assert_eq!(program_of(&shim).unwrap(), Some(PathBuf::from("/bin/sh")));
    }

    /// If the host waited, this test would take a thousand seconds.
    #[test]
    fn the_descendants_of_a_manager_are_killed() {
        let folder = tempfile::tempdir().unwrap();
        let shim = shim(folder.path(), "sleep 1000 &\necho /bin/sh");
        assert_eq!(program_of(&shim).unwrap(), Some(PathBuf::from("/bin/sh")));
    }

    #[test]
    fn a_program_that_the_manager_does_not_find_is_refused_in_one_sentence() {
        for (says, told) in [
            ("echo 'python3: not found' >&2; exit 127", "names no program: python3: not found, so that"),
            ("echo /nonesuch", "names no program: /nonesuch, so that"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let error = program_of(&shim(folder.path(), says)).unwrap_err().to_string();
            assert!(error.contains("python3 is a shim, and `") && error.contains(told), "{error}");
        }
    }

    #[test]
    fn another_script_and_a_program_are_no_shims() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("python3");
        fs::write(&script, "#!/bin/sh\nexec \"/bin/sh\" -c true\n").unwrap();
        assert_eq!(program_of(&script).unwrap(), None);
        assert_eq!(program_of(Path::new("/bin/sh")).unwrap(), None);
    }

    #[test]
    fn a_confined_shim_and_uv_are_refused() {
        for (program, remedy) in
            [("/x/shims/python3", "name the program itself"), ("/x/bin/uv", "write `uv run fedpipe")]
        {
            let refused = stands_for(Path::new(program), false, true).unwrap_err().to_string();
            assert!(refused.starts_with(program) && refused.contains(remedy), "{refused}");
            assert_eq!(stands_for(Path::new(program), false, false).unwrap(), None);
        }
        assert_eq!(stands_for(Path::new("/bin/sh"), true, true).unwrap(), None);
    }
}
