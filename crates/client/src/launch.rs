//! The launcher: confines this process and becomes a program of the user's, with the same number, pipes and log.
//!
//! What it is to do comes on the pipe, and what is in force is said there before the first byte of the program runs, so that
//! the program cannot say otherwise. The frame is read without a buffer: what follows is the program's.

use std::{
    ffi::OsString,
    fs::File,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use anyhow::Result;
use fedpipe_protocol::{FailureKind, Isolation, Launch, Limits, Reply, Request, read, write};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::{
    complaint::complain,
    inherited, not_by_hand,
    sandbox::{Policy, Program, lock_in},
};

/// Becomes the program that the host names; returns only where that fails.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let (mut reader, mut writer) = match inherited::pipes(arguments) {
        Ok(pipes) => pipes,
        Err(why) => return not_by_hand(&why),
    };
    match launch(arguments, &mut reader, &mut writer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn launch(arguments: &[OsString], reader: &mut File, writer: &mut File) -> Result<()> {
    let Request::Launch(launch) = read(reader, Limits { payload: 0 })?.0 else {
        let message = "the launcher was asked for something else than a launch".to_owned();
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

fn policy(launch: &Launch) -> Policy {
    let Isolation { level, memory_limit, cpu_seconds } = launch.isolation;
    let program = Program::of(&launch.open, &launch.closed);
    Policy {
        level,
        readable: launch.data.clone(),
        memory_limit,
        cpu_seconds,
        program: Some(program),
        ..Policy::default()
    }
}
