//! Hands the arguments to the file in `commands` that does the work, and reports its error.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::ExitCode,
};

use clap::error::ErrorKind;
use fedpipe_client::{PROCESS_NAME, RELAY_NAME};
use fedpipe_host::Result;

use crate::{
    args::{self, Command, DataCommand, argument_error, flower_args::FlowerCommand},
    commands::{
        compare_runs::compare_runs,
        diagnose::diagnose,
        draw_run::draw_report,
        evaluate_run::evaluate_run,
        explain_keys::explain_keys,
        export_weights::export_weights,
        fetch_dataset::fetch_fashion_mnist,
        list_datasets::list_datasets,
        list_models::{list_models, show_program},
        list_rows::list_rows,
        list_runs::list_runs,
        predict_inputs::predict_inputs,
        reload_model::reload_model,
        run_baselines::run_baselines,
        run_experiment::run_experiment,
        run_sweep::run_sweep,
        serve_partition::serve_partition,
        shell_files::{print_completions, write_man_pages},
        show_partitions::show_partitions,
        verify_run::verify_run,
        watch_run::watch_run,
        write_experiment::write_experiment,
        write_flower_app::write_flower_app,
        write_model::write_model,
    },
    exit,
    screen::output::{check_result, print_error},
    sweep::workers::{RUN_NAME, ends_with_sweep},
};

/// Does the work that `arguments` name and returns the exit code. The first argument is the name of the process.
pub(crate) fn dispatch(arguments: &[OsString]) -> ExitCode {
    let name = arguments.first().and_then(|name| Path::new(name).file_name()).and_then(OsStr::to_str);
    if name == Some(RUN_NAME) && !ends_with_sweep() {
        return ExitCode::FAILURE;
    }
    let done = match (name, arguments) {
        (Some(PROCESS_NAME), [_, rest @ ..]) => return fedpipe_client::main(rest),
        (Some(RELAY_NAME), [_, rest @ ..]) => return fedpipe_client::relay(rest),
        _ => match args::parse(arguments) {
            Ok(command) => execute(command),
            Err(error) => answer(&error),
        },
    };
    done.unwrap_or_else(|error| {
        print_error(format_args!("error: {error}"));
        exit::code(&error)
    })
}

fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => run_experiment(&args),
        Command::Sweep(args) => run_sweep(&args),
        Command::Baselines(args) => run_baselines(&args),
        Command::Runs(args) => list_runs(&args),
        Command::Compare(args) => compare_runs(&args),
        Command::Init(args) => write_experiment(&args.file),
        Command::Config(args) => explain_keys(args.explain.as_deref()),
        Command::Verify { run, isolation } => verify_run(&run, isolation),
        Command::Evaluate(args) => evaluate_run(&args),
        Command::Predict(args) => predict_inputs(&args),
        Command::Export(args) => export_weights(&args),
        Command::Report(args) => draw_report(&args),
        Command::Watch(args) => watch_run(&args),
        Command::Reload { run } => reload_model(&run),
        Command::Serve(args) => serve_partition(&args),
        Command::Flower(FlowerCommand::New { directory, run }) => write_flower_app(&directory, &run),
        Command::Models { client: None } => list_models(),
        Command::Models { client: Some(command) } => show_program(&command),
        Command::Doctor => diagnose(),
        Command::Completions { shell } => print_completions(shell),
        Command::Man { directory } => write_man_pages(&directory),
        Command::NewModel(args) => write_model(&args),
        Command::List(args) => list_rows(&args),
        Command::Data(DataCommand::Fetch { name: _ }) => fetch_fashion_mnist(),
        Command::Data(DataCommand::List) => list_datasets(),
        Command::Data(DataCommand::Show(args)) => show_partitions(&args),
    }
}

/// Prints the help or the version that was asked for, or one sentence about the arguments, without clap's usage.
///
/// # Errors
/// Fails if standard output takes no more.
fn answer(error: &clap::Error) -> Result<ExitCode> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            check_result(error.print())?;
        }
        // This help goes to standard error: there is no place left to report a failure to.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => drop(error.print()),
        _ => print_error(format_args!("error: {}; see --help", argument_error::sentence(error))),
    }
    Ok(ExitCode::from(error.exit_code() as u8))
}
