//! A system that refuses processes, or has no folder to load a model from. Each cause is named with its own remedy.

use std::{fs, process::Command};

use nix::{errno::Errno, libc};

use crate::{
    common::{Place, check_all, dylib, stderr},
    refusing::{self, Refused},
};

#[test]
fn each_reason_why_no_process_starts_has_a_remedy_of_its_own() {
    let pidfd = |with| vec![Refused::calls(&[libc::SYS_pidfd_open], with)];
    let close_range = |with| vec![Refused::calls(&[libc::SYS_close_range], with)];
    let limit = "Resource temporarily unavailable (os error 11); raise `ulimit -u` or the cgroup's pids.max, or lower \
        --processes";
    let memory = "Cannot allocate memory (os error 12); end other programs, or lower --processes";
    let old = "use Linux 5.11 or later, and in a container a seccomp profile that allows clone, close_range and execve";
    let no_pidfd = "use Linux 5.3 or later, and in a container a seccomp profile that allows the call";
    let cases = [
        (refusing::forks(Errno::EAGAIN), limit.to_owned()),
        (refusing::forks(Errno::ENOMEM), memory.to_owned()),
        (
            refusing::forks(Errno::EPERM),
            format!("a process may not be started here: Operation not permitted (os error 1); {old}"),
        ),
        (
            close_range(Errno::ENOSYS),
            format!("a process may not be started here: Function not implemented (os error 38); {old}"),
        ),
        (pidfd(Errno::ENOSYS), format!("pidfd_open is refused: Function not implemented (os error 38); {no_pidfd}")),
        (pidfd(Errno::EPERM), format!("pidfd_open is refused: Operation not permitted (os error 1); {no_pidfd}")),
        (
            pidfd(Errno::EMFILE),
            "Too many open files (os error 24); raise `ulimit -n`, or lower --processes".to_owned(),
        ),
        (
            pidfd(Errno::ENFILE),
            "Too many open files in system (os error 23); raise the machine's limit (sysctl fs.file-max), or end other \
             programs"
                .to_owned(),
        ),
    ];
    check_all(cases, |(refused, says)| {
        let place = Place::new();
        let (command, _) = place.command("logreg --rounds 1 --quiet --isolation off");
        let output = refusing::output(command, refused.clone());
        let expected = format!("error: cannot start client process 0: {says}\n");
        if output.status.code() == Some(1) && stderr(&output) == expected {
            Ok(())
        } else {
            Err(format!("{}: {}", output.status, stderr(&output)))
        }
    });
}

/// Runs `script` with a folder `noexec` that is a file system of its own, mounted noexec. Returns `None` if this user
/// may not mount.
fn with_noexec(place: &Place, script: &str) -> Option<std::process::Output> {
    fs::create_dir(place.path("noexec")).unwrap();
    let mut command = Command::new("unshare");
    let script = format!("mount -t tmpfs -o noexec none noexec || exit 99\n{script}");
    place.settle(&mut command).args(["-rm", "sh", "-c", &script, "sh"]).arg(place.fedpipe("").get_program());
    let output = command.output().ok().filter(|output| output.status.code() != Some(99))?;
    (!stderr(&output).starts_with("unshare:")).then_some(output)
}

#[test]
fn a_folder_from_which_no_model_can_be_loaded_is_named_and_not_the_model() {
    let model = dylib("logreg");
    let scripts = [
        (
            "exec \"$1\" run logreg --data sample --rounds 1 --out noexec/run",
            5,
            "/noexec is on a file system that is mounted noexec, so that no model in it can be loaded; give another \
             folder with --out\n",
        ),
        (
            "\"$1\" run logreg --data sample --rounds 1 --quiet --out run >&2; TMPDIR=$PWD/noexec exec \"$1\" verify run",
            1,
            "is on a file system that is mounted noexec, so that no model in it can be loaded; set TMPDIR to another \
             folder\n",
        ),
        (
            "\"$1\" run logreg --data sample --rounds 1 --quiet --out run >&2; cp -r run noexec/run; \
             exec \"$1\" run --resume noexec/run",
            5,
            "/noexec/run is on a file system that is mounted noexec, so that no model in it can be loaded; move the run \
             to another folder\n",
        ),
    ];
    check_all(scripts, |(script, code, says)| {
        let place = Place::new();
        let Some(output) = with_noexec(&place, script) else { return Ok(()) };
        let errors = stderr(&output);
        let fits = errors.ends_with(says) && !errors.contains(&model.display().to_string());
        if output.status.code() == Some(*code) && fits { Ok(()) } else { Err(format!("{}: {errors}", output.status)) }
    });
}

#[test]
fn a_system_without_proc_is_named() {
    let place = Place::new();
    let script = "mount -t tmpfs none /proc || exit 99\nexec \"$1\" run logreg --data sample --rounds 1 --out run";
    let Some(output) = with_noexec(&place, script) else { return };
    let says = "error: cannot start client process 0: /proc is not mounted: No such file or directory (os error 2); mount \
        it (mount -t proc proc /proc)\n";
    assert_eq!(stderr(&output), says);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_missing_null_device_is_named() {
    let place = Place::new();
    // All of /dev is hidden, since a user namespace may not create a device.
    let script = "mount -t tmpfs none /dev || exit 99\nexec \"$1\" run logreg --data sample --rounds 1 --out run";
    let Some(output) = with_noexec(&place, script) else { return };
    let says = "error: cannot start client process 0: /dev/null cannot be opened: No such file or directory (os error 2); \
        make it (mknod -m 666 /dev/null c 1 3)\n";
    assert_eq!(stderr(&output), says);
    assert_eq!(output.status.code(), Some(1));
}
