//! A reload: the clients of a run under way get another dylib.

use std::{fs, path::Path};

use fedpipe_record::{names, run_folder::check_holds_run};
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
/// Returns [`Error::Output`] for a folder that holds no run, and [`Error::Usage`] if no host runs there.
pub fn request_reload(directory: &Path) -> Result<()> {
    check_holds_run(directory)?;
    let nobody = || Error::Usage(format!("no run is under way in {}; there is nothing to reload", directory.display()));
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
                self.journal.emit(&Event::ReloadRefused { round, reason })
            }
        }
    }

    fn reload(&mut self, round: u64, source: &Path) -> Result<()> {
        match self.install(round, source) {
            Ok(dylib) => {
                self.journal.emit(&Event::Reloaded { round, dylib_sha256: &dylib.sha256 })?;
                self.clients.dylib_before = self.clients.dylib.replace(dylib);
                // A training belongs to the round in which its update arrives.
                self.early.clear();
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
                self.journal.emit(&Event::ReloadRefused { round, reason: &reason })
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
    /// without the reload. Returns `false` if there is no such reload.
    pub(super) fn revert_reload(&mut self, round: u64, why: &str) -> Result<bool> {
        if !self.clients.fleet.revert() {
            return Ok(false);
        }
        self.clients.dylib = self.clients.dylib_before.take();
        self.early.clear();
        let reason = format!("the first round with the new one failed, and begins again with the one before: {why}");
        self.journal.emit(&Event::ReloadRefused { round, reason: &reason })?;
        self.context.directory.drop_model(round);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, process::ExitStatus, time::Instant};

    use fedpipe_protocol::Reply;
    use fedpipe_record::digest::bytes_sha256;

    use super::*;
    use crate::{
        process::scripted::{ScriptedClient, exit, ready},
        run::scripted_run::{Stage, experiment},
    };

    #[test]
    fn a_reload_is_refused_if_no_host_runs_in_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = || request_reload(folder.path()).unwrap_err();
        assert!(matches!(refusal(), Error::Output(_)), "there is no run");
        fs::write(folder.path().join(names::LEDGER), "").unwrap();
        assert!(matches!(refusal(), Error::Usage(_)), "there is no lock");
        fs::write(folder.path().join(names::LOCK), "1\n").unwrap();
        assert!(refusal().to_string().starts_with("no run is under way in "), "nobody holds the lock");
    }

    /// Does a round as the loop of rounds does.
    fn do_round(run: &mut ActiveRun<'_>, round: u64) -> Result<()> {
        run.reload_if_asked(round)?;
        let result = run.round(round)?;
        run.commit(round, result, Instant::now())
    }

    /// Serves, and crashes at the first request if the dylib is one that was taken later.
    fn serve_first_dylib(client: &mut ScriptedClient) -> ExitStatus {
        let Some(setup) = client.greet() else { return exit(0) };
        let dylib = setup.dylib.unwrap_or_default().display().to_string();
        client.say(&Reply::Ready(ready()), None);
        if dylib.contains(names::MODEL_FROM) {
            client.next();
            return exit(9);
        }
        client.answer_all();
        exit(0)
    }

    #[test]
    fn a_dylib_that_was_asked_for_is_taken_once_and_kept() {
        let stage = Stage::new(experiment()).with_dylib("first");
        stage.begin(ScriptedClient::serve, |mut run| {
            do_round(&mut run, 1).unwrap();
            fs::write(stage.launch.dylib.as_ref().unwrap(), "second").unwrap();
            stage.control.handle().reload();
            (2..=3).for_each(|round| do_round(&mut run, round).unwrap());
            assert!(!run.revert_reload(3, "no").unwrap(), "a round was done with the dylib");
        });
        assert_eq!(stage.history().reloads, BTreeMap::from([(2, bytes_sha256(b"second"))]));
        assert_eq!(fs::read(stage.path().join(names::model_from(2))).unwrap(), b"second");
    }

    #[test]
    fn a_dylib_whose_first_round_fails_is_left_and_the_round_is_done_with_the_one_before() {
        let stage = Stage::new(experiment()).with_dylib("first");
        stage.begin(serve_first_dylib, |mut run| {
            do_round(&mut run, 1).unwrap();
            fs::write(stage.launch.dylib.as_ref().unwrap(), "second").unwrap();
            stage.control.handle().reload();
            (2..=3).for_each(|round| do_round(&mut run, round).unwrap());
            assert_eq!(run.state.weights()[..], [7.5, 7.5], "three rounds, as without the reload");
            assert_eq!(run.clients.dylib.as_ref().unwrap().sha256, bytes_sha256(b"first"));
        });
        assert!(stage.history().reloads.is_empty() && !stage.path().join(names::model_from(2)).exists());
        let ledger = fs::read_to_string(stage.path().join(names::LEDGER)).unwrap();
        let refused = "the first round with the new one failed, and begins again with the one before: ";
        assert_eq!(ledger.lines().filter(|line| line.contains(refused)).count(), 1, "{ledger}");
    }

    #[test]
    fn a_dylib_that_cannot_be_taken_costs_no_round_and_is_named_by_its_source() {
        let unchanged = Stage::new(experiment()).with_dylib("first");
        let missing = Stage::new(experiment()).with_dylib("first");
        let source = |stage: &Stage| stage.launch.dylib.as_ref().unwrap().display().to_string();
        let cases = [
            (format!("{} has not changed", source(&unchanged)), unchanged),
            (format!("cannot read {}: No such file or directory (os error 2)", source(&missing)), missing),
            ("a client of your own (--client) has no dylib; start another run".into(), Stage::new(experiment())),
        ];
        for (expected, stage) in cases {
            let mut reasons = Vec::new();
            let mut observer = |event: &Event<'_>| {
                if let Event::ReloadRefused { round, reason } = event {
                    reasons.push((*round, (*reason).to_owned()));
                }
                Ok(())
            };
            stage.begin_observed(&mut observer, ScriptedClient::serve, |mut run| {
                if expected.starts_with("cannot read") {
                    fs::remove_file(stage.launch.dylib.as_ref().unwrap()).unwrap();
                }
                stage.control.handle().reload();
                do_round(&mut run, 1).unwrap();
            });
            assert_eq!(reasons, [(1, expected)]);
            assert!(!stage.path().join(names::model_from(1)).exists());
        }
    }

    #[test]
    fn a_run_that_repeats_another_takes_the_others_dylib_for_good() {
        let mut stage = Stage::new(experiment()).with_dylib("first");
        let later = stage.path().with_extension("so");
        fs::write(&later, "second").unwrap();
        stage.launch.swaps = [(2, later)].into();
        stage.begin(serve_first_dylib, |mut run| {
            do_round(&mut run, 1).unwrap();
            let failed = do_round(&mut run, 2);
            assert!(matches!(failed, Err(Error::Round(_))), "{failed:?}");
        });
        assert_eq!(stage.history().reloads, BTreeMap::from([(2, bytes_sha256(b"second"))]));
    }
}
