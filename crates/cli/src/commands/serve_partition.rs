//! `fedpipe serve`: serves one client on a Unix socket.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use fedpipe_data::{Cache, Deal, Dealt, Scheme, deal};
use fedpipe_host::{Control, Error, Node, Result, Service};
use fedpipe_record::{experiment::Experiment, names::split_file};

use crate::{
    args::serve_args::ServeArgs,
    inputs::{
        client_commands::client_command,
        dylibs::find_dylib,
        resolve::{read_experiment, resolve_served},
    },
    screen::{
        data_progress::DataProgress,
        output::{print_error, print_progress},
    },
    signals::on_end,
};

/// The files that the client trains and scores on.
struct ServedFiles {
    partition: PathBuf,
    test: PathBuf,
    /// The lock that keeps dealt files in the cache.
    _dealt: Option<Dealt>,
}

/// Serves until a signal ends the process.
pub(crate) fn serve_partition(args: &ServeArgs) -> Result<ExitCode> {
    let timeout = timeout(args.client_timeout)?;
    let experiment = args.experiment.as_deref().map(read_experiment).transpose()?;
    let model = args.model.as_ref().or(experiment.as_ref().map(|experiment| &experiment.model));
    let dylib = find_dylib(model.map_or("", String::as_str))?;
    let files = files(args, experiment.as_ref())?;
    let service = Service::start(Node {
        command: client_command(),
        dylib,
        partition: files.partition.clone(),
        test: files.test.clone(),
        socket: args.socket.clone(),
        timeout,
        isolation: args.isolation,
        memory_limit: args.memory_limit,
        cpu_limit: args.cpu_limit,
    })?;
    let control = Control::default();
    let handle = control.handle();
    on_end(move |signal| handle.stop(signal))?;
    print_progress(format_args!("serving {} on {}", service.about(), args.socket.display()));
    match service.serve_connections(&control, &mut |text| print_error(format_args!("warning: {text}"))) {
        // A signal is the usual end.
        Ok(()) | Err(Error::Stopped(_)) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
    }
}

/// Returns the time in which a client must answer. It has the range of the experiment's key.
fn timeout(seconds: f64) -> Result<Duration> {
    let mut experiment = Experiment::default();
    experiment.execution.client_timeout = seconds;
    experiment.check()?;
    Ok(Duration::from_secs_f64(seconds))
}

/// Returns the files that `args` name, or deals them.
fn files(args: &ServeArgs, experiment: Option<&Experiment>) -> Result<ServedFiles> {
    if let (Some(partition), Some(test)) = (&args.partition, &args.test) {
        return Ok(ServedFiles { partition: partition.clone(), test: test.clone(), _dealt: None });
    }
    let (plan, client) = plan(args, experiment)?;
    let mut progress = DataProgress::new(false);
    let dealt = deal(&plan, &Cache::user()?, &mut |step| progress.show(&step));
    progress.clear();
    let dealt = dealt?;
    Ok(ServedFiles { partition: dealt.path_of(client), test: dealt.test.path.clone(), _dealt: Some(dealt) })
}

/// Returns the copy of a split by hand that a run, or an app for Flower, has beside its experiment.
fn split_beside(experiment: &Path, scheme: &Scheme) -> Option<PathBuf> {
    let name = split_file(&scheme.split_file()?.sha256);
    Some(experiment.with_file_name(name)).filter(|path| path.exists())
}

/// Returns the deal that `args` describe, and the client whose partition is served.
fn plan(args: &ServeArgs, experiment: Option<&Experiment>) -> Result<(Deal, u32)> {
    let refuse = |why: String| Err(Error::Usage(why));
    if args.data.args.has("data") {
        // The seed is that of every node, since a run on other machines does not tell its own.
        let served = resolve_served(&args.data.args)?;
        return Ok((Deal { seed: 0, ..served.deal() }, 0));
    }
    match (experiment, args.client) {
        (Some(experiment), _) if experiment.data.partition.is_own() => refuse(
            "the partitions of the experiment are the clients' own; serve this one's by --model and --data".into(),
        ),
        (Some(experiment), Some(client)) if client < experiment.clients.count => {
            let split_file = args.experiment.as_deref().and_then(|path| split_beside(path, &experiment.data.partition));
            Ok((Deal { split_file, ..experiment.deal() }, client))
        }
        (Some(experiment), Some(client)) => {
            let last = experiment.clients.count - 1;
            refuse(format!("--client is {client}; the experiment's clients are 0 to {last}"))
        }
        _ => refuse("give --data, or --partition and --test, or --experiment and --client".into()),
    }
}
