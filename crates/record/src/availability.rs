//! The availability of clients by round, from a trace in a CSV file.
//!
//! The file has the header `client,first,last` and a line for each stretch of rounds in which a client is available. An
//! experiment holds the trace itself, so that a resume, a sweep and `verify` do not need the file.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr};

use fedpipe_data::counted;
use serde_with::{DeserializeFromStr, SerializeDisplay};

/// The header of the file.
const HEADER: [&str; 3] = ["client", "first", "last"];

/// The mark of a trace, in the place of a path.
const MARK: &str = "rounds:";

/// The rounds from `first` to `last`.
type Stretch = (u64, u64);

/// The stretches of each client, which ascend and do not overlap.
type Trace = BTreeMap<u32, Vec<Stretch>>;

/// The availability of clients: the path of a trace, or the trace once the file was read.
///
/// The text of a trace is `rounds:` with the stretches of each client, such as `rounds:0=1-5/8-9,1=2-3`.
#[derive(Debug, Clone, PartialEq, Eq, SerializeDisplay, DeserializeFromStr)]
pub enum Availability {
    /// The path of the CSV file.
    File(PathBuf),
    /// The stretches of each client, which ascend and do not overlap.
    Rounds(Trace),
}

impl Availability {
    /// Reads the text of a CSV file, which sentences call `name`.
    ///
    /// # Errors
    /// The line, the column, the value and the remedy.
    pub fn of_csv(name: &str, text: &str) -> Result<Self, String> {
        let mut rounds = Trace::new();
        let lines = text.trim_start_matches('\u{feff}').lines().zip(1_u64..);
        let mut lines = lines.filter(|(line, _)| !line.trim().is_empty());
        let header = lines.next().map_or("", |(line, _)| line);
        if cells(header) != HEADER {
            return Err(format!("{name}: the header is `{header}`; give `{}`", HEADER.join(",")));
        }
        for (line, number) in lines {
            let cells = cells(line);
            let at = |column: &str, why: String| format!("{name}, line {number}, column {column}: {why}");
            if cells.len() != HEADER.len() {
                return Err(format!("{name}, line {number}: it has {}, expected 3", counted(cells.len(), "column")));
            }
            let number_of = |column: usize| {
                cells[column].parse::<u64>().map_err(|_| {
                    at(HEADER[column], format!("{:?} is no whole number; give one, such as 1", cells[column]))
                })
            };
            let (client, first, last) = (number_of(0)?, number_of(1)?, number_of(2)?);
            add(&mut rounds, client, (first, last)).map_err(|(column, why)| at(column, why))?;
        }
        Ok(Self::Rounds(rounds))
    }

    /// Returns `true` if the client is available in the round.
    pub fn has(&self, client: u32, round: u64) -> bool {
        let Self::Rounds(rounds) = self else { return false };
        let of_client = rounds.get(&client).map_or(&[][..], Vec::as_slice);
        of_client.iter().any(|(first, last)| (*first..=*last).contains(&round))
    }

    /// Returns the stretches of the rounds from 1 to `last` in which as many of the `clients` are available: the rounds
    /// of each stretch, and the number of clients.
    pub fn counts(&self, clients: &[u32], last: u64) -> Vec<(u64, u32)> {
        let Self::Rounds(rounds) = self else { return Vec::new() };
        let of_clients = clients.iter().filter_map(|client| rounds.get(client)).flatten();
        let mut changes = BTreeMap::from([(1, 0)]);
        for &(first, end) in of_clients {
            *changes.entry(first).or_default() += 1_i64;
            *changes.entry(end.saturating_add(1)).or_default() -= 1;
        }
        let starts: Vec<u64> = changes.keys().copied().filter(|start| *start <= last).collect();
        let ends = starts.iter().skip(1).copied().chain([last.saturating_add(1)]);
        let mut available = 0;
        let stretch = |(&start, end): (&u64, u64)| {
            available += changes[&start];
            (end - start, available as u32)
        };
        starts.iter().zip(ends).map(stretch).collect()
    }

    /// Refuses a trace that is not one of so many clients.
    ///
    /// # Errors
    /// The client, the reason and the remedy.
    pub fn check(&self, clients: u32) -> Result<(), String> {
        let rounds = match self {
            Self::File(path) => {
                return Err(format!("--availability {} was not read; give it to `fedpipe run`", path.display()));
            }
            Self::Rounds(rounds) => rounds,
        };
        if let Some((client, _)) = rounds.last_key_value().filter(|(client, _)| **client >= clients) {
            return Err(format!(
                "--availability names client {client}, and the clients are 0 to {}; give --clients {} or more",
                clients - 1,
                client + 1
            ));
        }
        match (0..clients).find(|client| !rounds.contains_key(client)) {
            Some(client) => {
                Err(format!("--availability has no round of client {client}; add its rounds, or give fewer --clients"))
            }
            None => Ok(()),
        }
    }
}

/// Adds a stretch of rounds to those of a client. An error has the column at fault, the value, the reason and the
/// remedy.
fn add(rounds: &mut Trace, client: u64, (first, last): Stretch) -> Result<(), (&'static str, String)> {
    let client = u32::try_from(client).map_err(|_| ("client", format!("{client} is no client; give one from 0")))?;
    if first == 0 {
        return Err(("first", "0 is no round; give one from 1".into()));
    }
    if last < first {
        return Err(("last", format!("{last} is before the first round {first}; give {first} or a later one")));
    }
    let of_client = rounds.entry(client).or_default();
    if let Some((before, end)) = of_client.iter().find(|(from, to)| first <= *to && *from <= last) {
        let why = format!("{first} to {last} overlaps the rounds {before} to {end} of client {client}; join them");
        return Err(("first", why));
    }
    of_client.push((first, last));
    of_client.sort_unstable();
    Ok(())
}

