//! The errors that end a run, by the remedy that the user has.

pub(crate) mod start_error;

use std::{io, path::Path};

use fedpipe_data::{DataError, FileCause};

use self::start_error::StartError;

/// The reason why a run ended early. Each is one sentence, and the CLI gives each its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The experiment contradicts itself or asks for what does not exist.
    #[error("{0}")]
    Usage(String),
    /// The model cannot be loaded or refuses its options or task.
    #[error("{0}")]
    Model(String),
    /// The system lacks an isolation that is required.
    #[error("{0}")]
    Isolation(String),
    /// The data cannot be fetched, read or dealt.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The run directory cannot be made or written.
    #[error("{0}")]
    Output(String),
    /// A round failed: too few clients returned an update.
    #[error("{0}")]
    Round(String),
    /// Somebody stopped the run.
    #[error("stopped by signal {0}")]
    Stopped(i32),
    /// The system failed the host.
    #[error("{0:#}")]
    System(#[from] anyhow::Error),
}

impl From<fedpipe_record::error::Error> for Error {
    fn from(error: fedpipe_record::error::Error) -> Self {
        match error {
            fedpipe_record::error::Error::Experiment(why) => Error::Usage(why),
            fedpipe_record::error::Error::RunDirectory(why) => Error::Output(why),
            fedpipe_record::error::Error::Encoding(why) => Error::System(anyhow::anyhow!(why)),
        }
    }
}

impl Error {
    /// The error for what cannot be started, such as "the strategy's program".
    pub fn not_started(what: &str, error: &StartError) -> Self {
        Error::System(anyhow::anyhow!("cannot start {what}: {error}"))
    }

    /// The error for a run directory that cannot be made.
    pub(crate) fn output(what: &str, path: &Path, error: &io::Error) -> Self {
        let remedy = FileCause::of(error).remedy("give another folder with --out");
        Error::Output(format!("cannot {what} {}: {error}{remedy}", path.display()))
    }

    /// The error for a run directory that is there, whose run can continue once the cause is gone.
    pub(crate) fn in_run(what: &str, path: &Path, error: &io::Error) -> Self {
        Error::Output(format!("cannot {what} {}: {error}{}", path.display(), resumed_after(error)))
    }

    /// The error for a line of the ledger or a checkpoint; its words name the file already.
    pub(crate) fn of_record(error: &anyhow::Error) -> Self {
        let remedy = error.chain().find_map(|cause| cause.downcast_ref().map(resumed_after));
        Error::Output(format!("{error:#}{}", remedy.unwrap_or_default()))
    }

    /// The error for a folder or a file among the temporary ones.
    pub(crate) fn temporary(error: &io::Error) -> Self {
        let remedy = FileCause::of(error).remedy("set TMPDIR to a folder that you can write");
        Error::System(anyhow::anyhow!("cannot use the folder for temporary files: {error}{remedy}"))
    }
}

/// The end of a sentence about a run that can continue: what helps, if it is known.
fn resumed_after(error: &io::Error) -> String {
    let cause = FileCause::of(error);
    let help = match (cause.help(), cause.is_of_place()) {
        ("", false) => return String::new(),
        ("", true) => "make it readable and writable",
        (help, _) => help,
    };
    format!("; {help}, after which --resume continues")
}

/// A result of the host.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_is_given_where_it_helps_and_nowhere_else() {
        type Kind = fn(&str, &Path, &io::Error) -> Error;
        let cases: [(Kind, i32, &str); 9] = [
            (Error::output, libc::ENOSPC, "(os error 28); free some space, or give another folder with --out"),
            (Error::output, libc::EACCES, "(os error 13); give another folder with --out"),
            (Error::output, libc::EMFILE, "(os error 24); raise `ulimit -n`"),
            (Error::output, libc::EAGAIN, "(os error 11)"),
            (Error::output, libc::ENOLCK, "(os error 37)"),
            (Error::in_run, libc::ENOSPC, "(os error 28); free some space, after which --resume continues"),
            (
                Error::in_run,
                libc::EROFS,
                "(os error 30); make it readable and writable, after which --resume continues",
            ),
            (Error::in_run, libc::EMFILE, "(os error 24); raise `ulimit -n`, after which --resume continues"),
            (Error::in_run, libc::ENOLCK, "(os error 37)"),
        ];
        for (kind, number, end) in cases {
            let message = kind("write", Path::new("out"), &io::Error::from_raw_os_error(number)).to_string();
            assert!(message.starts_with("cannot write out: ") && message.ends_with(end), "{message}");
        }
        let full = anyhow::Error::from(io::Error::from_raw_os_error(libc::ENOSPC)).context("cannot write ledger.jsonl");
        let message = Error::of_record(&full).to_string();
        let expected = "cannot write ledger.jsonl: No space left on device (os error 28); free some space, after which \
            --resume continues";
        assert_eq!(message, expected);
        assert_eq!(Error::of_record(&anyhow::anyhow!("a bug")).to_string(), "a bug");
        let message = Error::temporary(&io::Error::from_raw_os_error(libc::ENOENT)).to_string();
        assert!(message.ends_with("(os error 2); set TMPDIR to a folder that you can write"), "{message}");
    }
}
