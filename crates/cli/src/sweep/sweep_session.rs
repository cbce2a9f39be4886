//! The work of a session: runs what is left of a sweep, and reports the runs that failed or are left.

use std::{
    path::Path,
    process::ExitCode,
    sync::{Arc, mpsc::channel},
    thread::available_parallelism,
    time::Instant,
};

use fedpipe_data::counted;
use fedpipe_host::Result;
use fedpipe_record::{run_overview::RunOverview, sweep::experiment_file};

use crate::{
    exit,
    inputs::resolve::read_experiment,
    screen::{
        output::{print_error, print_progress, print_result},
        sweep_text::{axis_line, run_line},
    },
    signals::on_end,
    sweep::{
        folder::{Left, SweepFolder},
        workers::{Ended, SweepJob, Workers},
    },
};

/// The runs of a sweep that one command does.
#[derive(Debug)]
pub(crate) struct SweepSession {
    /// The name of the command, such as `sweep`.
    command: &'static str,
    began: Instant,
    workers: Arc<Workers>,
    failed: Vec<FailedRun>,
}

/// A run that ended with an error.
#[derive(Debug)]
struct FailedRun {
    name: String,
    code: i32,
    reason: String,
}

impl SweepSession {
    /// Begins a session of this command. From now on a signal stops its runs.
    ///
    /// # Errors
    /// Returns the errors of [`on_end`].
    pub(crate) fn begin(command: &'static str) -> Result<Self> {
        let (began, workers) = (Instant::now(), Arc::new(Workers::default()));
        let for_signals = Arc::clone(&workers);
        on_end(move |signal| for_signals.stop(signal))?;
        Ok(Self { command, began, workers, failed: Vec::new() })
    }

    /// Does the runs of `folder` that are not finished, and shows each end.
    ///
    /// # Errors
    /// Returns the errors of an experiment that cannot be read, and of a thread that cannot be started.
    pub(crate) fn work(&mut self, folder: &SweepFolder, at_once: Option<u32>, quiet: bool) -> Result<()> {
        let (jobs, at_once) = plan(folder, at_once)?;
        let all = folder.sweep.runs.len();
        if !quiet {
            folder.sweep.axes.iter().for_each(|axis| print_progress(axis_line(axis)));
            let finished = all - jobs.len();
            let done = if finished > 0 { format!(", {finished} of them finished") } else { String::new() };
            let runs = counted(all, "run");
            print_progress(format_args!("{runs}{done}, {at_once} at once, in {}", folder.path.display()));
        }
        self.failed = work(&self.workers, folder, jobs, at_once, quiet)?;
        Ok(())
    }

