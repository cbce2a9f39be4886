//! Describes the model of a dylib or of a user's program, in a client process without data: the host loads no model.

use std::{path::Path, sync::Arc, time::Duration};

use fedpipe_data::Cache;
use fedpipe_protocol::{Isolation, Ready, Setup};

use fedpipe_record::experiment::OnFailure;

use crate::{
    disk::noexec,
    error::{Error, Result},
    experiment::{closed::Closed, command::UserProgram},
    fleet::{Fleet, control::StopSign},
    process::{conversation::Environment, launched::Launched, spawn::ClientCommand},
};

/// The time that a model has to describe itself.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The time that a program of the user's has. An interpreter reads its libraries first.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns the name, version and options of the model in `dylib`, which runs under `isolation`. The layout is empty,
/// since no model is built.
///
/// # Errors
/// Returns [`Error::Model`] for a file that is no model, [`Error::Round`] if the process crashed, [`Error::Isolation`]
/// if the isolation is required and not available.
pub fn describe(command: &ClientCommand, dylib: &Path, isolation: &Isolation) -> Result<Ready> {
    let setup = Setup::describe(Some(dylib.to_owned()), isolation.clone());
    ask(command.clone(), None, setup, TIMEOUT).map_err(|error| explained(error, dylib, dylib.parent().and_then(noexec)))
}

/// Returns the error with its cause, if the file system of the dylib allows no code: the message of `dlopen` names a
/// segment of the file instead.
fn explained(error: Error, dylib: &Path, noexec: Option<String>) -> Error {
    match (error, noexec) {
        (Error::Model(_), Some(why)) => {
            Error::Model(format!("cannot open {}: {why}; copy it to another", dylib.display()))
        }
        (error, _) => error,
    }
}

/// Returns the same for a client that is a program of the user's. The program can read nothing of `cache`.
///
/// # Errors
/// Returns the errors of [`describe`], and [`Error::Usage`] for a command that cannot be split into words.
pub fn describe_program(
    launcher: &ClientCommand,
    command: &str,
    cache: &Cache,
    isolation: &Isolation,
) -> Result<Ready> {
    let closed = Closed::of_cache(cache);
    let (command, launched) = UserProgram::parse("--client", command)?.launched(launcher, &closed, isolation.level)?;
    ask(command, Some(launched), Setup::describe(None, isolation.clone()), PROGRAM_TIMEOUT)
}

/// Starts a process that only describes its model, and returns the description.
fn ask(command: ClientCommand, launched: Option<Launched>, setup: Setup, timeout: Duration) -> Result<Ready> {
    let logs = tempfile::tempdir().map_err(|error| Error::temporary(&error))?;
    let environment = Environment {
        launched,
        pipe_size: 64 << 10,
        ..Environment::new(Arc::new(command), logs.path().to_owned(), timeout)
    };
    let mut fleet = Fleet::start(environment, &Arc::<StopSign>::default(), vec![setup], 1, OnFailure::Abort)?;
    fleet.ready()?;
    let in_force = fleet.in_force(0).cloned().unwrap_or_default();
    Ok(Ready { in_force, ..fleet.model()?.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_on_a_file_system_without_code_is_explained() {
        let noexec = || Some("/mnt is mounted noexec".to_owned());
        let cases = [
            (
                Error::Model("a segment".into()),
                noexec(),
                "cannot open /mnt/m.so: /mnt is mounted noexec; copy it to another",
            ),
            (Error::Model("a segment".into()), None, "a segment"),
            (Error::Usage("two words".into()), noexec(), "two words"),
        ];
        for (error, noexec, expected) in cases {
            assert_eq!(explained(error, Path::new("/mnt/m.so"), noexec).to_string(), expected);
        }
    }
}
