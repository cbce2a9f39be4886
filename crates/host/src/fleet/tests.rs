//! Tests of a fleet whose clients are threads that follow a script.

use std::{
    path::Path,
    process::ExitStatus,
    sync::{Condvar, Mutex, mpsc},
    time::Duration,
};

use fedpipe_protocol::{
    Evaluate, HeldPartition, Isolation, Kind, Level, PROTOCOL, Parts, Place, Purpose, Target, Task, Tensor, Train,
    Update, WEIGHTS,
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
    Job { slot, client, request, weights: Some(Arc::new(vec![1.0, 2.0])), parts: Vec::new() }
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

#[test]
fn a_retried_job_has_the_result_of_one_that_never_failed() {
    let mut stage = Stage::new(3, OnFailure::Retry, |client| match (client.number, client.start) {
        (1, 0) => exit_at_work(client, exit(3)),
        _ => client.serve(),
    });
    let (settled, crashes) = stage.train();
    assert_eq!(updates(settled.unwrap()), expected(&[0, 1, 2]));
    assert_eq!(crashes, [(Some(1), Consequence::Retried, "it exited with code 3".into())]);
}

#[test]
fn a_client_that_crashes_twice_costs_its_own_job_and_no_other() {
    let mut stage = Stage::new(3, OnFailure::Retry, |client| match (client.number, client.start) {
        (1, 0 | 1) => exit_at_work(client, signal(libc::SIGSEGV)),
        _ => client.serve(),
    });
    let (settled, crashes) = stage.train();
    let settled = settled.unwrap();
    assert_eq!(settled[1].as_ref().unwrap_err().cause, Cause::Signal { number: libc::SIGSEGV });
    assert_eq!(updates(settled), [expected(&[0]), vec![None], expected(&[2])].concat());
    let consequences: Vec<Consequence> = crashes.iter().map(|(_, then, _)| *then).collect();
    assert_eq!(consequences, [Consequence::Retried, Consequence::Dropped]);
    // The next round has the client again.
    assert_eq!(updates(stage.train().0.unwrap()), expected(&[0, 1, 2]));
}

#[test]
fn the_policies_drop_and_abort_give_up_at_the_first_crash() {
    let crash = |client: &mut ScriptedClient| match (client.number, client.start) {
        (1, 0) => {
            client.print("why it failed\n");
            exit_at_work(client, exit(3))
        }
        _ => client.serve(),
    };
    let mut stage = Stage::new(2, OnFailure::Drop, crash);
    let (settled, crashes) = stage.train();
    let settled = settled.unwrap();
    assert_eq!(settled[1].as_ref().unwrap_err().last_words, ["why it failed"]);
    assert_eq!(updates(settled), [expected(&[0]), vec![None]].concat());
    assert_eq!(crashes[0].1, Consequence::Dropped);
    let (settled, crashes) = Stage::new(2, OnFailure::Abort, crash).train();
    let sentence = settled.unwrap_err().to_string();
    assert!(sentence.starts_with("client 1 crashed in round 1") && sentence.ends_with("code 3"), "{sentence}");
    assert_eq!(crashes[0].1, Consequence::Aborted);
}

#[test]
fn a_job_of_no_client_moves_to_another_process() {
    let mut stage = Stage::new(2, OnFailure::Retry, |client| match client.number {
        0 => exit_at_work(client, exit(3)),
        _ => client.serve(),
    });
    let (settled, crashes) = stage.run(vec![evaluation(0), evaluation(1)], &no_check());
    assert!(settled.unwrap().iter().all(|settled| matches!(settled, Ok((Reply::Evaluated { .. }, _)))));
    let consequences: Vec<Consequence> = crashes.iter().map(|(_, then, _)| *then).collect();
    assert_eq!(consequences, [Consequence::Retried, Consequence::Moved]);
}

/// With one process there is no other: a fresh one takes its place, as after a retry.
#[test]
fn a_job_of_no_client_is_retried_where_there_is_one_process() {
    let mut stage = Stage::new(1, OnFailure::Drop, |client| match client.start {
        0 => exit_at_work(client, exit(3)),
        _ => client.serve(),
    });
    let (settled, crashes) = stage.run(vec![evaluation(0)], &no_check());
    assert!(settled.unwrap()[0].is_ok());
    assert_eq!(crashes.iter().map(|(_, then, _)| *then).collect::<Vec<_>>(), [Consequence::Retried]);
}

#[test]
fn a_job_that_no_process_can_do_is_dropped_after_each_has_tried() {
    let mut stage = Stage::new(2, OnFailure::Retry, |client| exit_at_work(client, exit(3)));
    let (settled, crashes) = stage.run(vec![evaluation(0)], &no_check());
    assert!(settled.unwrap()[0].is_err());
    let consequences: Vec<Consequence> = crashes.iter().map(|(_, then, _)| *then).collect();
    assert_eq!(consequences, [Consequence::Retried, Consequence::Moved, Consequence::Dropped]);
}

#[test]
fn a_refused_reply_costs_the_process_and_is_asked_for_again() {
    let mut stage = Stage::new(2, OnFailure::Retry, |client| client.serve());
    let refused = Mutex::new(false);
    let check: Arc<Check> = Arc::new(move |job: &Job, _: &Reply, _: &mut Parts, weights: usize| {
        assert_eq!(weights, 2, "the number of the model's weights");
        match job.client {
            Some(1) if !std::mem::replace(&mut *refused.lock().unwrap(), true) => {
                Err(Cause::rejected("weight 1 is NaN"))
            }
            _ => Ok(()),
        }
    });
    let (settled, crashes) = stage.run(vec![training(0), training(1)], &check);
    assert_eq!(updates(settled.unwrap()), expected(&[0, 1]));
    assert_eq!(crashes, [(Some(1), Consequence::Retried, "its update was refused: weight 1 is NaN".into())]);
}

#[test]
fn a_client_that_says_nothing_is_ended_at_the_deadline() {
    let timeout = Duration::from_millis(20);
    let silent = |client: &mut ScriptedClient| client.wait_for_end();
    let mut stage = Stage::with_timeout(1, OnFailure::Drop, timeout, silent);
    let (settled, crashes) = stage.train();
    assert_eq!(settled.unwrap()[0].as_ref().unwrap_err().cause, Cause::deadline(timeout));
    assert_eq!(crashes[0].1, Consequence::Dropped);
}

#[test]
fn an_idle_client_that_exits_is_replaced_and_costs_no_job() {
    let (request_exit, requested) = mpsc::channel::<()>();
    let requested = Mutex::new(requested);
    let mut stage = Stage::new(2, OnFailure::Abort, move |client| match (client.number, client.start) {
        (1, 0) => {
            client.greet();
            client.say(&Reply::Ready(ready()), None);
            let (request, parts) = client.next().unwrap();
            client.answer(&request, parts);
            requested.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            signal(libc::SIGKILL)
        }
        _ => client.serve(),
    });
    assert_eq!(updates(stage.train().0.unwrap()), expected(&[0, 1]));
    request_exit.send(()).unwrap();
    let process = stage.fleet.slots[1].process.as_ref().unwrap();
    assert!(wait_readable(process.exited_fd(), PollTimeout::NONE).unwrap());
    let (settled, crashes) = stage.train();
    assert_eq!(updates(settled.unwrap()), expected(&[0, 1]));
    assert_eq!(crashes, [(None, Consequence::Replaced, "killed by SIGKILL".into())]);
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

/// Returns the cause for which a second client with this description is ended, and whether the run ended.
fn refusal(second: Ready) -> (String, bool) {
    let gate = Arc::new(Gate::default());
    let passed = Arc::clone(&gate);
    let mut stage = Stage::new(2, OnFailure::Drop, move |client| match client.number {
        0 => client.serve(),
        _ => {
            passed.pass();
            client.serve_as(second.clone());
            exit(0)
        }
    });
    stage.fleet.ready().unwrap();
    gate.open();
    let (settled, crashes) = stage.train();
    match settled {
        Ok(settled) => {
            assert_eq!(updates(settled), [expected(&[0]), vec![None]].concat());
            (crashes[0].2.clone(), false)
        }
        Err(error) => (error.to_string(), true),
    }
}

#[test]
fn a_process_must_describe_the_model_data_and_isolation_of_the_others() {
    let tensor = |name: &str| Tensor { name: name.into(), shape: vec![2], kind: Kind::Param, place: Place::Shared };
    let seccomp = InForce { seccomp: true, ..InForce::default() };
    let cases = [
        (Ready { name: "another".into(), ..ready() }, "its model is not that of the other clients", false),
        (Ready { layout: vec![tensor("v")], ..ready() }, "its model is not that of the other clients", false),
        (
            Ready { examples: vec![1, 2], ..ready() },
            "it says how many examples are in 2 partitions, and holds 1",
            false,
        ),
        (Ready { in_force: seccomp, ..ready() }, "its isolation is not that of the other clients", false),
        (Ready { layout: vec![tensor("w"), tensor("w")], ..ready() }, "w", true),
    ];
    for (second, why, ends_the_run) in cases {
        let (said, ended) = refusal(second);
        assert!(said.contains(why) && ended == ends_the_run, "{said}: {why}");
    }
}

#[test]
fn a_fresh_process_with_other_data_is_refused() {
    let mut stage = Stage::new(1, OnFailure::Retry, |client| match client.start {
        0 => exit_at_work(client, exit(3)),
        _ => {
            client.serve_as(Ready { examples: vec![2], ..ready() });
            exit(0)
        }
    });
    let (settled, crashes) = stage.train();
    assert!(settled.unwrap()[0].is_err());
    assert!(crashes[1].2.contains("its data have 2 examples, had 1 before"), "{crashes:?}");
}

#[test]
fn a_client_of_another_protocol_and_one_that_does_not_greet_are_refused_by_name() {
    let cases = [
        (Reply::Hello { protocol: PROTOCOL + 1 }, format!("it speaks protocol {}, this host {PROTOCOL}", PROTOCOL + 1)),
        (Reply::Weights, "its first message is \"weights\"".into()),
    ];
    for (first, why) in cases {
        let mut stage = Stage::new(1, OnFailure::Drop, move |client| {
            client.say(&first, None);
            client.wait_for_end()
        });
        let (_, crashes) = stage.train();
        assert_eq!(crashes[0].2, format!("it broke the protocol: {why}"));
    }
}

/// Serves; the model of the dylib `b.so` has another layout, and that of `c.so` crashes at work.
fn serve_dylib(client: &mut ScriptedClient) -> ExitStatus {
    let Some(setup) = client.greet() else { return exit(0) };
    let tensor = Tensor { name: "b".into(), shape: vec![3], kind: Kind::Param, place: Place::Shared };
    match setup.dylib.as_ref().and_then(|path| path.to_str()) {
        Some("/b.so") => client.say(&Reply::Ready(Ready { layout: vec![tensor], ..ready() }), None),
        Some("/c.so") => {
            client.say(&Reply::Ready(ready()), None);
            client.next();
            return exit(9);
        }
        _ => client.say(&Reply::Ready(Ready { version: "2".into(), ..ready() }), None),
    }
    client.answer_all();
    exit(0)
}

#[test]
fn a_dylib_is_swapped_if_its_layout_is_the_same_and_returns_if_its_first_round_fails() {
    let mut stage = Stage::new(2, OnFailure::Drop, serve_dylib);
    assert_eq!(updates(stage.train().0.unwrap()), expected(&[0, 1]));
    let why = stage.fleet.swap(Path::new("/b.so"), "0").unwrap_err().to_string();
    assert!(
        why.contains(
            "/b.so has another layout: its tensor 0 is b [3] (shared parameter), was w [2] (shared parameter)"
        ),
        "{why}"
    );
    assert_eq!(updates(stage.train().0.unwrap()), expected(&[0, 1]), "the processes of before remain");
    assert!(!stage.fleet.revert(), "nothing was swapped");

    stage.fleet.swap(Path::new("/c.so"), "0").unwrap();
    assert_eq!(stage.fleet.model().unwrap().version, "1");
    let (settled, crashes) = stage.train();
    assert!(matches!(settled, Err(Error::Round(_))), "{settled:?}");
    assert_eq!(crashes[0].1, Consequence::Reverted);
    assert!(stage.fleet.revert());
    assert_eq!(stage.fleet.model().unwrap().version, "2");
    assert_eq!(updates(stage.train().0.unwrap()), expected(&[0, 1]));

    // A dylib that is kept is not returned from.
    stage.fleet.swap(Path::new("/d.so"), "0").unwrap();
    stage.fleet.keep_dylib();
    assert!(!stage.fleet.revert());
    assert_eq!(updates(stage.train().0.unwrap()), expected(&[0, 1]));
}

#[test]
fn a_stop_ends_a_wait_for_clients_and_one_before_the_start_counts() {
    let mut stage = Stage::new(1, OnFailure::Retry, |client| client.wait_for_end());
    let handle = stage.control.handle();
    let stopper = std::thread::Builder::new().spawn(move || handle.stop(15)).unwrap();
    assert!(matches!(stage.train().0, Err(Error::Stopped(15))));
    stopper.join().unwrap();

    let (logs, control) = (tempfile::tempdir().unwrap(), Control::default());
    control.handle().stop(2);
    let silent = Arc::new(Scripted::new(|client: &mut ScriptedClient| client.wait_for_end()));
    let environment = Environment::new(silent, logs.path().to_owned(), Duration::from_secs(3600));
    let mut fleet = Fleet::start(environment, &control.stop, vec![setup(0)], 1, OnFailure::Retry).unwrap();
    assert!(matches!(fleet.ready(), Err(Error::Stopped(2))));
}

#[test]
fn a_stop_ends_the_wait_for_a_process_with_another_dylib() {
    let (started, starts) = mpsc::channel();
    let started = Mutex::new(started);
    let mut stage = Stage::new(1, OnFailure::Retry, move |client| {
        // The first process has no need to serve: the swap only asks the second.
        let _ = started.lock().unwrap().send(client.start);
        client.wait_for_end()
    });
    let handle = stage.control.handle();
    let stopper = std::thread::Builder::new().spawn(move || {
        starts.iter().find(|&start| start == 1).unwrap();
        handle.stop(15);
    });
    let swapped = stage.fleet.swap(Path::new("/b.so"), "0");
    assert!(matches!(swapped, Err(Error::Stopped(15))), "{swapped:?}");
    stopper.unwrap().join().unwrap();
}

#[test]
fn no_result_depends_on_the_order_of_arrival() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let gates: Arc<[Gate; 4]> = Arc::default();
        let passed = Arc::clone(&gates);
        let mut stage = Stage::new(4, OnFailure::Retry, move |client| {
            client.greet();
            client.say(&Reply::Ready(ready()), None);
            while let Some((request, parts)) = client.next() {
                passed[client.number as usize].pass();
                client.answer(&request, parts);
            }
            exit(0)
        });
        // Each reply is sent once the host has taken the one before.
        gates[order[0]].open();
        let mut arrived = Vec::new();
        let jobs = (0..4).map(training).collect();
        let settled = do_jobs(&mut stage.fleet, jobs, &no_check(), &mut |incident: Incident<'_>| {
            let Incident::Done(job) = incident else { panic!("no client crashes") };
            arrived.push(job.slot);
            order.get(arrived.len()).iter().for_each(|&&next| gates[next].open());
            Ok(())
        });
        assert_eq!(arrived, order);
        assert_eq!(updates(settled.unwrap()), expected(&[0, 1, 2, 3]), "{order:?}");
    }
}