fn cells(line: &str) -> Vec<&str> {
    line.split(',').map(str::trim).collect()
}

impl FromStr for Availability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(trace) = text.strip_prefix(MARK) else { return Ok(Self::File(text.into())) };
        let broken = || format!("{text:.60?} is no trace; give the path of a CSV file");
        let stretch = |text: &str| {
            let (first, last) = text.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        let of_client = |text: &str| -> Option<(u64, Vec<Stretch>)> {
            let (client, stretches) = text.split_once('=')?;
            Some((client.parse().ok()?, stretches.split('/').map(stretch).collect::<Option<_>>()?))
        };
        let mut rounds = Trace::new();
        for of_client in trace.split(',').map(of_client) {
            let (client, stretches) = of_client.ok_or_else(broken)?;
            for stretch in stretches {
                add(&mut rounds, client, stretch)
                    .map_err(|(column, why)| format!("the trace {text:.60?} has {column}: {why}"))?;
            }
        }
        Ok(Self::Rounds(rounds))
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Rounds(rounds) => {
                let stretch = |(first, last): &Stretch| format!("{first}-{last}");
                let of_client = |(client, stretches): (&u32, &Vec<Stretch>)| {
                    format!("{client}={}", stretches.iter().map(stretch).collect::<Vec<_>>().join("/"))
                };
                write!(f, "{MARK}{}", rounds.iter().map(of_client).collect::<Vec<_>>().join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &str) -> Result<Availability, String> {
        Availability::of_csv("a.csv", &format!("client,first,last\n{lines}"))
    }

    #[test]
    fn a_trace_survives_its_text_and_says_who_is_available() {
        let trace = of("1, 2, 3\n0,8,9\n\n0,1,5\n").unwrap();
        assert_eq!(trace.to_string(), "rounds:0=1-5/8-9,1=2-3");
        assert_eq!(trace.to_string().parse(), Ok(trace.clone()));
        let available = |round| (0..3).filter(|client| trace.has(*client, round)).collect::<Vec<_>>();
        assert_eq!([1, 2, 6, 9].map(available), [vec![0], vec![0, 1], vec![], vec![0]]);
        assert_eq!(trace.counts(&[0, 1], 10), [(1, 1), (2, 2), (2, 1), (2, 0), (2, 1), (1, 0)]);
        assert_eq!(trace.counts(&[1], 2), [(1, 0), (1, 1)]);
        let endless = of(&format!("0,1,{}", u64::MAX)).unwrap();
        assert_eq!(endless.counts(&[0], u64::MAX - 1), [(u64::MAX - 1, 1)]);
        assert_eq!("a,b.csv".parse(), Ok(Availability::File("a,b.csv".into())));
        assert!("rounds:0".parse::<Availability>().unwrap_err().contains("give the path of a CSV file"));
    }

    /// A file of TOML may have the text.
    #[test]
    fn a_text_is_refused_for_what_a_file_is_refused_for() {
        for (text, lines) in [
            ("rounds:0=0-2", "0,0,2"),
            ("rounds:0=5-2", "0,5,2"),
            ("rounds:0=1-5/5-9", "0,1,5\n0,5,9"),
            ("rounds:0=1-5,0=5-9", "0,1,5\n0,5,9"),
            ("rounds:5000000000=1-2", "5000000000,1,2"),
        ] {
            let (of_text, of_file) = (text.parse::<Availability>().unwrap_err(), of(lines).unwrap_err());
            let why = of_file.split_once(", column ").unwrap().1;
            assert_eq!(of_text, format!("the trace {text:?} has {why}"));
        }
    }

    #[test]
    fn a_bad_line_is_refused_with_its_line_and_column() {
        for (lines, why) in [
            ("0,1,x", "a.csv, line 2, column last: \"x\" is no whole number; give one, such as 1"),
            ("0,1,2\n0,0,2", "a.csv, line 3, column first: 0 is no round; give one from 1"),
            ("0,5,2", "a.csv, line 2, column last: 2 is before the first round 5; give 5 or a later one"),
            ("0,1,5\n0,5,9", "line 3, column first: 5 to 9 overlaps the rounds 1 to 5 of client 0; join them"),
            ("0,1", "a.csv, line 2: it has 2 columns, expected 3"),
            ("5000000000,1,2", "line 2, column client: 5000000000 is no client; give one from 0"),
        ] {
            let error = of(lines).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let header = Availability::of_csv("a.csv", "client;first;last\n").unwrap_err();
        assert_eq!(header, "a.csv: the header is `client;first;last`; give `client,first,last`");
    }

    #[test]
    fn a_trace_of_other_clients_is_refused() {
        let trace = of("0,1,2\n2,1,2").unwrap();
        assert!(trace.check(2).unwrap_err().contains("names client 2, and the clients are 0 to 1; give --clients 3"));
        assert!(trace.check(3).unwrap_err().contains("has no round of client 1; add its rounds"));
        assert!("a.csv".parse::<Availability>().unwrap().check(3).unwrap_err().contains("was not read"));
    }
}
