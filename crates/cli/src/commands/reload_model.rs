//! `fedpipe reload`: makes a run load its model again.

use std::{path::Path, process::ExitCode};

use fedpipe_host::{Result, request_reload};

use crate::screen::output::print_result;

/// Asks the run in `directory` to load its model's dylib again.
pub(crate) fn reload_model(directory: &Path) -> Result<ExitCode> {
    request_reload(directory)?;
    print_result(
        "the run loads its model again at the next round, if the layout is the same; its screen and its ledger report the result",
    )?;
    Ok(ExitCode::SUCCESS)
}
