//! The command line.

use std::{path::PathBuf, process::ExitCode};

use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
    error::ErrorKind,
};
use fedpipe_data::{Scheme, Source};
use fedpipe_host::{Error, Level};
use fedpipe_record::memory_limit::MemoryLimit;
use fedpipe_strategy::{local_optimiser::LocalOptimiser, strategy::Strategy};

use crate::{
    data, exit,
    flower::{self, FlowerCommand},
    models,
    output::{check_result, print_error},
    run, serve, verify,
};

#[derive(Debug, Parser)]
#[command(name = "fedpipe", version, about = "Federated learning on one machine with real processes")]
#[command(after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a model in a federation
    // So that -1 is a bad number and not an unknown flag.
    #[command(allow_negative_numbers = true)]
    Run(Box<RunArgs>),
    /// Run a run again from its own directory and compare the bits of every round
    Verify {
        /// A run directory
        run: PathBuf,
        /// What the kernel enforces on clients: require, auto, off [default: that of the run]
        #[arg(long, value_name = "LEVEL", value_parser = level())]
        isolation: Option<Level>,
    },
    /// Have a run take its model's dylib anew at the next round, if the layout is the same
    Reload {
        /// The directory of a run that is going on
        run: PathBuf,
    },
    /// Serve one client on a Unix socket, for a federation whose host is elsewhere (Flower)
    Serve(serve::ServeArgs),
    /// Past one machine, on Flower
    #[command(subcommand)]
    Flower(FlowerCommand),
    /// List the models that are found, with their versions and options
    Models {
        /// Ask this client of your own instead, as for `fedpipe run`
        #[arg(long, value_name = "COMMAND")]
        client: Option<String>,
    },
    /// Datasets
    #[command(subcommand)]
    Data(DataCommand),
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Put a dataset into the cache, from wherever it can be had
    Fetch {
        /// Its name
        #[arg(value_parser = ["fashion-mnist"])]
        name: String,
    },
}

/// A flag that is absent leaves the value of `--config`, or the default.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A model's name (see `fedpipe models`), or the path of a dylib, which has a `/` in it
    #[arg(required_unless_present_any = ["client", "config", "resume"], conflicts_with = "client")]
    pub(crate) model: Option<String>,
    /// A client of your own instead of a model, such as "python3 client.py"; crates/protocol/README.md is what it speaks
    #[arg(long, value_name = "COMMAND")]
    pub(crate) client: Option<String>,

    /// Clients, each with a partition of its own [default: 4]
    #[arg(long, value_name = "N")]
    pub(crate) clients: Option<u32>,
    /// Rounds [default: 5]
    #[arg(long, value_name = "N", conflicts_with = "until_converged")]
    pub(crate) rounds: Option<u64>,
    /// Go on until the weights and the training loss no longer change
    #[arg(long)]
    pub(crate) until_converged: bool,
    /// Where --until-converged gives up [default: 200]
    #[arg(long, value_name = "N")]
    pub(crate) max_rounds: Option<u64>,
    /// Relative change of weights and training loss that counts as none, three rounds in a row [default: 0.025]
    #[arg(long, value_name = "X")]
    pub(crate) tolerance: Option<f64>,
    /// Seed of everything random [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// fashion-mnist, sample, or a directory of IDX files [default: fashion-mnist]
    #[arg(long, value_name = "DATA")]
    pub(crate) data: Option<Source>,
    /// iid, dirichlet:alpha=0.3, shards:per-client=2, or own: clients elsewhere (--over) with data of theirs [default: iid]
    #[arg(long, value_name = "SCHEME")]
    pub(crate) partition: Option<Scheme>,
    /// fedavg, fedavgm:beta=0.9, fedadam:rate=0.01 [default: fedavg]
    #[arg(long, value_name = "STRATEGY")]
    pub(crate) strategy: Option<Strategy>,
    /// A strategy of your own instead, such as "python3 strategy.py"; it gets each round's updates
    #[arg(long, value_name = "COMMAND", conflicts_with = "strategy")]
    pub(crate) strategy_program: Option<String>,
    /// Part of the clients that is sampled for each round [default: 1]
    #[arg(long, value_name = "X")]
    pub(crate) fraction: Option<f64>,

    /// Local epochs a round [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<u64>,
    /// Examples a mini-batch [default: 32]
    #[arg(long, value_name = "N")]
    pub(crate) batch_size: Option<u64>,
    /// Local learning rate [default: 0.1, with adam 0.001]
    #[arg(long, value_name = "X")]
    pub(crate) lr: Option<f32>,
    /// sgd, sgd:momentum=0.9, adam [default: sgd]
    #[arg(long, value_name = "OPTIMISER")]
    pub(crate) optimiser: Option<LocalOptimiser>,
    /// An option of the model, such as hidden=256,64; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) model_option: Vec<(String, String)>,

    /// What a lost client costs: retry (nothing), drop (its update of the round), abort (the run) [default: retry]
    #[arg(long, value_name = "POLICY", value_parser = ["retry", "drop", "abort"])]
    pub(crate) on_failure: Option<String>,
    /// Updates below which a round fails [default: half of the sampled clients]
    #[arg(long, value_name = "N")]
    pub(crate) min_clients: Option<u32>,
    /// Seconds a client, or a strategy of your own, has for one answer [default: 600]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) client_timeout: Option<f64>,
    /// Client processes; fewer than clients serve several in turn [default: one a client up to 64, then
    /// two a job, or one with --client or --jobs 1]
    #[arg(long, value_name = "N")]
    pub(crate) processes: Option<u32>,
    /// Clients that train at the same time [default: the machine's cores]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<u32>,

    /// What the kernel enforces on clients and a strategy of your own: require (all, or no run), auto (what it can), off
    /// [default: auto]
    #[arg(long, value_name = "LEVEL", value_parser = level())]
    pub(crate) isolation: Option<Level>,
    /// Memory that a client's model may take, such as 512M or 2G, or none [default: half of the machine's over the
    /// processes, at least 256M]
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory_limit: Option<MemoryLimit>,
    /// Seconds of processor time that a client process may take, over all rounds [default: any]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) cpu_limit: Option<u64>,

    /// Rounds from one checkpoint to the next [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) checkpoint_every: Option<u64>,
    /// Go on with the interrupted run in this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "config"])]
    pub(crate) resume: Option<PathBuf>,
    /// Resume although the experiment, the dylib or the dataset differ from what the ledger says
    #[arg(long, requires = "resume")]
    pub(crate) force: bool,
    /// Clients are elsewhere: each is a connection to this Unix socket (the Flower app listens there)
    #[arg(long, value_name = "SOCKET")]
    pub(crate) over: Option<PathBuf>,
    /// The run directory [default: runs/MODEL-N]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Replace the run that --out holds, unless it is under way; once the new one has begun, the old one is removed
    #[arg(long, requires = "out")]
    pub(crate) overwrite: bool,
    /// An experiment.toml; flags win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A key of experiment.toml; wins over flags; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Print the result only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

