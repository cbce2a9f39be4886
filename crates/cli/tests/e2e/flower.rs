//! `fedpipe flower new`. The tests in `crates/python/tests/flower` run the app on Flower.

use std::fs;

use toml::Table;

use crate::common::{Place, repository, stderr, stdout};

#[test]
fn a_new_app_runs_the_experiment_that_it_was_given() {
    let place = Place::new();
    let arguments = "logreg --data sample --clients 3 --lr 0.05 --set clients.min-clients=2 --model-option depth=3 \
                     --strategy scaffold --transform int8";
    let output = place.fedpipe(&format!("flower new app {arguments}")).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), "the app is in app; `flwr run app` runs it\n");

    let read = |name: &str| fs::read_to_string(place.path("app").join(name)).unwrap();
    let project: Table = read("pyproject.toml").parse().unwrap();
    let pins = fs::read_to_string(repository().join("crates/python/fedpipe/flower/requirements.txt")).unwrap();
    assert_eq!(project["project"]["dependencies"][0].as_str(), pins.lines().next());
    let module = project["tool"]["flwr"]["app"]["components"]["serverapp"].as_str().unwrap();
    assert!(read("fedpipe_app.py").contains("server = server_app()") && module == "fedpipe_app:server");

    // The configuration has the experiment, and keys for the ServerApp alone.
    let mut config = project["tool"]["flwr"]["app"]["config"].as_table().unwrap().clone();
    for (key, value) in [("binary", "fedpipe"), ("out", ""), ("resume", "")] {
        assert_eq!(config.remove(key).unwrap().as_str(), Some(value));
    }
    let experiment: Table = read("experiment.toml").parse().unwrap();
    // A row that is that of the preset is empty, so that another preset has its own.
    let rows = config["strategy"].as_table_mut().unwrap();
    for key in ["sample", "term", "attack", "weighting", "aggregate", "server", "schedule"] {
        assert_eq!(rows.insert(key.into(), experiment["strategy"][key].clone()).unwrap().as_str(), Some(""), "{key}");
    }
    assert_eq!(experiment["strategy"]["term"].as_str(), Some("control-variate:option=II"));
    assert_eq!(config, experiment);
    assert_eq!(
        (experiment["clients"]["count"].as_integer(), experiment["local"]["lr"].as_float()),
        (Some(3), Some(0.05))
    );
    assert_eq!(experiment["model-options"]["depth"].as_str(), Some("3"));
}

#[test]
fn an_app_takes_nobodys_place() {
    let place = Place::new();
    fs::create_dir(place.path("app")).unwrap();
    let output = place.fedpipe("flower new app mlp").output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(stderr(&output), "error: cannot write the app to app: File exists (os error 17)\n");
    assert!(fs::read_dir(place.path("app")).unwrap().next().is_none());
    let output = place.fedpipe("flower new other mlp --clients 0").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--clients is 0") && !place.path("other").exists());
}
