//! Runs in virtual time: the same events and bits for any number of processes, across sessions and crashes, and in a
//! verification. Identities of the schedules.

use std::fs;

use serde_json::{Value, json};

use crate::{
    common::{Place, Run, check_all, stderr, stdout},
    live::Live,
    resume::killed_in_round,
};

const BASE: &str = "logreg --data sample --clients 10";

/// The fields of a round's line that follow from the experiment.
const FIELDS: [&str; 7] =
    ["weights_sha256", "server_sha256", "clients_sha256", "updates", "late", "virtual_seconds", "participants"];

fn run(place: &Place, out: &str, arguments: &str) -> Run {
    place.run(&format!("{BASE} --rounds 4 --out {out} {arguments}"))
}

/// Returns the fields of each round.
fn rounds(run: &Run) -> Vec<Vec<Value>> {
    run.ledger("round").iter().map(|line| FIELDS.map(|field| line[field].clone()).to_vec()).collect()
}

fn weights(run: &Run) -> Vec<Value> {
    run.ledger("round").iter().map(|line| line["weights_sha256"].clone()).collect()
}

/// Writes a trace in which client k is k + 1 times slower than the reference client.
fn trace(place: &Place) {
    let lines: String = (0..10).map(|client| format!("{client},{},{}\n", client + 1, 5 * client + 5)).collect();
    fs::write(place.path("trace.csv"), format!("client,slowness,bandwidth\n{lines}")).unwrap();
}

#[test]
fn each_schedule_has_the_same_bits_across_processes_and_sessions_and_is_verified() {
    let place = Place::new();
    trace(&place);
    let cases = [
        "--clock lognormal --schedule synchronous:over-commit=1.5 --fraction 0.5 --deadline 0.2 --min-clients 1",
        "--clock lognormal:sigma=1,bandwidth=2,link-sigma=0.5 --strategy fedbuff:size=4 --fraction 0.5",
        "--clock lognormal --strategy fedbuff:size=5 --transform topk:0.1 --server adam",
        "--clock lognormal --strategy fedasync --fraction 0.3",
        "--clock constant --strategy fedbuff:size=3 --attack sign-flip:0.2 --aggregate median",
        "--clock file:trace.csv --strategy fedbuff:size=12 --sample by-size --optimiser sgd:momentum=0.5,keep=true",
    ];
    check_all(cases.iter().enumerate(), |(index, arguments)| {
        let expected = rounds(&run(&place, &format!("whole-{index}"), arguments));
        let few = run(&place, &format!("few-{index}"), &format!("{arguments} --processes 1 --jobs 1"));
        if rounds(&few) != expected {
            return Err(format!("{:?} with one process, expected {expected:?}", rounds(&few)));
        }
        let out = format!("sessions-{index}");
        let first = place.run(&format!("{BASE} {arguments} --rounds 2 --out {out}"));
        let resumed = place.fedpipe(&format!("run --resume {out} --rounds 4")).output().unwrap();
        if !resumed.status.success() || rounds(&first) != expected {
            return Err(format!("{:?} in two sessions, expected {expected:?}: {}", rounds(&first), stderr(&resumed)));
        }
        let verified = place.fedpipe(&format!("verify whole-{index}")).output().unwrap();
        let says = "verified: 4 rounds have the same bits\n";
        if stdout(&verified).ends_with(says) { Ok(()) } else { Err(stdout(&verified) + &stderr(&verified)) }
    });
}

#[test]
fn a_run_with_a_buffer_says_how_many_trainings_a_round_takes() {
    let place = Place::new();
    let (output, _) = place.try_run("logreg --rounds 1 --clock constant --strategy fedbuff:size=9 --clients 4");
    let said = stdout(&output);
    assert!(said.contains("\na round takes 9 trainings, the size of the buffer, by 4 clients at a time\n"), "{said}");
}

/// Equal clients, of which M are at work: all updates of a buffer are of its own version.
#[test]
fn a_buffer_of_equal_clients_is_a_synchronous_round() {
    let place = Place::new();
    for (index, more) in ["", "--fraction 0.4", "--server momentum --transform int8"].iter().enumerate() {
        let size = if more.contains("0.4") { 4 } else { 10 };
        let rounds = run(&place, &format!("rounds-{index}"), &format!("--weighting equal {more}"));
        let buffer = format!("--strategy fedbuff:size={size} --clock constant {more}");
        assert_eq!(weights(&run(&place, &format!("buffer-{index}"), &buffer)), weights(&rounds), "{more}");
    }
}

