//! The exit codes of the command.

use std::process::ExitCode;

use fedpipe_host::Error;

/// The list of exit codes for `--help`. The README has the same list, with more cases of code 3.
pub(crate) const HELP: &str = "\
Exit codes:
  0      done, also if the reader of a result has closed its pipe
  1      the system failed (no processes, no memory, a full device as standard output, a bug), or lacks an
         isolation that --isolation require asks for
  2      a bad argument
  3      the model cannot be loaded, or refuses its options or its task
  4      the data cannot be fetched, read or dealt
  5      the run directory is missing, or cannot be created, read or written
  6      a round failed: too few clients returned an update
  7      fedpipe verify found a difference
  8      a run of fedpipe sweep, baselines or verify failed; the run is named
  128+n  stopped by signal n, 130 for Ctrl-C";

/// The exit code of `fedpipe verify` if the run differs from its record.
pub(crate) const DIFFERS: u8 = 7;

/// The exit code of a command on a sweep if a run failed.
pub(crate) const RUN_FAILED: u8 = 8;

/// Returns the exit code of an error.
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

/// Returns the exit code of a command that was stopped by `signal`, as shells report it.
pub(crate) fn stopped(signal: i32) -> ExitCode {
    ExitCode::from(128_u8.saturating_add(signal.unsigned_abs().min(127) as u8))
}
