//! `fedpipe run --over`: all clients are behind sockets.

mod reported_isolation;

use std::{
    fs,
    io::{self, Read},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use fedpipe_data::Partition;
use fedpipe_protocol::{Limits, PROTOCOL, Parts, Purpose, Reply, Request, Setup, read, write};
use serde_json::{Value, json};

use crate::{
    common::{Place, check_all, dylib, stderr},
    idx, regression,
    serve::{Node, experiment},
};

/// A relay of another make: it sends a hello, reads for which client the host asks, and passes messages on.
fn carry(host: UnixStream, setup: Setup, node: &Path) -> io::Result<()> {
    pass(host, visit(setup, node)?)
}

/// Carries messages in both directions until one side ends.
fn pass(mut host: UnixStream, mut node: UnixStream) -> io::Result<()> {
    let (mut from_host, mut to_node) = (host.try_clone()?, node.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_host, &mut to_node);
        let _ = to_node.shutdown(Shutdown::Write);
    });
    io::copy(&mut node, &mut host).map(drop)
}

/// Connects to the node and sends the setup, which the node answers next.
fn visit(setup: Setup, node: &Path) -> io::Result<UnixStream> {
    let mut node = UnixStream::connect(node)?;
    let _: (Reply, Parts) = read(&mut node, Limits::reply(0)).unwrap();
    write(&mut node, &Request::Setup(setup), &[])?;
    Ok(node)
}

/// As [`carry`], but the client leaves at its first request, and reports `more` examples than it has.
fn miscount(mut host: UnixStream, setup: Setup, node: &Path, more: u64) -> io::Result<()> {
    let (reply, _) = read(&mut visit(setup, node)?, Limits::reply(0)).unwrap();
    let Reply::Ready(mut ready) = reply else { panic!("{reply:?}") };
    ready.examples[0] += more;
    write(&mut host, &Reply::Ready(ready), &[])?;
    io::copy(&mut host.take(1), &mut io::sink()).map(drop)
}

/// Carries connections to `host.sock` to the nodes of their clients, by `how`.
fn carry_all(place: &Place, nodes: &[Node], how: impl Fn(UnixStream, Setup, &Path) + Send + Clone + 'static) {
    let sockets: Vec<PathBuf> = nodes.iter().map(|node| node.socket.clone()).collect();
    let listener = UnixListener::bind(place.path("host.sock")).unwrap();
    thread::spawn(move || {
        for mut host in listener.incoming().flatten() {
            let (sockets, how) = (sockets.clone(), how.clone());
            thread::spawn(move || {
                let greeted = write(&mut host, &Reply::Hello { protocol: PROTOCOL }, &[]);
                let asked = greeted.ok().and_then(|()| read(&mut host, Limits::reply(0)).ok());
                if let Some((Request::Setup(setup), _)) = asked {
                    how(host, setup.clone(), &sockets[client_of(&setup)]);
                }
            });
        }
    });
}

fn client_of(setup: &Setup) -> usize {
    let Purpose::Serve { partitions, .. } = &setup.purpose else { panic!("{setup:?}") };
    partitions[0].client as usize
}

fn honestly(host: UnixStream, setup: Setup, node: &Path) {
    let _ = carry(host, setup, node);
}

#[test]
fn a_run_over_sockets_has_the_bits_of_a_run_at_home() {
    let place = Place::new();
    let keys = "model = \"mlp\"\nclients.count = 3\nrounds = 2\nstrategy.name = \"fedavgm\"\n\
                data.partition = \"dirichlet:alpha=0.5\"";
    experiment(&place, keys);
    let nodes: Vec<Node> = (0..3).map(|client| Node::start(&place, client)).collect();
    carry_all(&place, &nodes, honestly);
    let away = place.run("--config experiment.toml --over host.sock --out away");
    let home = place.run("--config experiment.toml --out home");
    assert_eq!(away.weights_sha256(), home.weights_sha256());
    let scores = |line: &serde_json::Value| (line["loss"].as_f64(), line["training_loss"].as_f64());
    let [away, home] = [away, home].map(|run| run.ledger("round").iter().map(scores).collect::<Vec<_>>());
    assert_eq!(away, home);
}

