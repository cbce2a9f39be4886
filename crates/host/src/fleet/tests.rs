//! Tests of a fleet whose clients are threads that follow a script.

mod clients_elsewhere;
mod failed_jobs;
mod first_reports;
mod job_order;
mod swaps;

use std::{
    path::Path,
    process::ExitStatus,
    sync::{Condvar, Mutex, mpsc},
    time::Duration,
};

use fedpipe_protocol::{
    Evaluate, HeldPartition, Isolation, Kind, Level, PROTOCOL, Parts, Place, Purpose, Request, Target, Task, Tensor,
    Train, Update, WEIGHTS,
};
use fedpipe_record::crash::{ClientCrash, Consequence};
use nix::poll::PollTimeout;

use super::*;
use crate::{
    error::Error,
    fleet::{control::Control, job::Settled},
    process::{
        poll::wait_readable,
        scripted::{Scripted, ScriptedClient, exit, ready, signal, trained},
    },
};

/// The time after which a test that failed ends; no test that passes waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A fleet of scripted clients, with the control and the logs.
struct Stage {
    fleet: Fleet,
    control: Control,
    _logs: tempfile::TempDir,
}

/// A crash: the client whose job it cost, the consequence and the cause.
type Crash = (Option<u32>, Consequence, String);

/// The client and the weights of an update; none for a job without one.
type Trained = Option<(u32, Vec<f32>)>;

fn setup(client: u32) -> Setup {
    let held = HeldPartition { client, path: "/partition".into(), sha256: None };
    Setup {
        dylib: Some("/a.so".into()),
        dylib_sha256: None,
        test_sha256: None,
        options: Default::default(),
        seed: 0,
        init_seed: None,
        isolation: Isolation { level: Level::Off, memory_limit: None, cpu_seconds: None },
        purpose: Purpose::Serve {
            task: Task { shape: vec![1], target: Target::Classes(2) },
            partitions: vec![held],
            test: "/test".into(),
        },
    }
}

impl Stage {
    fn new(
        clients: u32,
        policy: OnFailure,
        script: impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static,
    ) -> Self {
        Self::with_timeout(clients, policy, Duration::from_secs(3600), script)
    }

    fn with_timeout(
        clients: u32,
        policy: OnFailure,
        timeout: Duration,
        script: impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static,
    ) -> Self {
        let (logs, control) = (tempfile::tempdir().unwrap(), Control::default());
        let environment = Environment::new(Arc::new(Scripted::new(script)), logs.path().to_owned(), timeout);
        let setups = (0..clients).map(setup).collect();
        let fleet = Fleet::start(environment, &control.stop, setups, clients as usize, policy).unwrap();
        Self { fleet, control, _logs: logs }
    }

    /// Does jobs with a check; returns the results in the order of the jobs, and the crashes.
    fn run(&mut self, jobs: Vec<Job>, check: &Arc<Check>) -> (Result<Vec<Settled>>, Vec<Crash>) {
        let mut crashes = Vec::new();
        let settled = do_jobs(&mut self.fleet, jobs, check, &mut |incident: Incident<'_>| {
            if let Incident::Crashed(ClientCrash { client, crash, .. }) = incident {
                crashes.push((client, crash.then, crash.cause.to_string()));
            }
            Ok(())
        });
        (settled, crashes)
    }

    /// Waits for a job to settle, without a crash; returns its number and its update.
    fn next(&mut self) -> Option<(JobId, Trained)> {
        let mut no_crash = |incident: Incident<'_>| match incident {
            Incident::Crashed(crash) => panic!("{crash}"),
            Incident::Done(_) => Ok(()),
        };
        let SettledJob { id, settled, .. } = self.fleet.next_settled(Some(1), &mut no_crash).unwrap()?;
        Some((id, update(settled)))
    }

    /// Has all clients train from (1, 2).
    fn train(&mut self) -> (Result<Vec<Settled>>, Vec<Crash>) {
        let clients = self.fleet.len() as u32;
        self.run((0..clients).map(training).collect(), &no_check())
    }
}

fn training(client: u32) -> Job {
    job(client as usize, Some(client), Request::Train(Train::plain(client, 1)))
}

fn evaluation(slot: usize) -> Job {
    job(slot, None, Request::Evaluate(Evaluate::test(vec![0])))
}

fn job(slot: usize, client: Option<u32>, request: Request) -> Job {
    let only_scores = matches!(request, Request::Evaluate(Evaluate { client: Some(_), .. }));
    Job { slot, client, request, weights: Some(Arc::new(vec![1.0, 2.0])), parts: Vec::new(), only_scores }
}

fn no_check() -> Arc<Check> {
    Arc::new(|_: &Job, _: &Reply, _: &mut Parts, _: usize| Ok(()))
}

/// Submits jobs, and waits until all have settled; returns the results in the order of the jobs.
fn do_jobs(
    fleet: &mut Fleet,
    jobs: Vec<Job>,
    check: &Arc<Check>,
    submitter: &mut dyn Submitter,
) -> Result<Vec<Settled>> {
    jobs.into_iter().for_each(|job| {
        fleet.submit(job, check);
    });
    let mut all = Vec::new();
    while let Some(settled) = fleet.next_settled(Some(1), submitter)? {
        all.push(settled);
    }
    all.sort_by_key(|settled| settled.id);
    Ok(all.into_iter().map(|settled| settled.settled).collect())
}

/// Returns the client and the weights of an update; none for a job without a reply.
fn update(settled: Settled) -> Trained {
    match settled {
        Ok((Reply::Update(Update { client, .. }), mut parts)) => Some((client, parts.take_f32(WEIGHTS).unwrap())),
        _ => None,
    }
}

/// Returns the updates in the order of the jobs.
fn updates(settled: Vec<Settled>) -> Vec<Trained> {
    settled.into_iter().map(update).collect()
}

fn expected(clients: &[u32]) -> Vec<Trained> {
    clients.iter().map(|&client| Some((client, trained(client, &[1.0, 2.0])))).collect()
}

/// Greets, reports that it is ready, and exits with `status` at the first request.
fn exit_at_work(client: &mut ScriptedClient, status: ExitStatus) -> ExitStatus {
    if client.greet().is_some() {
        client.say(&Reply::Ready(ready()), None);
        client.next();
    }
    status
}

/// A door that the test opens.
#[derive(Debug, Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        drop(self.1.wait_timeout_while(self.0.lock().unwrap(), PATIENCE, |is_open| !*is_open).unwrap());
    }
}
