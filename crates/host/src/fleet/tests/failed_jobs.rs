//! Jobs whose process exits, says nothing, or has a refused reply.

use super::*;

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
