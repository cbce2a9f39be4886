//! The state that a run keeps of its clients is exact: the control variates of SCAFFOLD, with 10 of 100 clients in a
//! round, the residuals of top-k, and the momentum of the local optimiser.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use fedpipe_record::{checkpoint::Checkpoint, names::STATE};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    common::{Place, Run, check_all, eventually, stderr, stdout},
    live::Live,
    verify::{HASH, edit, rechain},
};

const ROUNDS: u64 = 6;
const ARGUMENTS: &str = "logreg --clients 100 --fraction 0.1 --strategy scaffold --partition dirichlet:alpha=1";

/// Returns the hashes of a run: of the weights and of the client states, by round.
fn hashes(run: &Run) -> Vec<[Value; 2]> {
    let hashes = |line: &Value| ["weights_sha256", "clients_sha256"].map(|field| line[field].clone());
    run.ledger("round").iter().map(hashes).collect()
}

/// The experiments with a state of the clients: that of a client term, of an encoding, and of the local optimiser.
const STRATEGIES: [&str; 5] = [
    "--strategy scaffold",
    "--strategy ditto:0.5",
    "--strategy fedper",
    "--transform clip:0.5+topk:0.05",
    "--optimiser sgd:momentum=0.5,keep=true",
];

fn undisturbed(place: &Place) -> Vec<[Value; 2]> {
    let hashes = hashes(&place.run(&format!("{ARGUMENTS} --rounds {ROUNDS} --out undisturbed")));
    assert!(hashes.len() as u64 == ROUNDS && hashes.iter().flatten().all(Value::is_string), "{hashes:?}");
    hashes
}

/// Resumes a run and returns its hashes.
fn resumed(place: &Place, run: &Run, more: &str) -> Vec<[Value; 2]> {
    let output = place.fedpipe(&format!("run --resume out {more}")).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    hashes(run)
}

/// Returns the checkpoints of a run, the newest first.
fn checkpoints(run: &Run) -> impl Iterator<Item = Checkpoint> {
    Checkpoint::all(&run.0, &|_| Ok(())).unwrap().map(|(_, checkpoint)| checkpoint.unwrap())
}

fn assert_verified(place: &Place, run: &str, rounds: u64) {
    let output = place.fedpipe(&format!("verify {run}")).output().unwrap();
    let says = format!("verified: {rounds} rounds have the same bits\n");
    assert!(stdout(&output).ends_with(&says), "{}", stderr(&output));
}

