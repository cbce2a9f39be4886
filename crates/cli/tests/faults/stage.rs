//! A run with a fault, and its processes and descriptors before and after.

use std::{
    collections::BTreeMap,
    fs,
    process::ExitStatus,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    common::{Place, Run, eventually, stderr},
    live::{Live, children, descriptors},
};

/// The flags of a run whose model starts threads or processes, or closes descriptors that it does not own.
pub(crate) const UNCONFINED: &str = "--isolation off";

/// The arguments of the run. Between its rounds, the host writes the ledger alone.
pub(crate) const RUN: &str = "misbehaving --clients 4 --rounds 3 --checkpoint-every 3";

/// The flag that makes clients wait at the start of each round until its mark exists.
pub(crate) const HELD: &str = "--model-option hold=marks";

/// The deadline of a client that will miss it. It holds for loading, too, so that it must be long enough for a loaded
/// machine.
pub(crate) const TIMEOUT: &str = "--client-timeout 4";

/// The policy of `--on-failure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Retry,
    Drop,
    Abort,
}

impl Policy {
    pub(crate) const ALL: [Policy; 3] = [Policy::Retry, Policy::Drop, Policy::Abort];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Policy::Retry => "retry",
            Policy::Drop => "drop",
            Policy::Abort => "abort",
        }
    }
}

/// Returns the digest of the final weights of a run without a fault, with `more` arguments.
pub(crate) fn undisturbed(more: &'static str) -> String {
    static KNOWN: Mutex<BTreeMap<&str, String>> = Mutex::new(BTreeMap::new());
    // A failure of another test must not fail this one.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(more).or_insert_with(|| Place::new().run(&format!("{RUN} {more}")).weights_sha256()).clone()
}

/// A live run of four clients.
pub(crate) struct Stage<'p> {
    place: &'p Place,
    pub(crate) live: Live<'p>,
    before: Option<Holding>,
}

/// The descriptors and child processes of a host, and further descendants.
#[derive(Debug, PartialEq, Eq)]
struct Holding {
    /// The number of open files of each kind.
    descriptors: BTreeMap<String, usize>,
    /// The number of its children, zombies included.
    children: usize,
    zombies: usize,
    /// The number of processes that descend from the host and are neither the host nor a child of it.
    further: usize,
}

impl<'p> Stage<'p> {
    pub(crate) fn start(place: &'p Place, more: &str) -> Self {
        Self { place, live: Live::start(place, &format!("{RUN} {more}")), before: None }
    }

    /// Starts a run whose clients wait, records the state of the host, and lets the run reach the middle of round 2.
    pub(crate) fn held(place: &'p Place, more: &str) -> Self {
        let stage = Self::held_in_one(place, more);
        stage.live.mark("round-1");
        stage.live.mark("round-2");
        stage
    }

    /// As for [`Stage::held`], with all clients waiting at the start of round 1.
    pub(crate) fn held_in_one(place: &'p Place, more: &str) -> Self {
        let mut stage = Self::start(place, &format!("--jobs 4 {HELD} {more}"));
        stage.live.await_held(4, 1);
        stage.before = Some(stage.holding());
        stage
    }

    /// As for [`Stage::held`], with client 0 waiting at the start of round 1, while the other clients wait for a job.
    pub(crate) fn one_at_work(place: &'p Place, more: &str) -> Self {
        let mut stage = Self::start(place, &format!("--jobs 1 {HELD} {more}"));
        stage.live.await_held(1, 1);
        stage.before = Some(stage.holding());
        stage
    }

    /// As for [`Stage::held`], with all clients waiting at the start of round 2.
    pub(crate) fn held_in_two(place: &'p Place, more: &str) -> Self {
        let mut stage = Self::held_in_one(place, more);
        stage.live.mark("round-1");
        stage.live.await_held(4, 2);
        stage
    }

    /// Waits for all clients to reach the start of round 3. The state of the host must then be that of round 1, with
    /// `further` more processes.
    pub(crate) fn await_whole(&mut self, further: usize) {
        self.await_whole_where(4, further);
    }

    /// As for [`Stage::await_whole`], with `at_work` clients at work at a time.
    pub(crate) fn await_whole_where(&mut self, at_work: u32, further: usize) {
        self.live.await_held(at_work, 3);
        let before = self.before.as_ref().unwrap();
        let now = self.holding();
        let descriptors = &before.descriptors;
        assert_eq!(now, Holding { descriptors: descriptors.clone(), children: 4, zombies: 0, further });
        self.live.mark("round-3");
    }

