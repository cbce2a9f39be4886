//! Tests of a strategy's program that is a thread with a script.

use std::{os::fd::AsFd, process::ExitStatus};

use fedpipe_protocol::{LOCAL, PROTOCOL, Part, Phase, PhaseStart, Reply, Request, Update, WEIGHTS};
use fedpipe_record::seed::Seed;
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
    (StrategyProgram::start(program, &experiment, (Target::Real, &layout), &directory, &control.stop), folder)
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

#[test]
fn a_fresh_process_continues_with_the_state_of_the_last_reply() {
    let crashing = |program: &mut ScriptedClient| {
        if program.start > 0 {
            return serve(program);
        }
        set_up(program);
        aggregate_next(program);
        program.receive::<StrategyRequest>();
        exit(3)
    };
    let control = Control::default();
    let (whole, _folder) = start_program(OnFailure::Retry, &control, serve);
    let (crashed, _other) = start_program(OnFailure::Retry, &control, crashing);
    let crash = (2, Consequence::Retried, "it exited with code 3".to_owned());
    for (program, crashes) in [(whole, vec![]), (crashed, vec![crash])] {
        let mut program = program.unwrap();
        let (first, none) = apply(&mut program, 1, &Slots::default(), &[1.0, 2.0]);
        let (weights, server) = first.unwrap();
        assert_eq!((&weights, &server, none), (&vec![2.0, 3.0], &state(&[1]), vec![]));
        let (second, found) = apply(&mut program, 2, &server, &weights);
        assert_eq!((second.unwrap(), found), ((vec![4.0, 5.0], state(&[1, 1])), crashes));
    }
}

#[test]
fn a_program_is_started_again_once_a_round_unless_the_policy_is_to_abort() {
    let crashing = |program: &mut ScriptedClient| {
        set_up(program);
        program.receive::<StrategyRequest>();
        exit(3)
    };
    let crash = |then| (1, then, "it exited with code 3".to_owned());
    for (policy, consequences) in [
        (OnFailure::Retry, &[Consequence::Retried, Consequence::Aborted][..]),
        (OnFailure::Drop, &[Consequence::Retried, Consequence::Aborted]),
        (OnFailure::Abort, &[Consequence::Aborted]),
    ] {
        let control = Control::default();
        let (program, _folder) = start_program(policy, &control, crashing);
        let (applied, crashes) = apply(&mut program.unwrap(), 1, &Slots::default(), &[1.0, 2.0]);
        assert_eq!(crashes, consequences.iter().copied().map(crash).collect::<Vec<_>>(), "{policy:?}");
        let Err(Error::Round(why)) = applied else { panic!("{policy:?}: {applied:?}") };
        assert_eq!(why, "the strategy's program crashed in round 1: it exited with code 3");
    }
}

#[test]
fn an_idle_program_that_exits_is_replaced_and_costs_no_attempt() {
    let control = Control::default();
    let (program, _folder) = start_program(OnFailure::Abort, &control, |program| {
        if program.start > 0 {
            return serve(program);
        }
        set_up(program);
        aggregate_next(program);
        exit(7)
    });
    let mut program = program.unwrap();
    let (weights, server) = apply(&mut program, 1, &Slots::default(), &[1.0, 2.0]).0.unwrap();
    let exited = program.running.as_ref().unwrap().link.exited();
    assert!(wait_readable(exited.as_fd(), PollTimeout::NONE).unwrap());
    let (second, crashes) = apply(&mut program, 2, &server, &weights);
    assert_eq!(second.unwrap().0, [4.0, 5.0]);
    assert_eq!(crashes, [(2, Consequence::Replaced, "it exited with code 7".into())]);
}

#[test]
fn a_reply_that_is_not_fit_ends_the_program() {
    type Answer = fn(&mut ScriptedClient);
    let cases: [(Answer, &str); 5] = [
        (
            |program| program.send(&StrategyReply::Sampled { clients: vec![0] }, &[]),
            "it answered a request to aggregate with \"sampled\"",
        ),
        (|program| program.send(&StrategyReply::Aggregated, &[]), "its answer has no part \"weights\""),
        (
            |program| program.send(&StrategyReply::Aggregated, &[Part::F32(WEIGHTS, &[1.0])]),
            "it has 1 weight, expected 2",
        ),
        (
            |program| program.send(&StrategyReply::Aggregated, &[Part::F32(WEIGHTS, &[1.0, f32::NAN])]),
            "weight 1 is NaN; look at the program",
        ),
        (
            |program| {
                let parts = [Part::F32(WEIGHTS, &[1.0, 2.0]), Part::U8("more", &[])];
                program.send(&StrategyReply::Aggregated, &parts);
            },
            "its answer has the part \"more\", which was not asked for",
        ),
    ];
    for (answer, expected) in cases {
        let control = Control::default();
        let (program, _folder) = start_program(OnFailure::Abort, &control, move |program| {
            set_up(program);
            program.receive::<StrategyRequest>();
            answer(program);
            program.wait_for_end()
        });
        let (applied, crashes) = apply(&mut program.unwrap(), 1, &Slots::default(), &[1.0, 2.0]);
        assert!(matches!(applied, Err(Error::Round(_))), "{expected}: {applied:?}");
        assert!(crashes.len() == 1 && crashes[0].2.contains(expected), "{expected}: {crashes:?}");
    }
}

