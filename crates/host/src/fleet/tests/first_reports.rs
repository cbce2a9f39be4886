//! The reports of processes that are ready: the model, the data, the isolation and the protocol.

use super::*;

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
