//! Finds the lines of a client's output that tell the reason of its end.

use fedpipe_record::cause::tame;

/// The number of lines that are shown.
const MOST: usize = 3;

/// The most lines from a panic to the end of the output. After an earlier panic the process continued.
const AFTER_A_PANIC: usize = 12;

/// Returns the last panic with its file and line, or the last lines where there is none.
pub(crate) fn last_words(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = telling_lines(&text);
    let end = |most| &lines[lines.len().saturating_sub(most)..];
    let words = last_panic(end(AFTER_A_PANIC));
    words.unwrap_or_else(|| end(MOST).iter().map(|line| tame(line)).collect())
}

/// Returns the lines that carry information. Empty lines, carets below another line (as of Python), Rust's backtrace
/// and the hints about it are left out.
fn telling_lines(text: &str) -> Vec<&str> {
    let mut in_backtrace = false;
    let tells = |line: &&str| {
        let is_frame = line.starts_with(char::is_whitespace) || line.starts_with("[... omitted ");
        in_backtrace = *line == "stack backtrace:" || (in_backtrace && is_frame);
        let is_hint = line.starts_with("note: ") && line.contains("RUST_BACKTRACE");
        !in_backtrace && !is_hint && line.contains(|c: char| !c.is_whitespace() && c != '^' && c != '~')
    };
    text.lines().filter(tells).collect()
}

/// Returns the last panic as `panicked at FILE:LINE:COLUMN: MESSAGE`, with further lines of the message. The number of
/// the thread is left out, so that equal panics of two processes have equal words.
fn last_panic(lines: &[&str]) -> Option<Vec<String>> {
    let is_panic = |line: &&str| place_of_panic(line).is_some();
    // A panic that cannot unwind ends with a panic of the standard library, which does not name the first one.
    let is_own = |line: &&str| place_of_panic(line).is_some_and(|place| !is_standard(place));
    let at = lines.iter().rposition(is_own).or_else(|| lines.iter().rposition(is_panic))?;
    let place = place_of_panic(lines[at])?;
    let mut message = lines[at + 1..].iter().take_while(|line| !is_panic(line)).take(MOST);
    let first = message.next().copied().unwrap_or_default();
    let first = tame(&format!("panicked at {place} {first}"));
    Some([first].into_iter().chain(message.take(MOST - 1).map(|line| tame(line))).collect())
}

/// Returns `FILE:LINE:COLUMN:` of a line such as `thread 'main' (7) panicked at src/lib.rs:3:5:`.
fn place_of_panic(line: &str) -> Option<&str> {
    let (_, thread) = line.split_once("thread '")?;
    thread.split_once(" panicked at ").map(|(_, place)| place)
}

/// Returns `true` for a place in Rust's standard library.
fn is_standard(place: &str) -> bool {
    place.starts_with("/rustc/") || place.starts_with("library/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANIC: &str = "training\n\nthread 'main' (4711) panicked at src/lib.rs:12:5:\nindex out of bounds: the len is 3 but the \
                         index is 7\n";
    const HINT: &str = "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
    const BACKTRACE: &str = "stack backtrace:\n   0: __rustc::rust_begin_unwind\n             at \
                             /rustc/59807616e/library/std/src/panicking.rs:689:5\n   1: core::panicking::panic_fmt\n      an inlined \
                             one\n   2: <unknown>\n[... omitted 2 frames ...]\n   3: train\n             at ./src/lib.rs:12:5\nnote: \
                             Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.\n";
    const SHOWN: &str = "panicked at src/lib.rs:12:5: index out of bounds: the len is 3 but the index is 7";

    #[test]
    fn the_last_words_tell_the_reason() {
        let assertion =
            "thread '<unnamed>' panicked at a/b.rs:1:2:\nassertion `left == right` failed\n  left: 1\n right: 2\n";
        let abort = "thread 'main' (1) panicked at library/core/src/panicking.rs:225:5:\npanic in a function that cannot \
                     unwind\n";
        let alone = "panicked at library/core/src/panicking.rs:225:5: panic in a function that cannot unwind";
        let continued = format!("{PANIC}{HINT}{}", "a line\n".repeat(12));
        let python = "  File \"client.py\", line 2, in <module>\n    total = first + secnd\n            ~~~~~~^^^^^^^\n\nNameError: \
                      secnd\n";
        let memory = format!("memory allocation of 8 bytes failed\n{BACKTRACE}");
        let cases: [(&str, String, &[&str]); 11] = [
            ("nothing", String::new(), &[]),
            ("a panic", format!("{PANIC}{HINT}"), &[SHOWN]),
            ("with a backtrace", format!("{PANIC}{BACKTRACE}"), &[SHOWN]),
            (
                "with a long one",
                format!("{PANIC}{}", BACKTRACE.replace("   2: ", &format!("{}   2: ", "   2: f\n".repeat(999)))),
                &[SHOWN],
            ),
            ("the second panic", format!("{assertion}{PANIC}{HINT}"), &[SHOWN]),
            (
                "an abort",
                format!("{PANIC}{BACKTRACE}{abort}{BACKTRACE}thread caused non-unwinding panic. aborting.\n"),
                &[SHOWN],
            ),
            ("an abort without its own", format!("{abort}{BACKTRACE}"), &[alone]),
            (
                "an assertion",
                assertion.into(),
                &["panicked at a/b.rs:1:2: assertion `left == right` failed", "left: 1", "right: 2"],
            ),
            ("a panic after which the process continued", continued, &["a line", "a line", "a line"]),
            (
                "Python",
                python.into(),
                &["File \"client.py\", line 2, in <module>", "total = first + secnd", "NameError: secnd"],
            ),
            // This line tells a memory limit from other aborts.
            ("no memory", memory, &["memory allocation of 8 bytes failed"]),
        ];
        let wrong = cases.iter().filter(|(_, said, expected)| last_words(said.as_bytes()) != *expected);
        let wrong: Vec<_> = wrong.map(|(name, said, _)| format!("{name}: {:?}", last_words(said.as_bytes()))).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
