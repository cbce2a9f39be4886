//! The requests to a program, and the checks of its replies.

use super::*;

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
