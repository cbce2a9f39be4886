//! The processes of a run: what they inherit, who their parent is, and that none outlives the run.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::process::CommandExt,
    process::{Command, ExitStatus, Stdio},
};

use nix::{
    sched::{CpuSet, sched_getaffinity},
    sys::signal::Signal,
    unistd::Pid,
};
use serde_json::json;

use crate::{
    common::{Place, Run, eventually, stderr},
    idx,
    live::{Client, Live, children},
    user_programs,
};

/// The arguments of a run in which every client waits in round 2.
const STANDING: &str = "misbehaving --clients 3 --jobs 3 --rounds 3 --model-option fault=sleep \
    --model-option round=2 --model-option once=marks";

/// Starts such a run and waits for all its clients.
fn standing(place: &Place) -> Live<'_> {
    let mut live = Live::start(place, STANDING);
    (0..3).for_each(|client| live.await_fault(client, 2));
    live
}

/// Returns the cores on which a process may run, as /proc writes them.
fn cores_of(pid: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).unwrap().to_owned()
}

/// Returns the cores on which this process may run.
fn own_cores() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap()).collect()
}

#[test]
fn a_client_inherits_its_own_two_descriptors_and_no_other() {
    let place = Place::new();
    let (fedpipe, run) = place.command(STANDING);
    // The host inherits descriptors that are not close-on-exec, and does not know them.
    let mut shell = Command::new("sh");
    let script = r#"exec 7</etc/passwd 9>/dev/null; exec "$@""#;
    place.settle(&mut shell).args(["-c", script, "sh"]).arg(fedpipe.get_program()).args(fedpipe.get_args());
    let mut live = Live::of(&place, shell, run);
    (0..3).for_each(|client| live.await_fault(client, 2));
    for inherited in ["7", "9"] {
        assert!(
            fs::exists(format!("/proc/{}/fd/{inherited}", live.pid())).unwrap(),
            "the host has closed its {inherited}"
        );
    }

    let mut pipes = BTreeSet::new();
    for client in live.clients() {
        let descriptors = client.descriptors();
        let numbers: Vec<u32> = descriptors.iter().map(|(number, _)| *number).collect();
        let mut own: Vec<u32> = client.arguments[1..3].iter().map(|number| number.parse().unwrap()).collect();
        own.sort();
        assert_eq!(numbers, [&[0, 1, 2], own.as_slice()].concat(), "{descriptors:?}");
        assert_eq!(descriptors[0].1, "/dev/null");
        assert_eq!(descriptors[1].1, descriptors[2].1, "output and errors are one log");
        for (number, target) in &descriptors[2..] {
            assert!(target.starts_with("pipe:"), "{number} is {target}");
            assert!(pipes.insert(target.clone()), "{number} of client {} is a sibling's: {target}", client.number());
        }
    }
    assert_eq!(pipes.len(), 9);
}

#[test]
fn a_client_is_a_child_of_the_host_and_bears_its_name() {
    let place = Place::new();
    let live = standing(&place);
    let clients = live.clients();
    assert_eq!(clients.iter().map(Client::number).collect::<Vec<_>>(), [0, 1, 2]);
    // The clients are direct children, and there are no other processes.
    assert_eq!(children(live.pid()).len(), 3);
    for client in &clients {
        assert_eq!(client.arguments.len(), 4, "{:?}", client.arguments);
        assert_eq!(client.proc("comm"), "fedpipe-client\n");
    }
}

#[test]
fn clients_have_a_core_each_while_more_work_waits() {
    let cores = own_cores().len();
    let many = 2 * cores;
    for (clients, jobs, more, apart) in [
        (many, cores, "", true),
        // No job waits, so that the kernel may choose the cores.
        (cores, cores, "", false),
        (many, cores + 1, "", false),
        // Without isolation, a model may have threads.
        (many, cores, "--isolation off", false),
    ] {
        let standing = format!(
            "misbehaving --clients {clients} --processes {clients} --jobs {jobs} --rounds 2 --model-option fault=sleep \
             --model-option round=2 --model-option once=marks {more}"
        );
        let place = Place::new();
        let mut live = Live::start(&place, &standing);
        let computing = jobs.min(clients);
        (0..computing as u32).for_each(|client| live.await_fault(client, 2));
        let kept: Vec<String> = live.clients().iter().take(computing).map(|client| cores_of(client.pid)).collect();
        if apart {
            assert!(kept.iter().all(|core| core.parse::<u32>().is_ok()), "{standing}: {kept:?}");
            assert_eq!(BTreeSet::from_iter(&kept).len(), cores, "{standing}: {kept:?}");
        } else {
            assert!(kept.iter().all(|cores| *cores == cores_of(live.pid())), "{standing}: {kept:?}");
        }
    }
}

