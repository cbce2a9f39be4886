//! Clients that are programs: `--client COMMAND`. The program here is `fixtures/client.sh`.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    process::{Command, Output},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::{
    common::{Place, Run, check_all, eventually, repository, sha256, stderr, stdout},
    idx,
    isolation::{lacking, partitions, without_landlock},
    live::{Live, children},
};

/// Returns a place with the program in it.
pub(crate) fn place() -> Place {
    let place = Place::new();
    fs::copy(repository().join("crates/cli/fixtures/client.sh"), place.path("client.sh")).unwrap();
    place
}

/// Returns the command of a run whose client commits a fault until the mark exists.
///
/// The run has no isolation, since a fault writes the mark and may start a program. Other tests cover isolation.
pub(crate) fn command(place: &Place, fault: &str, arguments: &str) -> (Command, Run) {
    let (mut command, run) = place.command(arguments);
    command.args(["--isolation", "off"]);
    command.args(["--client", &format!("bash client.sh {fault} marks/fault")]);
    (command, run)
}

fn run(place: &Place, fault: &str, arguments: &str) -> Run {
    let (mut command, run) = command(place, fault, arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{fault} {arguments}: {}\n{}", output.status, stderr(&output));
    run
}

/// Returns the one weight of the program's model.
pub(crate) fn weight(run: &Run) -> f32 {
    f32::from_le_bytes(run.read("model.safetensors").last_chunk().copied().unwrap())
}

fn undisturbed() -> String {
    let place = place();
    run(&place, "none", "").weights_sha256()
}

#[test]
fn a_program_is_a_client_and_is_known_by_its_files() {
    let place = place();
    let run = run(&place, "none", "--rounds 2");
    // The weight is the mean over four clients with 500 examples each.
    assert_eq!(weight(&run), 2.5);
    let script = sha256(&fs::read(place.path("client.sh")).unwrap());
    assert_eq!(run.ledger("ready")[0]["client_sha256"], json!({"client.sh": script}));
    assert_eq!(run.ledger("ready")[0]["dylib_sha256"], Value::Null);
    assert_eq!(run.summary()["model"], json!("bash"));
    assert_eq!(run.summary()["client"], json!("bash client.sh none marks/fault"));
    assert!(!run.0.join("model.so").exists());
    // The program has one thread, and no dylib.
    assert_eq!(run.logs().lines().next(), Some("threads: 1 1 1; dylib: \"dylib\":null"));
}

#[test]
fn a_run_is_called_after_its_program() {
    let place = place();
    let mut command = place.fedpipe("run --data sample --rounds 1");
    command.args(["--client", "bash ./client.sh none marks/fault"]);
    assert!(command.output().unwrap().status.success());
    fs::create_dir(place.path("mine")).unwrap();
    fs::rename(place.path("client.sh"), place.path("mine/client.sh")).unwrap();
    let mut command = place.fedpipe("run --data sample --rounds 1");
    command.args(["--client", "bash mine/client.sh none marks/fault"]);
    assert!(command.output().unwrap().status.success());
    assert!(place.path("runs/client-1/summary.json").exists() && place.path("runs/mine-1/summary.json").exists());
}

#[test]
fn a_lost_program_is_tried_again_and_costs_no_bit() {
    let whole = undisturbed();
    let cases = [
        ("exit", "", json!({"kind": "exit", "code": 7})),
        ("child", "", json!({"kind": "exit", "code": 7})),
        ("kill", "", json!({"kind": "signal", "number": 11})),
        ("failed", "", json!({"kind": "reported", "failure": "model", "message": "as it was told, the client fails"})),
        // The deadline includes the start of bash: it must be long enough for a loaded machine.
        ("sleep", "--client-timeout 4", json!({"kind": "deadline", "seconds": 4.0})),
        ("garbage", "", json!({"kind": "protocol", "message": "it starts with \"Load\" instead of \"fdp1\""})),
    ];
    check_all(cases, |(fault, arguments, cause)| {
        let place = place();
        let run = run(&place, fault, arguments);
        let lost = run.ledger("client_crashed");
        let [line] = lost.as_slice() else { return Err(format!("{lost:?}")) };
        let told = (&line["client"], &line["round"], &line["then"]) == (&json!(1), &json!(2), &json!("retried"));
        match told && run.weights_sha256() == whole {
            true if line["cause"] == *cause => Ok(()),
            _ => Err(line.to_string()),
        }
    });
}

#[test]
fn an_answer_that_is_not_taken_costs_its_client_alone() {
    let whole = undisturbed();
    let cases = [
        ("loss", "rejected", "its training loss is 1.7e308; lower --lr"),
        ("no-loss", "rejected", "its training loss is not finite; lower --lr"),
        ("huge", "rejected", "weight 0 is 3.4028235e38; lower --lr"),
        ("part", "protocol", "its answer has the part \"more\", which was not asked for"),
    ];
    check_all(cases, |(fault, kind, says)| {
        let place = place();
        let run = run(&place, fault, "");
        let lost = run.ledger("client_crashed");
        let [line] = lost.as_slice() else { return Err(format!("{lost:?}")) };
        let cause = &line["cause"];
        if cause["kind"] == *kind && cause["message"] == *says && run.weights_sha256() == whole {
            Ok(())
        } else {
            Err(line.to_string())
        }
    });
}

/// The host waits for the rest of a message that an idle client has begun, but not for ever.
#[test]
fn a_byte_after_a_whole_answer_costs_its_client_alone() {
    let whole = undisturbed();
    for policy in ["retry", "drop", "abort"] {
        let place = place();
        let (mut command, run) = command(&place, "byte", &format!("--on-failure {policy}"));
        let output = command.output().unwrap();
        let errors = stderr(&output);
        // The next request may arrive before the host finds the byte.
        let [line] = &run.ledger("client_crashed")[..] else { panic!("{errors}") };
        assert_eq!((&line["process"], &line["cause"]["kind"]), (&json!(1), &json!("protocol")), "{line}");
        match policy {
            "abort" => assert_eq!(output.status.code(), Some(6), "{errors}"),
            "drop" => assert!(output.status.success(), "{errors}"),
            _ => assert_eq!((output.status.code(), run.weights_sha256()), (Some(0), whole.clone()), "{errors}"),
        }
    }
}

#[test]
fn a_layout_that_is_none_is_refused_before_the_first_round() {
    let cases = [
        ("layout-empty", 3, "has no tensor; give at least one"),
        ("layout-zero", 3, "has the tensor \"w\" of shape [0], which has no weight"),
        ("layout-twice", 3, "has two tensors of the name \"w\""),
        ("layout-reserved", 3, "has a tensor of the name \"__metadata__\""),
        ("layout-local", 3, "has the tensor \"w\" in the place \"local\", which this version does not keep apart"),
        ("layout-endless", 3, "has more than 1073741824 weights"),
        ("claim", 6, "a payload of 4294967292 bytes, at most 4 were asked for"),
    ];
    check_all(cases, |(fault, code, says)| {
        let place = place();
        let (mut command, _) = command(&place, fault, "--quiet");
        let output = command.output().unwrap();
        let last = stderr(&output).lines().last().unwrap_or_default().to_owned();
        if output.status.code() == Some(*code) && last.starts_with("error: ") && last.contains(says) {
            Ok(())
        } else {
            Err(format!("{}: {last}", output.status))
        }
    });
}

#[test]
fn pooled_programs_have_the_same_bits() {
    for processes in [1, 3] {
        let place = place();
        let pooled = run(&place, "none", &format!("--processes {processes}"));
        assert_eq!(pooled.weights_sha256(), undisturbed());
    }
}

/// Returns a run that ended in round 2 and can be resumed.
fn interrupted(place: &Place) -> Run {
    let (mut command, run) = command(place, "exit", "--on-failure abort");
    assert_eq!(command.output().unwrap().status.code(), Some(6));
    run
}

pub(crate) fn resume(place: &Place, more: &str) -> Output {
    place.fedpipe(&format!("run --resume out {more}")).output().unwrap()
}

#[test]
fn a_run_of_a_program_is_resumed() {
    let place = place();
    let run = interrupted(&place);
    assert!(resume(&place, "").status.success());
    assert_eq!((run.ledger("round").len(), run.weights_sha256()), (5, undisturbed()));
}

#[test]
fn another_program_is_refused_by_name_unless_forced() {
    let place = place();
    let run = interrupted(&place);
    let script = fs::read_to_string(place.path("client.sh")).unwrap();
    fs::write(place.path("client.sh"), script + "# changed\n").unwrap();
    let output = resume(&place, "");
    let said = stderr(&output);
    assert!(output.status.code() == Some(2) && said.contains("client.sh is ") && said.contains("--force"), "{said}");
    fs::rename(place.path("client.sh"), place.path("other.sh")).unwrap();
    let output = resume(&place, "");
    assert!(stderr(&output).contains("there is no file client.sh here"), "{}", stderr(&output));
    fs::rename(place.path("other.sh"), place.path("client.sh")).unwrap();
    assert!(resume(&place, "--force").status.success());
    assert!(run.ledger("resumed")[0]["forced"][0].as_str().unwrap().starts_with("client.sh is "));
}

#[test]
fn a_run_of_a_program_is_verified_with_the_same_program_alone() {
    let place = place();
    run(&place, "none", "--rounds 2");
    let verify = || place.fedpipe("verify out").output().unwrap();
    assert_eq!(stdout(&verify()).lines().last(), Some("verified: 2 rounds have the same bits"));
    let script = fs::read_to_string(place.path("client.sh")).unwrap();
    fs::write(place.path("client.sh"), script + "# changed\n").unwrap();
    let (code, said) = (verify().status.code(), stderr(&verify()));
    assert!(code == Some(2) && said.contains("the run cannot be verified, since client.sh is "), "{said}");
}

#[test]
fn a_program_cannot_be_reloaded() {
    let place = place();
    let (command, run) = command(&place, "sleep", "");
    let live = Live::of(&place, command, run.clone());
    eventually("the client sleeps", || place.path("marks/fault").exists().then_some(()));
    live.signal(Signal::SIGUSR1);
    // The sleeping client is killed; then the round ends, and with it the wait for a reload.
    kill(Pid::from_raw(process(&live, 1)), Signal::SIGKILL).unwrap();
    let (status, errors) = live.end();
    assert!(status.success() && errors.contains("the model stays as it is: a client of your own"), "{errors}");
    assert_eq!(run.weights_sha256(), undisturbed());
}

/// Returns the process of the program with this number.
fn process(live: &Live<'_>, number: u32) -> i32 {
    let ends = format!("\0{number}\0");
    let is_it = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(&ends));
    children(live.pid()).into_iter().map(|(pid, _)| pid).find(|pid| is_it(*pid)).unwrap()
}

