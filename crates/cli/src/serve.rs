//! `fedpipe serve`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use fedpipe_data::{Cache, Deal, Dealt, Scheme, Source};
use fedpipe_host::{Control, Error, Level, Node, Result, Service};
use fedpipe_record::{experiment::Experiment, memory_limit::MemoryLimit};

use crate::{
    args::level,
    experiment, lookup,
    output::{print_error, print_progress},
    run::client_command,
    show::DataProgress,
    signals,
};

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen: a path of at most 107 bytes
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// A model's name or path, as for `fedpipe run` [default: the experiment's]
    #[arg(long, required_unless_present = "experiment")]
    model: Option<String>,
    /// The partition file to train on
    #[arg(long, value_name = "FILE", required_unless_present_any = ["experiment", "data"], requires = "test")]
    partition: Option<PathBuf>,
    /// The test set, a file as a partition is
    #[arg(long, value_name = "FILE", requires = "partition")]
    test: Option<PathBuf>,
    /// A directory of IDX files instead: its training examples, all of them, and its test set
    #[arg(long, value_name = "DIR", conflicts_with_all = ["partition", "test", "experiment", "client"])]
    data: Option<PathBuf>,
    /// An experiment.toml instead of files: its dataset is dealt as a run deals it
    #[arg(long, value_name = "FILE", conflicts_with = "partition", requires = "client")]
    experiment: Option<PathBuf>,
    /// Whose partition of the experiment it is, from 0
    #[arg(long, value_name = "K", requires = "experiment")]
    client: Option<u32>,
    /// Seconds the client has for one answer, and a connection to begin a message and for the whole of it
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0)]
    client_timeout: f64,
    /// As for `fedpipe run`: what confines the client is this machine's to say
    #[arg(long, value_name = "LEVEL", value_parser = level(), default_value_t = Level::Auto)]
    isolation: Level,
    /// As for `fedpipe run` [default: half of this machine's]
    #[arg(long, value_name = "BYTES")]
    memory_limit: Option<MemoryLimit>,
    /// As for `fedpipe run` [default: none]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    cpu_limit: Option<u64>,
}

/// Serves until a signal ends it.
pub(crate) fn serve(args: &ServeArgs) -> Result<ExitCode> {
    let timeout = Duration::try_from_secs_f64(args.client_timeout).ok().filter(|timeout| !timeout.is_zero());
    let timeout = timeout
        .ok_or_else(|| Error::Usage(format!("--client-timeout is {}; give seconds above 0", args.client_timeout)))?;
    let experiment = args.experiment.as_deref().map(experiment::read).transpose()?;
    let model = args.model.as_ref().or(experiment.as_ref().map(|experiment| &experiment.model));
    let dylib = lookup::dylib(model.map_or("", String::as_str))?;
    // What is dealt stays in the cache as long as this is held.
    let (partition, test, _dealt) = match (&args.partition, &args.test) {
        (Some(partition), Some(test)) => (partition.clone(), test.clone(), None),
        _ => {
            let (wanted, client) = wanted(args, experiment.as_ref())?;
            let dealt = deal(&wanted)?;
            (dealt.path_of(client), dealt.test.path.clone(), Some(dealt))
        }
    };
    let command = client_command();
    let ServeArgs { isolation, memory_limit, cpu_limit, .. } = *args;
    let socket = args.socket.clone();
    let service =
        Service::start(Node { command, dylib, partition, test, socket, timeout, isolation, memory_limit, cpu_limit })?;
    let control = Control::default();
    let handle = control.handle();
    signals::on_end(move |signal| handle.stop(signal))?;
    print_progress(format_args!("serving {} on {}", service.about(), args.socket.display()));
    match service.run(&control, &mut |text| print_error(format_args!("warning: {text}"))) {
        // There is no other way to end it.
        Ok(()) | Err(Error::Stopped(_)) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
    }
}

/// What is to be dealt here, and the client whose partition it is.
fn wanted(args: &ServeArgs, experiment: Option<&Experiment>) -> Result<(Deal, u32)> {
    match (&args.data, experiment, args.client) {
        (Some(directory), _, _) => {
            let source = Source::Directory(directory.clone());
            Ok((Deal { source, scheme: Scheme::Own, clients: 1, seed: 0 }, 0))
        }
        (_, Some(Experiment { partition: Scheme::Own, .. }), _) => Err(Error::Usage(
            "the partitions of the experiment are the clients' own; serve this one's by --model and --data".into(),
        )),
        (_, Some(Experiment { data, partition, clients, seed, .. }), Some(client)) if client < *clients => {
            Ok((Deal { source: data.clone(), scheme: partition.clone(), clients: *clients, seed: *seed }, client))
        }
        (_, Some(Experiment { clients, .. }), Some(client)) => {
            let last = clients - 1;
            Err(Error::Usage(format!("--client is {client}; the experiment's clients are 0 to {last}")))
        }
        _ => Err(Error::Usage("give --data, or --partition and --test, or --experiment and --client".into())),
    }
}

fn deal(deal: &Deal) -> Result<Dealt> {
    let mut shown = DataProgress::new(false);
    let dealt = fedpipe_data::deal(deal, &Cache::user()?, &mut |step| shown.show(&step));
    shown.clear();
    Ok(dealt?)
}
