//! A reload: the clients of a run under way get another dylib.

use std::{fs, path::Path};

use fedpipe_record::names;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    disk::lock,
    error::{Error, Result},
    run::{active::ActiveRun, directory::Dylib, event::Event},
};

/// Asks the host that runs in `directory` to reload the model's dylib from its original path before the next round.
///
/// # Errors
/// Returns [`Error::Usage`] if no host runs there.
pub fn request_reload(directory: &Path) -> Result<()> {
    let nobody = || Error::Usage(format!("no run is going on in {}; there is nothing to reload", directory.display()));
    let file = fs::File::open(directory.join(names::LOCK)).map_err(|_| nobody())?;
    let unknown = |error| anyhow::anyhow!("cannot find the host that runs in {}: {error}", directory.display());
    let number = lock::holder(&file).map_err(unknown)?.ok_or_else(nobody)?;
    kill(Pid::from_raw(number), Signal::SIGUSR1).map_err(anyhow::Error::from)?;
    Ok(())
}

impl ActiveRun<'_> {
    /// Reloads the dylib before `round` if a user asked for it, or if this run repeats one that did.
    pub(super) fn reload_if_asked(&mut self, round: u64) -> Result<()> {
        let launch = self.context.launch;
        let is_asked = self.context.control.take_reload();
        match (launch.swaps.get(&round), &launch.dylib) {
            (Some(source), _) => self.reload(round, source),
            (None, _) if !is_asked => Ok(()),
            (None, Some(source)) => self.reload(round, source),
            (None, None) => {
                let reason = "a client of your own (--client) has no dylib; start another run";
                self.journal.tell(&Event::ReloadRefused { round, reason })
            }
        }
    }

    fn reload(&mut self, round: u64, source: &Path) -> Result<()> {
        match self.install(round, source) {
            Ok(dylib) => {
                self.journal.tell(&Event::Reloaded { round, dylib_sha256: &dylib.sha256 })?;
                self.clients.dylib_before = self.clients.dylib.replace(dylib);
                if self.context.launch.swaps.contains_key(&round) {
                    // The run that this one repeats kept the dylib.
                    self.clients.keep_dylib();
                }
                Ok(())
            }
            Err(error @ Error::Stopped(_)) => {
                self.context.directory.drop_model(round);
                Err(error)
            }
            Err(error) => {
                let directory = self.context.directory;
                directory.drop_model(round);
                // The copy is gone, and the user knows the original.
                let copy = directory.path().join(names::model_from(round)).display().to_string();
                let reason = error.to_string().replace(&copy, &source.display().to_string());
                self.journal.tell(&Event::ReloadRefused { round, reason: &reason })
            }
        }
    }

    /// Copies the dylib into the run directory and starts the clients with it.
    fn install(&mut self, round: u64, source: &Path) -> Result<Dylib> {
        let dylib = self.context.directory.take_model(round, source)?;
        if self.clients.dylib.as_ref().is_some_and(|before| before.sha256 == dylib.sha256) {
            return Err(Error::Model(format!("{} has not changed", source.display())));
        }
        self.clients.fleet.swap(&dylib.path, &dylib.sha256)?;
        Ok(dylib)
    }

    /// Returns to the dylib before a reload if no round was done with the new one. The round can then begin again, as
    /// if nobody had asked for the reload. Returns `false` if there is no such reload.
    pub(super) fn revert_reload(&mut self, round: u64, why: &str) -> Result<bool> {
        if !self.clients.fleet.revert() {
            return Ok(false);
        }
        self.clients.dylib = self.clients.dylib_before.take();
        let reason = format!("the first round with the new one failed, and begins again with the one before: {why}");
        self.journal.tell(&Event::ReloadRefused { round, reason: &reason })?;
        self.context.directory.drop_model(round);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_is_refused_if_no_host_runs_in_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = || request_reload(folder.path()).unwrap_err();
        assert!(matches!(refusal(), Error::Usage(_)), "there is no lock");
        fs::write(folder.path().join(names::LOCK), "1\n").unwrap();
        assert!(refusal().to_string().starts_with("no run is going on in "), "nobody holds the lock");
    }
}