#[test]
fn a_program_says_what_it_is() {
    let place = place();
    let mut models = place.fedpipe("models");
    let output = models.args(["--client", "bash client.sh none -"]).output().unwrap();
    assert_eq!(stdout(&output), "bash 5  in bash\n  bash client.sh none -\n");
    let mut models = place.fedpipe("models");
    let output = models.args(["--client", "bash --norc -c 'echo no licence; exit 3'"]).output().unwrap();
    let says = stderr(&output);
    assert!(says.contains("it exited with code 3") && says.contains("its last words: no licence"), "{says}");
}

#[test]
fn what_is_no_client_is_one_sentence() {
    let cases: [(&[&str], i32, &str); 10] = [
        (&["--client", ""], 2, "--client is empty"),
        (&["--client", "bash 'x"], 2, "--client \"bash 'x\" has a quote"),
        (&["--client", "bash x", "mlp"], 2, "cannot be used with"),
        (&["--client", "true", "--set", "model=mlp"], 2, "both the model mlp and the client \"true\" are named"),
        (&["--client", "nonesuch"], 3, "there is no program nonesuch in PATH"),
        (&["--client", "./nonesuch"], 3, "there is no program ./nonesuch here"),
        (&["--client", "bash client.sh none -", "--model-option", "a=1"], 3, "this client has no options"),
        (&["--client", "true"], 3, "failed before its first message: it exited with code 0 before its work was done"),
        (
            &["--client", "bash nonesuch.sh"],
            3,
            "failed before its first message: it exited with code 127; its last words: bash: nonesuch.sh: No such file",
        ),
        (
            &["--client", "bash -c 'echo this is no frame >&$2' x"],
            3,
            "failed before its first message: it broke the protocol: ",
        ),
    ];
    check_all(cases, |(arguments, code, says)| {
        let place = place();
        let output = place.fedpipe("run --data sample --quiet").args(*arguments).output().unwrap();
        let errors = stderr(&output);
        let last = errors.lines().last().unwrap_or_default();
        // A failure that all processes would repeat is reported once.
        let once = errors.lines().filter(|line| !line.starts_with(' ')).count() == 1;
        if output.status.code() == Some(*code) && last.starts_with("error: ") && last.contains(says) && once {
            Ok(())
        } else {
            Err(format!("{}: {errors}", output.status))
        }
    });
}

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
    let said = logs.lines().filter(|line| line.ends_with(": done") || line.ends_with(": refused"));
    let said = said.map(str::to_owned).collect();
    (run, said)
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
        let said: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("read ")).collect();
        assert_eq!(said, outcomes(&files, level == "off"), "{who}");
    }
    // The same holds for a program that only describes itself. It has no dataset, so that only known files are closed.
    let output = place.fedpipe("models").args(["--client", &command]).output().unwrap();
    let mut said = outcomes(&files, false);
    said[0] = "data/notes: done".into();
    assert!(stdout(&output).starts_with(&format!("bash 5  in bash; {}\n", said.join("; "))), "{}", stdout(&output));
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
        let lost = run.ledger("client_crashed");
        let named = lost.iter().all(|line| line["cause"] == *cause && line["last_words"].to_string().contains(words));
        if output.status.success() && lost.len() == 1 && named {
            Ok(())
        } else {
            Err(format!("{lost:?} {}", stderr(&output)))
        }
    });
}

