//! `fedpipe report`, and the drawings after a run: pictures, `report.html`, `metrics.csv` and files for other programs.

use std::{path::Path, process::ExitCode};

use fedpipe_data::{Cache, DatasetTarget, Partition, PartitionTargets, Pixels, counted};
use fedpipe_host::{Control, Error, InferenceHost, Result, TrainedRun};
use fedpipe_record::{
    by_class::ByClass,
    file::write_whole,
    history::{DealtLine, History, Stretch},
    names::{METRICS, PARTITION_PICTURE, PICTURE, REPORT, TENSORBOARD, TRACE},
    partition_table::PartitionTable,
    timeline::TimelineSession,
};
use fedpipe_report::{
    event_file::event_file,
    metrics_table::metrics,
    mistakes::{ExampleFeatures, Mistake, Mistakes},
    partition_picture, picture,
    report_page::{PageInput, page},
    trace_file::trace,
};

use crate::{
    args::result_args::ReportArgs,
    commands::{evaluate_run::test_set, show_partitions::title},
    inputs::client_commands::client_command,
    screen::{
        output::{print_error, print_result},
        result_text::probabilities,
    },
    signals::stop_on_signal,
};

/// The drawings that a flag asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Drawings {
    pub(crate) trace: bool,
    pub(crate) tensorboard: bool,
}

/// The predictions for the test set that a page shows.
struct Predicted {
    mistakes: Mistakes,
    by_class: ByClass,
}