/// Each client has all the rows, so that a step over full batches is that of one client.
#[test]
fn clients_with_real_targets_of_their_own_learn_over_sockets() {
    let place = regression::placed();
    let keys = "format = 2\nmodel = \"linreg\"\nclients.count = 2\nrounds = 3\nlocal.lr = 0.3\nlocal.batch-size = 160\n\
                data.source = \"real\"\ndata.target = \"real\"\ndata.partition = \"own\"";
    fs::write(place.path("own.toml"), keys).unwrap();
    let nodes = [0, 1].map(|client| Node::with(&place, client, "--model linreg --data real --target real"));
    carry_all(&place, &nodes, honestly);
    let summary = place.run("--config own.toml --over host.sock").summary();
    assert!(summary["loss_fell"] == true && summary.get("accuracy").is_none(), "{summary}");
    assert!(summary["r2"].as_f64().is_some_and(|r2| r2 > 0.9), "{summary}");
}

#[test]
fn the_state_of_clients_behind_sockets_is_that_of_clients_at_home() {
    let place = Place::new();
    experiment(&place, "model = \"mlp\"\nclients.count = 3\nrounds = 4");
    let nodes: Vec<Node> = (0..3).map(|client| Node::start(&place, client)).collect();
    carry_all(&place, &nodes, honestly);
    let [away, home] = ["--over host.sock --out away", "--out home"]
        .map(|more| place.run(&format!("--config experiment.toml --strategy scaffold --fraction 0.67 {more}")))
        .map(|run| run.ledger("round").iter().map(|line| line["clients_sha256"].clone()).collect::<Vec<_>>());
    assert!(away == home && away.iter().all(Value::is_string), "{away:?} {home:?}");
}

#[test]
fn clients_with_data_of_their_own_keep_no_local_tensor() {
    let place = Place::new();
    idx::write_rows(&place.path("own"), &[[4, 0], [8, 0]]);
    let keys = "format = 2\nmodel = \"personal\"\nclients.count = 1\ndata.source = \"own\"\ndata.partition = \"own\"";
    fs::write(place.path("own.toml"), keys).unwrap();
    let nodes = [Node::with(&place, 0, "--model personal --data own")];
    carry_all(&place, &nodes, honestly);
    let (output, _) = place.try_run("--config own.toml --over host.sock");
    let says = "error: the model keeps the tensors own local to each client, and this host would store them";
    assert!(output.status.code() == Some(2) && stderr(&output).contains(says), "{}", stderr(&output));
    assert!(place.run("--config own.toml --over host.sock --model-option place=shared").0.exists());
}

