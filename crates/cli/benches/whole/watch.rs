//! Runs a program and records the time of its output, its end, and the memory of all its processes.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::Pid,
};

/// The measurements of a program.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The seconds from before its first process was started until that process had ended.
    pub(crate) total: f64,
    /// The lines of its standard output, with their times.
    pub(crate) lines: Vec<(f64, String)>,
    /// The greatest sum of the proportional set sizes of all its processes, in MB (10⁶ bytes).
    pub(crate) peak_pss: Option<f64>,
}

/// The choice to measure memory, which slows the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    Ignored,
    Sampled,
}

/// Makes orphans of the program children of this process, so that no process is overlooked.
pub(crate) fn adopt_orphans() -> Result<()> {
    prctl::set_child_subreaper(true).context("cannot become the parent of orphans")
}

/// Runs `command` to its end.
///
/// # Errors
/// The command cannot be started, or fails; the message has the end of its standard error.
pub(crate) fn watch(command: &mut Command, memory: Memory) -> Result<Watched> {
    let errors = tempfile::NamedTempFile::new()?;
    // The program has a group of its own, since some frameworks end their whole group when one of their processes dies.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors.reopen()?);
    let ended = AtomicBool::new(false);
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let output = child.stdout.take().context("its standard output is not a pipe")?;
    let (status, total, lines, peak_pss) = thread::scope(|scope| {
        let reader = scope.spawn(|| stamp(output, started));
        let sampler = scope.spawn(|| (memory == Memory::Sampled).then(|| peak_pss(&ended)));
        let status = child.wait();
        let total = started.elapsed().as_secs_f64();
        ended.store(true, Ordering::Relaxed);
        let peak = sampler.join().ok().flatten();
        // A process that outlives the program may hold the pipe open.
        end_descendants();
        (status, total, reader.join().unwrap_or_default(), peak)
    });
    let status = status?;
    ensure!(status.success(), "{} ended with {status}: {}", command.get_program().display(), tail(errors.path()));
    Ok(Watched { total, lines, peak_pss: peak_pss.flatten() })
}

fn stamp(output: impl io::Read, started: Instant) -> Vec<(f64, String)> {
    let lines = BufReader::new(output).lines().map_while(io::Result::ok);
    lines.map(|line| (started.elapsed().as_secs_f64(), line)).collect()
}

fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(4)..].join("\n")
}

/// Returns the greatest sum until `ended`, in MB; `None` if the memory of a process may not be read.
fn peak_pss(ended: &AtomicBool) -> Option<f64> {
    let mut peak = 0;
    while !ended.load(Ordering::Relaxed) {
        let mut sum = 0;
        for process in descendants() {
            match pss(process) {
                Ok(kib) => sum += kib,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return None,
                // The process has ended.
                Err(_) => {}
            }
        }
        peak = peak.max(sum);
        thread::sleep(Duration::from_millis(2));
    }
    Some(peak as f64 * 1024.0 / 1e6)
}

/// Returns the memory of a process in KiB. A page that several processes share counts once in the sum over all of them.
fn pss(process: i32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let value = text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse().ok());
    value.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Returns the processes that this one has started, and their descendants.
fn descendants() -> Vec<i32> {
    let own = std::process::id().cast_signed();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parents: BTreeMap<i32, i32> = numbers.filter_map(|number| Some((number, parent(number)?))).collect();
    let is_ours = |mut number: i32| {
        while let Some(&parent) = parents.get(&number) {
            if parent == own {
                return true;
            }
            number = parent;
        }
        false
    };
    parents.keys().copied().filter(|&number| is_ours(number)).collect()
}

fn parent(process: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name is in parentheses and may contain any character.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Ends and reaps the processes that are left of a program whose first process has ended.
fn end_descendants() {
    for _ in 0..100 {
        let left = descendants();
        if left.is_empty() {
            return;
        }
        for &process in &left {
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
        for process in left {
            let _ = waitpid(Pid::from_raw(process), None);
        }
    }
}
