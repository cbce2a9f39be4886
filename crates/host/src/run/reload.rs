//! Another dylib under a running federation.

use std::{fs, path::Path};

use fedpipe_record::names;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    disk::lock,
    error::{Error, Result},
};

/// Asks the host that runs in `directory` to take the model's dylib anew from where it came, at the next round.
///
/// # Errors
/// [`Error::Usage`] where no host runs there.
pub fn request_reload(directory: &Path) -> Result<()> {
    let nobody = || Error::Usage(format!("no run is going on in {}; there is nothing to reload", directory.display()));
    let file = fs::File::open(directory.join(names::LOCK)).map_err(|_| nobody())?;
    let unknown = |error| anyhow::anyhow!("cannot find the host that runs in {}: {error}", directory.display());
    let number = lock::holder(&file).map_err(unknown)?.ok_or_else(nobody)?;
    kill(Pid::from_raw(number), Signal::SIGUSR1).map_err(anyhow::Error::from)?;
    Ok(())
}
