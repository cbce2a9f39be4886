//! The isolation of a program: the files that it reads, its system calls and its limits.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
};

use serde_json::json;

use crate::{
    common::{Place, Run, check_all, stderr, stdout},
    foreign::{place, weight},
    idx,
    isolation::{lacking, partitions},
};

/// Returns the output of client 1, or of the strategy, about each of its attempts.
fn attempts(place: &Place, level: &str, who: &str) -> (Run, Vec<String>) {
    let sibling = partitions(place)[0].display().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (mut command, run) = place.command(&format!("--clients 2 --rounds 2 --isolation {level}"));
    if who != "--client" {
        command.args(["--client", "bash client.sh none -"]);
    }
    let output = command.args([who, &format!("bash client.sh try {sibling}:{port}")]).output().unwrap();
    assert!(output.status.success(), "{level}: {}", stderr(&output));
    let logs = run.logs();
    let lines = logs.lines().filter(|line| line.ends_with(": done") || line.ends_with(": refused"));
    let lines = lines.map(str::to_owned).collect();
    (run, lines)
}

/// Returns files that a program must not read, in a place that has a run, a cache and datasets beside the program, and
/// two files at the end that it may read.
fn files_beside(place: &Place) -> Vec<String> {
    let partition = partitions(place).remove(0);
    idx::write(&place.path("data"));
    for (name, contents) in [("data/notes", "x"), ("old/t10k-labels.idx1-ubyte.gz", "x"), ("helper", "x")] {
        fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
        fs::write(place.path(name), contents).unwrap();
    }
    // One is a link in the cache, another the file that the link leads to.
    fs::create_dir_all(place.path("disk/mnist")).unwrap();
    fs::write(place.path("disk/mnist/blob"), "x").unwrap();
    fs::create_dir_all(place.path("cache/fedpipe/datasets")).unwrap();
    symlink(place.path("disk/mnist"), place.path("cache/fedpipe/datasets/mnist")).unwrap();
    let train = format!("data/{}", idx::FILES[0]);
    let names = ["data/notes", &train, "old/t10k-labels.idx1-ubyte.gz", "disk/mnist/blob", "dealt/ledger.jsonl"];
    let names = names.map(str::to_owned).into_iter().chain([partition.display().to_string()]);
    names.chain(["helper".to_owned(), "client.sh".to_owned()]).collect()
}

/// Returns the program's reports on these files, of which it may read the last two, or all.
fn outcomes(files: &[String], all: bool) -> Vec<String> {
    let open = if all { 0 } else { files.len() - 2 };
    let outcome = |at| if at < open { "refused" } else { "done" };
    files.iter().enumerate().map(|(at, file)| format!("{file}: {}", outcome(at))).collect()
}

#[test]
fn a_program_reads_no_data_and_no_run_that_lie_beside_it() {
    if lacking() {
        return;
    }
    let place = place();
    let files = files_beside(&place);
    let command = format!("bash client.sh read {}", files.join(","));
    let other = "bash client.sh none -";
    for (who, level, client, strategy) in [
        ("client", "require", command.as_str(), None),
        ("client-off", "off", &command, None),
        ("strategy", "require", other, Some(command.as_str())),
    ] {
        let (mut run, left) =
            place.command(&format!("--clients 2 --rounds 1 --isolation {level} --data data --out {who}"));
        run.args(["--client", client]);
        run.args(strategy.iter().flat_map(|program| ["--strategy-program", program]));
        let output = run.output().unwrap();
        assert!(output.status.success(), "{who}: {}", stderr(&output));
        let log =
            String::from_utf8(left.read(if strategy.is_some() { "clients/strategy.log" } else { "clients/001.log" }));
        let log = log.unwrap();
        let results: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("read ")).collect();
        assert_eq!(results, outcomes(&files, level == "off"), "{who}");
    }
    // The same holds for a program that only describes itself. It has no dataset, so that only known files are closed.
    let output = place.fedpipe("models").args(["--client", &command]).output().unwrap();
    let mut results = outcomes(&files, false);
    results[0] = "data/notes: done".into();
    assert!(stdout(&output).starts_with(&format!("bash 5  in bash; {}\n", results.join("; "))), "{}", stdout(&output));
}