#[test]
fn clients_with_data_of_their_own_are_weighted_as_they_say_and_have_the_bits_of_the_same_partitions_dealt() {
    let place = Place::new();
    let keys = "model = \"mlp\"\nclients.count = 3\nrounds = 2\n";
    experiment(&place, &format!("{keys}data.partition = \"dirichlet:alpha=0.5\""));
    let home = place.run("--config experiment.toml --out home");
    let dealt = place.deal("dirichlet:alpha=0.5", 3);
    let test = Partition::open(&dealt.test.path).unwrap();
    // The host has only the test set. Client 2 has its data as IDX files.
    idx::write_like(&place.path("tests"), &idx::FILES[2..], &test);
    idx::write_like(&place.path("own"), &idx::FILES[2..], &test);
    idx::write_like(&place.path("own"), &idx::FILES[..2], &Partition::open(&dealt.partitions[2].path).unwrap());
    fs::write(place.path("own.toml"), format!("format = 2\n{keys}data.source = \"tests\"\ndata.partition = \"own\""))
        .unwrap();
    let files = |client: usize| {
        let (partition, test) = (dealt.partitions[client].path.display(), dealt.test.path.display());
        format!("--model mlp --partition {partition} --test {test}")
    };
    let mut nodes = vec![
        Node::with(&place, 0, &files(0)),
        Node::with(&place, 1, &files(1)),
        Node::with(&place, 2, "--model mlp --data own"),
    ];
    carry_all(&place, &nodes, honestly);
    let away = place.run("--config own.toml --over host.sock --out away");
    assert_eq!(away.weights_sha256(), home.weights_sha256());
    let [there, here] = [&away, &home].map(|run| run.ledger("dealt")[0].clone());
    assert_eq!(there["sizes"], here["sizes"]);
    assert_ne!(there["sizes"][0], there["sizes"][1]);
    assert_eq!(there["dataset"]["train_examples"], 2000);

    // The run resumes with the same partitions only, and a run whose partitions are elsewhere cannot be verified.
    let resumed = place.fedpipe("run --resume away --over host.sock").output().unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    drop(nodes.remove(1));
    nodes.push(Node::with(&place, 1, &files(0)));
    let sizes = |client: usize| dealt.partitions[client].examples;
    let other = format!("the partition of client 1 has {} examples, had {}", sizes(0), sizes(1));
    let cases = [
        ("run --resume away --over host.sock", other.as_str()),
        ("verify away", "the run cannot be verified, since its training examples were the clients' own"),
        ("run --config own.toml --out none", "use --over, or another --partition here"),
        ("run --config own.toml --over host.sock --processes 2 --out none", "leave out --processes"),
        ("serve --model mlp --data own --client 1 --socket s", "cannot be used with"),
        ("serve --model mlp --label y --socket s", "were not provided: "),
        ("serve --model mlp --data own --holdout 1 --socket s", "--holdout is 1; give at least 0 and below 1"),
        ("run --client ./mine --over host.sock --out none", "all clients elsewhere; leave one out"),
        ("serve --experiment own.toml --client 0 --socket s", "serve this one's by --model and --data"),
    ];
    check_all(cases, |(arguments, expected)| {
        let output = place.fedpipe(arguments).output().unwrap();
        if output.status.code() == Some(2) && stderr(&output).contains(expected) {
            Ok(())
        } else {
            Err(format!("{}: {}", output.status, stderr(&output)))
        }
    });
}

/// Only the content distinguishes two partitions of the same size.
#[test]
fn a_node_with_the_partition_of_another_client_is_refused() {
    let place = Place::new();
    experiment(&place, "model = \"mlp\"\nclients.count = 2\nrounds = 1");
    let nodes = [1, 0].map(|client| Node::start(&place, client));
    carry_all(&place, &nodes, honestly);
    let output = place.fedpipe("run --config experiment.toml --over host.sock --out away").output().unwrap();
    let text = stderr(&output);
    let phrases = ["this node has a partition with SHA-256 ", "; give it that client's partition"];
    assert!(output.status.code() == Some(4) && phrases.iter().all(|phrase| text.contains(phrase)), "{text}");
}

#[test]
fn a_client_whose_number_of_examples_changes_costs_that_client() {
    for (policy, most_crashes) in [("retry", 12), ("drop", 6)] {
        let place = Place::new();
        experiment(&place, "model = \"mlp\"\nclients.count = 2\nrounds = 2");
        let nodes: Vec<Node> = (0..2).map(|client| Node::start(&place, client)).collect();
        let visits = Arc::new(AtomicU64::new(0));
        carry_all(&place, &nodes, move |host, setup, node| {
            let carried = match client_of(&setup) {
                0 => carry(host, setup, node),
                _ => miscount(host, setup, node, visits.fetch_add(1, Ordering::Relaxed)),
            };
            let _ = carried;
        });
        let own = "mlp --clients 2 --rounds 2 --data sample --partition own --over host.sock --out away";
        let run = place.run(&format!("{own} --on-failure {policy}"));
        let crashes = run.ledger("client_crashed");
        let cause = "its data have 1001 examples, had 1000 before";
        assert!(crashes.iter().any(|line| line["cause"]["message"] == cause), "{crashes:?}");
        assert!(crashes.len() <= most_crashes, "{policy}: {crashes:?}");
        let clients: Vec<_> = run.ledger("round").iter().map(|line| line["clients"].as_u64()).collect();
        assert_eq!(clients, [Some(1); 2]);
    }
}

