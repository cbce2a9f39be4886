//! A program that crashes, exits or breaks the protocol, and the process that takes its place.

use super::*;

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
