//! Another dylib under a running federation.

use std::{fs, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Error, Result, run_dir::RunDir};

/// Asks the host that runs in `directory` to take the model's dylib anew from where it came, at the next round.
///
/// # Errors
/// [`Error::Usage`] where no host runs there.
pub fn request_reload(directory: &Path) -> Result<()> {
    let nobody = || Error::Usage(format!("no run is going on in {}; there is nothing to reload", directory.display()));
    let path = directory.join(RunDir::LOCK);
    let lock = fs::File::open(&path).map_err(|_| nobody())?;
    // A lock that can be had is nobody's: its number may be another process's by now.
    if lock.try_lock_shared().is_ok() {
        return Err(nobody());
    }
    let text = fs::read_to_string(&path).map_err(anyhow::Error::from)?;
    let number = text.trim().parse().map_err(|_| nobody())?;
    kill(Pid::from_raw(number), Signal::SIGHUP).map_err(anyhow::Error::from)?;
    Ok(())
}
