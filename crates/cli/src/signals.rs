//! Ctrl-C, SIGTERM and the end of the terminal (SIGHUP) stop a run, SIGUSR1 reloads its model, and a file that may grow no
//! more is an error to be told. A signal that was ignored when the command was started stays ignored, as under `nohup`.

use std::{
    process,
    thread::{Builder, sleep},
    time::Duration,
};

use fedpipe_host::{Error, Handle, Result, StartCall, StartError};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ},
    iterator::Signals,
};

/// A run that is asked to stop has so long to write its results.
const GRACE: Duration = Duration::from_millis(900);

/// The first signal stops the run; a second, or a run that is busy with something else (such as a download), ends the
/// process. Clients end with it: the kernel kills them.
///
/// # Errors
/// [`Error::System`] where the system gives no pipe or no thread for signals.
pub(crate) fn obey(run: Handle) -> Result<()> {
    // Caught, SIGXFSZ makes the write fail, as on a full disk; clients do not inherit that.
    let mut signals = caught(&[SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXFSZ])?;
    wait_on_thread(move || {
        let mut seen = false;
        for signal in signals.forever() {
            match signal {
                SIGUSR1 => run.reload(),
                SIGXFSZ => {}
                _ => stop(&run, signal, &mut seen),
            }
        }
    })
}

fn stop(run: &Handle, signal: i32, seen: &mut bool) {
    if *seen {
        process::exit(128 + signal);
    }
    *seen = true;
    run.stop(signal);
    let for_thread = run.clone();
    let end = move || end_after_grace(&for_thread, signal);
    // In place, a second signal is not seen meanwhile.
    if Builder::new().name("grace".into()).spawn(end).is_err() {
        end_after_grace(run, signal);
    }
}

/// Ends the process after the grace, or what a run that writes its results takes beyond it.
fn end_after_grace(run: &Handle, signal: i32) {
    wait_for_results(&|| run.is_writing(), &sleep);
    process::exit(128 + signal);
}

/// Waits for the grace; a run that writes its results has longer, since millions of weights take it.
fn wait_for_results(is_writing: &dyn Fn() -> bool, pause: &dyn Fn(Duration)) {
    pause(GRACE);
    while is_writing() {
        pause(GRACE / 10);
    }
}

/// Catches these signals, but for those that whoever started the command has it ignore.
fn caught(signals: &[i32]) -> Result<Signals> {
    let ignored = ignored(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
    let heeded = signals.iter().filter(|&&signal| signal == SIGUSR1 || ignored >> (signal - 1) & 1 == 0);
    Signals::new(heeded).map_err(|error| not_started(StartCall::Descriptor, error))
}

/// The signals that a process ignores, as bits from signal 1 on; `status` is its file in /proc.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Waits for signals on a thread, which needs little, and without which nothing can be stopped.
fn wait_on_thread(wait: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = Builder::new().name("signals".into()).stack_size(128 << 10).spawn(wait);
    thread.map(drop).map_err(|error| not_started(StartCall::Thread, error))
}

fn not_started(call: StartCall, error: std::io::Error) -> Error {
    Error::not_started("the thread that waits for signals", &StartError::new(call, error))
}

/// Calls `end` for the first Ctrl-C, SIGTERM or SIGHUP; a second ends the process.
///
/// # Errors
/// As for [`obey`].
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
    fn a_stop_waits_for_results_that_are_being_written() {
        // The writer of a model whose results take as many looks.
        for looks in [0, 1, 1000] {
            let (written, waited) = (Cell::new(0), RefCell::new(Vec::new()));
            let is_writing = || written.replace(written.get() + 1) < looks;
            wait_for_results(&is_writing, &|time| waited.borrow_mut().push(time));
            assert_eq!(written.get(), looks + 1);
            assert_eq!(waited.borrow().len(), looks + 1);
            assert_eq!(waited.borrow()[0], GRACE);
        }
    }

    #[test]
    fn ignored_signals_are_read_from_proc() {
        let ignored = ignored("Name:\tfedpipe\nSigIgn:\t0000000000001003\nSigCgt:\t0000000000000000\n");
        let is_ignored = |signal: i32| ignored >> (signal - 1) & 1 == 1;
        assert_eq!([SIGHUP, SIGINT, SIGTERM].map(is_ignored), [true, true, false]);
        assert_eq!(super::ignored(""), 0);
    }
}