/// Draws a run again.
pub(crate) fn draw_report(args: &ReportArgs) -> Result<ExitCode> {
    let history = History::read(&args.run)?;
    let predicted = if args.record_only { None } else { predicted(args)? };
    let extra = Drawings { trace: args.trace, tensorboard: args.tensorboard };
    let failed = draw_all(&args.run, &history, &extra, predicted.as_ref());
    if let Some(why) = failed.first() {
        return Err(Error::Output(why.clone()));
    }
    print_result(format_args!("the report is in {}", args.run.join(REPORT).display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Draws the run in `directory` from its record. Returns a sentence for each file that is not drawn. A run that never
/// began has no ledger and no drawings.
pub(crate) fn draw_run(directory: &Path, extra: &Drawings) -> Vec<String> {
    History::read(directory).map_or_else(|_| Vec::new(), |history| draw_all(directory, &history, extra, None))
}

fn draw_all(directory: &Path, history: &History, extra: &Drawings, predicted: Option<&Predicted>) -> Vec<String> {
    // A run without a timeline has a report without one.
    let sessions = TimelineSession::read(directory).unwrap_or_default();
    let (mistakes, by_class) = (predicted.map(|of| &of.mistakes), predicted.map(|of| &of.by_class));
    let input = PageInput { history, sessions: &sessions, mistakes, by_class };
    let started = sessions.first().map_or(0, |session| session.unix_us / 1_000_000);
    let event_name = format!("{TENSORBOARD}{started}.fedpipe");
    let mut failed = Vec::new();
    let mut draw = |name: &str, drawn: anyhow::Result<Option<Vec<u8>>>| {
        let written = drawn.and_then(|content| match content {
            Some(content) => Ok(write_whole(&directory.join(name), &content)?),
            None => Ok(()),
        });
        failed.extend(written.err().map(|error| format!("{name} is not drawn: {error:#}")));
    };
    draw(PARTITION_PICTURE, partitions(history));
    draw(PICTURE, picture::result(history));
    draw(METRICS, Ok((!history.rounds.is_empty()).then(|| metrics(history).into_bytes())));
    draw(REPORT, page(&input).map(|page| Some(page.into_bytes())));
    if extra.trace {
        draw(TRACE, trace(&sessions).map(Some).map_err(anyhow::Error::from));
    }
    if extra.tensorboard {
        draw(&event_name, Ok(Some(event_file(history, &sessions))));
    }
    failed
}

fn partitions(history: &History) -> anyhow::Result<Option<Vec<u8>>> {
    let Stretch { experiment, dealt, .. } = history.last_stretch();
    let Some(DealtLine { dataset, sizes, label_counts, .. }) = dealt else { return Ok(None) };
    let table = PartitionTable::new(dataset, sizes, label_counts);
    partition_picture::partitions(&table, &title(&table, experiment)).map(Some)
}

/// Returns the predictions of the run's model for its test set; `None` for a real target, for a run without a result,
/// and for a model that does not predict.
fn predicted(args: &ReportArgs) -> Result<Option<Predicted>> {
    let run = match TrainedRun::open_whole(&args.run) {
        Ok(run) => run,
        Err(why) => {
            print_error(format_args!("warning: no examples of mistakes: {why}"));
            return Ok(None);
        }
    };
    if !matches!(run.dataset.target, DatasetTarget::Classes { .. }) {
        return Ok(None);
    }
    if !run.experiment.has_test_set() {
        print_error(
            "warning: no examples of mistakes: the run has no test set, since each client has its own test examples",
        );
        return Ok(None);
    }
    let (cache, control) = (Cache::user()?, Control::default());
    stop_on_signal(control.handle())?;
    let host = InferenceHost { command: &client_command(), cache: &cache };
    let examples = test_set(&run, &args.run, &cache)?;
    let outputs = match run.predict(&host, &examples.file, &control) {
        Err(Error::Model(why)) => {
            print_error(format_args!("warning: no examples of mistakes: {why}"));
            return Ok(None);
        }
        outputs => outputs?,
    };
    let partition = Partition::open(&examples.file.path)?;
    let found = mistakes(&partition, &outputs, &run.dataset.target.names(), args.mistakes);
    found.map(Some).map_err(Error::System)
}

/// Returns the mistakes of which the model is most certain, and the scores by class.
fn mistakes(partition: &Partition, outputs: &[f32], names: &[String], most: usize) -> anyhow::Result<Predicted> {
    let PartitionTargets::Classes(labels) = partition.targets() else { anyhow::bail!("the test set has no labels") };
    let classes = names.len();
    let mut confusion = vec![0; classes * classes];
    let mut wrong: Vec<(usize, usize, f64)> = Vec::new();
    for (row, (label, scores)) in labels.iter().zip(outputs.chunks_exact(classes)).enumerate() {
        let best = (1..classes).fold(0, |best, class| if scores[class] > scores[best] { class } else { best });
        confusion[*label as usize * classes + best] += 1;
        if best != *label as usize {
            wrong.push((row, best, probabilities(scores)[best]));
        }
    }
    wrong.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
    let size: usize = partition.shape().iter().product();
    let shown = wrong.iter().take(most).map(|&(row, best, probability)| {
        let place = row * size..(row + 1) * size;
        let features = match partition.pixels() {
            Pixels::U8(bytes) => ExampleFeatures::U8(&bytes[place]),
            Pixels::F32(values) => ExampleFeatures::F32(&values[place]),
        };
        Mistake::new((partition.shape(), features), &names[labels[row] as usize], (&names[best], probability))
    });
    let all = shown.collect::<anyhow::Result<Vec<_>>>()?;
    let text = format!(
        "{} of {} of the test set are taken for another class. These are the ones of which the model is most certain.",
        wrong.len(),
        counted(labels.len(), "example")
    );
    let scores = if classes == 2 { Some(by_label(labels, outputs)) } else { None };
    Ok(Predicted { mistakes: Mistakes { text, all }, by_class: ByClass::new(&confusion, classes, scores) })
}

/// Returns the score of class 1 minus that of class 0 for the examples with each label.
fn by_label(labels: &[u32], outputs: &[f32]) -> [Vec<f32>; 2] {
    [0, 1].map(|class| {
        let of_class = labels.iter().zip(outputs.chunks_exact(2)).filter(|(label, _)| **label == class);
        of_class.map(|(_, scores)| scores[1] - scores[0]).collect()
    })
}
