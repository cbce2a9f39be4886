//! Programs whose last arguments are a command, such as `env` and `timeout`.
//!
//! Some of them execute the command in their own process, which is confined already. Others start it as another
//! process, which isolation refuses.

use std::path::Path;

use crate::error::{Error, Result};

/// A wrapper, found by the name of its file.
#[derive(Debug)]
struct Wrapper {
    name: &'static str,
    /// The options whose value is the next word, unless it follows `=` or is in the same word.
    valued: &'static [&'static str],
    /// The number of words before the command that are no options.
    operands: usize,
    /// The operation that isolation refuses, and the remedy, if the wrapper cannot run confined.
    refused: Option<(&'static str, &'static str)>,
}

/// The operation of a wrapper that does not become its command.
const FORKS: &str = "starts the program as another process";
/// The operation of a wrapper that sets a property of the process before it becomes its command.
const SETS: &str = "changes a property of the process";

const WRAPPERS: [Wrapper; 13] = [
    Wrapper { name: "env", valued: &["-u", "--unset", "-C", "--chdir"], operands: 0, refused: None },
    Wrapper { name: "nice", valued: &["-n", "--adjustment"], operands: 0, refused: None },
    Wrapper { name: "nohup", valued: &[], operands: 0, refused: None },
    Wrapper {
        name: "stdbuf",
        valued: &["-i", "-o", "-e", "--input", "--output", "--error"],
        operands: 0,
        refused: None,
    },
    Wrapper {
        name: "timeout",
        valued: &["-k", "--kill-after", "-s", "--signal"],
        operands: 1,
        refused: Some((FORKS, "leave it out (--client-timeout bounds an answer)")),
    },
    Wrapper {
        name: "setsid",
        valued: &[],
        operands: 0,
        refused: Some((FORKS, "leave it out (each program has a process group of its own)")),
    },
    Wrapper {
        name: "time",
        valued: &["-f", "--format", "-o", "--output"],
        operands: 0,
        refused: Some((FORKS, "leave it out (ledger.jsonl has the times)")),
    },
    Wrapper { name: "flock", valued: &["-w", "--timeout", "-E"], operands: 1, refused: Some((FORKS, "leave it out")) },
    Wrapper {
        name: "prlimit",
        valued: &[],
        operands: 0,
        refused: Some((SETS, "leave it out, or set `ulimit` before fedpipe")),
    },
    Wrapper { name: "ionice", valued: &["-c", "-n"], operands: 0, refused: Some((SETS, "put it before fedpipe")) },
    Wrapper { name: "chrt", valued: &[], operands: 1, refused: Some((SETS, "put it before fedpipe")) },
    Wrapper { name: "choom", valued: &["-n"], operands: 0, refused: Some((SETS, "put it before fedpipe")) },
    Wrapper { name: "setarch", valued: &[], operands: 1, refused: Some((SETS, "put it before fedpipe")) },
];

/// Returns the index of the word that names the program: 0 unless the words begin with a wrapper.
///
/// # Errors
/// Returns [`Error::Model`] for a wrapper that starts another process, if the program is `confined`.
pub(crate) fn program_at(words: &[String], confined: bool) -> Result<usize> {
    let mut at = 0;
    while let Some(wrapper) = words.get(at).and_then(|word| wrapper(word)) {
        if let Some((operation, remedy)) = wrapper.refused.filter(|_| confined) {
            let shown = &words[at];
            return Err(Error::Model(format!(
                "{shown} {operation}, and isolation refuses that; {remedy}, or give --isolation off"
            )));
        }
        match wrapper.command(&words[at + 1..]) {
            Some(after) => at += 1 + after,
            None => break,
        }
    }
    Ok(at)
}

fn wrapper(word: &str) -> Option<&'static Wrapper> {
    let name = Path::new(word).file_name()?;
    WRAPPERS.iter().find(|wrapper| name == wrapper.name)
}

impl Wrapper {
    /// Returns the index of the command in the words after the wrapper's own; none if there is no command.
    fn command(&self, words: &[String]) -> Option<usize> {
        let mut at = 0;
        let mut operands = self.operands;
        loop {
            let word = words.get(at)?.as_str();
            let is_assignment = self.name == "env" && word.contains('=');
            match word {
                // The next word is a command line of its own, which is not parsed.
                "-S" | "--split-string" => return None,
                "--" => {}
                _ if self.valued.contains(&word) => at += 1,
                _ if word.starts_with('-') || is_assignment => {}
                _ if operands > 0 => operands -= 1,
                _ => return Some(at),
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &str) -> Vec<String> {
        command.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_program_of_a_wrapper_is_the_one_that_it_executes() {
        for (command, program) in [
            ("python3 c.py env", "python3"),
            ("env A=1 B=2 python3 c.py", "python3"),
            ("/usr/bin/env -i -u X --chdir=/ A=1 python3", "python3"),
            ("nice -n 5 python3 c.py", "python3"),
            ("nice -5 env A=b nohup stdbuf -oL -e 0 python3 -u c.py", "python3"),
            ("env -- python3 c.py", "python3"),
            ("env A=1", "env"),
            ("env -S x", "env"),
            ("nice", "nice"),
        ] {
            let words = words(command);
            assert_eq!(words[program_at(&words, true).unwrap()], program, "{command}");
        }
        let unconfined = words("timeout -k 3 60 setsid -w time -f %e python3 c.py");
        assert_eq!(unconfined[program_at(&unconfined, false).unwrap()], "python3");
    }

    #[test]
    fn a_wrapper_that_starts_another_process_is_refused_where_it_is_confined() {
        for (command, says) in [
            ("timeout 60 python3 c.py", "timeout starts the program as another process, and isolation refuses that"),
            ("env A=1 /usr/bin/setsid python3", "/usr/bin/setsid starts the program as another process"),
            ("nice time python3", "leave it out (ledger.jsonl has the times), or give --isolation off"),
            ("ionice -c 3 python3 c.py", "ionice changes a property of the process, and isolation refuses that"),
            ("prlimit --as=1 python3", "leave it out, or set `ulimit` before fedpipe, or give --isolation off"),
            ("flock lock python3 c.py", "flock starts the program as another process"),
        ] {
            let error = program_at(&words(command), true).unwrap_err().to_string();
            assert!(error.contains(says), "{command}: {error}");
        }
    }
}
