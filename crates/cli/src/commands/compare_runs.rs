//! `fedpipe compare`: the differences of runs in configuration and in result, tests of paired seeds, and a picture.

use std::{path::Path, process::ExitCode};

use fedpipe_data::counted;
use fedpipe_host::{Error, Result};
use fedpipe_record::{
    file::write_whole,
    run_overview::{Measure, RunOverview, RunStatus},
};
use fedpipe_report::{compare_picture::compare, comparison::Comparison};

use crate::{
    args::runs_args::CompareArgs,
    commands::list_runs::read_runs,
    screen::{
        compare_text::{group_lines, test_lines},
        output::{print_error, print_result},
    },
};

/// Compares the runs that `args` name.
pub(crate) fn compare_runs(args: &CompareArgs) -> Result<ExitCode> {
    let runs = finished_runs(args)?;
    let comparison = Comparison::of(runs);
    if comparison.repeated > 0 {
        let repeated = counted(comparison.repeated, "run");
        print_error(format_args!("warning: {repeated} left out, which repeat another run with its seeds"));
    }
    if !comparison.has_one_task() {
        print_error(
            "warning: the runs differ in dataset or target, so that their results have no order; give runs of one \
             dataset, or --where data=NAME",
        );
    }
    let measure = args.measure.unwrap_or_else(|| comparison.main_measure());
    if comparison.groups.iter().all(|group| group.spread(measure).is_none()) {
        return Err(Error::Usage(format!("no run has the measure {measure}; give another --measure")));
    }
    let lines = [group_lines(&comparison, measure), test_lines(&comparison, measure)].concat();
    print_result(lines.join("\n"))?;
    draw(&args.picture, &comparison, measure)?;
    print_result(format_args!("the picture is in {}", args.picture.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the finished runs. The last result of another run is that of a part of its rounds.
fn finished_runs(args: &CompareArgs) -> Result<Vec<RunOverview>> {
    let mut runs = Vec::new();
    for directory in &args.directories {
        runs.extend(read_runs(directory, directory, &args.conditions)?);
    }
    let all = runs.len();
    runs.retain(|run| run.state == RunStatus::Finished);
    if all > runs.len() {
        let left_out = counted(all - runs.len(), "run");
        print_error(format_args!("warning: {left_out} left out, which did not finish; `fedpipe runs` lists them"));
    }
    if runs.is_empty() {
        return Err(Error::Usage(
            "no finished run is found; give run directories, or sweeps with finished runs".into(),
        ));
    }
    Ok(runs)
}

fn draw(path: &Path, comparison: &Comparison, measure: Measure) -> Result<()> {
    let measures = if measure == Measure::Loss { vec![measure] } else { vec![measure, Measure::Loss] };
    let runs: usize = comparison.groups.iter().map(|group| group.runs.len()).sum();
    let groups = counted(comparison.groups.len(), "configuration");
    let title = format!("{groups}, {}: mean, and a band of one standard deviation", counted(runs, "run"));
    let picture = compare(comparison, &measures, &title).map_err(Error::System)?;
    write_whole(path, &picture)
        .map_err(|error| Error::Output(format!("cannot write {}: {error}; give another --picture", path.display())))
}
