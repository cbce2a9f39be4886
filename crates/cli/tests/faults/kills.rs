//! Exact resume of a run whose host is killed at any moment, many times.

use std::{
    env, fs,
    hash::{BuildHasher, RandomState},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Fault,
    common::{Place, eventually, stderr},
    table::Row,
};

/// The environment variable with the number of hosts to kill; `just faults` sets 200.
const VARIABLE: &str = "FEDPIPE_KILLS";

const ARGUMENTS: &str = "logreg --rounds 12 --strategy fedavgm --jobs 2";
const ROUNDS: usize = 12;

pub(crate) fn faults() -> Vec<Fault> {
    vec![("kill-host-at-any-moment", Box::new(kill_at_any_moment))]
}

fn kill_at_any_moment() -> Row {
    let kills: usize = env::var(VARIABLE).map_or(20, |kills| kills.parse().unwrap());
    let place = Place::new();
    let start = Instant::now();
    let undisturbed = place.run(&format!("{ARGUMENTS} --out undisturbed")).weights_sha256();
    let mut whole = start.elapsed();
    let (mut killed_after, mut late) = (Vec::new(), 0);
    while killed_after.len() < kills {
        // Each kill falls into a part of the run of its own, so that all parts are tested: the start, which creates the
        // directory, the lock and the clients, and the end, which writes the results.
        let part = (killed_after.len() as f64 + fraction()) / kills as f64;
        let rounds = kill_after(&place, whole.mul_f64(part), &undisturbed);
        // The speed of the machine has changed.
        match rounds {
            None => {
                late += 1;
                assert!(late <= kills, "{late} hosts were done before they could be killed");
                whole = whole.mul_f64(0.9);
            }
            Some(rounds) if (rounds as f64) < part * ROUNDS as f64 - 1.0 => whole = whole.mul_f64(1.1),
            Some(_) => {}
        }
        killed_after.extend(rounds);
    }
    let (least, most) = (killed_after.iter().min().unwrap(), killed_after.iter().max().unwrap());
    let happened = format!("{kills} hosts killed after {least} to {most} of {ROUNDS} rounds; --resume continues");
    Row { happened, detected: None, cost: "nothing: each time the same bits".into() }
}

/// Kills a run's host after a time and resumes the run. The time is no wait for an event, since any moment will do.
/// Returns the number of completed rounds, or `None` if the host had ended already.
fn kill_after(place: &Place, time: Duration, undisturbed: &str) -> Option<usize> {
    let (mut command, run) = place.command(ARGUMENTS);
    let mut host = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    eventually("a run to continue", || run.0.join("experiment.toml").exists().then_some(()));
    thread::sleep(time.saturating_sub(start.elapsed()));
    host.kill().unwrap();
    let at_work = !host.wait().unwrap().success();
    let done = fs::read_to_string(run.0.join("ledger.jsonl")).unwrap().matches(r#"{"event":"round","#).count();

    let output = place.fedpipe("run --resume out").output().unwrap();
    assert!(output.status.success(), "killed after {time:?}: {}", stderr(&output));
    assert_eq!(run.weights_sha256(), undisturbed, "killed after {time:?}");
    let rounds: Vec<_> = run.ledger("round").iter().map(|line| line["round"].as_u64().unwrap()).collect();
    assert_eq!(
        rounds,
        Vec::from_iter(1..=ROUNDS as u64),
        "killed after {time:?}: the ledger has a gap or a round twice"
    );
    fs::remove_dir_all(run.0).unwrap();
    at_work.then_some(done)
}

/// Returns a random number in [0, 1), from the seed of hash maps.
fn fraction() -> f64 {
    (RandomState::new().hash_one(()) >> 11) as f64 / (1_u64 << 53) as f64
}
