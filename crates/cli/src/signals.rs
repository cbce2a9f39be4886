//! Ctrl-C and SIGTERM stop a run, SIGHUP reloads its model, and a file that may grow no more is an error to be told.

use std::{
    process,
    thread::{Builder, sleep},
    time::Duration,
};

use fedpipe_host::{Error, Handle, Result, StartCall, StartError};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ},
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
    let mut signals = caught(&[SIGINT, SIGTERM, SIGHUP, SIGXFSZ])?;
    wait_on_thread(move || {
        let mut seen = false;
        for signal in signals.forever() {
            match signal {
                SIGHUP => run.reload(),
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
    let end = move || {
        sleep(GRACE);
        process::exit(128 + signal);
    };
    // In place, a second signal is not seen meanwhile.
    if Builder::new().name("grace".into()).spawn(end).is_err() {
        end();
    }
}

fn caught(signals: &[i32]) -> Result<Signals> {
    Signals::new(signals).map_err(|error| not_started(StartCall::Descriptor, error))
}

/// Waits for signals on a thread, which needs little, and without which nothing can be stopped.
fn wait_on_thread(wait: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = Builder::new().name("signals".into()).stack_size(128 << 10).spawn(wait);
    thread.map(drop).map_err(|error| not_started(StartCall::Thread, error))
}

fn not_started(call: StartCall, error: std::io::Error) -> Error {
    Error::not_started("the thread that waits for signals", &StartError::new(call, error))
}

/// Calls `end` for the first Ctrl-C or SIGTERM; a second ends the process.
///
/// # Errors
/// As for [`obey`].
pub(crate) fn on_end(end: impl Fn(i32) + Send + 'static) -> Result<()> {
    let mut signals = caught(&[SIGINT, SIGTERM])?;
    wait_on_thread(move || {
        let mut signals = signals.forever();
        signals.next().into_iter().for_each(end);
        if let Some(signal) = signals.next() {
            process::exit(128 + signal);
        }
    })
}
