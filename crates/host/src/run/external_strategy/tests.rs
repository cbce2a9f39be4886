//! Tests of a strategy's program that is a thread with a script.

mod fresh_processes;
mod program_requests;

use std::{os::fd::AsFd, process::ExitStatus};

use fedpipe_protocol::{LOCAL, PROTOCOL, Part, Phase, PhaseStart, Reply, Request, Update, WEIGHTS};
use fedpipe_record::{
    seed::Seed,
    timeline::{TimelineEvent, TimelineSession},
};
use nix::poll::PollTimeout;
use tempfile::TempDir;

use super::{exchange::STATE, *};
use crate::{
    fleet::control::Control,
    process::{
        poll::wait_readable,
        scripted::{Scripted, ScriptedClient, exit, ready},
    },
};

/// Starts a program that follows `script`. Returns the folder of its log, too.
fn start_program(
    on_failure: OnFailure,
    control: &Control,
    script: impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static,
) -> (Result<StrategyProgram>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut experiment = Experiment { client: Some("true".into()), ..Experiment::default() };
    experiment.clients.on_failure = on_failure;
    let (directory, _) = RunDir::create(&experiment, None, Some(&folder.path().join("run")), false).unwrap();
    let launched = Launched { program: "/program".into(), words: Vec::new(), open: Vec::new(), closed: Vec::new() };
    let layout = Layout::new(ready().layout).unwrap();
    let program = (Scripted::new(script), launched);
    let timeline = Timeline::open(folder.path());
    let model = (Target::Real, &layout);
    (StrategyProgram::start(program, &experiment, model, (&directory, &timeline), &control.stop), folder)
}

/// Has the program launched and set up, without an ability.
fn set_up(program: &mut ScriptedClient) {
    set_up_with(program, &[], &[]);
}

fn set_up_with(program: &mut ScriptedClient, abilities: &[Ability], features: &[&str]) {
    program.receive::<Request>();
    program.send(&Reply::Launched(InForce::default()), &[]);
    program.send(&StrategyReply::Hello { protocol: PROTOCOL }, &[]);
    program.receive::<StrategyRequest>();
    let features = features.iter().map(|&name| name.to_owned()).collect();
    program.send(&StrategyReply::ReadyStrategy { abilities: abilities.to_vec(), features }, &[]);
}

/// Answers a request: the state has a byte more, and its length is added to each weight. Returns `false` at the end.
fn aggregate_next(program: &mut ScriptedClient) -> bool {
    let Some((StrategyRequest::Aggregate(_), mut parts)) = program.receive() else { return false };
    let state = [parts.take_u8(STATE).unwrap(), vec![1]].concat();
    let weights = parts.take_f32(WEIGHTS).unwrap();
    let weights: Vec<f32> = weights.iter().map(|weight| weight + state.len() as f32).collect();
    program.send(&StrategyReply::Aggregated, &[Part::F32(WEIGHTS, &weights), Part::U8(STATE, &state)]);
    true
}

/// Answers all requests.
fn serve(program: &mut ScriptedClient) -> ExitStatus {
    set_up(program);
    while aggregate_next(program) {}
    exit(0)
}

/// A crash: the round, the consequence and the cause.
type Crash = (u64, Consequence, String);

/// Has the program aggregate one update; returns the crashes, too.
fn apply(
    program: &mut StrategyProgram,
    round: u64,
    server: &Slots,
    weights: &[f32],
) -> (Result<(Vec<f32>, Slots)>, Vec<Crash>) {
    let mut updates = [ClientUpdate::new(Update::plain(2, round, 1), vec![5.0, 6.0])];
    watched(|on_crash| program.apply(&Before { round, learning_rate: 0.1, server, weights }, &mut updates, on_crash))
}

/// Returns the result of some work, and the crashes.
fn watched<A>(work: impl FnOnce(&mut OnCrash<'_>) -> Result<A>) -> (Result<A>, Vec<Crash>) {
    let mut crashes = Vec::new();
    let done = work(&mut |crash| {
        crashes.push((crash.round, crash.crash.then, crash.crash.cause.to_string()));
        Ok(())
    });
    (done, crashes)
}

fn state(program: &[u8]) -> Slots {
    Slots::from_iter([(PROGRAM, Slot::Bytes(Arc::new(program.to_vec())))])
}

/// Calls `ask` with the state before the first round.
fn first<A>(ask: impl FnOnce(&Before<'_>) -> A) -> A {
    ask(&Before { round: 1, learning_rate: 0.1, server: &Slots::default(), weights: &[1.0, 2.0] })
}

/// Starts a program that answers each request with the same message and parts.
pub(in crate::run) fn answering(
    abilities: &'static [Ability],
    features: &'static [&'static str],
    answer: impl Fn(&mut ScriptedClient) + Send + Sync + 'static,
) -> (StrategyProgram, TempDir) {
    let control = Control::default();
    let (program, folder) = start_program(OnFailure::Abort, &control, move |program| {
        set_up_with(program, abilities, features);
        while program.receive::<StrategyRequest>().is_some() {
            answer(program);
        }
        exit(0)
    });
    (program.unwrap(), folder)
}

#[test]
fn the_timeline_has_the_messages_of_the_program() {
    let (program, folder) = start_program(OnFailure::Abort, &Control::default(), serve);
    let mut program = program.unwrap();
    apply(&mut program, 1, &state(&[]), &[1.0, 2.0]).0.unwrap();
    drop(program);
    let entries = TimelineSession::read(folder.path()).unwrap().remove(0).entries;
    let told: Vec<_> = entries
        .iter()
        .map(|entry| match &entry.event {
            TimelineEvent::Spawned { strategy: true, .. } => "spawned",
            TimelineEvent::Sent(message) | TimelineEvent::Received(message) => &message.message,
            TimelineEvent::Exited { cause: None, .. } => "exited",
            _ => "another event",
        })
        .collect();
    let expected = ["spawned", "hello", "setup_strategy", "ready_strategy", "aggregate", "aggregated", "exited"];
    assert_eq!(told, expected);
}
