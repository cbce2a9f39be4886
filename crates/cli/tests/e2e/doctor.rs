//! `fedpipe doctor`, and the files that clap generates.

use std::{fs, process::Command};

use crate::common::{Place, dylib, stderr, stdout};

/// Returns the exit code and the lines about `subject`, each with its remedy.
fn about(output: &std::process::Output, subject: &str) -> (Option<i32>, String) {
    let text = stdout(output);
    let mut lines = Vec::new();
    let mut is_wanted = false;
    for line in text.lines() {
        // A remedy is indented below its finding.
        is_wanted = if line.starts_with(' ') { is_wanted } else { line.split_whitespace().nth(1) == Some(subject) };
        if is_wanted {
            lines.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    (output.status.code(), lines.join("\n"))
}

#[test]
fn a_machine_that_runs_the_tests_is_in_order() {
    let place = Place::new();
    let output = place.fedpipe("doctor").output().unwrap();
    let (code, models) = about(&output, "models");
    assert_eq!(code, Some(0), "{}{}", stdout(&output), stderr(&output));
    let expected = format!("fine models mlp 0.1.0, {}", dylib("mlp").display());
    assert!(models.lines().any(|line| line == expected), "{models}");
    // Fixtures are left out, and a model of another ABI has its remedy.
    assert!(!models.contains("hostile"), "{models}");
    let other = "was built against another version of fedpipe-model";
    assert!(models.lines().any(|line| line.starts_with("limited models ") && line.contains(other)), "{models}");
    let (_, cache) = about(&output, "cache");
    assert!(cache.starts_with("fine cache ") && cache.contains("does not exist yet"), "{cache}");
    assert!(!place.path("cache").exists(), "the doctor has made the cache");
    let (_, data) = about(&output, "data");
    assert!(data.starts_with("fine data ") || data.contains("`fedpipe data fetch fashion-mnist`"), "{data}");
    assert!(about(&output, "isolation").1.contains("memory "), "{}", stdout(&output));
}

#[test]
fn things_out_of_order_have_a_remedy_and_end_with_code_1() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    fs::write(place.path("file"), "").unwrap();
    let command = place.path("empty/fedpipe");
    fs::copy(env!("CARGO_BIN_EXE_fedpipe"), &command).unwrap();
    let mut doctor = Command::new("sh");
    place.settle(&mut doctor).args(["-c", "ulimit -n 100; exec \"$0\" doctor"]).arg(&command);
    doctor.env("FEDPIPE_MODELS", place.path("empty")).env("XDG_CACHE_HOME", place.path("file"));
    let output = doctor.env("TMPDIR", place.path("absent")).output().unwrap();
    let expected = [
        ("models", "broken models no model is in "),
        ("models", "build the models, or name their folder in FEDPIPE_MODELS"),
        ("isolation", "limited isolation not tried, since no model is found"),
        ("cache", "set XDG_CACHE_HOME to another folder"),
        ("temporary", "set TMPDIR to another folder"),
        ("descriptors", "limited descriptors the limit is enough for 7 client processes"),
        ("descriptors", "raise the hard limit of `ulimit -n`"),
    ];
    for (subject, text) in expected {
        let (code, found) = about(&output, subject);
        assert!(code == Some(1) && found.contains(text), "{text} is not in {found:?} of\n{}", stdout(&output));
    }
}

#[test]
fn completions_and_man_pages_name_every_command() {
    let place = Place::new();
    let output = place.fedpipe("man pages/man1").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let pages: Vec<String> = fs::read_dir(place.path("pages/man1"))
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    let help = stdout(&place.fedpipe("--help").output().unwrap());
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let is_command = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let commands: Vec<&str> = listed
        .take_while(|line| !line.is_empty())
        .filter(is_command)
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.contains(&"run") && commands.contains(&"strategies"), "{commands:?}");
    let missing = |command: &&&str| !pages.contains(&format!("fedpipe-{command}.1"));
    assert_eq!(commands.iter().filter(missing).count(), 0, "{commands:?} {pages:?}");
    for shell in ["bash", "zsh", "fish"] {
        let text = stdout(&place.fedpipe(&format!("completions {shell}")).output().unwrap());
        assert!(commands.iter().all(|command| text.contains(command)), "{shell}: {text}");
    }
    fs::write(place.path("file"), "").unwrap();
    let output = place.fedpipe("man file/man1").output().unwrap();
    let says = "error: cannot write the man pages to file/man1: ";
    assert!(output.status.code() == Some(5) && stderr(&output).starts_with(says), "{}", stderr(&output));
}
