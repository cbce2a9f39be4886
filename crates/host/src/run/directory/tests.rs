//! Tests of making, locking and clearing a run directory.

use fedpipe_record::experiment::Experiment;

use super::*;
use crate::disk::lock::tests::Holder;

#[test]
fn a_dylib_that_cannot_be_read_is_blamed_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (dylib, out) = (folder.path().join("none.so"), folder.path().join("runs/a"));
    let error = RunDir::create(&Experiment::default(), Some(&dylib), Some(&out), false).unwrap_err();
    let expected = format!("cannot read {}: No such file or directory (os error 2)", dylib.display());
    assert!(matches!(&error, Error::Model(message) if *message == expected), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Returns the name of a new run of the program `client`.
fn next_name(folder: &Path, client: &str) -> String {
    let experiment = Experiment { client: Some(client.into()), ..Experiment::default() };
    let (directory, _) = RunDir::create_numbered(&experiment, None, folder).unwrap();
    directory.path().file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_run_takes_the_first_number_that_is_free() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("runs");
    assert_eq!([(); 3].map(|()| next_name(&folder, "true")), ["true-1", "true-2", "true-3"]);
    assert_eq!(next_name(&folder, "false"), "false-1", "each name has its own numbers");
    fs::remove_dir_all(folder.join("true-2")).unwrap();
    // A file, a link to nothing and an empty folder have their numbers as well.
    fs::write(folder.join("true-4"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", folder.join("true-5")).unwrap();
    fs::create_dir(folder.join("true-6")).unwrap();
    assert_eq!([(); 3].map(|()| next_name(&folder, "true")), ["true-2", "true-7", "true-8"]);
}

#[test]
fn runs_that_begin_together_have_different_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let begin = || next_name(folder.path(), "true");
    let mut names = std::thread::scope(|scope| {
        let threads = [(); 8].map(|()| std::thread::Builder::new().spawn_scoped(scope, begin).unwrap());
        threads.map(|thread| thread.join().unwrap())
    });
    names.sort_unstable();
    assert_eq!(names, [1, 2, 3, 4, 5, 6, 7, 8].map(|n| format!("true-{n}")));
}

#[test]
fn a_folder_that_another_run_filled_meanwhile_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment { client: Some("true".into()), ..Experiment::default() };
    let out = folder.path().join("a");
    assert!(RunDir::create_at(&experiment, None, &out, None).unwrap().is_some());
    let before = fs::read(out.join("ledger.jsonl")).unwrap();
    // The number is taken, which is no error.
    assert!(RunDir::create_at(&experiment, None, &out, None).unwrap().is_none());
    assert_eq!(fs::read(out.join("ledger.jsonl")).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let given = RunDir::create(&experiment, None, Some(&out), false).unwrap_err().to_string();
    assert!(given.ends_with("already holds a run; give another folder with --out, or --overwrite"), "{given}");
}

#[test]
fn a_directory_in_which_another_process_works_is_refused_until_that_process_ends() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment { client: Some("true".into()), ..Experiment::default() };
    let path = folder.path().join("a");
    drop(RunDir::create(&experiment, None, Some(&path), false).unwrap());
    RunDir::refuse_busy(&path).unwrap();
    let other = Holder::of(&path.join(names::LOCK));
    let busy = format!("another fedpipe is at work in {}; wait for it", path.canonicalize().unwrap().display());
    for refused in [RunDir::open(&path).map(drop), RunDir::refuse_busy(&path.canonicalize().unwrap())] {
        assert_eq!(refused.unwrap_err().to_string(), busy);
    }
    drop(other);
    let directory = RunDir::open(&path).unwrap();
    let number = fs::read_to_string(path.join(names::LOCK)).unwrap();
    assert_eq!((number, directory.warnings.len()), (format!("{}\n", std::process::id()), 0));
}

#[test]
fn only_the_dylibs_that_the_ledger_lacks_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment { client: Some("true".into()), ..Experiment::default() };
    let (directory, _) = RunDir::create(&experiment, None, Some(&folder.path().join("a")), false).unwrap();
    let source = folder.path().join("new.so");
    fs::write(&source, "dylib").unwrap();
    let taken = directory.take_model(2, &source).unwrap();
    assert_eq!(taken, directory.dylib(&names::model_from(2)).unwrap());
    directory.take_model(3, &source).unwrap();
    assert_eq!(directory.drop_models_unless(|name| name == names::model_from(2)).unwrap(), 1);
    assert!(directory.dylib(&names::model_from(2)).is_ok() && directory.dylib(&names::model_from(3)).is_err());
    directory.drop_model(2);
    assert!(directory.dylib(&names::model_from(2)).is_err());
}

#[test]
fn a_directory_goes_with_a_run_that_could_not_begin_and_stays_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment { client: Some("true".into()), ..Experiment::default() };
    let out = folder.path().join("runs/a");
    let errors: [(Error, bool); 4] = [
        (Error::Model("m".into()), true),
        (Error::Isolation("i".into()), true),
        (Error::Round("r".into()), false),
        (Error::Output("o".into()), false),
    ];
    for (error, is_gone) in errors {
        let (directory, _) = RunDir::create(&experiment, None, Some(&out), false).unwrap();
        directory.discard_if_never_begun(&error, None);
        assert_eq!(!folder.path().join("runs").exists(), is_gone, "{error:?}");
        let _ = fs::remove_dir_all(folder.path().join("runs"));
    }
}

#[test]
fn results_of_an_earlier_session_are_dropped_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment { client: Some("true".into()), ..Experiment::default() };
    let (directory, _) = RunDir::create(&experiment, None, Some(&folder.path().join("a")), false).unwrap();
    directory.write(names::SUMMARY, b"{}").unwrap();
    directory.write(names::PARTITIONS, b"p").unwrap();
    directory.drop_results().unwrap();
    directory.drop_results().unwrap();
    assert!(!directory.path().join(names::SUMMARY).exists() && directory.path().join(names::PARTITIONS).exists());
}