#[test]
fn a_program_that_chose_its_cores_keeps_them() {
    let cores = own_cores();
    let place = user_programs::place();
    let (mut command, run) = place.command(&format!("--clients 4 --jobs {} --rounds 2 --isolation off", cores.len()));
    command.args(["--client", &format!("taskset -c {} bash client.sh sleep marks/fault", cores[0])]);
    let live = Live::of(&place, command, run);
    // Client 1 waits in round 2.
    eventually("the mark of the fault", || place.path("marks/fault").exists().then_some(()));
    let programs = children(live.pid());
    assert_eq!(programs.len(), 4);
    programs.iter().for_each(|&(pid, _)| assert_eq!(cores_of(pid), cores[0].to_string()));
}

#[test]
fn a_client_ends_when_its_pipe_does() {
    let place = Place::new();
    let end = |arguments: &str| -> (ExitStatus, String) {
        let script = format!("exec 5</dev/null 6>/dev/null; exec -a fedpipe-client \"$0\" {arguments}");
        let mut shell = Command::new("bash");
        place.settle(&mut shell).args(["-c", &script, env!("CARGO_BIN_EXE_fedpipe")]);
        let output = shell.output().unwrap();
        (output.status, stderr(&output))
    };
    // The client sends its hello, reads the end of its pipe, and ends.
    let (status, errors) = end("5 6 0");
    assert!(status.success() && errors.is_empty(), "{status}: {errors}");
    for arguments in ["", "5 6", "5 6 0 1", "5 5 0", "5 6 x", "5 77 0", "0 1 2"] {
        let (status, errors) = end(arguments);
        assert_eq!(status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.starts_with("error: fedpipe-client is started by fedpipe"), "{arguments:?}: {errors}");
    }
}

#[test]
fn a_closed_standard_output_ends_no_run() {
    let place = Place::new();
    let (mut command, run) = place.command("logreg --rounds 1");
    // Nobody reads this pipe.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = command.stdout(writer).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(run.summary()["rounds"], json!(1));
}

#[test]
fn a_host_that_was_executed_under_another_name_still_starts_clients() {
    let place = Place::new();
    let (mut command, run) = place.command("logreg --rounds 1");
    let output = command.arg0("some-other-name").stdin(File::open("/dev/null").unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(run.summary()["rounds"], json!(1));
}

/// Under `nohup`, a run continues after its terminal is closed.
#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let place = Place::new();
    let mut shell = Command::new("sh");
    let run = "run misbehaving --data sample --jobs 4 --rounds 2 --out out --quiet --model-option hold=marks";
    let script = format!("trap '' HUP INT; exec {} {run}", env!("CARGO_BIN_EXE_fedpipe"));
    place.settle(&mut shell).args(["-c", &script]);
    let mut live = Live::of(&place, shell, Run(place.path("out")));
    live.await_held(4, 1);
    live.signal(Signal::SIGHUP);
    live.signal(Signal::SIGINT);
    (1..=2).for_each(|round| live.mark(&format!("round-{round}")));
    let (status, errors) = live.end();
    assert!(status.success(), "{status}: {errors}");
    assert_eq!(Run(place.path("out")).summary()["stopped"], "rounds");
}

/// The setup of the process has a path and a hash for each partition, more than the mebibyte of a reply's header.
#[test]
fn one_process_serves_ten_thousand_clients() {
    let place = Place::new();
    idx::write_repeated(&place.path("rows"), &[[1, 0], [3, 1]], 5000);
    let run = |processes, out| {
        let clients = format!("--clients 10000 --fraction 0.002 --processes {processes}");
        place.run(&format!("quadratic --data ./rows {clients} --rounds 2 --out {out}"))
    };
    let one = run(1, "one");
    assert!(one.ledger("round").iter().all(|line| line["clients"] == 20), "{:?}", one.ledger("round"));
    assert_eq!(one.weights_sha256(), run(2, "two").weights_sha256());
}