#[test]
fn a_program_that_does_not_start_is_refused_by_the_kind_of_its_failure() {
    let start = |script: fn(&mut ScriptedClient) -> ExitStatus| {
        let control = Control::default();
        start_program(OnFailure::Retry, &control, script).0.map(drop)
    };
    let unconfined = start(|program| {
        program.receive::<Request>();
        program.say(&Reply::Failed { kind: FailureKind::Isolation, message: "no Landlock".into() }, None);
        program.wait_for_end()
    });
    assert!(matches!(&unconfined, Err(Error::Isolation(why)) if why == "no Landlock"), "{unconfined:?}");
    let other_version = start(|program| {
        program.receive::<Request>();
        program.send(&Reply::Launched(InForce::default()), &[]);
        program.send(&StrategyReply::Hello { protocol: PROTOCOL + 1 }, &[]);
        program.wait_for_end()
    });
    let Err(Error::Model(why)) = other_version else { panic!("{other_version:?}") };
    let crashed = "the strategy's program crashed before the first round: ";
    assert_eq!(
        why,
        format!("{crashed}it broke the protocol: it speaks protocol {}, this host {PROTOCOL}", PROTOCOL + 1)
    );
    let control = Control::default();
    control.handle().stop(15);
    let (stopped, _folder) = start_program(OnFailure::Retry, &control, ScriptedClient::wait_for_end);
    assert!(matches!(stopped, Err(Error::Stopped(15))), "{stopped:?}");
}

#[test]
fn isolation_is_named_as_a_cause_only_before_the_hello() {
    let refusal = |script: fn(&mut ScriptedClient) -> ExitStatus| {
        let control = Control::default();
        start_program(OnFailure::Retry, &control, script).0.map(drop).unwrap_err().to_string()
    };
    let hint = "; isolation may be the cause";
    let ungreeted = refusal(|program| {
        program.receive::<Request>();
        program.send(&Reply::Launched(InForce::default()), &[]);
        program.print("cannot open x: Permission denied\n");
        exit(126)
    });
    assert!(ungreeted.contains(hint), "{ungreeted}");
    let greeted = refusal(|program| {
        program.receive::<Request>();
        program.send(&Reply::Launched(InForce::default()), &[]);
        program.send(&StrategyReply::Hello { protocol: PROTOCOL }, &[]);
        program.print("cannot open x: Permission denied\n");
        exit(126)
    });
    assert!(!greeted.contains(hint) && greeted.contains("Permission denied"), "{greeted}");
}

#[test]
fn a_program_receives_the_seed_of_the_sampling_and_the_target() {
    let layout = Layout::new(ready().layout).unwrap();
    let seeds = |sample_seed| {
        let experiment = Experiment { seed: Seed(7), sample_seed, ..Experiment::default() };
        let StrategySetup { seed, sample_seed, target, .. } = setup(&experiment, Target::Classes(3), &layout);
        assert_eq!(target, Target::Classes(3));
        (seed, sample_seed)
    };
    assert_eq!([seeds(None), seeds(Some(Seed(9)))], [(7, 7), (7, 9)]);
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
fn a_sample_is_sorted_and_a_wrong_one_is_refused() {
    let sampled = |clients: &'static [u32]| {
        let answer = |program: &mut ScriptedClient| {
            program.send(&StrategyReply::Sampled { clients: clients.to_vec() }, &[]);
        };
        let (mut program, _folder) = answering(&[Ability::Sample], &[], answer);
        assert!(program.can(Ability::Sample) && !program.can(Ability::Prepare));
        let asked = first(|before| watched(|on_crash| program.sample(before, (5, 3), on_crash)).0);
        asked.map_err(|error| error.to_string())
    };
    assert_eq!(sampled(&[4, 0, 2]), Ok(vec![0, 2, 4]));
    let crash = "the strategy's program crashed in round 1: it broke the protocol: ";
    for (clients, why) in [
        (&[][..], "it sampled no client; a round needs at least one"),
        (&[1, 3, 1], "it sampled client 1 twice; a round has each client once"),
        (&[1, 5], "it sampled client 5, and the clients are 0 to 4"),
    ] {
        assert_eq!(sampled(clients), Err(format!("{crash}{why}")));
    }
}