/// Returns the script of a client that passes the gate of its number before it answers a request.
fn gated(gates: &Arc<[Gate; 3]>) -> impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static {
    let gates = Arc::clone(gates);
    move |client| {
        client.greet();
        client.say(&Reply::Ready(ready()), None);
        while let Some((request, parts)) = client.next() {
            gates[client.number as usize].pass();
            client.answer(&request, parts);
        }
        exit(0)
    }
}

#[test]
fn a_job_is_submitted_and_settles_while_another_is_in_flight() {
    let gates: Arc<[Gate; 3]> = Arc::default();
    let mut stage = Stage::new(3, OnFailure::Retry, gated(&gates));
    let submit = |stage: &mut Stage, client| stage.fleet.submit(training(client), &no_check());
    let (slow, quick) = (submit(&mut stage, 0), submit(&mut stage, 1));
    gates[1].open();
    assert_eq!(stage.next(), Some((quick, expected(&[1])[0].clone())));
    // The process of client 1 is idle, and that of client 2 has had no job.
    gates[2].open();
    let later = submit(&mut stage, 2);
    assert_eq!(stage.next(), Some((later, expected(&[2])[0].clone())));
    let again = submit(&mut stage, 1);
    assert_eq!(stage.next(), Some((again, expected(&[1])[0].clone())));
    gates[0].open();
    assert_eq!(stage.next(), Some((slow, expected(&[0])[0].clone())));
    assert_eq!(stage.next(), None);
}

