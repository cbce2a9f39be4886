//! A stop through the library, as the command does on a signal.

use std::collections::BTreeMap;

use fedpipe_data::Cache;
use fedpipe_host::{ClientCommand, Control, Event, Launch, run_from_start};
use fedpipe_record::{experiment::Experiment, summary::Stop};

use crate::common::{Place, dylib};

/// After a stop, the command ends the process only if the run does not end by itself. The host must report that the run
/// ends by itself from the first round until the last file exists.
#[test]
fn a_stopped_run_ends_by_itself_until_its_results_are_there() {
    let place = Place::new();
    let text = "format = 2\nmodel = \"logreg\"\ndata.source = \"sample\"\nclients.count = 2\nrounds = 50\n";
    let experiment: Experiment = toml::from_str(text).unwrap();
    let command = ClientCommand::new(env!("CARGO_BIN_EXE_fedpipe"), "fedpipe-client");
    let launch = Launch {
        launcher: command.clone(),
        command,
        dylib: Some(dylib("logreg")),
        out: Some(place.path("out")),
        cache: Cache::at(place.path("cache")),
        overwrite: false,
        inputs_folder: None,
        closed: Vec::new(),
        replay: BTreeMap::new(),
        dropped: Default::default(),
        swaps: BTreeMap::new(),
        ends_after: None,
    };
    let control = Control::default();
    let handle = control.handle();
    let mut at_the_end = None;
    let mut observer = |event: &Event<'_>| {
        match event {
            Event::Dealt { .. } => assert!(!handle.ends_itself(), "a partitioning takes no notice"),
            Event::RoundEnded(round) => {
                assert!(handle.ends_itself(), "a busy disk delays the notice of a stop");
                if round.round == 2 {
                    handle.stop(15);
                }
            }
            Event::Finished(_) => {
                let is_there = |name: &str| place.path("out").join(name).exists();
                at_the_end = Some((handle.ends_itself(), is_there("summary.json"), is_there("model.safetensors")));
            }
            _ => {}
        }
        Ok(())
    };
    let summary = run_from_start(&experiment, &launch, &control, &mut observer).unwrap();
    assert_eq!((summary.rounds, summary.stopped), (2, Stop::Signal(15)));
    assert_eq!(at_the_end, Some((true, true, true)));
}