#[test]
fn fedasync_with_one_client_and_alpha_1_is_the_training_of_that_client() {
    let place = Place::new();
    let alone = place.run("logreg --clients 1 --rounds 4 --out alone");
    let mixed = "--strategy fedasync:alpha=1,mu=0,staleness=constant --clock lognormal";
    assert_eq!(weights(&place.run(&format!("logreg --clients 1 --rounds 4 --out mixed {mixed}"))), weights(&alone));
    // One client at work of ten has no stale update.
    let fresh = run(&place, "fresh", "--strategy fedasync --fraction 0.1 --clock lognormal");
    for (round, line) in fresh.ledger("round").iter().enumerate() {
        assert_eq!(line["updates"][0]["version"], json!(round));
    }
}

#[test]
fn a_clock_changes_no_bit_of_synchronous_rounds_and_stands_beside_the_real_time() {
    let place = Place::new();
    let plain = run(&place, "plain", "");
    assert!(plain.ledger("round").iter().all(|line| line.get("virtual_seconds").is_none()));
    let (mut command, timed) =
        place.command(&format!("{BASE} --rounds 4 --clock lognormal --until accuracy=0,stop=false --out timed"));
    let shown = stdout(&command.output().unwrap());
    assert_eq!(weights(&timed), weights(&plain));
    let summary = timed.summary();
    let ends: Vec<f64> = timed.ledger("round").iter().map(|line| line["virtual_seconds"].as_f64().unwrap()).collect();
    assert!(ends.is_sorted() && ends[3] == 4.0 * ends[0], "{ends:?}");
    assert_eq!(
        (&summary["virtual_seconds"], &summary["target"]["virtual_seconds"]),
        (&json!(ends[3]), &json!(ends[0]))
    );
    for expected in [format!("  virtual {:.2} s", ends[0]), format!(", virtual {:.2} s)", ends[3])] {
        assert!(shown.contains(&expected), "{shown}");
    }
    let metrics = String::from_utf8(timed.read("metrics.csv")).unwrap();
    assert!(metrics.lines().next().unwrap().ends_with(",virtual_seconds"), "{metrics}");
    assert!(metrics.lines().last().unwrap().ends_with(&format!(",{}", ends[3])), "{metrics}");
    assert!(String::from_utf8(timed.read("report.html")).unwrap().contains("virtual seconds"));
}

