//! The start of a run, or of the rest of one: deals the data, starts the clients and finds the first weights.

use fedpipe_data::{DatasetInfo, Dealt, counted, deal_test_set};
use fedpipe_record::{
    digest::{bytes_sha256, weights_sha256},
    experiment::Experiment,
    names,
    weights::from_safetensors,
};

use crate::{
    error::{Error, Result},
    experiment::{self, launch::Launch, processes::process_count},
    process::spawn::most_descriptors,
    run::{
        active::{ActiveRun, RunContext},
        clients::{Clients, InitialWeights},
        code_identity::code_identity,
        event::{Event, Journal, Observer},
        resume::{Point, Resume},
        state::RunState,
    },
};

/// Refuses an experiment that cannot be run, or cannot be run from this host.
pub(super) fn check(experiment: &Experiment, launch: &Launch) -> Result<()> {
    experiment::check(experiment)?;
    check_process_count(process_count(experiment), most_descriptors())?;
    let refuse =
        |why| Err(Error::Usage(format!("--partition own is for clients elsewhere, each with its own data; {why}")));
    match () {
        () if !experiment.data.partition.is_own() => Ok(()),
        () if !launch.command.elsewhere => refuse("use --over, or another --partition here"),
        () if process_count(experiment) < experiment.clients.count => refuse("leave out --processes"),
        () => Ok(()),
    }
}

/// Refuses more processes than this host has descriptors, of which each process takes several. Without this check, a
/// very large number would take all memory before the first process fails.
fn check_process_count(processes: u32, most: u64) -> Result<()> {
    if u64::from(processes) <= most {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{} are more than the {most} descriptors of this host (`ulimit -Hn`); give fewer --clients, or --processes",
        counted(processes, "client process")
    )))
}

/// Begins a new run, whose directory is made.
pub(super) fn new_run<'a>(context: RunContext<'a>, mut journal: Journal<'a>) -> Result<ActiveRun<'a>> {
    let RunContext { experiment, directory, .. } = context;
    journal.emit(&Event::Started { experiment, directory: directory.path() })?;
    directory.warnings.iter().try_for_each(|warning| journal.emit(&Event::Warning(warning)))?;
    let dealt = deal(&context, &mut |event| journal.show(event))?;
    begin(context, journal, dealt, None)
}

/// Begins the rest of an interrupted run.
pub(super) fn resumed_run<'a>(
    context: RunContext<'a>,
    resume: &Resume<'_>,
    observer: &'a mut dyn Observer,
) -> Result<ActiveRun<'a>> {
    let RunContext { experiment, directory, .. } = context;
    let mut warnings = directory.warnings.clone();
    let mut point = Point::find(resume, directory, experiment, &mut |warning| warnings.push(warning))?;
    for warning in &warnings {
        observer.observe(&Event::Warning(warning))?;
    }
    let dealt = deal(&context, &mut |event| Ok(observer.observe(event)?))?;
    point.check_data(&dealt)?;
    let journal = point.journal(directory, experiment, observer)?;
    begin(context, journal, dealt, Some(point))
}

/// Starts the clients and finds the weights: the model's initial ones, or those of the checkpoint at `point`.
fn begin<'a>(
    context: RunContext<'a>,
    mut journal: Journal<'a>,
    dealt: Dealt,
    point: Option<Point>,
) -> Result<ActiveRun<'a>> {
    let RunContext { experiment, directory, .. } = context;
    let mut warnings = dealt.dataset.warnings().into_iter().chain(dealt.left_out());
    warnings.try_for_each(|warning| journal.show(&Event::Warning(&warning)))?;
    // If a resumed run has the same data and model, its ledger has these lines already.
    let describe = if point.as_ref().is_some_and(Point::is_described) { Journal::show } else { Journal::emit };
    let digests = dealt.digests();
    directory.list_partitions(&digests)?;
    let partitions_sha256 = &bytes_sha256(digests.as_bytes());
    let is_own = experiment.data.partition.is_own();
    if !is_own {
        let (sizes, held_out): (Vec<_>, Vec<_>) =
            dealt.partitions.iter().map(|partition| (partition.examples, partition.held_out)).unzip();
        let (sizes, held_out) = (&sizes[..], counts_held_out(&held_out));
        let (dataset, label_counts) = (&dealt.dataset, &dealt.label_counts());
        describe(&mut journal, &Event::Dealt { dataset, sizes, held_out, label_counts, partitions_sha256 })?;
    }
    let dylib = point.as_ref().map_or(names::MODEL.into(), Point::dylib);
    let (mut clients, initial) = start_clients(&context, &mut journal, &dealt, &dylib)?;
    point.as_ref().map_or(Ok(()), |point| point.check_layout(clients.layout()?))?;
    if is_own {
        let (sizes, held_out) = (&clients.sizes, counts_held_out(&clients.held_out));
        point.as_ref().map_or(Ok(()), |point| point.check_sizes(sizes))?;
        let dataset = &DatasetInfo { train_examples: sizes.iter().sum(), ..dealt.dataset.clone() };
        describe(&mut journal, &Event::Dealt { dataset, sizes, held_out, label_counts: &[], partitions_sha256 })?;
    }
    let weights_sha256 = &weights_sha256(&initial.weights);
    let program = &code_identity(experiment, directory)?;
    describe(&mut journal, &Event::Ready { model: clients.model()?, program, weights_sha256 })?;
    tell_isolation(&mut clients, &mut journal)?;
    let state = RunState::new(&dealt.dataset, initial, experiment, directory.path());
    let state = match point {
        Some(point) => state.resumed_at(point, experiment, &clients)?,
        None => state,
    };
    Ok(ActiveRun { context, clients, state, journal, early: Default::default(), is_warned: false, _dealt: dealt })
}

