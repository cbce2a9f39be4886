//! Whole runs against the goals of the project, as ratios of one run; with `--peers` also against the systems that
//! users would choose instead. `just bench` runs this bench after the kernels of `nn`.
//!
//! All times are taken from outside. The time of a process is from before its start until its end. A client is timed
//! from before its start until its report that it is ready. The ledger has the time of a round. Medians are over `--n`
//! runs. Nothing else runs meanwhile. Memory is measured in separate runs.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench reports")]
#![allow(clippy::disallowed_methods, reason = "a bench without threads has nothing to report")]

mod aggregate;
mod chart;
mod client;
mod crash;
mod federation;
mod goals;
mod machine;
mod peers;
mod place;
mod report;
#[path = "../../../nn/benches/support/mod.rs"]
#[allow(dead_code, reason = "only the peak is shared; the kernels have data of their own")]
mod support;
mod watch;

use std::{
    cell::Cell,
    fs::File,
    io::{IsTerminal, Write},
    path::PathBuf,
};

use anyhow::{Error, Result};
use clap::Parser;
use fedpipe_nn::Isa;

use crate::{
    federation::{FOUR, HUNDRED, THOUSAND, Work},
    machine::Machine,
    peers::{Installed, NUMPY},
    place::Place,
    report::{Row, Table},
    support::Peak,
};

const ONLY: [&str; 12] =
    ["run", "epoch", "many", "memory", "pipes", "ready", "crash", "mean", "rules", "4", "100", "1000"];

#[derive(Debug, Parser)]
#[command(about = "Whole runs of fedpipe against its goals and its peers")]
struct Args {
    /// Timed runs of each work
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    n: u16,
    /// Only these groups of rows; with --peers only the federations of so many clients
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = ONLY)]
    only: Vec<String>,
    /// Compare with the peers that are installed, instead
    #[arg(long)]
    peers: bool,
    /// Markdown instead of a table for the screen
    #[arg(long)]
    markdown: bool,
    /// The peers' virtual environments, an absolute path [default: target/peers]
    #[arg(long, value_name = "DIR")]
    environments: Option<PathBuf>,
    /// Draw the newest comparison of 4 clients to a PNG file, instead
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// The flag that cargo gives to a bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !args.bench {
        println!("this is a bench: `just bench` runs it");
        return Ok(());
    }
    if let Some(to) = &args.chart {
        let lines = std::fs::read_to_string(Place::new()?.target.join("bench.jsonl"))?;
        return chart::draw(&lines, FOUR.name, to);
    }
    watch::adopt_orphans()?;
    let bench = Bench::new(args)?;
    bench.machine.warning().iter().for_each(|warning| eprintln!("{warning}"));
    if bench.args.peers { bench.show_peers() } else { bench.show_rows() }
}

struct Bench {
    args: Args,
    place: Place,
    machine: Machine,
    environments: PathBuf,
    numpy: Option<Installed>,
    /// The FMA peak of one core, measured between the works.
    peak: Cell<Peak>,
}

impl Bench {
    fn new(args: Args) -> Result<Self> {
        let isa = Isa::current()?;
        let (machine, place, peak) = (Machine::this(isa), Place::new()?, Peak::of(isa));
        // This check precedes minutes of work whose shares of a wrong peak would be worth nothing.
        peak.check(0.0).map_err(Error::msg)?;
        let environments = args.environments.clone().unwrap_or_else(|| place.target.join("peers"));
        let numpy = Installed::find(&NUMPY, &environments, machine.cores);
        let numpy = numpy.map_err(|how| eprintln!("no NumPy to compare with: {how}")).ok();
        Ok(Self { args, place, machine, environments, numpy, peak: Cell::new(peak) })
    }

    fn show_rows(&self) -> Result<()> {
        let rows = self.rows()?;
        let checked = self.peak.get().check(report::reached(&rows));
        // Without a peak, the rows have no share, and the goals that are shares are missed.
        let peak = checked.as_ref().ok().copied();
        println!("{}\n\n{}", self.machine.line(peak), Table::of(&rows, peak).show(self.args.markdown));
        self.keep(&report::json_lines(&rows, &self.machine, peak))?;
        checked.map(drop).map_err(Error::msg)
    }

    /// Adds lines to `target/bench.jsonl`.
    fn keep(&self, lines: &str) -> Result<()> {
        let path = self.place.target.join("bench.jsonl");
        let mut file = File::options().create(true).append(true).open(path)?;
        Ok(file.write_all(lines.as_bytes())?)
    }

    fn show_peers(&self) -> Result<()> {
        self.look_at_peak();
        println!("{}", self.machine.line(self.peak.get().check(0.0).ok()));
        for work in [FOUR, HUNDRED, THOUSAND] {
            if !self.is_wanted(&work.clients.to_string()) {
                continue;
            }
            let table = self.peers(work)?;
            println!("\n{}\n\n{}", work.name, table.show(self.args.markdown));
            self.keep(&table.json_lines(work.name, &self.machine))?;
        }
        Ok(())
    }

    fn rows(&self) -> Result<Vec<Row>> {
        type Group = fn(&Bench) -> Result<Vec<Row>>;
        let groups: [(&str, Group); 9] = [
            ("run", Self::runs),
            ("epoch", Self::epochs),
            ("many", Self::many),
            ("memory", Self::memory),
            ("pipes", Self::pipes),
            ("ready", Self::ready),
            ("crash", Self::crash),
            ("mean", Self::mean),
            ("rules", Self::rules),
        ];
        let mut rows = Vec::new();
        for (name, group) in groups.iter().filter(|(name, _)| self.is_wanted(name)) {
            self.tell(name);
            rows.extend(group(self)?);
        }
        Ok(rows)
    }

    fn is_wanted(&self, what: &str) -> bool {
        self.args.only.is_empty() || self.args.only.iter().any(|only| only == what)
    }

    fn peers(&self, work: Work) -> Result<Table> {
        let tell = |text: &str| self.tell(text);
        let peers = peers::find_all(work, &self.environments, self.machine.cores, &tell);
        peers::compare(&self.place, work, self.args.n.into(), peers, &tell)
    }

    fn look_at_peak(&self) {
        let mut peak = self.peak.get();
        (0..20).for_each(|_| peak.measure());
        self.peak.set(peak);
    }

    /// Reports the progress, on a terminal or in a log.
    fn tell(&self, text: &str) {
        let mut errors = std::io::stderr();
        let start = if errors.is_terminal() { "\x1b[2m… " } else { "… " };
        let end = if errors.is_terminal() { "\x1b[0m" } else { "" };
        let _ = writeln!(errors, "{start}{text}{end}");
    }
}
