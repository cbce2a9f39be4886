//! Ctrl-C and SIGTERM stop a run, SIGHUP reloads its model, and a file that may grow no more is an error to be told.

use std::{process, thread, time::Duration};

use fedpipe_host::Handle;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ},
    iterator::Signals,
};

/// A run that is asked to stop has so long to write its results.
const GRACE: Duration = Duration::from_millis(900);

/// The first signal stops the run; a second, or a run that is busy with something else (such as a download), ends the
/// process. Clients end with it: the kernel kills them.
pub(crate) fn obey(run: Handle) -> std::io::Result<()> {
    // Caught, SIGXFSZ makes the write fail, as on a full disk; clients do not inherit that.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGXFSZ])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut seen = false;
        for signal in signals.forever() {
            match signal {
                SIGHUP => run.reload(),
                SIGXFSZ => {}
                _ => stop(&run, signal, &mut seen),
            }
        }
    })?;
    Ok(())
}

fn stop(run: &Handle, signal: i32, seen: &mut bool) {
    if *seen {
        process::exit(128 + signal);
    }
    *seen = true;
    run.stop(signal);
    thread::spawn(move || {
        thread::sleep(GRACE);
        process::exit(128 + signal);
    });
}

/// Calls `end` for the first Ctrl-C or SIGTERM; a second ends the process.
pub(crate) fn on_end(end: impl Fn(i32) + Send + 'static) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut signals = signals.forever();
        signals.next().into_iter().for_each(end);
        if let Some(signal) = signals.next() {
            process::exit(128 + signal);
        }
    })?;
    Ok(())
}