#[test]
fn runs_are_compared_over_virtual_time_and_by_their_time_to_a_target() {
    let place = Place::new();
    let until = "--until accuracy=0,stop=false";
    let fedavg = run(&place, "runs/fedavg", &format!("--clock lognormal {until}"));
    let fedbuff = run(&place, "runs/fedbuff", &format!("--clock lognormal {until} --strategy fedbuff:size=4"));
    run(&place, "runs/plain", "");
    let printed = |arguments: &str| {
        let output = place.fedpipe(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", stderr(&output));
        (stdout(&output), stderr(&output))
    };
    let rows: Vec<Value> =
        serde_json::from_str(&printed("runs --json --where virtual-seconds>0 --sort name").0).unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    for (row, run) in rows.iter().zip([&fedavg, &fedbuff]) {
        let (summary, target) = (run.summary(), run.summary()["target"].clone());
        assert_eq!((&row["virtual_seconds"], &row["rounds_to_target"]), (&summary["virtual_seconds"], &json!(1)));
        assert_eq!(row["seconds_to_target"], target["seconds"]);
        assert_eq!(row["virtual_seconds_to_target"], target["virtual_seconds"]);
    }
    let listed = printed("runs --sort virtual-seconds").0;
    assert!(
        listed.lines().next().unwrap().ends_with("seconds  s to target  virtual s  virtual s to target"),
        "{listed}"
    );

    let both = "compare runs/fedavg runs/fedbuff";
    let (compared, _) = printed(&format!("{both} --until accuracy=0.1 --measure virtual-seconds-to-target"));
    for expected in [
        "virtual s to target  accuracy, %  rounds to target  seconds  s to target  virtual s",
        "* the best mean virtual-seconds-to-target",
        "the target is accuracy=0.1 on the test set\n",
        "the picture, by virtual seconds, is in compare.png",
    ] {
        assert!(compared.contains(expected), "{compared}");
    }
    let by_time = fs::read(place.path("compare.png")).unwrap();
    assert!(printed(&format!("{both} --by round")).0.contains("the picture is in compare.png"));
    assert_ne!(fs::read(place.path("compare.png")).unwrap(), by_time);
    let (_, warning) = printed(&format!("{both} runs/plain --by virtual-seconds"));
    assert!(warning.contains("1 run without --clock left out of the picture"), "{warning}");
    check_all(
        [
            ("compare runs/plain --by virtual-seconds", "--by virtual-seconds needs runs with --clock"),
            ("compare runs/plain --measure virtual-seconds", "no run has the measure virtual-seconds"),
            (
                "compare runs/fedavg --until accuracy=1 --measure rounds-to-target",
                "no run has the measure rounds-to-target",
            ),
        ],
        |(arguments, says)| {
            let output = place.fedpipe(arguments).output().unwrap();
            let is_refused = output.status.code() == Some(2) && stderr(&output).contains(says);
            if is_refused { Ok(()) } else { Err(format!("{arguments}: {}", stderr(&output))) }
        },
    );
}

#[test]
fn a_host_that_is_killed_costs_no_event_and_no_bit() {
    let place = Place::new();
    let arguments = "logreg --rounds 40 --clients 6 --strategy fedbuff:size=2 --clock lognormal --jobs 2";
    let expected = rounds(&place.run(&format!("{arguments} --out undisturbed")));
    let run = killed_in_round(&place, arguments, 6, "killed");
    let resumed = place.fedpipe("run --resume killed").output().unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(rounds(&run), expected);
}

#[test]
fn a_crash_changes_nothing_under_retry_and_a_dropped_update_is_verified() {
    let place = Place::new();
    let base = "misbehaving --clients 4 --rounds 4 --strategy fedbuff:size=2 --clock lognormal";
    let fault = "--model-option fault=segfault --model-option client=2 --model-option round=1";
    let undisturbed = rounds(&place.run(&format!("{base} --out undisturbed")));
    let mut live = Live::start(&place, &format!("{base} {fault} --model-option once=marks"));
    live.await_fault(2, 1);
    live.allow_fault(2, 1);
    let retried = live.run.clone();
    let (status, errors) = live.end();
    assert!(status.success() && errors.contains("client 2 crashed in round "), "{errors}");
    assert_eq!(rounds(&retried), undisturbed);
    let dropped = place.run(&format!("{base} --out dropped --on-failure drop {fault}"));
    let updates: Vec<Value> =
        dropped.ledger("round").iter().flat_map(|line| line["updates"].as_array().unwrap().clone()).collect();
    let lost: Vec<&Value> = updates.iter().filter(|update| update["dropped"] == json!(true)).collect();
    assert!(lost.len() == 1 && lost[0]["client"] == json!(2), "{updates:?}");
    let verified = place.fedpipe("verify dropped").output().unwrap();
    assert!(stdout(&verified).ends_with("verified: 4 rounds have the same bits\n"), "{}", stderr(&verified));
}

#[test]
fn an_altered_clock_is_found() {
    let place = Place::new();
    trace(&place);
    let arguments = "--clock file:trace.csv --strategy fedbuff:size=3";
    let run = run(&place, "out", arguments);
    fs::remove_file(place.path("trace.csv")).unwrap();
    let resumed = place.fedpipe("run --resume out --rounds 5").output().unwrap();
    assert!(resumed.status.success(), "the run has a copy: {}", stderr(&resumed));
    let copy = fs::read_dir(&run.0).unwrap().map(|entry| entry.unwrap().path());
    let copy = copy.into_iter().find(|path| path.display().to_string().contains("clock-")).unwrap();
    let text = fs::read_to_string(&copy).unwrap();
    fs::write(&copy, text.replace("3,4,", "3,40,")).unwrap();
    let output = place.fedpipe("run --resume out --rounds 6").output().unwrap();
    let why = stderr(&output);
    assert!(output.status.code() == Some(2) && why.contains("put the file back") && why.contains("clock-"), "{why}");
}