#[test]
fn a_job_is_completed_once_and_only_when_it_is_sent() {
    /// Counts the jobs that were completed and those that were answered.
    #[derive(Default)]
    struct Counter {
        prepared: Vec<u32>,
        ahead: usize,
        done: usize,
    }

    impl Submitter for Counter {
        fn prepare(&mut self, job: &mut Job) -> Result<()> {
            self.prepared.extend(job.client);
            self.ahead = self.ahead.max(self.prepared.len() - self.done);
            job.weights = Some(Arc::new(vec![1.0, 2.0]));
            Ok(())
        }

        fn on_incident(&mut self, incident: Incident<'_>) -> Result<()> {
            self.done += usize::from(matches!(incident, Incident::Done(_)));
            Ok(())
        }
    }

    // The first process crashes in its second job, which is sent again.
    let mut stage = Stage::new(1, OnFailure::Retry, |client| {
        client.greet();
        client.say(&Reply::Ready(ready()), None);
        if client.start == 0 {
            let (request, parts) = client.next().unwrap();
            client.answer(&request, parts);
            client.next();
            return exit(3);
        }
        client.answer_all();
        exit(0)
    });
    let jobs = (0..6).map(|client| Job { slot: 0, weights: None, ..training(client) }).collect();
    let mut counter = Counter::default();
    let settled = do_jobs(&mut stage.fleet, jobs, &no_check(), &mut counter).unwrap();
    assert_eq!(updates(settled), expected(&[0, 1, 2, 3, 4, 5]));
    assert_eq!((counter.prepared, counter.ahead), (vec![0, 1, 2, 3, 4, 5], 1));
}

