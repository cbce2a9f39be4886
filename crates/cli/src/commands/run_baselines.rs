//! `fedpipe baselines`: an experiment, local-only training and centralised training at the same budget, over several
//! seeds, in one table and one picture.
//!
//! The runs are a sweep with the axis `baseline`, so that `fedpipe runs` and `fedpipe compare` read them.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use fedpipe_data::counted;
use fedpipe_host::{Error, Result};
use fedpipe_record::{
    experiment::{Experiment, baseline::Baseline},
    file::write_whole,
    run_overview::{RunOverview, RunStatus},
    sweep::{Axis, Sweep, SweepRun},
};
use fedpipe_report::{
    compare_picture::compare,
    comparison::{Comparison, Group},
};

use crate::{
    args::baselines_args::BaselinesArgs,
    screen::{baselines_text::table_lines, output::print_result},
    sweep::{
        folder::SweepFolder,
        grid::{axes, experiment, extended},
        sweep_session::{SweepSession, overviews},
    },
};

/// The axis that tells the baselines apart.
const AXIS: &str = "baseline";

/// The seeds, unless the user gives some.
const SEEDS: &str = "0..2";

/// The picture in the folder of the runs.
const PICTURE: &str = "baselines.png";

/// Runs an experiment and its baselines. With `--resume`, runs what is left of them.
pub(crate) fn run_baselines(args: &BaselinesArgs) -> Result<ExitCode> {
    let mut session = SweepSession::begin("baselines")?;
    let folder = open(args)?;
    session.work(&folder, args.grid.at_once, args.grid.quiet)?;
    let comparison = comparison(&folder.sweep, &overviews(&folder));
    let (measures, lines) = table_lines(&comparison, folder.sweep.configurations().first().map_or(0, Vec::len));
    print_result(lines.join("\n"))?;
    let runs = comparison.runs().count();
    if runs > 0 {
        let title = format!(
            "the experiment and its baselines, {}: mean, and a band of one standard deviation",
            counted(runs, "run")
        );
        let picture = compare(&comparison, (&measures, comparison.main_axis()), &title).map_err(Error::System)?;
        let path = folder.path.join(PICTURE);
        write_whole(&path, &picture).map_err(|error| {
            Error::Output(format!("cannot write {}: {error}; free the disk, or give --out", path.display()))
        })?;
        print_result(format_args!("the picture is in {}", path.display()))?;
    }
    session.end(&folder)
}

fn open(args: &BaselinesArgs) -> Result<SweepFolder> {
    let seeds = args.seeds.as_deref();
    match (&args.grid.resume, &args.grid.experiment) {
        (Some(path), _) => {
            let mut folder = SweepFolder::open(path)?;
            if !folder.sweep.axes.iter().any(|axis| axis.key == AXIS) {
                let shown = path.display();
                return Err(Error::Usage(format!(
                    "the sweep in {shown} has no baselines; continue it with `fedpipe sweep --resume {shown}`"
                )));
            }
            if let Some(seeds) = seeds {
                let (sweep, new) = extended(&folder.sweep, &folder.path, &[seed_axis(seeds)?])?;
                folder.extend(sweep, &new)?;
            }
            Ok(folder)
        }
        (None, Some(file)) => {
            let kinds = Baseline::ALL.iter().map(ToString::to_string).collect();
            let sweep =
                Sweep::new(vec![Axis { key: AXIS.to_owned(), values: kinds }, seed_axis(seeds.unwrap_or(SEEDS))?]);
            let all = sweep.runs.iter().map(|run| experiment_of(file, run)).collect::<Result<Vec<_>>>()?;
            SweepFolder::create(sweep, &all, args.grid.out.as_deref())
        }
        (None, None) => Err(Error::Usage("no experiment is named; give a file, or --resume DIR".into())),
    }
}

/// Returns the axis of the seeds.
fn seed_axis(seeds: &str) -> Result<Axis> {
    let refused = |error: Error| Error::Usage(error.to_string().replace("--set seed", "--seeds"));
    let mut axes = axes(&[("seed".to_owned(), seeds.to_owned())]).map_err(refused)?;
    axes.pop().ok_or_else(|| Error::Usage("--seeds is empty; give one, such as 0..4".into()))
}

/// Returns the experiment of a run, with its seed and baseline.
fn experiment_of(file: &Path, run: &SweepRun) -> Result<Experiment> {
    let seed = run.values.iter().filter(|(key, _)| *key != AXIS);
    let values: BTreeMap<String, String> = seed.map(|(key, value)| (key.clone(), value.clone())).collect();
    let experiment = experiment(file, &values)?.baseline(baseline_of(run))?;
    experiment.check()?;
    Ok(experiment)
}

/// Returns the baseline of a run; that of the experiment itself if the file names none.
fn baseline_of(run: &SweepRun) -> Baseline {
    let name = run.values.get(AXIS).map_or("", String::as_str);
    Baseline::ALL.iter().copied().find(|baseline| baseline.to_string() == name).unwrap_or(Baseline::Federated)
}

/// Returns the finished runs of each baseline as groups.
fn comparison(sweep: &Sweep, overviews: &[Option<RunOverview>]) -> Comparison {
    let finished = |baseline: Baseline| {
        let of_baseline = sweep.runs.iter().zip(overviews).filter(move |(run, _)| baseline_of(run) == baseline);
        of_baseline.filter_map(|(_, run)| run.clone()).filter(|run| run.state == RunStatus::Finished)
    };
    let group =
        |&baseline: &Baseline| Group { values: vec![Some(baseline.to_string())], runs: finished(baseline).collect() };
    Comparison { keys: vec![AXIS.to_owned()], groups: Baseline::ALL.iter().map(group).collect(), repeated: 0 }
}