#[test]
fn the_scores_of_clients_and_classes_over_sockets_are_those_at_home() {
    let place = Place::new();
    let keys = "model = \"mlp\"\nclients.count = 2\nrounds = 2\ndata.holdout = 0.2\nevaluation.by-class = true";
    experiment(&place, keys);
    let nodes: Vec<Node> = (0..2).map(|client| Node::start(&place, client)).collect();
    carry_all(&place, &nodes, honestly);
    let [away, home] = ["--over host.sock --out away", "--out home"]
        .map(|more| place.run(&format!("--config experiment.toml {more}")).summary())
        .map(|summary| (summary["held_out"].clone(), summary["by_class"].clone()));
    assert!(away == home && away.0.is_object() && away.1.is_object(), "{away:?} {home:?}");
}

#[test]
fn a_client_holds_out_its_own_examples_and_a_run_with_another_share_refuses_it() {
    let place = Place::new();
    let dealt = place.deal("own", 1);
    let (own, test) = (&dealt.partitions[0].path, &dealt.test.path);
    idx::write_like(&place.path("own"), &idx::FILES[..2], &Partition::open(own).unwrap());
    idx::write_like(&place.path("own"), &idx::FILES[2..], &Partition::open(test).unwrap());
    let keys = "format = 2\nmodel = \"logreg\"\nclients.count = 1\nrounds = 1\ndata.source = \"own\"\n\
                data.partition = \"own\"";
    fs::write(place.path("own.toml"), keys).unwrap();
    let nodes = [Node::with(&place, 0, "--model logreg --data own --holdout 0.2")];
    carry_all(&place, &nodes, honestly);
    let run = place.run("--config own.toml --over host.sock --holdout 0.2");
    let line = &run.ledger("dealt")[0];
    assert_eq!((&line["sizes"], &line["held_out"]), (&json!([1600]), &json!([400])));
    assert_eq!(run.ledger("round")[0]["held_out"]["examples"], json!([400]));
    for (share, expected) in [("0.1", 200), ("0", 0)] {
        let (output, _) = place.try_run(&format!("--config own.toml --over host.sock --holdout {share} --out other"));
        let says = format!(
            "client 0 holds out 400 of its 2000 examples, and the run {expected}; start its node with --holdout {share}"
        );
        assert!(output.status.code() == Some(4) && stderr(&output).contains(&says), "{}", stderr(&output));
    }
}

#[test]
fn a_client_reads_a_table_with_the_flags_of_a_run() {
    let place = Place::new();
    fs::write(place.path("train.csv"), "x,who,y\n1,a,0\n2,b,1\n3,a,0\n4,b,1\n").unwrap();
    fs::write(place.path("test.csv"), "x,who,y\n1,a,0\n5,b,1\n").unwrap();
    let keys = "format = 2\nmodel = \"logreg\"\nclients.count = 1\nrounds = 1\n[data]\nsource = \"test.csv\"\n\
                label = \"y\"\nclient-column = \"who\"\npartition = \"own\"";
    fs::write(place.path("own.toml"), keys).unwrap();
    let flags = "--data train.csv --test-data test.csv --label y --client-column who";
    let nodes = [Node::with(&place, 0, &format!("--model logreg {flags}"))];
    carry_all(&place, &nodes, honestly);
    let run = place.run("--config own.toml --over host.sock");
    let line = &run.ledger("dealt")[0];
    assert_eq!((&line["sizes"], &line["dataset"]["shape"]), (&json!([4]), &json!([1])));
}

#[test]
fn a_node_with_another_dylib_than_the_run_is_refused() {
    let place = Place::new();
    experiment(&place, "model = \"mlp\"\nclients.count = 1");
    let mut bytes = fs::read(dylib("mlp")).unwrap();
    bytes.push(0);
    fs::write(place.path("mlp.so"), bytes).unwrap();
    let nodes = vec![Node::with(&place, 0, "--experiment experiment.toml --client 0 --model ./mlp.so")];
    carry_all(&place, &nodes, honestly);
    let (output, _) = place.try_run("mlp --clients 1 --rounds 1 --over host.sock");
    let errors = stderr(&output);
    assert!(output.status.code() == Some(3) && errors.contains("install the same dylib"), "{errors}");
}

#[test]
fn a_run_over_a_socket_that_nobody_listens_at_says_so() {
    let place = Place::new();
    let (output, _) = place.try_run("mlp --clients 2 --over nowhere.sock");
    assert!(!output.status.success());
    assert!(stderr(&output).contains("cannot connect to nowhere.sock"), "{}", stderr(&output));
}
