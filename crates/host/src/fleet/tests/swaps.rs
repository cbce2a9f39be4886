//! Another dylib for all clients, and a stop of the waits of a fleet.

use super::*;

/// Serves; the model of the dylib `b.so` has another layout, and that of `c.so` crashes at work.
fn serve_dylib(client: &mut ScriptedClient) -> ExitStatus {
    let Some(setup) = client.greet() else { return exit(0) };
    let tensor = Tensor { name: "b".into(), shape: vec![3], kind: Kind::Param, place: Place::Shared };
    match setup.dylib.as_ref().and_then(|path| path.to_str()) {
        Some("/b.so") => client.say(&Reply::Ready(Ready { layout: vec![tensor], ..ready() }), None),
        Some("/c.so") => {
            client.say(&Reply::Ready(ready()), None);
            client.next();
            return exit(9);
        }
        _ => client.say(&Reply::Ready(Ready { version: "2".into(), ..ready() }), None),
    }
    client.answer_all();
    exit(0)
}

#[test]
fn a_dylib_is_swapped_if_its_layout_is_the_same_and_returns_if_its_first_round_fails() {
    let mut stage = Stage::new(2, OnFailure::Drop, serve_dylib);
    assert_eq!(updates(stage.train().0.unwrap()), expected(&[0, 1]));
    let why = stage.fleet.swap(Path::new("/b.so"), "0").unwrap_err().to_string();
    assert!(
        why.contains(
            "/b.so has another layout: its tensor 0 is b [3] (shared parameter), was w [2] (shared parameter)"
        ),
        "{why}"
    );
    assert_eq!(updates(stage.train().0.unwrap()), expected(&[0, 1]), "the processes of before remain");
    assert!(!stage.fleet.revert(), "nothing was swapped");

    stage.fleet.swap(Path::new("/c.so"), "0").unwrap();
    assert_eq!(stage.fleet.model().unwrap().version, "1");
    let (settled, crashes) = stage.train();
    assert!(matches!(settled, Err(Error::Round(_))), "{settled:?}");
    assert_eq!(crashes[0].1, Consequence::Reverted);
    assert!(stage.fleet.revert());
    assert_eq!(stage.fleet.model().unwrap().version, "2");
    assert_eq!(updates(stage.train().0.unwrap()), expected(&[0, 1]));

    // A dylib that is kept is not returned from.
    stage.fleet.swap(Path::new("/d.so"), "0").unwrap();
    stage.fleet.keep_dylib();
    assert!(!stage.fleet.revert());
    assert_eq!(updates(stage.train().0.unwrap()), expected(&[0, 1]));
}

#[test]
fn a_stop_ends_a_wait_for_clients_and_one_before_the_start_counts() {
    let mut stage = Stage::new(1, OnFailure::Retry, |client| client.wait_for_end());
    let handle = stage.control.handle();
    let stopper = std::thread::Builder::new().spawn(move || handle.stop(15)).unwrap();
    assert!(matches!(stage.train().0, Err(Error::Stopped(15))));
    stopper.join().unwrap();

    let (logs, control) = (tempfile::tempdir().unwrap(), Control::default());
    control.handle().stop(2);
    let silent = Arc::new(Scripted::new(|client: &mut ScriptedClient| client.wait_for_end()));
    let environment = Environment::new(silent, logs.path().to_owned(), Duration::from_secs(3600));
    let mut fleet = Fleet::start(environment, &control.stop, vec![setup(0)], 1, OnFailure::Retry).unwrap();
    assert!(matches!(fleet.ready(), Err(Error::Stopped(2))));
}

#[test]
fn a_stop_ends_the_wait_for_a_process_with_another_dylib() {
    let (started, starts) = mpsc::channel();
    let started = Mutex::new(started);
    let mut stage = Stage::new(1, OnFailure::Retry, move |client| {
        // The first process has no need to serve: the swap only asks the second.
        let _ = started.lock().unwrap().send(client.start);
        client.wait_for_end()
    });
    let handle = stage.control.handle();
    let stopper = std::thread::Builder::new().spawn(move || {
        starts.iter().find(|&start| start == 1).unwrap();
        handle.stop(15);
    });
    let swapped = stage.fleet.swap(Path::new("/b.so"), "0");
    assert!(matches!(swapped, Err(Error::Stopped(15))), "{swapped:?}");
    stopper.unwrap().join().unwrap();
}
