//! A run whose clients are threads that follow a script, for the tests of rounds and of the end of a run.

use std::{fs, path::PathBuf, process::ExitStatus, sync::Arc, time::Duration};

use fedpipe_data::{Cache, Deal, Dealt, Source, deal_test_set};
use fedpipe_protocol::{Reply, Request, Train};
use fedpipe_record::{
    checkpoint::Checkpoint,
    experiment::{ClientsSection, Experiment, OnFailure},
    history::History,
    names,
};
use tempfile::TempDir;

use crate::{
    disk::timeline_log::Timeline,
    experiment::launch::Launch,
    fleet::{Fleet, control::Control},
    process::{
        conversation::Environment,
        scripted::{Scripted, ScriptedClient, exit, ready},
        spawn::ClientCommand,
    },
    run::{
        active::{ActiveRun, RunContext},
        clients::Clients,
        directory::RunDir,
        event::{Event, Journal, Observer},
        resume::{Point, Resume},
        setup::{setups, task},
        state::RunState,
    },
};

/// The folder of a run and the values that the run borrows.
pub(super) struct Stage {
    folder: TempDir,
    pub(super) experiment: Experiment,
    pub(super) launch: Launch,
    pub(super) control: Control,
    timeline: Timeline,
}

/// Returns an experiment with four clients that are a program, of which each loss costs an update.
pub(super) fn experiment() -> Experiment {
    let clients = ClientsSection { count: 4, on_failure: OnFailure::Drop, ..ClientsSection::default() };
    Experiment { client: Some("true".into()), clients, ..Experiment::default() }
}

/// Returns the script of a client that exits with code 3 in place of each training that `fails` names.
pub(super) fn failing(
    fails: impl Fn(&ScriptedClient, &Train) -> bool + Send + Sync + 'static,
) -> impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static {
    move |client| {
        if client.greet().is_none() {
            return exit(0);
        }
        client.say(&Reply::Ready(ready()), None);
        while let Some((request, parts)) = client.next() {
            match &request {
                Request::Train(train) if fails(client, train) => return exit(3),
                _ => client.answer(&request, parts),
            }
        }
        exit(0)
    }
}

impl Stage {
    pub(super) fn new(experiment: Experiment) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let absent = ClientCommand::new("/nonexistent", "fedpipe-client");
        let launch = Launch {
            command: absent.clone(),
            launcher: absent,
            dylib: None,
            out: None,
            overwrite: false,
            cache: Cache::at(folder.path().join("cache")),
            inputs_folder: None,
            closed: Vec::new(),
            replay: Default::default(),
            dropped: Default::default(),
            swaps: Default::default(),
            ends_after: None,
        };
        Self { folder, experiment, launch, control: Control::default(), timeline: Timeline::default() }
    }

    /// Returns the same stage for clients of a dylib, whose file holds `contents`.
    pub(super) fn with_dylib(mut self, contents: &str) -> Self {
        let source = self.folder.path().join("source.so");
        fs::write(&source, contents).unwrap();
        self.experiment = Experiment { model: "source.so".into(), client: None, ..self.experiment };
        self.launch.dylib = Some(source);
        self
    }

    /// Returns the run directory.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// Begins the run with clients that follow `script`, and has `act` do its rounds.
    pub(super) fn begin<T>(
        &self,
        script: impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static,
        act: impl FnOnce(ActiveRun<'_>) -> T,
    ) -> T {
        self.begin_observed(&mut |_: &Event<'_>| Ok(()), script, act)
    }

    /// Begins the run as [`Stage::begin`] does, with an observer of its events.
    pub(super) fn begin_observed<T>(
        &self,
        observer: &mut dyn Observer,
        script: impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static,
        act: impl FnOnce(ActiveRun<'_>) -> T,
    ) -> T {
        let dylib = self.launch.dylib.as_deref();
        let (directory, ledger) = RunDir::create(&self.experiment, dylib, Some(&self.path()), false).unwrap();
        act(self.active(self.context(&directory), Journal::new(ledger, observer), Scripted::new(script), None))
    }

    /// Resumes the run from its newest checkpoint.
    pub(super) fn resume<T>(
        &self,
        script: impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static,
        act: impl FnOnce(ActiveRun<'_>) -> T,
    ) -> T {
        let (directory, path) = (RunDir::open(&self.path()).unwrap(), self.path());
        let resume = Resume { directory: &path, force: false };
        let point = Point::find(&resume, &directory, &self.experiment, &mut |why| panic!("{why}")).unwrap();
        let mut observer = |_: &Event<'_>| Ok(());
        let journal = point.journal(&directory, &self.experiment, &mut observer).unwrap();
        act(self.active(self.context(&directory), journal, Scripted::new(script), Some(point)))
    }

    fn context<'a>(&'a self, directory: &'a RunDir) -> RunContext<'a> {
        let Self { experiment, launch, control, timeline, .. } = self;
        RunContext { experiment, launch, directory, control, timeline }
    }

    fn active<'a>(
        &self,
        context: RunContext<'a>,
        mut journal: Journal<'a>,
        scripted: Scripted,
        point: Option<Point>,
    ) -> ActiveRun<'a> {
        let deal = Deal { source: Source::Sample, ..self.experiment.deal() };
        let dealt = deal_test_set(&deal, &self.launch.cache, &mut |_| ()).unwrap();
        let mut clients = clients(&context, &dealt, scripted);
        let initial = clients.initial_weights(&mut journal).unwrap();
        clients.start_clock(&context).unwrap();
        let state = RunState::new(&dealt.dataset, initial, &self.experiment, &self.path());
        let state = match point {
            Some(point) => state.resumed_at(point, &self.experiment, &clients).unwrap(),
            None => state,
        };
        ActiveRun { context, clients, state, journal, early: Default::default(), is_warned: false, _dealt: dealt }
    }

    /// Returns the rounds of the checkpoints on the disk, the newest first.
    pub(super) fn checkpoints(&self) -> Vec<u64> {
        let all = Checkpoint::all(&self.path(), &|_| Ok(())).unwrap();
        all.map(|(_, checkpoint)| checkpoint.unwrap().meta.round).collect()
    }

    /// Returns the content of the ledger.
    pub(super) fn history(&self) -> History {
        History::read(&self.path()).unwrap()
    }
}

/// Returns scripted clients, of which each has one example. The test set has one example.
fn clients(context: &RunContext<'_>, dealt: &Dealt, scripted: Scripted) -> Clients {
    let RunContext { experiment, directory, control, .. } = *context;
    let dylib = experiment.client.is_none().then(|| directory.dylib(names::MODEL).unwrap());
    let environment = Environment::new(Arc::new(scripted), directory.logs(), Duration::from_secs(3600));
    let setups = setups(context, dylib.as_ref(), dealt).unwrap();
    let spare = Arc::clone(&environment.spare);
    let count = experiment.execution.jobs.map_or(setups.len(), |jobs| jobs as usize);
    Clients {
        fleet: Fleet::start(environment, &control.stop, setups, count, experiment.clients.on_failure).unwrap(),
        sizes: vec![1; experiment.clients.count as usize],
        held_out: vec![0; experiment.clients.count as usize],
        test_examples: 1,
        target: task(&dealt.dataset).target,
        dylib,
        dylib_before: None,
        remedy: experiment.remedy(),
        program: None,
        kept_local: None,
        spare,
        mean: Default::default(),
        clock: None,
    }
}