    /// Waits until the host reports a crash, which is then in the ledger.
    pub(crate) fn await_crash(&self, who: &str) -> Instant {
        let starts = [format!("{who} crashed"), format!("{who}'s update of round ")];
        self.live.await_said(&starts[0], |line| starts.iter().any(|start| line.contains(start)))
    }

    /// Waits for the end of the host. None of its processes may outlive it.
    pub(crate) fn end(self) -> Ended {
        let Self { place, live, .. } = self;
        let run = live.run.clone();
        let (status, errors) = live.end();
        await_nobody(place);
        Ended { run, status, errors }
    }

    fn holding(&self) -> Holding {
        let mut kinds = BTreeMap::new();
        for (_, target) in descriptors(self.live.pid()) {
            let kind = target.split_once(":[").map_or(target.as_str(), |(kind, _)| kind).to_owned();
            *kinds.entry(kind).or_default() += 1;
        }
        let children = children(self.live.pid());
        let near = |pid: i32| pid == self.live.pid() || children.iter().any(|(child, _)| *child == pid);
        let further = relatives(self.place).into_iter().filter(|pid| !near(*pid)).count();
        let zombies = children.iter().filter(|(_, state)| *state == 'Z').count();
        Holding { descriptors: kinds, children: children.len(), zombies, further }
    }
}

/// Waits until no process that was started in a place is left.
pub(crate) fn await_nobody(place: &Place) {
    eventually("the end of all processes", || relatives(place).is_empty().then_some(()));
}

/// Returns all processes that were started in a place, whoever their parent is: their working folder tells.
fn relatives(place: &Place) -> Vec<i32> {
    let folder = place.path("").canonicalize().unwrap();
    let numbers = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_ours = |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder);
    numbers.filter(is_ours).collect()
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) run: Run,
    pub(crate) status: ExitStatus,
    pub(crate) errors: String,
}

impl Ended {
    /// Returns the ledger's lines of crashes.
    pub(crate) fn crashes(&self) -> Vec<Value> {
        self.run.ledger("client_crashed")
    }

    /// Returns the number of clients in each round, and of those that failed.
    pub(crate) fn rounds(&self) -> Vec<(u64, u64)> {
        let number = |line: &Value, field| line[field].as_u64().unwrap();
        self.run.ledger("round").iter().map(|line| (number(line, "clients"), number(line, "failed"))).collect()
    }

    /// Checks that client 1 crashed in round 2, and again in the fresh process, and was dropped from that round alone.
    pub(crate) fn is_without_one_update(&self) {
        assert!(self.status.success(), "{}", self.errors);
        assert_eq!(self.rounds(), [(4, 0), (3, 1), (4, 0)]);
        let then: Vec<_> = self.crashes().iter().map(|line| line["then"].clone()).collect();
        assert_eq!(then, [json!("retried"), json!("dropped")]);
    }

    /// Checks that the run ended with the results of a run without a fault, after `failures` crashes.
    pub(crate) fn is_whole(&self, failures: usize, more: &'static str) {
        assert!(self.status.success(), "{}: {}", self.status, self.errors);
        assert_eq!(self.rounds(), [(4, 0), (4, 0), (4, 0)]);
        assert_eq!((self.crashes().len(), &self.run.summary()["failures"]), (failures, &json!(failures)));
        assert_eq!(self.run.weights_sha256(), undisturbed(more));
    }
}

/// Resumes an interrupted run, whose bits must be those of an uninterrupted one.
pub(crate) fn resume(place: &Place, run: &Run) {
    let output = place.fedpipe(&format!("run --resume {}", run.0.display())).output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, stderr(&output));
    assert_eq!(run.weights_sha256(), undisturbed(""));
    let rounds: Vec<_> = run.ledger("round").iter().map(|line| line["round"].as_u64().unwrap()).collect();
    assert_eq!(rounds, [1, 2, 3], "the ledger has a gap or a round twice");
    await_nobody(place);
}

/// Returns the time from a fault until the host's report.
pub(crate) fn since(fault: Instant, said: Instant) -> Duration {
    said.saturating_duration_since(fault)
}