type PreparedParts = &'static [(&'static str, &'static [f32])];

/// Returns the plan of client 3, or its refusal.
fn prepared(phases: Vec<Phase>, parts: PreparedParts) -> std::result::Result<ClientPlan, String> {
    let answer = move |program: &mut ScriptedClient| {
        let parts: Vec<Part<'_>> = parts.iter().map(|(name, values)| Part::F32(name, values)).collect();
        program.send(&StrategyReply::Prepared { phases: phases.clone() }, &parts);
    };
    let (mut program, _folder) = answering(&[Ability::Prepare], &["linear", "proximal", "phases", "frozen"], answer);
    let asked = first(|before| {
        watched(|on_crash| program.prepare(before, (3, ClientWork::epochs(1)), &Slots::default(), on_crash)).0
    });
    asked.map_err(|error| {
        error.to_string().replace("the strategy's program crashed in round 1: it broke the protocol: ", "")
    })
}

#[test]
fn a_plan_has_the_parts_that_its_phases_need() {
    let plain = Phase::plain(2);
    let linear = Phase { linear: true, proximal: 0.5, ..plain.clone() };
    let slot = Phase { start: PhaseStart::Slot, ..plain.clone() };
    let parts: PreparedParts = &[("anchor", &[3.0, 4.0]), ("start/1", &[5.0, 6.0]), ("linear", &[1.0, -1.0])];
    let plan = prepared(vec![linear.clone(), slot.clone()], parts).unwrap();
    assert_eq!(plan.phases, [linear.clone(), slot]);
    let mut names: Vec<&str> = plan.parts.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["anchor", "linear", "start/1"]);
    let whole = |length| Phase { frozen: vec!["w".into()], epochs: length, ..Phase::plain(1) };
    assert_eq!(prepared(vec![whole(1)], &[]).unwrap().phases, [whole(1)]);
}

#[test]
fn a_wrong_plan_is_refused_with_one_sentence() {
    let plain = Phase::plain(2);
    let linear = Phase { linear: true, ..plain.clone() };
    let of = |phase: Phase, parts: PreparedParts| prepared(vec![phase], parts).unwrap_err();
    let why = prepared(Vec::new(), &[]).unwrap_err();
    assert_eq!(why, "its answer for client 3: it has no phase; give at least one");
    let cases: [(String, &str); 11] = [
        (of(Phase::plain(0), &[]), "phase 0 has 0 local epochs; give at least 1"),
        (of(Phase { steps: Some(0), ..plain.clone() }, &[]), "phase 0 has 0 steps; give at least 1"),
        (
            of(Phase { proximal: -1.0, ..plain.clone() }, &[]),
            "has the proximal coefficient -1; give a number from 0 on",
        ),
        (
            of(Phase { frozen: vec!["x".into()], ..plain.clone() }, &[]),
            "freezes the tensor \"x\", which the model does not",
        ),
        (of(Phase { update: false, ..plain.clone() }, &[]), "phase 0 is no update; the host keeps no other weights"),
        (
            of(Phase { steps: Some(3), ..plain.clone() }, &[]),
            "needs the feature \"step-limit\", which the program did not list",
        ),
        (of(linear.clone(), &[]), "its answer has no part \"linear\""),
        (of(linear.clone(), &[("linear", &[1.0])]), "its part \"linear\" has 1 values, expected 2"),
        (of(linear, &[("linear", &[1.0, f32::NAN])]), "value 1 of its part \"linear\" is NaN; look at the program"),
        (of(plain.clone(), &[("linear", &[1.0, 2.0])]), "the part \"linear\", which was not asked for"),
        (of(plain, &[("anchor", &[1.0, 2.0])]), "the part \"anchor\", which was not asked for"),
    ];
    for (why, expected) in cases {
        assert!(why.contains(expected) && !why.contains('\n'), "{why}, expected {expected}");
    }
}

/// Answers with the state of the client and one more byte. Client 5 is left out, and client 6 has an empty one.
fn grow_client_states(program: &mut ScriptedClient) {
    let Some((StrategyRequest::Aggregate(aggregate), mut parts)) = program.receive() else { return };
    let grown: Vec<(String, Vec<u8>)> = aggregate
        .updates
        .iter()
        .filter(|update| update.client != 5)
        .map(|update| (format!("client_state/{}", update.client), update.client == 6))
        .map(|(name, is_left_empty)| {
            let grown = [parts.take_u8(&name).unwrap(), vec![7]].concat();
            (name, if is_left_empty { Vec::new() } else { grown })
        })
        .collect();
    let weights = parts.take_f32(WEIGHTS).unwrap();
    let states = grown.iter().map(|(name, state)| Part::U8(name, state));
    let parts: Vec<Part<'_>> = [Part::F32(WEIGHTS, &weights)].into_iter().chain(states).collect();
    program.send(&StrategyReply::Aggregated, &parts);
}

