//! File systems that refuse locks, syncs and modes, as Lustre, NFS, CIFS and FUSE do, and file systems that fail.

use std::{fs, os::unix::fs::symlink};

use nix::{errno::Errno, libc};

use crate::{
    common::{Place, Run, check_all, stderr},
    refusing::{self, Refused},
};

/// Returns the run directories of a place, and all files beside them.
fn runs(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.path("runs")).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Refuses locks of both kinds.
fn locks(with: Errno) -> Vec<Refused> {
    let record = Refused::call_where(libc::SYS_fcntl, 1, u64::from(u32::MAX), libc::F_SETLK as u64, with);
    vec![record, Refused::calls(&[libc::SYS_flock], with)]
}

fn syncs(with: Errno) -> Vec<Refused> {
    vec![Refused::calls(&[libc::SYS_fsync, libc::SYS_fdatasync], with)]
}

fn modes(with: Errno) -> Vec<Refused> {
    let mut calls = vec![libc::SYS_fchmod, libc::SYS_fchmodat];
    #[cfg(target_arch = "x86_64")]
    calls.push(libc::SYS_chmod);
    vec![Refused::calls(&calls, with)]
}

const RUN: &str = "run logreg --data sample --clients 2 --rounds 1 --quiet";

#[test]
fn what_the_data_do_not_need_may_be_refused() {
    let usual = Place::new().run("logreg --clients 2 --rounds 1").weights_sha256();
    let (locked, kept) = ("/runs/logreg-1 cannot be locked (", "/cache/fedpipe cannot be locked (");
    let refused = "runs/logreg-1 refuses to sync files (";
    let cases = [
        (locks(Errno::ENOLCK), vec![locked, kept]),
        (locks(Errno::ENOSYS), vec![locked, kept]),
        (locks(Errno::EOPNOTSUPP), vec![locked, kept]),
        (syncs(Errno::EINVAL), vec![refused]),
        (syncs(Errno::EROFS), vec![refused]),
        // No mode is set, so that the umask decides the modes of files.
        (modes(Errno::EPERM), vec![]),
        (modes(Errno::EOPNOTSUPP), vec![]),
    ];
    check_all(cases, |(calls, warnings)| {
        let place = Place::new();
        let output = refusing::output(place.fedpipe(RUN), calls.clone());
        let errors = stderr(&output);
        let run = Run(place.path("runs/logreg-1"));
        if !output.status.success() || runs(&place) != ["logreg-1"] || run.weights_sha256() != usual {
            return Err(format!("{}: {:?} {errors}", output.status, runs(&place)));
        }
        let fits = |(line, warning): (&str, &&str)| line.starts_with("warning: ") && line.contains(*warning);
        if errors.lines().count() != warnings.len() || !errors.lines().zip(warnings).all(fits) {
            return Err(errors);
        }
        // The second run finds the dealt data, and takes the next number.
        let output = refusing::output(place.fedpipe(RUN), calls.clone());
        if output.status.success() && runs(&place) == ["logreg-1", "logreg-2"] {
            Ok(())
        } else {
            Err(format!("{}: {:?} {}", output.status, runs(&place), stderr(&output)))
        }
    });
}

#[test]
fn a_run_whose_folder_cannot_be_locked_is_resumed_with_a_warning() {
    let place = Place::new();
    place.run("logreg --rounds 1");
    let resume = "run --resume out --rounds 2 --force --quiet";
    let output = refusing::output(place.fedpipe(resume), locks(Errno::ENOLCK));
    let errors = stderr(&output);
    assert!(output.status.success(), "{errors}");
    assert!(
        errors.starts_with("warning: ") && errors.contains("/out cannot be locked (No locks available"),
        "{errors}"
    );
}

/// The search for a number continues only if the number is taken.
#[test]
fn a_disk_that_fails_ends_the_run_and_leaves_no_folder() {
    let cases = [
        (
            Errno::EIO,
            "Input/output error (os error 5); look for the device's fault in the system's log, or give another",
        ),
        (Errno::ENOSPC, "No space left on device (os error 28); free some space, or give another folder with --out"),
        (Errno::EDQUOT, "Disk quota exceeded (os error 122); free some space, or give another folder with --out"),
        (Errno::EMFILE, "Too many open files (os error 24); raise `ulimit -n`\n"),
    ];
    check_all(cases, |(number, says)| {
        let place = Place::new();
        let output = refusing::output(place.fedpipe(RUN), syncs(*number));
        let errors = stderr(&output);
        let begins = errors.starts_with("error: cannot write runs/logreg-1: ") && errors.lines().count() == 1;
        if output.status.code() == Some(5) && begins && errors.contains(says) && runs(&place).is_empty() {
            Ok(())
        } else {
            Err(format!("{}: {:?} {errors}", output.status, runs(&place)))
        }
    });
}

#[test]
fn a_link_to_nothing_has_its_number() {
    let place = Place::new();
    fs::create_dir(place.path("runs")).unwrap();
    symlink("nowhere", place.path("runs/logreg-1")).unwrap();
    let output = place.fedpipe(RUN).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(runs(&place), ["logreg-1", "logreg-2"]);
}
