//! Clients on other machines, each of which is a program of its own.

use super::*;

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