/// Returns the files in the folder of the client states.
fn files(run: &Run) -> Vec<PathBuf> {
    fs::read_dir(run.0.join(STATE)).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn fewer_processes_change_no_bit_of_it() {
    let place = Place::new();
    let run = place.run(&format!("{ARGUMENTS} --rounds {ROUNDS} --processes 3"));
    assert_eq!(hashes(&run), undisturbed(&place));
}

/// Returns the greatest distance of the server's slot, and of the rest that its rounding leaves, from the mean of the
/// clients', as a share of the greatest value. A client without a state has 0.
fn distance(run: &Run, checkpoint: &Checkpoint, (of_server, of_client): (&str, &str), clients: u32) -> f64 {
    let held = checkpoint.server.vector(of_server).unwrap();
    let rest = checkpoint.server.vector(&format!("{of_server}-rest"));
    let exact = |(index, held): (usize, &f32)| f64::from(*held) + rest.map_or(0.0, |rest| f64::from(rest[index]));
    let mut mean = vec![0.0_f64; held.len()];
    for file in &checkpoint.meta.clients {
        let slots = file.read(&run.read(&format!("{STATE}/{}", file.name()))).unwrap();
        let values = slots.vector(of_client).unwrap();
        mean.iter_mut().zip(values.iter()).for_each(|(sum, value)| *sum += f64::from(*value) / f64::from(clients));
    }
    let greatest = held.iter().map(|value| value.abs()).fold(0.0, f32::max);
    assert!(greatest > 1e-3, "{of_server} is about 0: {greatest:e}");
    let errors = mean.iter().zip(held.iter().enumerate().map(exact)).map(|(mean, value)| (mean - value).abs());
    errors.fold(0.0, f64::max) / f64::from(greatest)
}

/// Runs an experiment of four rounds in one session, and returns the same run with fewer processes, each round of which
/// is a session of its own. Both have the same bits, also in a verification.
fn run_in_sessions(place: &Place, more: &str) -> Run {
    let base = format!("{more} --clients 12 --fraction 0.5 --partition dirichlet:alpha=1");
    let expected = hashes(&place.run(&format!("{base} --rounds 4 --out undisturbed")));
    assert!(expected.iter().flatten().all(Value::is_string), "{expected:?}");
    assert_verified(place, "undisturbed", 4);
    let run = place.run(&format!("{base} --rounds 1 --processes 5"));
    for round in 2..=4 {
        assert_eq!(resumed(place, &run, &format!("--rounds {round}")), expected[..round]);
    }
    run
}

/// With all examples in one batch, rounds of one step that keep the momentum are one round of as many steps.
#[test]
fn a_momentum_is_that_of_one_session_and_of_one_long_round() {
    let place = Place::new();
    run_in_sessions(&place, "mlp --model-option hidden=8 --optimiser sgd:momentum=0.9,keep=true --lr 0.01");
    let loss = |out: &str, optimiser: &str, work: &str| {
        let base = "mlp --model-option hidden=8 --clients 1 --batch-size 5000 --lr 0.01";
        place.run(&format!("{base} --optimiser {optimiser} {work} --out {out}")).summary()["loss"].as_f64().unwrap()
    };
    let long = loss("long", "sgd:momentum=0.9", "--rounds 1 --epochs 5");
    let kept = loss("kept", "sgd:momentum=0.9,keep=true", "--rounds 5");
    let anew = loss("anew", "sgd:momentum=0.9", "--rounds 5");
    assert!((kept - long).abs() < 1e-5 && (anew - long).abs() > 1e-3, "{long}, {kept}, {anew}");
}

/// A resume goes on with the residuals of the session before.
#[test]
fn residuals_are_those_of_one_session_with_fewer_processes_and_across_sessions() {
    let place = Place::new();
    let run = run_in_sessions(&place, "logreg --transform topk:0.05");
    let checkpoint = checkpoints(&run).next().unwrap();
    assert!(checkpoint.meta.clients.len() > 6);
    for file in &checkpoint.meta.clients {
        let slots = file.read(&run.read(&format!("{STATE}/{}", file.name()))).unwrap();
        let residual = slots.vector("residual").unwrap();
        // A value that was sent is 0. So is one that never changes: the weight of a pixel that no image has.
        let zeros = residual.iter().filter(|value| **value == 0.0).count();
        assert!(zeros >= residual.len().div_ceil(20) && zeros < residual.len(), "{zeros} zeros");
    }
}

/// c + c-rest = (1/N) Σ c_k over all N clients, also those that were never sampled, whose c_k is 0. The rounding of c
/// to `f32` alone is greater than the error which the test allows.
#[test]
fn the_variate_of_the_server_is_the_mean_of_all_clients_after_each_round() {
    let place = Place::new();
    let expected = undisturbed(&place);
    let run = place.run(&format!("{ARGUMENTS} --rounds 1"));
    for round in 1..=ROUNDS {
        // Each round is a session of its own, so that a resume continues with the states of the session before.
        assert_eq!(resumed(&place, &run, &format!("--rounds {round}")), expected[..round as usize]);
        let checkpoint = checkpoints(&run).next().unwrap();
        let error = distance(&run, &checkpoint, ("c", "c"), 100);
        assert!(error <= 1e-10, "round {round}: {error:e}");
        assert!(checkpoint.meta.clients.len() >= 10 && checkpoint.meta.clients.len() <= 10 * round as usize);
    }
}

#[test]
fn a_client_has_the_files_that_the_kept_checkpoints_name() {
    let place = Place::new();
    let run = place.run("logreg --clients 4 --strategy scaffold --rounds 8 --checkpoint-every 3");
    let client = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap()[..6].to_owned();
    let mut counts = std::collections::BTreeMap::new();
    files(&run).iter().for_each(|path| *counts.entry(client(path)).or_insert(0) += 1);
    assert!(counts.len() == 4 && counts.values().all(|count| (1..=2).contains(count)), "{counts:?}");
}

/// The c_k of the first two rounds belong to a c that the server gave up in round 3.
#[test]
fn a_strategy_that_is_forced_back_begins_without_its_old_states() {
    let place = Place::new();
    let run = place.run(&format!("{ARGUMENTS} --rounds 2"));
    resumed(&place, &run, "--rounds 3 --strategy fedprox:0.1 --force");
    resumed(&place, &run, "--rounds 4 --strategy scaffold --force");
    resumed(&place, &run, "--rounds 5");
    let states = run.ledger("round").iter().map(|line| line["clients_sha256"].is_string()).collect::<Vec<_>>();
    assert_eq!(states, [true, true, false, true, true]);
    for mut checkpoint in checkpoints(&run) {
        assert!(checkpoint.meta.clients.iter().any(|file| file.round < 3), "an old state is there to be found");
        checkpoint.meta.clients.retain(|file| file.round > 3);
        let error = distance(&run, &checkpoint, ("c", "c"), 100);
        assert!(error <= 1e-10, "round {}: {error:e}", checkpoint.meta.round);
    }
    assert_verified(&place, "out", 5);
}

/// c is the mean over all clients, so that another number of them begins with new states.
#[test]
fn a_forced_number_of_clients_begins_with_new_states() {
    let place = Place::new();
    let run = place.run("logreg --strategy scaffold --clients 8 --rounds 2");
    resumed(&place, &run, "--rounds 3 --clients 4 --force");
    resumed(&place, &run, "--rounds 4");
    for mut checkpoint in checkpoints(&run) {
        checkpoint.meta.clients.retain(|file| file.round > 2);
        assert_eq!(checkpoint.meta.clients.len(), 4);
        let error = distance(&run, &checkpoint, ("c", "c"), 4);
        assert!(error <= 1e-6, "round {}: {error:e}", checkpoint.meta.round);
    }
    assert_verified(&place, "out", 4);
}

/// Client 1 has no update in round 2, so that the round changes neither its state nor its share of the server's.
#[test]
fn a_client_that_is_dropped_keeps_its_state_and_the_servers_is_the_mean_of_all() {
    let place = Place::new();
    let fault = "--on-failure drop --model-option fault=segfault --model-option client=1 --model-option round=2";
    // FedDyn keeps no rest of the rounding of h.
    for (strategy, of_server, of_client, most) in [("scaffold", "c", "c", 1e-10), ("feddyn:alpha=0.5", "h", "g", 1e-6)]
    {
        let run =
            place.run(&format!("misbehaving --clients 4 --rounds 3 --strategy {strategy} --out {of_server} {fault}"));
        let participants: Vec<_> = run.ledger("round").iter().map(|line| line["clients"].clone()).collect();
        assert_eq!(participants, [4, 3, 4], "{strategy}");
        for checkpoint in checkpoints(&run) {
            let files = &checkpoint.meta.clients;
            let rounds: Vec<u64> = files.iter().map(|file| file.round).collect();
            let round = checkpoint.meta.round;
            assert_eq!(rounds, [round, if round == 2 { 1 } else { round }, round, round], "{strategy}");
            let error = distance(&run, &checkpoint, (of_server, of_client), 4);
            assert!(error <= most, "{strategy}, round {round}: {error:e}");
        }
    }
}

#[test]
fn a_client_that_is_killed_in_a_round_costs_no_bit_of_it() {
    for strategy in STRATEGIES {
        let place = Place::new();
        let base = format!("misbehaving --clients 4 --rounds 3 {strategy}");
        let expected = hashes(&place.run(&format!("{base} --out undisturbed")));
        // Client 1 has trained in round 2, and dies before it answers.
        let fault =
            "--model-option fault=segfault --model-option client=1 --model-option round=2 --model-option once=marks";
        let mut live = Live::start(&place, &format!("{base} {fault}"));
        live.await_fault(1, 2);
        live.allow_fault(1, 2);
        let run = live.run.clone();
        let (status, errors) = live.end();
        assert!(status.success() && errors.contains("client 1 crashed in round 2"), "{errors}");
        assert_eq!(hashes(&run), expected, "{strategy}");
    }
}

#[test]
fn a_host_that_is_killed_in_a_round_costs_no_bit_of_it() {
    STRATEGIES.iter().for_each(|strategy| survives_a_kill_in_each_round(strategy));
}

fn survives_a_kill_in_each_round(strategy: &str) {
    let place = Place::new();
    let base = format!("misbehaving --clients 4 --rounds 3 {strategy} --jobs 4 --model-option hold=marks");
    let all = || (1..=3).for_each(|round| drop(fs::File::create(place.path(format!("marks/round-{round}"))).unwrap()));
    all();
    let expected = hashes(&place.run(&format!("{base} --out undisturbed")));
    for round in 1..=3 {
        (round..=3).for_each(|round| fs::remove_file(place.path(format!("marks/round-{round}"))).unwrap());
        let mut live = Live::start(&place, &base);
        live.await_held(4, round);
        live.signal(Signal::SIGKILL);
        let run = live.run.clone();
        live.end();
        all();
        assert_eq!(resumed(&place, &run, ""), expected, "{strategy}, killed in round {round}");
        fs::remove_dir_all(&run.0).unwrap();
    }
}

/// The host is killed as soon as the line of a round is in the ledger, while the checkpoint is being written.
#[test]
fn a_host_that_is_killed_after_a_round_costs_no_bit_of_it() {
    let place = Place::new();
    let expected = undisturbed(&place);
    for (round, every) in [(1, 1), (2, 1), (4, 1), (3, 2), (5, 2)] {
        let (mut command, run) = place.command(&format!("{ARGUMENTS} --rounds {ROUNDS} --checkpoint-every {every}"));
        let mut host = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("the line of the round", || {
            let ledger = fs::read_to_string(run.0.join("ledger.jsonl")).unwrap_or_default();
            ledger.contains(&format!("{{\"event\":\"round\",\"round\":{round},")).then_some(())
        });
        host.kill().unwrap();
        host.wait().unwrap();
        assert_eq!(resumed(&place, &run, ""), expected, "killed after round {round}, a checkpoint every {every}");
        fs::remove_dir_all(&run.0).unwrap();
    }
}

/// A change of a run directory.
type Alter = fn(&Run);

#[test]
fn a_verification_compares_it_and_says_what_differs() {
    let place = Place::new();
    place.run("logreg --clients 4 --fraction 0.5 --rounds 4 --strategy scaffold");
    let whole = place.fedpipe("verify out").output().unwrap();
    assert!(stdout(&whole).ends_with("verified: 4 rounds have the same bits\n"), "{}", stderr(&whole));
    let cases: [(&str, Alter, &str); 3] = [
        (
            "a state is altered",
            |run| {
                let file = last_state(run);
                let mut bytes = fs::read(&file).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                fs::write(file, bytes).unwrap();
            },
            "-000004.safetensors was truncated or altered",
        ),
        ("a state is missing", |run| fs::remove_file(last_state(run)).unwrap(), "-000004.safetensors is missing"),
        ("a line is altered", alter_line, "round 1: the clients' states are\n  here: "),
    ];
    check_all(cases, |(name, alter, says)| {
        let copy = Run(place.path(name));
        assert!(Command::new("cp").arg("-a").args([&place.path("out"), &copy.0]).status().unwrap().success());
        alter(&copy);
        let output = place.fedpipe("verify").arg(&copy.0).output().unwrap();
        let errors = stderr(&output);
        let is_named = errors.starts_with("error: not verified: ") && errors.contains(says);
        if output.status.code() == Some(7) && is_named { Ok(()) } else { Err(format!("{}: {errors}", output.status)) }
    });
}

/// Returns the file with a state that round 4 left.
fn last_state(run: &Run) -> PathBuf {
    files(run).into_iter().find(|file| file.to_str().unwrap().ends_with("-000004.safetensors")).unwrap()
}

/// Replaces the hash of the client states in the line of round 1.
fn alter_line(run: &Run) {
    rechain(run, |lines| edit(lines, "round", "clients_sha256", HASH));
}

/// The states of the checkpoint before are whole, so that the run continues after its round.
#[test]
fn a_resume_passes_over_a_checkpoint_of_which_a_state_is_missing_or_altered() {
    let place = Place::new();
    let expected = undisturbed(&place);
    for damage in [fs::remove_file as fn(PathBuf) -> std::io::Result<()>, |path| fs::write(path, "x")] {
        let run = place.run(&format!("{ARGUMENTS} --rounds 4 --overwrite"));
        let newest = files(&run).into_iter().find(|path| path.to_str().unwrap().ends_with("-000004.safetensors"));
        damage(newest.unwrap()).unwrap();
        assert_eq!(resumed(&place, &run, &format!("--rounds {ROUNDS}")), expected);
    }
}
