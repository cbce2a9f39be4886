//! Clients whose command names a shim of a version manager, such as pyenv's `python3`.

use std::{env, ffi::OsString, fs, os::unix::fs::PermissionsExt};

use serde_json::json;

use crate::{
    common::{Place, stderr},
    user_programs::{place, weight},
};

/// Writes a shim `python3` into the folder `shims`, as pyenv writes them, for a manager that runs the script `says`.
/// Returns a PATH with both.
fn shim(place: &Place, says: &str) -> OsString {
    fs::create_dir(place.path("shims")).unwrap();
    let manager = place.path("manager");
    let text = format!("#!/usr/bin/env bash\nexec \"{}\" exec \"${{0##*/}}\" \"$@\"\n", manager.display());
    for (path, text) in [(place.path("shims/python3"), text), (manager, format!("#!/usr/bin/env bash\n{says}\n"))] {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = env::var_os("PATH").unwrap();
    env::join_paths([place.path("shims")].into_iter().chain(env::split_paths(&path))).unwrap()
}

#[test]
fn a_shim_in_path_is_the_program_that_it_stands_for() {
    let place = place();
    let path = shim(&place, "[ \"$1 $2\" = \"which python3\" ] && type -P bash");
    for level in ["auto", "off"] {
        for (out, client) in [("bare", "python3 client.sh none -"), ("wrapped", "env X=1 python3 client.sh none -")] {
            let (mut command, run) = place.command(&format!("--rounds 2 --isolation {level} --out {level}-{out}"));
            let output = command.env("PATH", &path).args(["--client", client]).output().unwrap();
            assert!(output.status.success(), "{level} {client}: {}", stderr(&output));
            assert_eq!((weight(&run), &run.summary()["client"]), (2.5, &json!(client)));
        }
    }
}

#[test]
fn a_shim_that_stands_for_nothing_is_one_sentence() {
    let place = place();
    let path = shim(&place, "echo 'pyenv: python3: command not found' >&2; exit 127");
    let mut command = place.fedpipe("run --data sample --quiet --client python3");
    let output = command.env("PATH", path).output().unwrap();
    let errors = stderr(&output);
    let says = "which python3` names no program: pyenv: python3: command not found, so that it cannot be started\n";
    assert!(output.status.code() == Some(3) && errors.ends_with(says) && errors.lines().count() == 1, "{errors}");
}

#[test]
fn a_shim_that_a_command_names_by_its_path_is_refused_and_starts_nothing() {
    let place = place();
    shim(&place, "echo run >started");
    let output = place.fedpipe("run --data sample --quiet --client shims/python3").output().unwrap();
    let errors = stderr(&output);
    let says = "error: shims/python3 is a shim, which starts processes to find the program that it stands for";
    assert!(output.status.code() == Some(3) && errors.starts_with(says), "{errors}");
    assert!(!place.path("started").exists());
    let output = place.fedpipe("run --data sample --quiet --isolation off --client shims/python3").output().unwrap();
    assert!(!stderr(&output).contains("is a shim") && place.path("started").exists());
}
