//! Simulated clients: the speed and the link of each, from which the virtual time of its work follows. Virtual time is
//! arithmetic on the experiment; nothing is measured.

mod constant_clock;
mod log_normal_clock;
mod trace_clock;

use std::{fmt, ops::RangeInclusive};

use fedpipe_spec::{
    pinned_file::PinnedFile,
    table::{Parameter, Range, TableRow, Tabled, Value},
};

/// The speed and the link of a client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimulatedClient {
    /// The time of a step, as a multiple of that of the reference client; above 0.
    pub slowness: f64,
    /// The link in Mbit/s, both ways; `None` for one that takes no time.
    pub bandwidth: Option<f64>,
}

/// The speeds and the links that a run takes. No virtual time is then infinite, or vanishes beside another.
const RANGE: RangeInclusive<f64> = 1e-12..=1e12;

impl SimulatedClient {
    /// Returns the reason why the speed or the link of this `client` is refused.
    fn refusal(&self, client: u32) -> Option<String> {
        let values = [("slowness", Some(self.slowness)), ("bandwidth", self.bandwidth)];
        let mut given = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let (name, value) = given.find(|(_, value)| !RANGE.contains(value))?;
        let (least, most) = (RANGE.start(), RANGE.end());
        Some(format!("client {client} has the {name} {value:e}, which is not from {least:e} to {most:e}"))
    }

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

/// A rule that gives each client its speed and its link.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns each of so many clients. `trace` is the content of the file that the rule names, and empty without one.
    ///
    /// # Errors
    /// The line of the file that is refused, or the client whose speed or link is out of range, with the reason and
    /// the remedy.
    fn clients(&self, seed: u64, count: u32, trace: &str) -> Result<Vec<SimulatedClient>, String> {
        let clients = self.draw(seed, count, trace)?;
        match clients.iter().zip(0_u32..).find_map(|(simulated, client)| simulated.refusal(client)) {
            Some(why) => Err(format!("{why}; {}", self.remedy())),
            None => Ok(clients),
        }
    }

    /// Returns each of so many clients, in any range.
    ///
    /// # Errors
    /// The line of the file that is refused, with the reason and the remedy.
    fn draw(&self, seed: u64, count: u32, trace: &str) -> Result<Vec<SimulatedClient>, String>;

    /// Returns the remedy for a speed or a link that is out of range.
    fn remedy(&self) -> &'static str;

    /// Returns the file that the rule reads.
    fn trace_file(&self) -> Option<&PinnedFile> {
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
    use fedpipe_spec::table::Named;

    use super::*;

    #[test]
    fn a_speed_or_a_link_that_is_out_of_range_is_refused_with_the_bound() {
        let why = |text: &str, trace: &str| {
            text.parse::<Named<dyn Clock>>().unwrap().clients(1, 9, trace).map(drop).unwrap_err()
        };
        let cases = [
            (
                "constant:slowness=1e13",
                "client 0 has the slowness 1e13, which is not from 1e-12 to 1e12; give another slowness",
            ),
            ("constant:bandwidth=1e-13", "client 0 has the bandwidth 1e-13, which is not from 1e-12 to"),
            ("lognormal:sigma=500", "; give a smaller sigma or link-sigma"),
            ("lognormal:sigma=1e30", ", which is not from 1e-12 to 1e12; give a smaller sigma"),
        ];
        for (text, expected) in cases {
            let why = why(text, "");
            assert!(why.contains(expected) && why.len() < 130, "{why}");
        }
        let lines: Vec<String> = (0..9).map(|client| format!("{client},1e{client}2,\n")).collect();
        let of_file = why("file:t.csv", &format!("client,slowness,bandwidth\n{}", lines.concat()));
        assert!(
            of_file.starts_with("client 2 has the slowness 1e22") && of_file.ends_with("correct its line"),
            "{of_file}"
        );
    }

    #[test]
    fn the_time_of_a_client_is_that_of_its_steps_and_its_bytes() {
        let client = SimulatedClient { slowness: 2.0, bandwidth: Some(8.0) };
        assert_eq!(client.seconds(10, 0.5, 3_000_000), 10.0 + 3.0);
        assert_eq!(SimulatedClient { bandwidth: None, ..client }.seconds(10, 0.5, 3_000_000), 10.0);
    }
}
