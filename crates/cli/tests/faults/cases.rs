//! Faults that a model commits in its client process, each under each policy.

use std::{
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    Fault,
    common::Place,
    live::Live,
    stage::{Ended, Policy, Stage, TIMEOUT, UNCONFINED, since, undisturbed},
    table::Row,
};

/// A fault that is due for a client in round 2.
#[derive(Clone)]
pub(crate) struct Case {
    name: &'static str,
    fault: &'static str,
    /// The call in which the fault is due.
    at: &'static str,
    due: (u32, u64),
    /// Causes the fault and returns its time.
    act: fn(&mut Live<'_>, (u32, u64)) -> Instant,
    end: End,
    policies: &'static [Policy],
    more: &'static str,
    /// `true` if the client's log is full, so that it does not report when the client waits.
    mute: bool,
}

#[derive(Clone)]
enum End {
    /// No process crashes. So many processes that the model has started exist until the run ends.
    Unharmed(usize),
    /// The process crashes. Its cause has these fields; the host prints `says`, and the client's log has `log`.
    Crashed { cause: Value, says: &'static str, log: &'static str },
}

pub(crate) fn faults() -> Vec<Fault> {
    cases().into_iter().map(|case| (case.name, Box::new(move || case.play()) as _)).collect()
}

/// Returns the case in which the model commits a fault in `train`.
pub(crate) fn case(name: &'static str) -> Case {
    let end = End::Unharmed(0);
    let policies = &Policy::ALL;
    Case { name, fault: name, at: "train", due: (1, 2), act: allow, end, policies, more: "", mute: false }
}

fn allow(live: &mut Live<'_>, (client, round): (u32, u64)) -> Instant {
    let now = Instant::now();
    live.allow_fault(client, round);
    now
}

impl Case {
    pub(crate) fn fault(self, fault: &'static str) -> Self {
        Self { fault, ..self }
    }