#[test]
fn nothing_of_a_round_that_failed_is_in_the_next_one() {
    // Client 0 waits in its first job, client 1 crashes in its first, and client 2 answers.
    let [gate, at_work] = [(); 2].map(|()| Arc::new(Gate::default()));
    let passed = Arc::clone(&gate);
    let mut stage = Stage::new(3, OnFailure::Abort, move |client| match (client.number, client.start) {
        (0, 0) => {
            client.greet();
            client.say(&Reply::Ready(ready()), None);
            client.next();
            at_work.open();
            client.wait_for_end()
        }
        (1, 0) => {
            client.greet();
            client.say(&Reply::Ready(ready()), None);
            client.next();
            passed.pass();
            at_work.pass();
            exit(3)
        }
        _ => client.serve(),
    });
    // Client 2 has done one of its jobs, and client 0 has one, when client 1 crashes.
    let jobs = [0, 0, 1, 2].map(training);
    let failed = do_jobs(&mut stage.fleet, jobs.into(), &no_check(), &mut |incident: Incident<'_>| {
        if let Incident::Done(_) = incident {
            gate.open();
        }
        Ok(())
    });
    assert!(matches!(failed, Err(Error::Round(_))), "{failed:?}");
    assert_eq!(stage.next(), None, "no job is left");
    let next = stage.fleet.submit(training(2), &no_check());
    assert_eq!(stage.next(), Some((next, expected(&[2])[0].clone())));
    assert_eq!(stage.next(), None);
    let (settled, crashes) = stage.train();
    assert_eq!((updates(settled.unwrap()), crashes), (expected(&[0, 1, 2]), Vec::new()));
}

