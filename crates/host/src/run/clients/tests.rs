//! Tests of the clients of a run, which are threads that follow a script.

use std::process::ExitStatus;

use fedpipe_protocol::{Place, Tensor};
use fedpipe_record::summary::Stop;
use fedpipe_strategy::strategy::StrategyRows;

use super::*;
use crate::{
    process::scripted::{ScriptedClient, exit, ready},
    run::{
        external_strategy::tests::answering as program_that_lists,
        scripted_run::{Stage, experiment},
    },
};

/// Answers a request for weights. Returns `false` to exit.
type Answer = fn(&mut ScriptedClient) -> bool;

/// Returns the script of a client that is asked for its weights alone. The first `honest` requests to the first
/// process have an honest answer.
fn answering(honest: u32, answer: Answer) -> impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static {
    move |client| {
        client.greet();
        client.say(&Reply::Ready(ready()), None);
        let mut left = if (client.number, client.start) == (0, 0) { honest } else { 0 };
        while client.next().is_some() {
            if left > 0 {
                left -= 1;
                client.say(&Reply::Weights, Some(&[1.0, 2.0]));
            } else if !answer(client) {
                return exit(3);
            }
        }
        exit(0)
    }
}

#[test]
fn a_crash_before_the_weights_are_known_is_counted_and_another_process_is_asked() {
    let script = answering(0, |client| {
        let is_fit = client.number > 0;
        if is_fit {
            client.say(&Reply::Weights, Some(&[3.0, 4.0]));
        }
        is_fit
    });
    let stage = Stage::new(experiment());
    stage.begin(script, |run| {
        assert_eq!(run.state.weights()[..], [3.0, 4.0]);
        let summary = run.state.summary(&stage.experiment, ("m", Vec::new()), Stop::Rounds, Duration::ZERO);
        assert_eq!((summary.failures, stage.history().failures), (1, 1));
    });
}

/// The program of a strategy lists the features that no row of a table needs.
#[test]
fn each_feature_that_the_clients_lack_is_refused_by_name() {
    let rows = |strategy: &str| Experiment { strategy: strategy.parse().unwrap(), ..experiment() };
    let mut int8 = experiment();
    int8.strategy.rules = StrategyRows { transforms: Some("int8".parse().unwrap()), ..StrategyRows::default() }.into();
    let converged = Experiment { until_converged: true, ..experiment() };
    let program = "the strategy's program";
    let cases: [(&str, &str, Experiment); 10] = [
        (feature::PROXIMAL, "the strategy", rows("fedprox:0.1")),
        (feature::LINEAR, "the strategy", rows("scaffold")),
        (feature::LINEAR, "the strategy", rows("feddyn:0.1")),
        (feature::ACCUMULATION, "the strategy", rows("scaffold")),
        (feature::ACCUMULATION, "the strategy", rows("fednova")),
        ("compress:int8", "the strategy", int8),
        (feature::SCORE_START, "--until-converged", converged),
        (feature::FROZEN, program, experiment()),
        (feature::PHASES, program, experiment()),
        (feature::STEP_LIMIT, program, experiment()),
    ];
    for (lacking, by, experiment) in cases {
        let needed = if by == program { &[feature::FROZEN, feature::PHASES, feature::STEP_LIMIT][..] } else { &[] };
        let told = |lacking: &str| refusal(&experiment, needed, lacking, Place::Shared);
        assert_eq!(told(""), None, "{lacking} of {by}");
        let why = told(lacking).unwrap_or_else(|| panic!("the lack of {lacking} was accepted"));
        let expected = format!("the client scripted lacks the feature {lacking:?}, which {by} needs; ");
        assert!(why.starts_with(&expected), "{why}");
    }
    assert_eq!(refusal(&experiment(), &[], "", Place::Local), None);
    let why = refusal(&experiment(), &[], feature::LOCAL_TENSORS, Place::Local).unwrap();
    assert!(why.contains("\"local-tensors\", which the model with its local tensors needs"), "{why}");
}

/// Returns the refusal of clients with all features but `lacking`, whose model has two tensors, one of them in
/// `place`. A program needs the features `needed`, if there are any.
fn refusal(experiment: &Experiment, needed: &'static [&'static str], lacking: &str, place: Place) -> Option<String> {
    let features = feature::ALL.into_iter().chain(["compress:int8"]).filter(|name| *name != lacking);
    let features: Vec<String> = features.map(str::to_owned).collect();
    let tensor = |name: &str, place| Tensor { name: name.into(), shape: vec![1], place, ..ready().layout[0].clone() };
    let layout = vec![tensor("w", Place::Shared), tensor("own", place)];
    let stage = Stage::new(experiment.clone());
    let script = move |client: &mut ScriptedClient| {
        client.serve_as(Ready { features: features.clone(), layout: layout.clone(), ..ready() });
        exit(0)
    };
    stage.begin(script, |mut run| {
        let program = (!needed.is_empty()).then(|| program_that_lists(&[], needed, |_| ()));
        let (program, _folder) = program.unzip();
        run.clients.program = program;
        run.clients.check_features(experiment).err().map(|error| match error {
            Error::Model(why) => why,
            other => panic!("{other:?}"),
        })
    })
}

#[test]
fn buffers_whose_changes_would_be_transformed_are_refused() {
    let statistic = Tensor { name: "mean".into(), kind: Kind::Buffer, ..ready().layout[0].clone() };
    for (transforms, layout, is_refused) in [
        ("none", vec![statistic.clone()], false),
        ("clip:1", ready().layout, false),
        ("clip:1", vec![statistic.clone()], true),
        ("int8", vec![statistic], true),
    ] {
        let mut experiment = experiment();
        let transforms = Some(transforms.parse().unwrap());
        experiment.strategy.rules = StrategyRows { transforms, ..StrategyRows::default() }.into();
        let script = move |client: &mut ScriptedClient| {
            client.serve_as(Ready { layout: layout.clone(), ..ready() });
            exit(0)
        };
        let checked = Stage::new(experiment.clone()).begin(script, |run| run.clients.check_buffers(&experiment));
        assert_eq!(checked.is_err(), is_refused, "{checked:?}");
        let why = checked.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(!is_refused || why.contains("the buffers mean, which no gradient moves"), "{why}");
    }
}

#[test]
fn weights_that_no_process_returns_end_the_run_with_the_cause() {
    let cases: [(Answer, &str); 3] = [
        (|_| false, "it exited with code 3"),
        (
            |client| {
                client.say(&Reply::Evaluated { blocks: Vec::new() }, None);
                true
            },
            "it broke the protocol: it answered a request for its weights with \"evaluated\"",
        ),
        (
            |client| {
                client.say(&Reply::Weights, Some(&[f32::INFINITY, 2.0]));
                true
            },
            "weight 0 is inf; look at the model's initial weights",
        ),
    ];
    for (answer, expected) in cases {
        // The honest answer begins the run.
        let why = Stage::new(experiment()).begin(answering(1, answer), |mut run| {
            run.clients.initial_weights(&mut run.journal).unwrap_err().to_string()
        });
        assert!(why.starts_with("no client could be started: ") && why.ends_with(expected), "{why}");
    }
}
