//! `fedpipe sweep`: runs a grid of experiments, or what is left of it, and prints a table.

use std::process::ExitCode;

use fedpipe_host::Result;
use fedpipe_record::sweep::Sweep;

use crate::{
    args::sweep_args::SweepArgs,
    screen::{output::print_result, sweep_text::sweep_table},
    sweep::{
        folder::SweepFolder,
        grid::{axes, experiments, extended},
        sweep_session::{SweepSession, overviews},
    },
};

/// Runs the grid that `args` describe. With `--resume`, runs what is left of it.
pub(crate) fn run_sweep(args: &SweepArgs) -> Result<ExitCode> {
    let mut session = SweepSession::begin("sweep")?;
    let folder = open(args)?;
    session.work(&folder, args.grid.at_once, args.grid.quiet)?;
    print_result(sweep_table(&folder.sweep, &overviews(&folder)).join("\n"))?;
    session.end(&folder)
}

fn open(args: &SweepArgs) -> Result<SweepFolder> {
    match (&args.grid.resume, &args.grid.experiment) {
        (Some(folder), _) => {
            let mut folder = SweepFolder::open(folder)?;
            let more = axes(&args.set)?;
            if !more.is_empty() {
                let (sweep, new) = extended(&folder.sweep, &folder.path, &more)?;
                folder.extend(sweep, &new)?;
            }
            Ok(folder)
        }
        (None, Some(file)) => {
            let sweep = Sweep::new(axes(&args.set)?);
            let all = experiments(&sweep, file)?;
            SweepFolder::create(sweep, &all, args.grid.out.as_deref())
        }
        (None, None) => Err(fedpipe_host::Error::Usage("no experiment is named; give a file, or --resume DIR".into())),
    }
}
