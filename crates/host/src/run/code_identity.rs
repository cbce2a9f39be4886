//! The identity of the code that a run executes, as it is on this machine now.

use fedpipe_record::{experiment::Experiment, identity::CodeIdentity};

use crate::{
    error::Result,
    experiment::{client_program, command::Foreign, strategy_program},
    run::directory::RunDir,
};

/// Returns the identity of the run's dylib and of the files of its programs.
pub(crate) fn code_identity(experiment: &Experiment, directory: &RunDir) -> Result<CodeIdentity> {
    let dylib_sha256 = experiment.client.is_none().then(|| directory.model()).transpose()?.map(|dylib| dylib.sha256);
    Ok(CodeIdentity { dylib_sha256, ..program_files(experiment)? })
}

/// Returns the identity of the files of the user's programs, which are not the run's own.
pub(crate) fn program_files(experiment: &Experiment) -> Result<CodeIdentity> {
    let files = |foreign: Option<Foreign>| foreign.map(|foreign| foreign.files()).unwrap_or_default();
    let (client, strategy) = (client_program(experiment)?, strategy_program(experiment)?);
    Ok(CodeIdentity { dylib_sha256: None, client_sha256: files(client), strategy_sha256: files(strategy) })
}
