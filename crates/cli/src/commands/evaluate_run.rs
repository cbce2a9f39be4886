//! `fedpipe evaluate`: scores the final weights of a run on its test set, or on other data.

use std::{path::Path, process::ExitCode};

use fedpipe_data::{Cache, DataError, Reading, Source, counted, deal, deal_test_set, write_scored};
use fedpipe_host::{
    Control, Error, ExampleScores, InferenceHost, Result, TemporaryFolder, TrainedRun, temporary_folder,
};
use fedpipe_record::names::split_file;
use serde_json::json;

use crate::{
    args::result_args::EvaluateArgs,
    inputs::client_commands::client_command,
    screen::{data_progress::DataProgress, output::print_result, result_text::score_lines_of},
    signals::stop_on_signal,
};

/// Examples in a file that a client reads, which exists at least as long as this value.
pub(crate) struct ExampleFile<T> {
    pub(crate) file: fedpipe_data::PartitionFile,
    /// The name of the data.
    pub(crate) name: String,
    _kept: T,
}

/// Prints the scores of the final weights.
pub(crate) fn evaluate_run(args: &EvaluateArgs) -> Result<ExitCode> {
    let run = TrainedRun::open_whole(&args.run)?;
    let (cache, control) = (Cache::user()?, Control::default());
    stop_on_signal(control.handle())?;
    let host = InferenceHost { command: &client_command(), cache: &cache };
    let (name, scores) = match &args.data {
        Some(source) => {
            let examples = other_examples(&run, (source, args), &cache)?;
            (examples.name, run.evaluate(&host, &examples.file, &control)?)
        }
        None => {
            let examples = test_set(&run, &args.run, &cache)?;
            (examples.name, run.evaluate(&host, &examples.file, &control)?)
        }
    };
    if args.json {
        print_result(as_json(&name, &scores))?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = format!("{} on {name}: {}", run.summary.model, counted(scores.examples, "example"));
    print_result([vec![head], score_lines_of(&scores, run.dataset.target.given_names())].concat().join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the test set of a run, dealt as for the run.
///
/// # Errors
/// Returns the errors of a deal, and [`Error::Data`] for a dataset that has changed.
pub(crate) fn test_set(run: &TrainedRun, directory: &Path, cache: &Cache) -> Result<ExampleFile<fedpipe_data::Dealt>> {
    let mut of_run = run.experiment.deal();
    if !run.experiment.has_test_set() {
        let why = "the run has no test set, since --test-split per-client left each client its own test examples: their \
                   scores are in summary.json; name other examples with --data";
        return Err(Error::Data(DataError::Reported(why.to_owned())));
    }
    of_run.split_file = run.experiment.data.partition.split_file().map(|file| directory.join(split_file(&file.sha256)));
    let mut progress = DataProgress::new(false);
    let mut show = |step| progress.show(&step);
    let dealt =
        if of_run.scheme.is_own() { deal_test_set(&of_run, cache, &mut show) } else { deal(&of_run, cache, &mut show) };
    progress.clear();
    let dealt = dealt?;
    if dealt.dataset.sha256 != run.dataset.sha256 {
        let (name, now, was) = (&run.dataset.name, &dealt.dataset.sha256, &run.dataset.sha256);
        let why = format!("the dataset {name} is {now} now, was {was}; put the files back, or name others with --data");
        return Err(Error::Data(DataError::Reported(why)));
    }
    Ok(ExampleFile { file: dealt.test.clone(), name: format!("the test set of {}", run.dataset.name), _kept: dealt })
}

fn other_examples(
    run: &TrainedRun,
    (source, args): (&Source, &EvaluateArgs),
    cache: &Cache,
) -> Result<ExampleFile<TemporaryFolder>> {
    let of_run = run.experiment.deal().reading;
    let given =
        Reading { target: of_run.target, label: args.label.clone(), image_size: args.image_size, ..Reading::default() };
    let folder = temporary_folder("fedpipe-evaluate-")?;
    let out = folder.path().join("test.safetensors");
    let mut progress = DataProgress::new(true);
    let mut write = |reading: &Reading| {
        write_scored((source, reading), &run.dataset, &out, cache, &mut |step| progress.show(&step))
    };
    let as_run = Reading {
        label: given.label.clone().or(of_run.label),
        client_column: of_run.client_column,
        image_size: given.image_size.or(of_run.image_size),
        ..given.clone()
    };
    let written = match write(&as_run) {
        // The reader of these files does not take the choices of the run.
        Err(DataError::NoEffect { .. }) => write(&given),
        written => written,
    };
    Ok(ExampleFile { file: written?, name: source.to_string(), _kept: folder })
}

fn as_json(name: &str, scores: &ExampleScores) -> serde_json::Value {
    let ExampleScores { examples, loss, accuracy, regression, by_class } = scores;
    let mut object = json!({ "data": name, "examples": examples, "loss": loss });
    let optional = [
        ("accuracy", accuracy.map(|accuracy| json!(accuracy))),
        ("rmse", regression.map(|errors| json!(errors.rmse))),
        ("mae", regression.map(|errors| json!(errors.mae))),
        ("r2", regression.and_then(|errors| errors.r2).map(|r2| json!(r2))),
        ("by_class", by_class.as_ref().map(|scores| json!(scores))),
    ];
    for (key, value) in optional {
        value.into_iter().for_each(|value| object[key] = value);
    }
    object
}