#[test]
fn a_fleet_without_jobs_waits_for_no_process() {
    let mut stage = Stage::new(1, OnFailure::Retry, |client| client.wait_for_end());
    assert!(stage.run(Vec::new(), &no_check()).0.unwrap().is_empty());
}

#[test]
fn the_sizes_are_those_that_the_clients_report() {
    let mut stage = Stage::new(2, OnFailure::Retry, |client| {
        client.serve_as(Ready { examples: vec![u64::from(client.number) + 7], ..ready() });
        exit(0)
    });
    assert_eq!(stage.fleet.sizes().unwrap(), [7, 8]);
    let mut silent = Stage::new(1, OnFailure::Retry, |client| {
        client.serve_as(Ready { examples: Vec::new(), ..ready() });
        exit(0)
    });
    let why = silent.fleet.sizes().unwrap_err().to_string();
    assert!(why.starts_with("client 0 does not say how many examples"), "{why}");
}

/// The run ends before the first round, since an empty partition has no update.
#[test]
fn a_client_without_examples_is_refused_with_the_remedy() {
    for (examples, said) in [(0, "0 examples"), (1 << 32, "4294967296 examples")] {
        let mut stage = Stage::new(2, OnFailure::Drop, move |client| {
            let examples = vec![if client.number == 1 { examples } else { 7 }];
            client.serve_as(Ready { examples, ..ready() });
            exit(0)
        });
        let refused = stage.fleet.sizes();
        let Err(Error::Data(_)) = refused else { panic!("{refused:?}") };
        let why = refused.unwrap_err().to_string();
        assert!(why.contains(&format!("client 1 says that its partition has {said}, and can have 1 to ")), "{why}");
        assert!(why.ends_with("; give it other data, or leave the client out"), "{why}");
    }
}

