//! Clients whose speed and link a file lists.

use std::sync::Arc;

use fedpipe_spec::{
    pinned_file::{PARAMETERS, PinnedFile},
    table::TableRow,
};

use super::{Clock, SimulatedClient};

/// The identity of the clock is the content of the file.
pub(super) const ROW: TableRow<dyn Clock> = TableRow {
    name: "file",
    summary: "a CSV file has the speed and the link of each client, with the header `client,slowness,bandwidth`; an empty \
              bandwidth is unlimited",
    parameters: &PARAMETERS,
    source: "a trace of the user's",
    build: |values| Arc::new(TraceClock(PinnedFile::of(values))),
};

#[derive(Debug)]
struct TraceClock(PinnedFile);

/// The columns of the file.
const HEADER: &str = "client,slowness,bandwidth";

impl Clock for TraceClock {
    fn draw(&self, _: u64, count: u32, trace: &str) -> Result<Vec<SimulatedClient>, String> {
        let shown = self.0.path.display();
        // Spreadsheets begin a file with a byte order mark.
        let trace = trace.strip_prefix('\u{feff}').unwrap_or(trace);
        let mut lines = (1_u64..).zip(trace.lines()).filter(|(_, line)| !line.trim().is_empty());
        let is_header = |line: &str| line.split(',').map(str::trim).eq(HEADER.split(','));
        if lines.next().is_none_or(|(_, header)| !is_header(header)) {
            return Err(format!("{shown} does not begin with the header `{HEADER}`; add it"));
        }
        let mut clients = vec![None; count as usize];
        for (number, line) in lines {
            let (client, simulated) = read(line).map_err(|why| format!("line {number} of {shown}: {why}"))?;
            match clients.get_mut(client as usize) {
                None => {
                    let last = count - 1;
                    return Err(format!(
                        "line {number} of {shown}: the client is {client}, and the clients are 0 to {last}; give one of them"
                    ));
                }
                Some(Some(_)) => {
                    return Err(format!(
                        "line {number} of {shown}: client {client} has a line before; give one line each"
                    ));
                }
                Some(place) => *place = Some(simulated),
            }
        }
        match clients.iter().position(Option::is_none) {
            Some(client) => Err(format!("{shown} has no line of client {client}; add one")),
            None => Ok(clients.into_iter().flatten().collect()),
        }
    }

    fn remedy(&self) -> &'static str {
        "correct its line"
    }

    fn trace_file(&self) -> Option<&PinnedFile> {
        Some(&self.0)
    }
}

/// Reads a line.
fn read(line: &str) -> Result<(u32, SimulatedClient), String> {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    let [client, slowness, bandwidth] = cells[..] else {
        return Err(format!("it has {} of the 3 columns {HEADER}; give all of them", cells.len()));
    };
    let above_zero = |name: &str, cell: &str| match cell.parse() {
        Ok(value) if value > 0.0 && f64::is_finite(value) => Ok(value),
        _ => Err(format!("the {name} is `{cell}`; give a number above 0")),
    };
    let client = client.parse().map_err(|_| format!("the client is `{client}`; give a whole number"))?;
    let slowness = above_zero("slowness", slowness)?;
    let bandwidth = (!bandwidth.is_empty()).then(|| above_zero("bandwidth", bandwidth)).transpose()?;
    Ok((client, SimulatedClient { slowness, bandwidth }))
}

#[cfg(test)]
mod tests {
    use fedpipe_spec::table::Named;

    use super::*;

    fn clients(trace: &str) -> Result<Vec<SimulatedClient>, String> {
        "file:t.csv".parse::<Named<dyn Clock>>().unwrap().clients(0, 2, trace)
    }

    #[test]
    fn each_client_has_its_line_in_any_order() {
        let trace = "client,slowness,bandwidth\n1,2.5,\n\n0,0.5, 20\n";
        let expected = [(0.5, Some(20.0)), (2.5, None)];
        assert_eq!(
            clients(trace).unwrap(),
            expected.map(|(slowness, bandwidth)| SimulatedClient { slowness, bandwidth })
        );
    }

    #[test]
    fn a_line_that_is_refused_is_named_with_the_remedy() {
        let cases = [
            ("", "t.csv does not begin with the header `client,slowness,bandwidth`; add it"),
            ("0,1,\n1,1,\n", "does not begin with the header"),
            ("client,slowness,bandwidth\n0,1,\n", "t.csv has no line of client 1; add one"),
            (
                "client,slowness,bandwidth\n0,1,\n2,1,\n",
                "line 3 of t.csv: the client is 2, and the clients are 0 to 1;",
            ),
            (
                "client,slowness,bandwidth\n0,1,\n0,1,\n",
                "line 3 of t.csv: client 0 has a line before; give one line each",
            ),
            ("client,slowness,bandwidth\n0,0,\n", "line 2 of t.csv: the slowness is `0`; give a number above 0"),
            ("client,slowness,bandwidth\n0,1,inf\n", "the bandwidth is `inf`; give a number above 0"),
            ("client,slowness,bandwidth\nx,1,\n", "the client is `x`; give a whole number"),
            ("client,slowness,bandwidth\n0,1\n", "it has 2 of the 3 columns"),
        ];
        for (trace, expected) in cases {
            let why = clients(trace).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }
}