/// The second round has the states of the first one, although the process crashed in between. The clients of the second
/// case have local tensors, too.
#[test]
fn the_states_of_the_clients_come_with_each_request() {
    for local in [None, Some(0.5)] {
        let (program, _folder) = start_program(OnFailure::Retry, &Control::default(), |program| {
            set_up_with(program, &[Ability::ClientState], &[]);
            if program.start == 0 {
                grow_client_states(program);
                program.receive::<StrategyRequest>();
                return exit(3);
            }
            grow_client_states(program);
            program.wait_for_end()
        });
        let mut program = program.unwrap();
        let with_local = |mut slots: Slots| {
            local.into_iter().for_each(|own| slots.set_vector(LOCAL, vec![own]));
            slots
        };
        let mut held = [Slots::default(), state(&[1, 2]), state(&[3])].map(with_local);
        for round in 1..=2 {
            let mut updates =
                [2, 5, 6].map(|client| ClientUpdate::new(Update::plain(client, round, 1), vec![5.0, 6.0]));
            for (update, held) in updates.iter_mut().zip(&held) {
                (update.before, update.after) = (held.clone(), held.clone());
            }
            let before = Before { round, learning_rate: 0.1, server: &Slots::default(), weights: &[1.0, 2.0] };
            watched(|on_crash| program.apply(&before, &mut updates, on_crash)).0.unwrap();
            assert_eq!(updates.each_ref().map(ClientUpdate::changes_state), [true, false, false]);
            held = updates.map(|update| update.after);
        }
        assert_eq!(held, [state(&[7, 7]), state(&[1, 2]), state(&[3])].map(with_local));
    }
}

#[test]
fn a_state_of_a_client_that_has_no_update_or_is_too_large_is_refused() {
    let refusal = |name: &'static str, bytes: usize| {
        let answer = move |program: &mut ScriptedClient| {
            let state = vec![0; bytes];
            program.send(&StrategyReply::Aggregated, &[Part::F32(WEIGHTS, &[1.0, 2.0]), Part::U8(name, &state)]);
        };
        let (mut program, _folder) = answering(&[Ability::ClientState], &[], answer);
        apply(&mut program, 1, &Slots::default(), &[1.0, 2.0]).0.unwrap_err().to_string()
    };
    assert!(refusal("client_state/3", 1).contains("\"client_state/3\", which was not asked for"));
    let most = (1 << 20) + 128;
    let why = refusal("client_state/2", most + 1);
    assert!(
        why.contains(&format!("its part \"client_state/2\" has {} bytes, at most {most} are kept", most + 1)),
        "{why}"
    );
}

/// A crash in the sample takes the one retry of the round, so that a crash in the aggregation of that round ends it.
#[test]
fn a_round_has_one_retry_for_all_of_its_requests() {
    let control = Control::default();
    let (program, _folder) = start_program(OnFailure::Retry, &control, |program| {
        set_up_with(program, &[Ability::Sample], &[]);
        program.receive::<StrategyRequest>();
        if program.start == 0 {
            return exit(3);
        }
        program.send(&StrategyReply::Sampled { clients: vec![2] }, &[]);
        program.receive::<StrategyRequest>();
        exit(4)
    });
    let mut program = program.unwrap();
    let (sampled, crashes) = first(|before| watched(|on_crash| program.sample(before, (5, 1), on_crash)));
    assert_eq!((sampled.unwrap(), crashes.len(), crashes[0].1), (vec![2], 1, Consequence::Retried));
    let (applied, crashes) = apply(&mut program, 1, &Slots::default(), &[1.0, 2.0]);
    assert!(applied.is_err() && crashes[0].1 == Consequence::Aborted, "{crashes:?}");
}

#[test]
fn a_fresh_process_must_list_what_the_first_one_listed() {
    let control = Control::default();
    let (program, _folder) = start_program(OnFailure::Retry, &control, |program| {
        set_up_with(program, if program.start == 0 { &[] } else { &[Ability::Sample] }, &[]);
        program.receive::<StrategyRequest>();
        exit(3)
    });
    let (applied, _) = apply(&mut program.unwrap(), 1, &Slots::default(), &[1.0, 2.0]);
    let why = applied.unwrap_err().to_string();
    assert!(why.contains("its abilities or features differ from those before"), "{why}");
}
