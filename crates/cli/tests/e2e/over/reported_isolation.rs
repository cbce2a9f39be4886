//! The isolation of clients behind sockets, as each of them reports it.

use fedpipe_protocol::{InForce, Level, Ready};

use super::*;
use crate::{
    common::{Run, stdout},
    isolation::lacking,
};

/// As [`carry`], but reports another isolation.
fn claim(mut host: UnixStream, setup: Setup, node: &Path, in_force: &InForce) -> io::Result<()> {
    let mut node = visit(setup, node)?;
    let (reply, _) = read(&mut node, Limits::reply(0)).unwrap();
    let Reply::Ready(ready) = reply else { panic!("{reply:?}") };
    write(&mut host, &Reply::Ready(Ready { in_force: in_force.clone(), ..ready }), &[])?;
    pass(host, node)
}

/// Returns the ledger's record of each process's isolation: the process, the level and whether there is a Landlock.
fn recorded(run: &Run) -> Vec<(u64, String, bool)> {
    let of = |line: &Value| {
        (line["process"].as_u64().unwrap(), line["level"].as_str().unwrap().to_owned(), line["landlock_abi"].is_u64())
    };
    let mut lines: Vec<_> = run.ledger("isolation").iter().map(of).collect();
    // The sort is stable, so that the lines of one process keep their order.
    lines.sort_by_key(|(process, ..)| *process);
    lines
}

#[test]
fn what_is_in_force_elsewhere_is_recorded_and_shown_by_the_word_of_each() {
    if lacking() {
        return;
    }
    let place = Place::new();
    experiment(&place, "model = \"mlp\"\nclients.count = 3");
    let with = |client: u32, more: &str| {
        Node::with(&place, client, &format!("--experiment experiment.toml --client {client} {more}"))
    };
    let nodes = vec![with(0, "--isolation off"), with(1, ""), with(2, "--isolation require")];
    carry_all(&place, &nodes, honestly);
    let each = |level: &str, landlock| (level.to_owned(), landlock);
    let levels = [each("off", false), each("auto", true), each("require", true)];
    let expected: Vec<_> = (0..).zip(levels).map(|(process, (level, landlock))| (process, level, landlock)).collect();
    let run = place.run("mlp --clients 3 --rounds 2 --over host.sock --out dealt");
    assert_eq!(recorded(&run), expected);
    // All clients report before the first round, so that the screen shows them together.
    let (output, run) = place.try_run("mlp --clients 3 --rounds 1 --partition own --over host.sock --out own");
    assert_eq!(recorded(&run), expected);
    let shown = stdout(&output);
    let mut shown: Vec<&str> = shown.lines().filter(|line| line.starts_with("isolation of ")).collect();
    shown.sort_unstable();
    assert!(shown[0].starts_with("isolation of client 0: memory ") && shown.len() == 2, "{shown:?}");
    assert!(shown[1].starts_with("isolation of clients 1 to 2: Landlock "), "{shown:?}");

    // Each session of a resumed run has its own lines.
    let resumed = place.fedpipe("run --resume dealt --rounds 3 --force --over host.sock").output().unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(recorded(&Run(place.path("dealt"))).len(), 6);
}

#[test]
fn a_later_process_that_says_something_else_is_recorded_and_one_that_says_nothing_has_nothing() {
    let place = Place::new();
    experiment(&place, "model = \"mlp\"\nclients.count = 2");
    let nodes: Vec<Node> = (0..2).map(|client| Node::start(&place, client)).collect();
    let visits = Arc::new(AtomicU64::new(0));
    let confined = InForce { level: Level::Auto, landlock_abi: Some(7), ..InForce::default() };
    carry_all(&place, &nodes, move |mut host, setup, node| {
        let carried = match (client_of(&setup), visits.load(Ordering::Relaxed)) {
            (0, _) => claim(host, setup, node, &confined),
            (_, 0) => {
                // The client leaves at its first request, and another takes its place.
                visits.store(1, Ordering::Relaxed);
                let (reply, _) = read(&mut visit(setup, node).unwrap(), Limits::reply(0)).unwrap();
                let Reply::Ready(ready) = reply else { panic!("{reply:?}") };
                let ready = Ready { in_force: confined.clone(), ..ready };
                write(&mut host, &Reply::Ready(ready), &[])
                    .and_then(|()| io::copy(&mut host.take(1), &mut io::sink()))
                    .map(drop)
            }
            _ => claim(host, setup, node, &InForce::default()),
        };
        let _ = carried;
    });
    let run = place.run("mlp --clients 2 --rounds 2 --over host.sock --out away");
    let lines = [(0, "auto", true), (1, "auto", true), (1, "off", false)];
    assert_eq!(recorded(&run), lines.map(|(process, level, landlock)| (process, level.to_owned(), landlock)));
    assert_eq!(run.ledger("client_crashed").len(), 1);
}

#[test]
fn isolation_that_is_required_and_not_in_force_elsewhere_ends_the_run_with_the_clients_name() {
    if lacking() {
        return;
    }
    let place = Place::new();
    experiment(&place, "model = \"mlp\"\nclients.count = 2");
    let nodes =
        vec![Node::start(&place, 0), Node::with(&place, 1, "--experiment experiment.toml --client 1 --isolation off")];
    carry_all(&place, &nodes, honestly);
    for partition in ["own", "iid"] {
        let required =
            format!("mlp --clients 2 --rounds 1 --partition {partition} --isolation require --over host.sock");
        let (output, run) = place.try_run(&format!("{required} --quiet --out {partition}"));
        let says = "error: isolation is required, but client 1 says that it lacks all of it (its level is off); let its \
                    machine enforce it, or give --isolation auto\n";
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(1), says), "{partition}");
        assert!(!run.0.exists() || run.ledger("round").is_empty(), "{partition}");
    }
}
