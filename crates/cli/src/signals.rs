//! The signals of the command. Ctrl-C, SIGTERM and the end of the terminal (SIGHUP) stop a run; SIGUSR1 reloads its
//! model. SIGXFSZ is caught, so that a file at its size limit causes an error instead of a crash. A signal that was
//! ignored when the command started stays ignored, as under `nohup`.

use std::{
    process,
    thread::{Builder, sleep},
    time::{Duration, Instant},
};

use fedpipe_host::{Error, Handle, Result, StartCall, StartError};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ},
    iterator::Signals,
};

/// The time in which a stopped run must take notice of the stop.
const GRACE: Duration = Duration::from_millis(900);

/// Signals within this time are one request: `timeout` signals its child and then the child's process group.
const TOGETHER: Duration = Duration::from_millis(50);

/// Stops the run on the first signal. A second signal ends the process. After the grace period, the process also ends
/// if the run takes no notice of the stop, such as during a download. The kernel kills the client processes with the
/// host.
///
/// # Errors
/// Returns [`Error::System`] if the system refuses a pipe or a thread for signals.
pub(crate) fn stop_on_signal(run: Handle) -> Result<()> {
    // With SIGXFSZ caught, the write fails as on a full disk. Client processes do not inherit the handler.
    let mut signals = caught(&[SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXFSZ])?;
    wait_on_thread(move || {
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            match (signal, first.map(|first| first.elapsed())) {
                (SIGUSR1, _) => run.reload(),
                (SIGXFSZ, _) => {}
                (_, None) => {
                    first = Some(Instant::now());
                    stop(&run, signal);
                }
                (_, Some(since)) if is_another_request(since) => process::exit(128 + signal),
                (_, Some(_)) => {}
            }
        }
    })
}

/// Returns `true` if a signal so long after the first one is a request of its own.
fn is_another_request(since_first: Duration) -> bool {
    since_first >= TOGETHER
}

fn stop(run: &Handle, signal: i32) {
    run.stop(signal);
    let for_thread = run.clone();
    let end = move || end_after_grace(&for_thread, signal);
    // On this thread, the wait would hide a second signal.
    if Builder::new().name("grace".into()).spawn(end).is_err() {
        end_after_grace(run, signal);
    }
}

/// Ends the process after the grace period, or later if the run ends by itself.
fn end_after_grace(run: &Handle, signal: i32) {
    wait_for_results(&|| run.ends_itself(), &sleep);
    process::exit(128 + signal);
}

/// Waits for the grace period, and for as long as the run still ends by itself: a busy disk takes seconds.
fn wait_for_results(ends_itself: &dyn Fn() -> bool, pause: &dyn Fn(Duration)) {
    pause(GRACE);
    while ends_itself() {
        pause(GRACE / 10);
    }
}

/// Catches these signals, except those that were ignored when the command started.
fn caught(signals: &[i32]) -> Result<Signals> {
    let ignored = ignored(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
    let caught = signals.iter().filter(|&&signal| signal == SIGUSR1 || ignored >> (signal - 1) & 1 == 0);
    Signals::new(caught).map_err(|error| not_started(StartCall::Descriptor, error))
}

/// Returns the signals that a process ignores, as bits from signal 1 on; `status` is the text of its file in /proc.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Starts the thread that waits for signals. Its stack is small, so that the system rarely refuses the thread.
fn wait_on_thread(wait: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = Builder::new().name("signals".into()).stack_size(128 << 10).spawn(wait);
    thread.map(drop).map_err(|error| not_started(StartCall::Thread, error))
}

fn not_started(call: StartCall, error: std::io::Error) -> Error {
    Error::not_started("the thread that waits for signals", &StartError::new(call, error))
}

/// Calls `end` on the first Ctrl-C, SIGTERM or SIGHUP. A second one ends the process.
///
/// # Errors
/// Returns the errors of [`stop_on_signal`].
pub(crate) fn on_end(end: impl Fn(i32) + Send + 'static) -> Result<()> {
    let mut signals = caught(&[SIGINT, SIGTERM, SIGHUP])?;
    wait_on_thread(move || {
        let mut signals = signals.forever();
        signals.next().into_iter().for_each(end);
        if let Some(signal) = signals.next() {
            process::exit(128 + signal);
        }
    })
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[test]
    fn a_stop_waits_for_a_run_that_ends_by_itself() {
        // The run is still ending at so many checks.
        for checks in [0, 1, 1000] {
            let (written, waited) = (Cell::new(0), RefCell::new(Vec::new()));
            let ends_itself = || written.replace(written.get() + 1) < checks;
            wait_for_results(&ends_itself, &|time| waited.borrow_mut().push(time));
            assert_eq!(written.get(), checks + 1);
            assert_eq!(waited.borrow().len(), checks + 1);
            assert_eq!(waited.borrow()[0], GRACE);
        }
    }

    #[test]
    fn signals_that_are_sent_together_are_one_request() {
        let requests = [0, 1, 49, 50, 900].map(|millis| is_another_request(Duration::from_millis(millis)));
        assert_eq!(requests, [false, false, false, true, true]);
    }

    #[test]
    fn ignored_signals_are_read_from_proc() {
        let ignored = ignored("Name:\tfedpipe\nSigIgn:\t0000000000001003\nSigCgt:\t0000000000000000\n");
        let is_ignored = |signal: i32| ignored >> (signal - 1) & 1 == 1;
        assert_eq!([SIGHUP, SIGINT, SIGTERM].map(is_ignored), [true, true, false]);
        assert_eq!(super::ignored(""), 0);
    }
}
