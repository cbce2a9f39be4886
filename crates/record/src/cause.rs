//! The cause of a crash, as a user should meet it.

use std::{fmt, os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use fedpipe_protocol::FailureKind;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::{finite::Finite, memory_limit::MemoryLimit};

/// The way in which a client ended, or the reason why the host ended it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// The process ended by itself.
    Exit {
        /// The exit code.
        code: i32,
    },
    /// A signal ended the process.
    Signal {
        /// The number of the signal, such as 11.
        number: i32,
    },
    /// The process wanted more memory than its limit.
    MemoryLimit {
        /// The limit.
        bytes: u64,
    },
    /// The kernel killed the process, since its container had no memory left.
    OutOfMemory {
        /// The memory that the container may take, if it is known.
        bytes: Option<u64>,
    },
    /// The process took all of its processor time.
    CpuLimit {
        /// The limit.
        seconds: u64,
    },
    /// The process did not answer in time.
    Deadline {
        /// The time that the process had.
        seconds: Finite,
    },
    /// The process wrote no message to its pipe, or another message than the one that was due.
    Protocol {
        /// One sentence.
        message: String,
    },
    /// The client reported a failure.
    Reported {
        /// The kind of the failure.
        failure: FailureKind,
        /// One sentence.
        message: String,
    },
    /// The update was refused.
    Rejected {
        /// One sentence.
        message: String,
    },
    /// The process could not be started, or its pipes failed.
    System {
        /// The error of the system.
        message: String,
    },
}

impl Cause {
    pub fn of_exit(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Cause::Exit { code },
            (None, Some(number)) => Cause::Signal { number },
            (None, None) => Cause::System { message: format!("it ended as {status}") },
        }
    }

    pub fn deadline(time: Duration) -> Self {
        Cause::Deadline { seconds: time.into() }
    }

    pub fn protocol(message: impl AsRef<str>) -> Self {
        Cause::Protocol { message: tame(message.as_ref()) }
    }

    pub fn reported(failure: FailureKind, message: &str) -> Self {
        Cause::Reported { failure, message: tame(message) }
    }

    pub fn rejected(message: impl AsRef<str>) -> Self {
        Cause::Rejected { message: tame(message.as_ref()) }
    }
}

/// Returns a sentence on a process that ends with the last lines of its output.
pub fn with_last_words(what: &dyn fmt::Display, last_words: &[String]) -> String {
    match last_words {
        [] => what.to_string(),
        words => format!("{what}; its last words: {}", words.join(" | ")),
    }
}

/// Returns the remedy where isolation may be the cause that a user's program has ended by itself before its first
/// message.
///
/// A refused fork is told by the exit codes of shells and wrappers, and a refused file by the words. Of a file that is
/// missing isolation is not the cause.
pub fn isolation_hint(cause: &Cause, last_words: &[String]) -> &'static str {
    const CODES: [i32; 5] = [2, 125, 126, 127, 254];
    let Cause::Exit { code } = cause else { return "" };
    let mentions = |what: &str| last_words.iter().any(|line| line.contains(what));
    let is_refused = mentions("Operation not permitted") || mentions("Permission denied");
    if is_refused || CODES.contains(code) && !mentions("No such file or directory") && !mentions("not found") {
        "; isolation may be the cause, since the program may start no other one and read only its own files: have a \
         wrapper `exec` the program, name the files in the command, or give --isolation off"
    } else {
        ""
    }
}

/// Returns a client's text as it may be shown: one line of bounded length, without a character that steers a terminal.
pub fn tame(text: &str) -> String {
    const MOST: usize = 1000;
    let shown = |c: char| match c {
        '\n' | '\t' | '\r' | '\u{2028}' | '\u{2029}' => ' ',
        c if c.is_control() || is_unseen(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut tamed: String = text.trim().chars().take(MOST).map(shown).collect();
    if text.trim().chars().nth(MOST).is_some() {
        tamed.push('…');
    }
    tamed
}

/// Returns `true` if a character takes no place of its own, or turns the direction of the text around it: the format
/// characters of Unicode (Cf) and the marks that fill no cell.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Exit { code: 0 } => f.write_str("it exited with code 0 before its work was done"),
            Cause::Exit { code } => write!(f, "it exited with code {code}"),
            Cause::Signal { number } => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
            Cause::MemoryLimit { bytes } => {
                write!(
                    f,
                    "it wanted more than its {} of memory (--memory-limit raises this)",
                    MemoryLimit::Bytes(*bytes)
                )
            }
            Cause::OutOfMemory { bytes } => {
                let bytes = bytes.map_or(String::new(), |bytes| format!(" of {}", MemoryLimit::Bytes(bytes)));
                write!(
                    f,
                    "killed by the kernel, since the container's memory{bytes} was used up; give it more, or lower --processes"
                )
            }
            Cause::CpuLimit { seconds } => {
                write!(f, "it took all of its {seconds} s of processor time (--cpu-limit raises this)")
            }
            Cause::Deadline { seconds } => {
                write!(f, "it gave no answer within {} s (--client-timeout raises this)", seconds.get())
            }
            Cause::Protocol { message } => write!(f, "it broke the protocol: {message}"),
            Cause::Reported { message, .. } => f.write_str(message),
            Cause::Rejected { message } => write!(f, "its update was refused: {message}"),
            Cause::System { message } => write!(f, "the system failed it: {message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolation_may_be_the_cause_of_a_refusal_and_not_of_a_missing_file() {
        let is_blamed = |code, words: &str| !isolation_hint(&Cause::Exit { code }, &[words.to_owned()]).is_empty();
        for (code, words) in [
            (125, "timeout: fork system call failed: Operation not permitted"),
            (1, "setsid: fork: Operation not permitted"),
            (2, "x.sh: 2: Cannot fork"),
            (254, "x.sh: fork: retry: Resource temporarily unavailable"),
            (1, "PermissionError: [Errno 13] Permission denied: '/etc/passwd'"),
            (126, ""),
        ] {
            assert!(is_blamed(code, words), "{code} {words}");
        }
        for (code, words) in [
            (2, "python3: can't open file 'c.py': [Errno 2] No such file or directory"),
            (127, "sh: 1: python9: not found"),
            (1, "NameError: name 'rat' is not defined"),
            (0, ""),
        ] {
            assert!(!is_blamed(code, words), "{code} {words}");
        }
        assert_eq!(isolation_hint(&Cause::Signal { number: 9 }, &["Permission denied".into()]), "");
    }

    #[test]
    fn what_a_client_says_steers_no_terminal() {
        assert_eq!(tame("weights\t\u{1b}[2Jare\nNaN\u{9b}31m \r\n"), "weights \u{fffd}[2Jare NaN\u{fffd}31m");
        // The right-to-left override shows "gnp.exe" as "exe.png"; a zero-width space tells equal names apart.
        assert_eq!(
            tame("\u{202e}gnp.exe a\u{200b}b\u{feff}\u{e0041} ü\u{2028}ok"),
            "\u{fffd}gnp.exe a\u{fffd}b\u{fffd}\u{fffd} ü ok"
        );
        assert_eq!(tame(&"ß".repeat(1000)).chars().count(), 1000);
        let long = tame(&"ß".repeat(1 << 20));
        assert!(long.chars().count() == 1001 && long.ends_with("ß…"), "{long}");
    }
}
