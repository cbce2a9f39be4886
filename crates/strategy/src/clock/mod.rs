//! Simulated clients: the speed and the link of each, from which the virtual time of its work follows. Virtual time is
//! arithmetic on the experiment; nothing is measured.

mod constant_clock;
mod log_normal_clock;
mod trace_clock;

use std::{fmt, path::Path};

use fedpipe_spec::table::{Parameter, Range, TableRow, Tabled, Value};

/// The speed and the link of a client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimulatedClient {
    /// The time of a step, as a multiple of that of the reference client; above 0.
    pub slowness: f64,
    /// The link in Mbit/s, both ways; `None` for one that takes no time.
    pub bandwidth: Option<f64>,
}

impl SimulatedClient {
    /// Returns the virtual seconds in which the client receives and sends so many bytes and does so many steps, of
    /// which one takes the reference client `step_time` seconds.
    pub fn seconds(&self, steps: u64, step_time: f64, bytes: u64) -> f64 {
        let work = steps as f64 * step_time * self.slowness;
        match self.bandwidth {
            Some(bandwidth) => work + bytes as f64 * 8.0 / (bandwidth * 1e6),
            None => work,
        }
    }
}

/// The file that a clock reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceFile<'a> {
    /// The path.
    pub path: &'a Path,
    /// The SHA-256 of the content, in hexadecimal; empty before the file was read.
    pub sha256: &'a str,
}

/// A rule that gives each client its speed and its link.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns each of so many clients. `trace` is the content of the file that the rule names, and empty without one.
    ///
    /// # Errors
    /// The line of the file that is refused, with the reason and the remedy.
    fn clients(&self, seed: u64, count: u32, trace: &str) -> Result<Vec<SimulatedClient>, String>;

    /// Returns the file that the rule reads.
    fn trace_file(&self) -> Option<TraceFile<'_>> {
        None
    }
}

/// The bandwidth of the rows that draw none from a file.
const BANDWIDTH: Parameter = Parameter {
    key: "bandwidth",
    default: Some(Value::Text(std::borrow::Cow::Borrowed(UNLIMITED))),
    range: Range::NumberOr { number: &Range::Positive, word: UNLIMITED, wants: "a number above 0, or unlimited" },
    help: "the link in Mbit/s, which the bytes of a request and of its update take",
};

/// The word for a link that takes no time.
const UNLIMITED: &str = "unlimited";

static ROWS: [TableRow<dyn Clock>; 3] = [constant_clock::ROW, log_normal_clock::ROW, trace_clock::ROW];

impl Tabled for dyn Clock {
    const WHAT: &'static str = "clock";
    const LIST: &'static str = "clocks";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_client_is_that_of_its_steps_and_its_bytes() {
        let client = SimulatedClient { slowness: 2.0, bandwidth: Some(8.0) };
        assert_eq!(client.seconds(10, 0.5, 3_000_000), 10.0 + 3.0);
        assert_eq!(SimulatedClient { bandwidth: None, ..client }.seconds(10, 0.5, 3_000_000), 10.0);
    }
}
