//! The command of a program: commands that start no client, and wrappers around a client.

use std::fs;

use crate::{
    common::{Place, check_all, stderr, stdout},
    isolation::{lacking, without_landlock},
    user_programs::{place, weight},
};

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