    /// Says how the session ended, and names the runs that failed or are left. Returns the exit code.
    ///
    /// # Errors
    /// Fails if standard output takes no more.
    pub(crate) fn end(&self, folder: &SweepFolder) -> Result<ExitCode> {
        let (path, sweep, command) = (folder.path.display(), &folder.sweep, self.command);
        let left = sweep.runs.iter().filter(|run| folder.left(&run.name) != Left::Nothing).count();
        let all = counted(sweep.runs.len(), "run");
        let seconds = self.began.elapsed().as_secs_f64();
        if let Some(signal) = self.workers.stopped_by() {
            let done = sweep.runs.len() - left;
            print_error(format_args!(
                "stopped by signal {signal}: {done} of {all} finished; continue with `fedpipe {command} --resume {path}`"
            ));
            return Ok(exit::stopped(signal));
        }
        if left == 0 {
            print_result(format_args!("{all} finished, the last after {seconds:.1} s; results in {path}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        for FailedRun { name, code, reason } in &self.failed {
            print_error(format_args!("failed: run {name}, code {code}: {reason}"));
        }
        print_error(format_args!(
            "error: {left} of {all} did not finish; `fedpipe {command} --resume {path}` tries them again"
        ));
        Ok(ExitCode::from(exit::RUN_FAILED))
    }
}

/// Returns each run of a sweep as it is now.
pub(crate) fn overviews(folder: &SweepFolder) -> Vec<Option<RunOverview>> {
    folder.sweep.runs.iter().map(|run| folder.overview(&run.name)).collect()
}

/// Returns a job for each run that is not finished, and the number of runs at the same time.
fn plan(folder: &SweepFolder, at_once: Option<u32>) -> Result<(Vec<SweepJob>, usize)> {
    let runs = folder.sweep.runs.iter().enumerate();
    let left: Vec<(usize, Left)> = runs.map(|(place, run)| (place, folder.left(&run.name))).collect();
    let left: Vec<(usize, Left)> = left.into_iter().filter(|(_, left)| *left != Left::Nothing).collect();
    let cores = available_parallelism().map_or(1, |cores| cores.get());
    let names = left.iter().map(|(place, _)| &folder.sweep.runs[*place].name);
    let given = names.map(|name| Ok(read_experiment(&experiment_file(&folder.path, name))?.execution.jobs));
    let given: Vec<Option<u32>> = given.collect::<Result<_>>()?;
    let at_once = at_once.map_or_else(|| runs_at_once(cores, &given), |given| given as usize).min(left.len().max(1));
    // No bit of a result depends on the jobs, and a run with one core wastes no time on waiting for others.
    let jobs = (cores / at_once).max(1);
    let job = |(&(place, left), given): (&(usize, Left), &Option<u32>)| {
        let name = &folder.sweep.runs[place].name;
        let shown = |path: &Path| path.display().to_string();
        let mut arguments = vec!["run".to_owned(), "--quiet".to_owned()];
        let (flag, value) = match left {
            Left::Resume | Left::Nothing => ("--resume", shown(&folder.run(name))),
            Left::All => ("--config", shown(&experiment_file(&folder.path, name))),
        };
        arguments.extend([flag.to_owned(), value]);
        if left == Left::All {
            arguments.extend(["--out".to_owned(), shown(&folder.run(name))]);
        }
        if given.is_none() {
            arguments.extend(["--jobs".to_owned(), jobs.to_string()]);
        }
        SweepJob { place, arguments, log: folder.path.join(format!("{name}.log")) }
    };
    Ok((left.iter().zip(&given).map(job).collect(), at_once))
}

/// Returns the number of runs that use all cores. A run without `jobs` gets one.
fn runs_at_once(cores: usize, jobs: &[Option<u32>]) -> usize {
    let most = jobs.iter().map(|jobs| jobs.unwrap_or(1)).max().unwrap_or(1);
    (cores / most as usize).max(1)
}

/// Does the jobs and shows each end. Returns the runs that failed.
fn work(
    workers: &Arc<Workers>,
    folder: &SweepFolder,
    jobs: Vec<SweepJob>,
    at_once: usize,
    quiet: bool,
) -> Result<Vec<FailedRun>> {
    let count = jobs.len();
    let (ends, ended) = channel();
    workers.start(jobs, at_once, &ends)?;
    drop(ends);
    let mut failed = Vec::new();
    for (number, Ended { place, code, said }) in (1..).zip(ended) {
        let run = &folder.sweep.runs[place];
        let warnings = said.iter().filter(|line| line.starts_with("warning: "));
        warnings.for_each(|line| print_error(format_args!("run {}: {line}", run.name)));
        // A run that was stopped with the sweep has not failed.
        let is_stopped = workers.stopped_by().is_some() && code >= 128;
        if code != 0 && !is_stopped {
            let error = said.iter().rev().find_map(|line| line.strip_prefix("error: "));
            let reason = error.or(said.last().map(String::as_str)).unwrap_or("it printed nothing").to_owned();
            print_error(format_args!("error: run {} ended with code {code}: {reason}", run.name));
            failed.push(FailedRun { name: run.name.clone(), code, reason });
        } else if !quiet && !is_stopped {
            let line = run_line(run, &folder.sweep, folder.overview(&run.name).as_ref());
            print_progress(format_args!("[{number}/{count}] {line}"));
        }
    }
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_at_once_use_all_cores() {
        for (cores, jobs, expected) in
            [(8, &[None, None][..], 8), (8, &[Some(4), None], 2), (2, &[Some(4)], 1), (2, &[], 2)]
        {
            assert_eq!(runs_at_once(cores, jobs), expected);
        }
    }
}