/// Returns a fleet of two clients elsewhere that follow `script`, and the folder of its logs.
fn two_elsewhere(
    script: impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static,
) -> (Fleet, tempfile::TempDir) {
    let logs = tempfile::tempdir().unwrap();
    let clients = Arc::new(Scripted::new(script).elsewhere());
    let environment = Environment::new(clients, logs.path().to_owned(), Duration::from_secs(3600));
    (Fleet::start(environment, &Arc::default(), vec![setup(0), setup(1)], 2, OnFailure::Retry).unwrap(), logs)
}

/// A client elsewhere may be another program than the first one that is ready.
#[test]
fn each_client_elsewhere_has_the_features_that_are_needed() {
    let start = |lacking: Option<u32>| {
        let script = move |client: &mut ScriptedClient| {
            let has = lacking != Some(client.number);
            let features = has.then(|| "linear".to_owned()).into_iter().collect();
            client.serve_as(Ready { features, ..ready() });
            exit(0)
        };
        two_elsewhere(script)
    };
    let needed = || vec![NeededFeature { name: "linear".into(), by: "the strategy" }];
    start(None).0.require(needed()).unwrap();
    start(Some(0)).0.require(Vec::new()).unwrap();
    for lacking in 0..2 {
        let refused = start(Some(lacking)).0.require(needed());
        let Err(Error::Model(why)) = refused else { panic!("{refused:?}") };
        let expected = format!("client {lacking} lacks the feature \"linear\", which the strategy needs; ");
        assert!(why.starts_with(&expected), "{why}");
    }
}

