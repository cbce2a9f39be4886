//! What a dylib says of its model, asked in a client process without data: the host loads none.

use std::{collections::BTreeMap, path::Path, time::Duration};

use fedpipe_protocol::{Purpose, Ready, Setup};

use crate::{ClientCommand, Control, Error, OnFailure, Result, fleet::Fleet, worker::Environment};

/// How long a model may take to say what it is.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks the model in `dylib` for its name, version and options; the layout is empty, since nothing is built.
///
/// # Errors
/// [`Error::Model`] where there is none, [`Error::Round`] where asking it cost the process.
pub fn describe(command: &ClientCommand, dylib: &Path) -> Result<Ready> {
    let logs = tempfile::tempdir().map_err(anyhow::Error::from)?;
    let environment = Environment {
        command: command.clone(),
        logs: logs.path().to_owned(),
        timeout: TIMEOUT,
        pipe_size: 64 << 10,
        jitter: None,
    };
    let setup = Setup {
        dylib: Some(dylib.to_owned()),
        dylib_sha256: None,
        options: BTreeMap::new(),
        seed: 0,
        purpose: Purpose::Describe,
    };
    let control = Control::default();
    let mut fleet = Fleet::start(environment, &control, vec![setup], 1, OnFailure::Abort)?;
    fleet.ready()?;
    fleet.model().cloned().ok_or_else(|| Error::Model(format!("{} did not say what it is", dylib.display())))
}