#[test]
fn a_program_reads_nothing_of_the_run_that_it_verifies() {
    if lacking() {
        return;
    }
    let place = place();
    // The weights depend on the number of files that the program can read.
    let (mut command, _) = place.command("--clients 2 --rounds 2");
    let output =
        command.args(["--client", "bash client.sh read out/ledger.jsonl,out/experiment.toml"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let output = place.fedpipe("verify out").output().unwrap();
    assert_eq!(stdout(&output).lines().last(), Some("verified: 2 rounds have the same bits"), "{}", stderr(&output));
}

#[test]
fn of_a_program_in_a_folder_that_all_users_write_to_the_program_alone_is_opened() {
    if lacking() {
        return;
    }
    let place = place();
    fs::create_dir(place.path("shared")).unwrap();
    fs::copy(place.path("client.sh"), place.path("shared/client.sh")).unwrap();
    fs::write(place.path("shared/secret"), "x").unwrap();
    fs::set_permissions(place.path("shared"), fs::Permissions::from_mode(0o1777)).unwrap();
    let (mut command, run) = place.command("--clients 2 --rounds 1 --isolation require");
    command.args(["--client", "bash shared/client.sh read shared/secret,shared/client.sh"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let log = String::from_utf8(run.read("clients/001.log")).unwrap();
    assert!(log.starts_with("read shared/secret: refused\nread shared/client.sh: done\n"), "{log}");
}

#[test]
fn a_program_that_lies_in_what_is_closed_is_refused_before_it_is_started() {
    let place = place();
    place.run("logreg --clients 2 --rounds 1 --out dealt");
    for folder in ["dealt", "cache/fedpipe"] {
        fs::copy(place.path("client.sh"), place.path(folder).join("client.sh")).unwrap();
        let client = format!("bash {folder}/client.sh none -");
        for arguments in ["run --data sample --quiet --out none", "models"] {
            let output = place.fedpipe(arguments).args(["--client", &client]).output().unwrap();
            let (file, of) = (place.path(folder).canonicalize().unwrap().join("client.sh"), place.path(folder));
            let says = format!(
                "error: {} lies in {}, which holds data or a run and is closed to programs; move it elsewhere, or give \
                 --isolation off\n",
                file.display(),
                of.canonicalize().unwrap().display()
            );
            assert_eq!((output.status.code(), stderr(&output)), (Some(3), says), "{arguments}");
            assert!(!place.path("none").exists());
        }
        let (mut command, _) = place.command(&format!("--clients 2 --rounds 1 --isolation off --out {folder}-off"));
        assert!(command.args(["--client", &client]).output().unwrap().status.success());
    }
}

/// The isolation that the screen shows if all of it is in force.
const CONFINED: [&str; 8] = [
    "read its own program: done",
    "read a sibling's partition: refused",
    "read the ledger: refused",
    "read /etc/passwd: refused",
    "write a file: refused",
    "connect: refused",
    "signal the host: refused",
    "write to /dev/null: done",
];

/// Runs, under `require`, a program whose attempts are refused. Returns the run with its place.
pub(crate) fn confined(who: &str) -> (Place, Run) {
    let place = place();
    let (run, said) = attempts(&place, "require", who);
    assert_eq!(said, CONFINED, "{}", run.logs());
    assert!(!place.path("written").exists());
    (place, run)
}

/// Runs, under `off`, a program whose attempts all succeed.
pub(crate) fn unconfined(who: &str) -> (Place, Run) {
    let place = place();
    let (run, said) = attempts(&place, "off", who);
    assert!(said.len() == 8 && said.iter().all(|line| line.ends_with(": done")), "{said:?} {}", run.logs());
    assert!(place.path("written").exists());
    (place, run)
}

#[test]
fn a_program_is_confined_and_trains() {
    if lacking() {
        return;
    }
    let (_place, run) = confined("--client");
    // The weight is the mean over two clients, as without isolation.
    assert_eq!(weight(&run), 1.5);
    let line = &run.ledger("isolation")[0];
    assert_eq!((&line["level"], &line["seccomp"], &line["threads"]), (&json!("require"), &json!(true), &json!(true)));
    assert!(line["landlock_abi"].as_u64().is_some_and(|abi| abi < 99), "its own word was taken: {line}");
}

#[test]
fn a_program_that_is_not_confined_may_do_what_its_user_may() {
    let (_place, run) = unconfined("--client");
    let line = &run.ledger("isolation")[0];
    assert_eq!((&line["level"], &line["landlock_abi"], &line["seccomp"]), (&json!("off"), &json!(null), &json!(false)));
}

#[test]
fn a_confined_program_starts_no_process_and_ends_at_its_limit() {
    if lacking() {
        return;
    }
    let cases = [
        ("fork", "", json!({"kind": "exit", "code": 254}), "fork: Operation not permitted"),
        ("spin", "--cpu-limit 1", json!({"kind": "cpu_limit", "seconds": 1}), ""),
    ];
    check_all(cases, |(fault, arguments, cause, words)| {
        let place = place();
        let (mut command, run) = place.command(&format!("--rounds 2 --on-failure drop {arguments}"));
        let output = command.args(["--client", &format!("bash client.sh {fault} -")]).output().unwrap();
        let crashed = run.ledger("client_crashed");
        let named =
            crashed.iter().all(|line| line["cause"] == *cause && line["last_words"].to_string().contains(words));
        if output.status.success() && crashed.len() == 1 && named {
            Ok(())
        } else {
            Err(format!("{crashed:?} {}", stderr(&output)))
        }
    });
}
