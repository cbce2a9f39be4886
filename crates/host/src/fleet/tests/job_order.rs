//! The order in which jobs are sent, completed and settled.

use super::*;

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
