//! What a dylib says of its model, asked in a client process without data: the host loads none.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fedpipe_data::Cache;
use fedpipe_protocol::{Isolation, Purpose, Ready, Setup};

use fedpipe_record::experiment::OnFailure;

use crate::{
    disk::noexec,
    error::{Error, Result},
    experiment::{closed::Closed, command::Foreign},
    fleet::Fleet,
    process::{conversation::Environment, inbox::Control, launch::Launched, spawn::ClientCommand, stray::new_mark},
};

/// How long a model may take to say what it is.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a program of the user's may: an interpreter has libraries to read first.
const FOREIGN_TIMEOUT: Duration = Duration::from_secs(60);

/// Asks the model in `dylib`, confined to `isolation`, for its name, version and options; the layout is empty, since
/// nothing is built.
///
/// # Errors
/// [`crate::error::Error::Model`] where there is none, [`crate::error::Error::Round`] where asking it cost the process,
/// [`crate::error::Error::Isolation`] where the isolation is required and cannot be had.
pub fn describe(command: &ClientCommand, dylib: &Path, isolation: &Isolation) -> Result<Ready> {
    let asked = ask((command.clone(), None), Some(dylib.to_owned()), isolation, TIMEOUT);
    // `dlopen` speaks of a segment that it cannot map.
    asked.map_err(|error| match (error, dylib.parent().and_then(noexec)) {
        (Error::Model(_), Some(why)) => {
            Error::Model(format!("cannot open {}: {why}; copy it to another", dylib.display()))
        }
        (error, _) => error,
    })
}

/// As for [`describe`], for a client that is a program of the user's, and reads nothing of `cache`.
///
/// # Errors
/// As for [`describe`], and [`crate::error::Error::Usage`] for a command that is none.
pub fn describe_foreign(
    launcher: &ClientCommand,
    command: &str,
    cache: &Cache,
    isolation: &Isolation,
) -> Result<Ready> {
    let closed = Closed::of_cache(cache);
    let (command, launched) = Foreign::parse("--client", command)?.launched(launcher, &closed, isolation.level)?;
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
        command,
        launched,
        logs: logs.path().to_owned(),
        mark: new_mark(),
        timeout,
        pipe_size: 64 << 10,
        spare: Arc::default(),
        jitter: None,
    };
    let (options, isolation) = (BTreeMap::new(), isolation.clone());
    let setup =
        Setup { dylib, dylib_sha256: None, test_sha256: None, options, seed: 0, isolation, purpose: Purpose::Describe };
    let control = Control::default();
    let mut fleet = Fleet::start(environment, &control, vec![setup], 1, OnFailure::Abort)?;
    fleet.ready()?;
    fleet.model().cloned().ok_or_else(|| anyhow::anyhow!("a client is ready, but has not said what it is").into())
}
