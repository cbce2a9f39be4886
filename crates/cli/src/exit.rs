//! Exit codes, a documented list.

use std::process::ExitCode;

use fedpipe_host::Error;

/// The list, for `--help`; the README has the same.
pub(crate) const HELP: &str = "\
Exit codes:
  0      done, also if the reader of a result is gone
  1      the system failed (no processes, no memory, a full device as standard output, a bug), or lacks what
         --isolation require asks for
  2      a bad argument
  3      the model cannot be loaded, or refuses its options or its task
  4      the data cannot be had, read or dealt
  5      the run directory cannot be made or written
  6      a round failed: too few clients returned an update
  7      fedpipe verify found a difference
  128+n  stopped by signal n, 130 for Ctrl-C";

/// The run that was verified differs from its record.
pub(crate) const DIFFERS: u8 = 7;

pub(crate) fn code(error: &Error) -> ExitCode {
    ExitCode::from(match error {
        Error::System(_) | Error::Isolation(_) => 1,
        Error::Usage(_) => 2,
        Error::Model(_) => 3,
        Error::Data(_) => 4,
        Error::Output(_) => 5,
        Error::Round(_) => 6,
        Error::Stopped(signal) => return stopped(*signal),
    })
}

/// As a shell tells it.
pub(crate) fn stopped(signal: i32) -> ExitCode {
    ExitCode::from(128_u8.saturating_add(signal.unsigned_abs().min(127) as u8))
}
