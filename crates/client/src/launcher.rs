//! The launcher: isolates this process and executes the user's program in it, with the same number, pipes and log.
//!
//! The request comes on the pipe. The launcher reports the isolation in force before the program runs, so the program
//! cannot report another one. The frame is read without a buffer, since the bytes after it belong to the program.

use std::{
    ffi::OsString,
    fs::File,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use anyhow::Result;
use fedpipe_protocol::{FailureKind, Isolation, Limits, ProgramLaunch, Reply, Request, read, write};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::{
    inherited::{self, refuse_arguments},
    sandbox::{Policy, ProgramAccess, lock_in},
    stderr::write_line,
};

/// Executes the program that the host names. It returns only if that fails.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let (mut reader, mut writer) = match inherited::pipes(arguments) {
        Ok(pipes) => pipes,
        Err(why) => return refuse_arguments(&why),
    };
    match launch(arguments, &mut reader, &mut writer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            write_line(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn launch(arguments: &[OsString], reader: &mut File, writer: &mut File) -> Result<()> {
    let Request::Launch(launch) = read(reader, Limits::request(0))?.0 else {
        let message = "the launcher received another request than a launch".to_owned();
        return Ok(write(writer, &Reply::Failed { kind: FailureKind::Protocol, message }, &[])?);
    };
    let in_force = match lock_in(&policy(&launch)) {
        Ok(in_force) => in_force,
        Err(missing) => {
            let message = missing.to_string();
            return Ok(write(writer, &Reply::Failed { kind: FailureKind::Isolation, message }, &[])?);
        }
    };
    write(writer, &Reply::Launched(in_force), &[])?;
    for pipe in [&*reader, &*writer] {
        fcntl(pipe, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    let mut command = Command::new(&launch.program);
    command.args(launch.words.get(1..).unwrap_or_default()).args(arguments);
    if let Some(name) = launch.words.first() {
        command.arg0(name);
    }
    let error = command.exec();
    let message = format!("{} cannot be executed: {error}", launch.program.display());
    Ok(write(writer, &Reply::Failed { kind: FailureKind::CannotOpen, message }, &[])?)
}

fn policy(launch: &ProgramLaunch) -> Policy {
    let Isolation { level, memory_limit, cpu_seconds } = launch.isolation;
    let program = ProgramAccess::new(&launch.open, &launch.closed);
    Policy {
        level,
        readable: launch.data.clone(),
        memory_limit,
        cpu_seconds,
        program: Some(program),
        ..Policy::default()
    }
}

#[cfg(test)]
mod tests {
    use std::{io::pipe, os::fd::OwnedFd};

    use fedpipe_protocol::Level;

    use super::*;

    /// Returns the replies of a launcher that receives this request.
    fn replies(request: &Request) -> Vec<Reply> {
        let files = || pipe().map(|(from, to)| (File::from(OwnedFd::from(from)), File::from(OwnedFd::from(to))));
        let ((mut reader, mut host), (mut replies, mut writer)) = (files().unwrap(), files().unwrap());
        write(&mut host, request, &[]).unwrap();
        launch(&["3".into(), "4".into(), "0".into()], &mut reader, &mut writer).unwrap();
        drop(writer);
        std::iter::from_fn(|| read(&mut replies, Limits::reply(0)).ok().map(|(reply, _)| reply)).collect()
    }

    #[test]
    fn another_request_than_a_launch_is_refused() {
        let message = "the launcher received another request than a launch".to_owned();
        assert_eq!(replies(&Request::GetWeights), [Reply::Failed { kind: FailureKind::Protocol, message }]);
    }

    #[test]
    fn a_program_may_read_its_data_and_what_is_open_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let policy = policy(&ProgramLaunch {
            program: "/p".into(),
            words: Vec::new(),
            isolation: Isolation { level: Level::Require, memory_limit: Some(7), cpu_seconds: Some(8) },
            data: vec!["/partition".into()],
            open: vec![folder.path().to_owned()],
            closed: Vec::new(),
        });
        assert_eq!((policy.level, policy.memory_limit, policy.cpu_seconds), (Level::Require, Some(7), Some(8)));
        assert_eq!((policy.readable, policy.threads), (vec!["/partition".into()], false));
        assert_eq!(policy.program, Some(ProgramAccess::new(&[folder.path().to_owned()], &[])));
    }
}