/// Returns the counts of held-out examples; an empty list if nothing is held out.
fn counts_held_out(held_out: &[u64]) -> &[u64] {
    if held_out.iter().any(|count| *count > 0) { held_out } else { &[] }
}

/// Starts the clients and the strategy's program, and returns the clients with the model's initial weights.
fn start_clients(
    context: &RunContext<'_>,
    journal: &mut Journal<'_>,
    dealt: &Dealt,
    dylib: &str,
) -> Result<(Clients, InitialWeights)> {
    let mut clients = Clients::start(context, dealt, dylib)?;
    let mut initial = clients.initial_weights(journal)?;
    if let Some(file) = &context.experiment.init_from {
        let bytes = context.directory.keep_initial(file, context.launch.inputs_folder.as_deref())?;
        let refused = |why| Error::Usage(format!("--init-from {} {why}", file.path.display()));
        initial.weights = from_safetensors(&bytes, clients.layout()?).map_err(refused)?;
    }
    clients.keep_local(context.experiment)?;
    let warning = clients.check_local_tensors(context.experiment)?;
    clients.check_buffers(context.experiment)?;
    warning.map_or(Ok(()), |warning| journal.emit(&Event::Warning(&warning)))?;
    clients.start_strategy(context)?;
    clients.start_clock(context)?;
    clients.check_features(context.experiment)?;
    Ok((clients, initial))
}

/// Records the isolation of this session. A resume may be on another machine, with another isolation.
fn tell_isolation(clients: &mut Clients, journal: &mut Journal<'_>) -> Result<()> {
    clients.record_isolation(journal)?;
    match clients.strategy_in_force() {
        Some(in_force) => journal.emit(&Event::StrategyIsolated(in_force)),
        None => Ok(()),
    }
}

type Show<'s> = dyn FnMut(&Event<'_>) -> Result<()> + 's;

/// Deals one partition file to each client, unless each client has its own data.
fn deal(context: &RunContext<'_>, show: &mut Show<'_>) -> Result<Dealt> {
    let mut deal = context.experiment.deal();
    deal.split_file = context.directory.keep_split(&deal.scheme, context.launch.inputs_folder.as_deref())?;
    let cache = &context.launch.cache;
    let mut shown = Ok(());
    let mut show_step = |step| {
        if shown.is_ok() {
            shown = show(&Event::Data(&step));
        }
    };
    let dealt = if deal.scheme.is_own() {
        deal_test_set(&deal, cache, &mut show_step)?
    } else {
        fedpipe_data::deal(&deal, cache, &mut show_step)?
    };
    shown?;
    Ok(dealt)
}

/// Names the user's dylib in an error instead of the run's copy, which is removed if the run never began. An error of
/// the system keeps the copy's name, since it is about the copy.
pub(super) fn name_original_dylib(error: Error, context: &RunContext<'_>) -> Error {
    let copy = context.directory.path().join(names::MODEL).display().to_string();
    match (error, &context.launch.dylib) {
        (Error::Model(message), Some(dylib)) if !message.contains("(os error ") => {
            Error::Model(message.replace(&copy, &dylib.display().to_string()))
        }
        (error, _) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_processes_than_descriptors_are_refused() {
        check_process_count(9, 9).unwrap();
        let why = check_process_count(10, 9).unwrap_err().to_string();
        assert!(why.starts_with("10 client processes are more than the 9 descriptors of this host"), "{why}");
    }
}