    pub(crate) fn act(self, act: fn(&mut Live<'_>, (u32, u64)) -> Instant) -> Self {
        Self { act, ..self }
    }

    fn at(self, at: &'static str, due: (u32, u64)) -> Self {
        Self { at, due, fault: "panic", ..self }
    }

    /// Limits the case to one policy, since the host detects this fault only at the deadline.
    pub(crate) fn late(self) -> Self {
        let end = crashed(json!({"kind": "deadline", "seconds": 4.0}), "it gave no answer within 4 s", "");
        Self { policies: &[Policy::Retry], more: TIMEOUT, end, ..self }
    }

    pub(crate) fn crashed(self, cause: Value, says: &'static str) -> Self {
        Self { end: crashed(cause, says, ""), ..self }
    }

    fn more(self, more: &'static str) -> Self {
        Self { more, ..self }
    }

    /// Runs without isolation, since isolation forbids this fault.
    fn unconfined(self) -> Self {
        self.more(UNCONFINED)
    }

    fn mute(self) -> Self {
        Self { mute: true, ..self }
    }

    fn log(mut self, text: &'static str) -> Self {
        if let End::Crashed { log, .. } = &mut self.end {
            *log = text;
        }
        self
    }

    fn unharmed(self, further: usize) -> Self {
        Self { end: End::Unharmed(further), policies: &[Policy::Retry], ..self }
    }

    pub(crate) fn exit(self, code: i32, says: &'static str) -> Self {
        self.crashed(json!({"kind": "exit", "code": code}), says)
    }

    pub(crate) fn signal(self, signal: Signal) -> Self {
        let says = format!("killed by {signal}").leak();
        self.crashed(json!({"kind": "signal", "number": signal as i32}), says)
    }

    fn reported(self, says: &'static str) -> Self {
        self.crashed(json!({"kind": "reported", "failure": "model"}), says)
    }

    fn protocol(self, says: &'static str) -> Self {
        self.crashed(json!({"kind": "protocol"}), says)
    }

    fn rejected(self, says: &'static str) -> Self {
        self.crashed(json!({"kind": "rejected"}), says)
    }

    pub(crate) fn boxed(self) -> Fault {
        (self.name, Box::new(move || self.play()))
    }

    /// Returns the client and the process that crash; no client if the process only evaluates.
    fn who(&self) -> (Option<u32>, u32) {
        (Some(self.due.0).filter(|_| self.at != "evaluate"), self.due.0)
    }

    fn play(&self) -> Row {
        let played: Vec<(Option<Duration>, String)> = thread::scope(|scope| {
            let runs: Vec<_> = self.policies.iter().map(|&policy| scope.spawn(move || self.under(policy))).collect();
            runs.into_iter().map(|run| run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let detected = played.iter().filter_map(|(detected, _)| *detected).max();
        let happened = match &self.end {
            End::Unharmed(_) => "nothing; its processes and threads end with the run".to_owned(),
            End::Crashed { says, .. } => (*says).to_owned(),
        };
        let costs: Vec<String> = played.into_iter().map(|(_, cost)| cost).collect();
        Row { happened, detected, cost: costs.join("; ") }
    }

    /// Causes the fault under a policy. Returns the time to detect it, and its cost.
    fn under(&self, policy: Policy) -> (Option<Duration>, String) {
        let Self { fault, at, due: (client, round), more, .. } = self;
        let place = Place::new();
        let mut stage = Stage::held(
            &place,
            &format!(
                "--on-failure {} {more} --model-option fault={fault} --model-option at={at} --model-option once=marks \
                 --model-option client={client} --model-option round={round}",
                policy.name()
            ),
        );
        stage.live.await_fault(*client, *round);
        let start = (self.act)(&mut stage.live, self.due);
        if let End::Unharmed(further) = self.end {
            stage.await_whole(further);
            stage.end().is_whole(0, "");
            return (None, "nothing".into());
        }
        let who = match self.who() {
            (Some(client), _) => format!("client {client}"),
            (None, process) => format!("client process {process}"),
        };
        let detected = since(start, stage.await_crash(&who));
        match policy {
            Policy::Abort => {}
            _ if self.mute => stage.live.mark("round-3"),
            _ => stage.await_whole(0),
        }
        let ended = stage.end();
        self.is_told(&ended, policy, &who);
        (Some(detected), self.cost(&ended, policy))
    }

    /// Checks that the ledger and the screen name the cause, the client's last output and its log.
    fn is_told(&self, ended: &Ended, policy: Policy, who: &str) {
        let End::Crashed { cause, says, log } = &self.end else { return };
        let (client, process) = self.who();
        let then = match policy {
            Policy::Retry => "retried",
            Policy::Drop if client.is_none() => "moved",
            Policy::Drop => "dropped",
            Policy::Abort => "aborted",
        };
        let crashes = ended.crashes();
        let [line] = crashes.as_slice() else { panic!("{} lines: {crashes:?}", crashes.len()) };
        for (field, expected) in
            [("round", json!(2)), ("client", json!(client)), ("process", json!(process)), ("then", json!(then))]
        {
            assert_eq!(line[field], expected, "{field} in {line}");
        }
        for (field, expected) in cause.as_object().unwrap() {
            assert_eq!(line["cause"][field], *expected, "{field} of the cause in {line}");
        }
        let file = format!("clients/{process:03}.log");
        assert!(line["log"].as_str().unwrap().ends_with(&file) && ended.run.0.join(&file).exists(), "{line}");
        let words: Vec<&str> = line["last_words"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(words.iter().any(|word| word.contains(log)), "{log:?} is not in {words:?}");

        let report = match cause["kind"].as_str() {
            Some("rejected") => format!("{who}'s update of round 2 was refused: "),
            _ => format!("{who} crashed in round 2 after "),
        };
        let report = ended.errors.lines().find(|line| line.contains(&report)).unwrap_or_default();
        assert!(report.contains(says), "{says:?} is not in {}", ended.errors);
        for said in [format!("  | {}", words[0]), format!("  its log: {}", ended.run.0.join(&file).display())] {
            assert!(ended.errors.contains(&said), "{said:?} is not in {}", ended.errors);
        }
        assert!(ended.run.logs().len() < (1 << 20) + 4096, "{} bytes of log", ended.run.logs().len());
    }

    /// Checks that the cost is one client's update of one round, or nothing, and returns it as text.
    fn cost(&self, ended: &Ended, policy: Policy) -> String {
        let trained = self.who().0.is_some();
        match policy {
            Policy::Drop if trained => {
                assert!(ended.status.success(), "{}", ended.errors);
                assert_eq!(ended.rounds(), [(4, 0), (3, 1), (4, 0)]);
                assert_eq!(ended.run.ledger("round")[1]["participants"], json!([0, 2, 3]));
                assert_eq!(ended.run.summary()["clients_dropped"], json!(true));
                assert_ne!(ended.run.weights_sha256(), undisturbed(""));
                "drop: 1 update of 1 round".into()
            }
            Policy::Retry | Policy::Drop => {
                ended.is_whole(1, "");
                format!("{}: nothing", policy.name())
            }
            Policy::Abort => {
                assert_eq!(ended.status.code(), Some(6), "{}", ended.errors);
                let last = ended.errors.lines().last().unwrap();
                assert!(
                    last.starts_with("error: client ")
                        && (last.contains("crashed in round 2") || last.contains("update of round 2 was refused")),
                    "{last}"
                );
                // The results are those of the last completed round.
                assert_eq!((ended.rounds(), &ended.run.summary()["rounds"]), (vec![(4, 0)], &json!(1)));
                assert_eq!(ended.run.weights_sha256(), ended.run.ledger("round")[0]["weights_sha256"]);
                "abort: the run, after round 1".into()
            }
        }
    }
}

fn crashed(cause: Value, says: &'static str, log: &'static str) -> End {
    End::Crashed { cause, says, log }
}

fn cases() -> Vec<Case> {
    const ERROR: &str = "as it was told, the model returns an error";
    const PANIC: &str = "the model panicked: as it was told, the model panics";
    vec![
        case("exit-0").exit(0, "it exited with code 0 before its work was done"),
        case("exit-3").exit(3, "it exited with code 3"),
        case("segfault").signal(Signal::SIGSEGV),
        case("abort").signal(Signal::SIGABRT),
        case("overflow-stack").signal(Signal::SIGABRT).log("has overflowed its stack"),
        case("allocate")
            .more("--memory-limit 512M")
            .crashed(json!({"kind": "memory_limit", "bytes": 512 << 20}), "it wanted more than its 512M of memory")
            .log("memory allocation of 67108864 bytes failed"),
        case("spin").late(),
        case("sleep").late(),
        case("print").late().mute().log("a model that prints without end"),
        case("error").reported(ERROR),
        case("escape-codes").reported("\u{fffd}[2J of many lines"),
        case("panic-in-train").at("train", (1, 2)).reported(PANIC).log("panicked at"),
        case("panic-in-weights").at("weights", (1, 2)).reported(PANIC),
        // In round 2 the host sends it weights after it has trained in round 1.
        case("panic-in-set-weights").at("set_weights", (1, 1)).reported(PANIC),
        case("panic-in-evaluate").at("evaluate", (0, 2)).reported(PANIC),
        case("rounding").reported("left the floating-point"),
        case("nan").rejected("update of round 2 was refused: weight 1 is NaN"),
        case("infinite").rejected("update of round 2 was refused: weight 1 is inf"),
        case("too-few").reported("9 weights"),
        case("too-many").reported("11 weights"),
        close_all(),
        case("close-all-and-sleep").unconfined().protocol("it closed its pipe and did not exit"),
        case("garbage").protocol(r#"it starts with "what" instead of "fdp1""#),
        case("half-frame-and-exit").exit(0, "it exited with code 0 before its work was done"),
        case("huge-frame").protocol("a payload of 1152921504606846976 bytes, at most 40 were asked for"),
        case("others-update")
            .protocol("it answered for client 0 in round 2, expected an update of client 1 for round 2"),
        case("threads").unconfined().unharmed(0),
        case("fork").unconfined().unharmed(1),
        case("fork-and-exit").unconfined().exit(3, "it exited with code 3"),
        case("fork-away").unconfined().unharmed(1),
        case("fork-away-and-exit").unconfined().exit(3, "it exited with code 3"),
    ]
}

/// Returns a case in which the client cannot answer. If std is built with checks, closing a closed descriptor ends it.
fn close_all() -> Case {
    let case = case("close-all").unconfined();
    if cfg!(debug_assertions) { case.signal(Signal::SIGABRT) } else { case.exit(1, "it exited with code 1") }
}
