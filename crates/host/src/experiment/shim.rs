//! What starts processes to find the program that is meant, which a client that is confined cannot.
//!
//! Shims, such as pyenv's, are scripts in a folder `shims` that start a version manager, which looks for the program and
//! becomes it: the host asks the manager instead. It does so for shims in PATH alone, since the manager is not confined, and
//! what a command names by its path may be somebody else's.

use std::{
    fs::File,
    io::{self, Read},
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use nix::{
    poll::PollTimeout,
    sys::signal::{Signal, killpg},
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use fedpipe_record::cause::tame;

use crate::{
    error::{Error, Result},
    process::{
        poll::wait_readable,
        start_error::{StartCall, failed},
    },
};

/// How long a version manager may look.
const PATIENCE: Duration = Duration::from_secs(10);

/// The program that `program` stands for here and now, where it is a shim.
///
/// # Errors
/// [`Error::Model`] for a shim of a program that is not there, and, where it is to be `confined`, for another shim and for
/// uv.
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

/// Asks the manager of a shim; none where the shim is not a script that ends in `exec MANAGER exec …`, as those of pyenv,
/// rbenv and asdf do: such a manager answers `MANAGER which NAME`.
fn program_of(shim: &Path) -> Result<Option<PathBuf>> {
    let Some(manager) = manager(shim) else { return Ok(None) };
    let name = shim.file_name().unwrap_or_default();
    let asked = format!("{} is a shim, and `{manager} which {}`", shim.display(), name.display());
    let no = |why: String| Error::Model(format!("{asked} {why}, so that it cannot be started"));
    let mut command = Command::new(&manager);
    let output = output(command.arg("which").arg(name)).map_err(|error| no(format!("cannot be asked: {error}")))?;
    let said = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr });
    match Some(PathBuf::from(said.trim())).filter(|path| output.status.success() && path.is_file()) {
        Some(program) => Ok(Some(program)),
        None => Err(no(format!("names no program: {}", tame(&said)))),
    }
}

/// What the script executes, where that is a version manager.
fn manager(shim: &Path) -> Option<String> {
    let mut start = Vec::new();
    File::open(shim).and_then(|file| file.take(4096).read_to_end(&mut start)).ok()?;
    let text = String::from_utf8(start).ok().filter(|text| text.starts_with("#!"))?;
    let words = text.lines().filter_map(shlex::split).find(|words| words.first().is_some_and(|word| word == "exec"))?;
    words.get(2).filter(|word| *word == "exec").and(words.get(1).cloned())
}

/// Runs a command to its end and takes what it says.
fn output(command: &mut Command) -> io::Result<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.process_group(0).spawn().map_err(failed(StartCall::Program)).map_err(io::Error::other)?;
    let ended = ends(&child);
    // What it left behind would keep the pipes open. Until it is reaped its number cannot be another's.
    let _ = killpg(nix::unistd::Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let output = child.wait_with_output()?;
    ended.map(|()| output)
}

fn ends(child: &Child) -> io::Result<()> {
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

    /// A shim of a manager that runs the script `says`.
    fn shim(folder: &Path, says: &str) -> PathBuf {
        let (manager, shim) = (folder.join("manager"), folder.join("python3"));
        let script = format!("#!/bin/sh\n[ \"$*\" = 'which python3' ] || exit 9\n{says}\n");
        let text = format!("#!/usr/bin/env bash\nset -e\nexec \"{}\" exec \"$program\" \"$@\"\n", manager.display());
        for (path, text) in [(&manager, script), (&shim, text)] {
            fs::write(path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        shim
    }

    #[test]
    fn a_shim_stands_for_what_its_manager_says() {
        let folder = tempfile::tempdir().unwrap();
        let shim = shim(folder.path(), "echo /bin/sh");
        assert_eq!(program_of(&shim).unwrap(), Some(PathBuf::from("/bin/sh")));
    }

    /// Else this test takes a thousand seconds.
    #[test]
    fn what_a_manager_leaves_behind_is_ended_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let shim = shim(folder.path(), "sleep 1000 &\necho /bin/sh");
        assert_eq!(program_of(&shim).unwrap(), Some(PathBuf::from("/bin/sh")));
    }

    #[test]
    fn what_a_manager_does_not_know_is_one_sentence() {
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
    fn another_script_and_a_program_say_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("python3");
        fs::write(&script, "#!/bin/sh\nexec \"/bin/sh\" -c true\n").unwrap();
        assert_eq!(program_of(&script).unwrap(), None);
        assert_eq!(program_of(Path::new("/bin/sh")).unwrap(), None);
    }

    #[test]
    fn what_starts_processes_is_refused_where_it_is_confined() {
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