pub(crate) fn level() -> impl TypedValueParser<Value = Level> {
    PossibleValuesParser::new(["require", "auto", "off"]).try_map(|level| level.parse::<Level>())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no `=`; write KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Reads the command line and does what it says.
pub(crate) fn dispatch() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let done = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Verify { run, isolation } => verify::verify(&run, isolation),
        Command::Reload { run } => verify::reload(&run),
        Command::Serve(args) => serve::serve(&args),
        Command::Flower(FlowerCommand::New { directory, run }) => flower::new(&directory, &run),
        Command::Models { client: None } => models::list(),
        Command::Models { client: Some(command) } => models::foreign(&command),
        Command::Data(DataCommand::Fetch { name: _ }) => data::fetch_fashion_mnist(),
    };
    done.unwrap_or_else(|error| failure(&error))
}

/// Says why a command failed; returns its exit code.
fn failure(error: &Error) -> ExitCode {
    print_error(format_args!("error: {error}"));
    exit::code(error)
}

/// Prints the help that was asked for, or what is wrong with the arguments in one line, without clap's usage.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        if let Err(error) = check_result(error.print()) {
            return failure(&error);
        }
    } else if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
    } else {
        let text = error.render().to_string();
        let told = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
        let told: Vec<&str> = told.filter(|line| !line.is_empty() && !line.starts_with("For more")).collect();
        print_error(format_args!("{}; see --help", told.join(" ").replace(" tip: ", "; ")));
    }
    ExitCode::from(error.exit_code() as u8)
}

#[cfg(test)]
#[path = "../tests/e2e/markdown.rs"]
mod markdown;

#[cfg(test)]
mod tests {
    use super::{
        markdown::{documents, words},
        *,
    };

    /// The arguments in a line of a README that calls the command, or has `just` call it.
    fn arguments(code: &str) -> Option<Vec<String>> {
        let code = code.replace('…', "mlp");
        let words = words(code.split([';', '|', '\\']).next()?);
        let mut words = words
            .into_iter()
            .skip_while(|word| ["uv", "run", "and", "&&"].contains(&word.as_str()) || word.contains('='));
        let call = match words.next()?.as_str() {
            "fedpipe" | "target/release/fedpipe" => Vec::new(),
            "just" if words.next()? == "run" => match words.next() {
                Some(client) if ["keras", "torch"].contains(&client.as_str()) => {
                    vec!["run".into(), "--client".into(), client]
                }
                model => ["run".into()].into_iter().chain(model).collect(),
            },
            _ => return None,
        };
        Some(["fedpipe".to_owned()].into_iter().chain(call).chain(words).collect())
    }

    #[test]
    fn commands_in_the_readmes_are_understood() {
        use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, MissingRequiredArgument};
        let (mut seen, mut wrong) = (0, Vec::new());
        for document in documents() {
            let lines = document.code_lines().into_iter().map(|line| (line, false));
            // A sentence may name a command without its arguments.
            for (code, is_name) in lines.chain(document.spans().into_iter().map(|span| (span, true))) {
                let Some(arguments) = arguments(&code) else { continue };
                seen += 1;
                let Err(error) = Cli::try_parse_from(&arguments) else { continue };
                let lacks = [MissingRequiredArgument, DisplayHelpOnMissingArgumentOrSubcommand].contains(&error.kind())
                    || error.to_string().contains("a value is required");
                if error.kind() != DisplayHelp && !(is_name && lacks) {
                    wrong.push(format!(
                        "{}: {code:?}: {}",
                        document.path,
                        error.to_string().lines().next().unwrap_or_default()
                    ));
                }
            }
        }
        assert!(wrong.is_empty() && seen > 40, "of {seen} commands\n{}", wrong.join("\n"));
    }
}