/// Client 1 is killed before it is ready, while a job of client 0 is at work, and is started again.
#[test]
fn a_process_that_ended_without_a_job_is_replaced_before_all_are_required() {
    let script = |client: &mut ScriptedClient| {
        if (client.number, client.start) == (1, 0) {
            client.greet();
            return signal(libc::SIGKILL);
        }
        client.serve_as(Ready { features: vec!["linear".into()], ..ready() });
        exit(0)
    };
    let (mut fleet, _logs) = two_elsewhere(script);
    while fleet.slots[1].process.is_some() {
        fleet.handle_report(None, &mut |_: Incident<'_>| Ok(())).unwrap();
    }
    fleet.require(vec![NeededFeature { name: "linear".into(), by: "the strategy" }]).unwrap();
    assert!(fleet.slots.iter().all(|slot| slot.proven));
}

/// The machines of clients elsewhere may have different processors.
#[test]
fn clients_may_have_different_instruction_sets() {
    let script = |client: &mut ScriptedClient| {
        let instruction_set = ["avx2", "avx\n512"][client.number as usize].to_owned();
        client.serve_as(Ready { instruction_set, ..ready() });
        exit(0)
    };
    let logs = tempfile::tempdir().unwrap();
    let environment = Environment::new(Arc::new(Scripted::new(script)), logs.path().to_owned(), PATIENCE);
    let setups = vec![setup(0), setup(1)];
    let mut fleet = Fleet::start(environment, &Arc::default(), setups, 2, OnFailure::Abort).unwrap();
    fleet.all_ready().unwrap();
    let named = &fleet.model().unwrap().instruction_set;
    assert!(named == "avx2" || named.starts_with("avx") && !named.contains('\n'), "{named:?}");
}

#[test]
fn each_client_elsewhere_has_an_isolation_of_its_own_and_a_change_is_reported() {
    let seccomp = |seccomp| InForce { seccomp, ..InForce::default() };
    let report =
        move |client: &ScriptedClient| Ready { in_force: seccomp(client.number + client.start as u32 == 1), ..ready() };
    let script = move |client: &mut ScriptedClient| {
        client.greet();
        client.say(&Reply::Ready(report(client)), None);
        match (client.next(), client.number, client.start) {
            (_, 0, 0) | (None, ..) => exit(3),
            (Some((request, parts)), ..) => {
                client.answer(&request, parts);
                client.answer_all();
                exit(0)
            }
        }
    };
    let (mut fleet, _logs) = two_elsewhere(script);
    fleet.all_ready().unwrap();
    let sorted = |fleet: &mut Fleet| {
        let mut confined: Vec<_> =
            fleet.take_confined().into_iter().map(|report| (report.process, report.in_force.seccomp)).collect();
        confined.sort_unstable();
        confined
    };
    assert_eq!(sorted(&mut fleet), [(Some(0), false), (Some(1), true)]);
    let jobs = vec![training(0), training(1)];
    do_jobs(&mut fleet, jobs, &no_check(), &mut |_: Incident<'_>| Ok(())).unwrap();
    assert_eq!(sorted(&mut fleet), [(Some(0), true)], "the fresh process of client 0 has another isolation");
}

#[test]
fn a_client_that_lacks_the_required_isolation_ends_the_run() {
    let logs = tempfile::tempdir().unwrap();
    let clients = Arc::new(Scripted::new(|client: &mut ScriptedClient| client.serve()).elsewhere());
    let environment = Environment::new(clients, logs.path().to_owned(), Duration::from_secs(3600));
    let isolation = Isolation { level: Level::Require, memory_limit: None, cpu_seconds: None };
    let setups = vec![Setup { isolation, ..setup(0) }];
    let mut fleet = Fleet::start(environment, &Arc::default(), setups, 1, OnFailure::Retry).unwrap();
    let refused = fleet.ready();
    let Err(Error::Isolation(why)) = refused else { panic!("{refused:?}") };
    assert!(why.starts_with("isolation is required, but client 0 says that it lacks all of it"), "{why}");
}
