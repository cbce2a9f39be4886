//! Describes the model of a dylib or of a user's program, in a client process without data: the host loads no model.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fedpipe_data::Cache;
use fedpipe_protocol::{Isolation, Ready, Setup};

use fedpipe_record::experiment::OnFailure;

use crate::{
    disk::noexec,
    error::{Error, Result},
    experiment::{closed::Closed, command::UserProgram},
    fleet::{Fleet, control::StopSign},
    process::{conversation::Environment, launch::Launched, spawn::ClientCommand},
};

/// The time that a model has to describe itself.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The time that a program of the user's has. An interpreter reads its libraries first.
const FOREIGN_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns the name, version and options of the model in `dylib`, which runs under `isolation`. The layout is empty,
/// since no model is built.
///
/// # Errors
/// Returns [`Error::Model`] for a file that is no model, [`Error::Round`] if the process crashed, [`Error::Isolation`]
/// if the isolation is required and not available.
pub fn describe(command: &ClientCommand, dylib: &Path, isolation: &Isolation) -> Result<Ready> {
    let asked = ask((command.clone(), None), Some(dylib.to_owned()), isolation, TIMEOUT);
    // The message of `dlopen` names a segment, and not the cause.
    asked.map_err(|error| match (error, dylib.parent().and_then(noexec)) {
        (Error::Model(_), Some(why)) => {
            Error::Model(format!("cannot open {}: {why}; copy it to another", dylib.display()))
        }
        (error, _) => error,
    })
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
    ask((command, Some(launched)), None, isolation, FOREIGN_TIMEOUT)
}

fn ask(
    (command, launched): (ClientCommand, Option<Launched>),
    dylib: Option<PathBuf>,
    isolation: &Isolation,
    timeout: Duration,
) -> Result<Ready> {
    let logs = tempfile::tempdir().map_err(|error| Error::temporary(&error))?;
    let environment = Environment {
        launched,
        pipe_size: 64 << 10,
        ..Environment::new(Arc::new(command), logs.path().to_owned(), timeout)
    };
    let setup = Setup::describe(dylib, isolation.clone());
    let mut fleet = Fleet::start(environment, &Arc::<StopSign>::default(), vec![setup], 1, OnFailure::Abort)?;
    fleet.ready()?;
    fleet.model().cloned().ok_or_else(|| anyhow::anyhow!("a client is ready, but has not said what it is").into())
}