#[test]
fn what_cannot_be_launched_is_one_sentence() {
    let place = place();
    fs::write(place.path("data"), "no program").unwrap();
    let (mut command, run) = place.command("--quiet --client ./data");
    let output = command.output().unwrap();
    let says = "error: ./data cannot be executed: Permission denied (os error 13)\n";
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(3), says));
    assert!(!run.0.exists());

    let client = "run --data sample --quiet --isolation require --client true";
    let output = without_landlock(place.fedpipe(client));
    let errors = stderr(&output);
    let says = "error: isolation is required, but is missing here: Landlock (";
    assert!(output.status.code() == Some(1) && errors.starts_with(says) && errors.lines().count() == 1, "{errors}");
}

/// Scripts that start `client.sh`, which lies in another folder than the scripts.
fn write_scripts(place: &Place) {
    fs::create_dir(place.path("scripts")).unwrap();
    let started = "bash client.sh none - \"$@\"";
    fs::write(place.path("scripts/becomes.sh"), format!("exec {started}\n")).unwrap();
    fs::write(place.path("scripts/starts.sh"), format!("{started}\nexit $?\n")).unwrap();
}

#[test]
fn a_wrapper_that_becomes_the_program_is_a_client_and_a_strategy() {
    if lacking() {
        return;
    }
    let wrappers = [
        "env X=1 bash client.sh none -",
        "nice -n 1 bash client.sh none -",
        "nohup stdbuf -oL bash client.sh none -",
        "sh scripts/becomes.sh",
    ];
    check_all(wrappers, |command| {
        let place = place();
        write_scripts(&place);
        let (mut run, left) = place.command("--clients 2 --rounds 1 --isolation require");
        let output = run.args(["--client", command, "--strategy-program", command]).output().unwrap();
        if output.status.success() && weight(&left) == 1.0 { Ok(()) } else { Err(stderr(&output)) }
    });
}

#[test]
fn a_wrapper_that_starts_another_process_is_refused_unless_unconfined() {
    for wrapper in ["timeout 60", "setsid -w"] {
        let command = format!("{wrapper} bash client.sh none -");
        let name = wrapper.split(' ').next().unwrap();
        for who in ["--client", "--strategy-program"] {
            let place = place();
            let mut run = place.fedpipe("run --data sample --quiet --clients 2 --rounds 1 --out out");
            if who != "--client" {
                run.args(["--client", "bash client.sh none -"]);
            }
            let output = run.args([who, &command]).output().unwrap();
            let errors = stderr(&output);
            let says =
                format!("error: {name} starts the program as another process, and isolation refuses that; leave it");
            assert!(output.status.code() == Some(3) && errors.starts_with(&says), "{who}: {errors}");
            assert_eq!(errors.lines().count(), 1, "{who}: {errors}");
            let output = run.args(["--isolation", "off"]).output().unwrap();
            assert!(output.status.success(), "{who}: {}", stderr(&output));
        }
    }
}

#[test]
fn isolation_is_named_as_a_cause_where_it_may_be_one() {
    if lacking() {
        return;
    }
    let hint = "; isolation may be the cause, since the program may start no other one and read only its own files: have a \
                wrapper `exec` the program, name the files in the command, or give --isolation off\n";
    let cases = [
        ("sh scripts/starts.sh", true),
        ("bash scripts/starts.sh", true),
        ("bash -c 'exec 9</etc/passwd'", true),
        ("bash nonesuch.sh", false),
        ("bash -c 'exit 7'", false),
    ];
    check_all(cases, |(command, is_hinted)| {
        for who in ["--client", "--strategy-program"] {
            let place = place();
            write_scripts(&place);
            let mut run = place.fedpipe("run --data sample --quiet --clients 2 --rounds 1");
            if who != "--client" {
                run.args(["--client", "bash client.sh none -"]);
            }
            let output = run.args([who, command]).output().unwrap();
            let errors = stderr(&output);
            if output.status.code() != Some(3) || errors.ends_with(hint) != *is_hinted {
                return Err(format!("{who}: {} {errors}", output.status));
            }
            let output = run.args(["--isolation", "off"]).output().unwrap();
            if stderr(&output).contains("isolation") {
                return Err(format!("{who}: {}", stderr(&output)));
            }
        }
        Ok(())
    });
}
