//! Whole runs against the goals of the project, as ratios of one run; with `--peers` also against what users would pick
//! instead. `just bench` runs it after the kernels of `nn`.
//!
//! What is timed is timed from outside: a process from before it is made until it has ended, a client from before it is
//! made until it says that it is ready, a round by the ledger. Medians are of `--n` runs; nothing else runs meanwhile,
//! and what looks at memory has runs of its own.
#![allow(clippy::print_stdout, reason = "a bench reports")]

mod aggregate;
mod client;
mod federation;
mod machine;
mod peers;
mod place;
mod report;
#[path = "../../../nn/benches/support/mod.rs"]
#[allow(dead_code, reason = "the peak is what is shared; the kernels have data of their own")]
mod support;
mod watch;

use std::{
    cell::Cell,
    fs::File,
    io::{IsTerminal, Write},
    path::PathBuf,
};

use anyhow::Result;
use clap::Parser;

use crate::{
    client::{Client, Holding},
    federation::{FOUR, HUNDRED, Run, THOUSAND, Work},
    machine::Machine,
    peers::{Installed, NUMPY},
    place::Place,
    report::{Figures, Goal, Row, Table, Unit},
    watch::Memory,
};

#[derive(Debug, Parser)]
#[command(about = "Whole runs of fedpipe against its goals and its peers")]
struct Args {
    /// Timed runs of each work
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    n: u16,
    /// Only the rows of these groups
    #[arg(long, value_delimiter = ',', value_parser = ["run", "epoch", "many", "memory", "pipes", "ready", "mean"])]
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
    /// What cargo says to a bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !args.bench {
        println!("this is a bench: `just bench` runs it");
        return Ok(());
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
    /// GFLOP/s of one core, the best of all that was measured between the works: others only ever take from it.
    peak: Cell<f64>,
}

/// Multiply-adds of one training example of the default MLP, times two; the gradient at the inputs is not needed.
const TRAIN: f64 = operations(&[784, 128, 64, 10]);
const EVALUATE: f64 = 2.0 * (784 * 128 + 128 * 64 + 64 * 10) as f64;

const fn operations(widths: &[usize]) -> f64 {
    let (mut all, mut layer) = (0, 1);
    while layer < widths.len() {
        all += widths[layer - 1] * widths[layer];
        layer += 1;
    }
    2.0 * (3 * all - widths[0] * widths[1]) as f64
}

impl Bench {
    fn new(args: Args) -> Result<Self> {
        let (machine, place) = (Machine::this(), Place::new()?);
        let environments = args.environments.clone().unwrap_or_else(|| place.target.join("peers"));
        let numpy = Installed::find(&NUMPY, &environments, machine.cores);
        let numpy = numpy.map_err(|how| eprintln!("no NumPy to compare with: {how}")).ok();
        Ok(Self { args, place, machine, environments, numpy, peak: Cell::new(support::peak()) })
    }

    fn show_rows(&self) -> Result<()> {
        let rows = self.rows()?;
        let peak = self.peak.get();
        println!("{}\n\n{}", self.machine.line(peak), Table::of(&rows, peak).show(self.args.markdown));
        let path = self.place.target.join("bench.jsonl");
        let mut file = File::options().create(true).append(true).open(path)?;
        Ok(file.write_all(report::json_lines(&rows, &self.machine, peak).as_bytes())?)
    }

    fn show_peers(&self) -> Result<()> {
        self.look_at_peak();
        println!("{}", self.machine.line(self.peak.get()));
        for work in [FOUR, HUNDRED, THOUSAND] {
            println!("\n{}\n\n{}", work.name, self.peers(work)?.show(self.args.markdown));
        }
        Ok(())
    }

    fn rows(&self) -> Result<Vec<Row>> {
        type Group = fn(&Bench) -> Result<Vec<Row>>;
        let groups: [(&str, Group); 7] = [
            ("run", Self::runs),
            ("epoch", Self::epochs),
            ("many", Self::many),
            ("memory", Self::memory),
            ("pipes", Self::pipes),
            ("ready", Self::ready),
            ("mean", Self::mean),
        ];
        let only = &self.args.only;
        let mut rows = Vec::new();
        for (name, group) in groups.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|o| o == name)) {
            self.tell(name);
            rows.extend(group(self)?);
        }
        Ok(rows)
    }

    /// `fedpipe run mlp` as the README has it.
    fn runs(&self) -> Result<Vec<Row>> {
        let (runs, numpy) = (self.timed(FOUR, &[])?, self.twin(FOUR)?);
        let total = all(&runs, |run| vec![run.total]);
        let later = all(&runs, |run| run.rounds[1..].to_vec());
        let a_round = 60_000.0 * TRAIN + 10_000.0 * EVALUATE;
        let cores = self.machine.cores.min(4);
        let (numpy_total, numpy_later) = numpy.unzip();
        Ok(vec![
            Row::new("`fedpipe run mlp`: 4 clients, 5 rounds, process start to end", Unit::Seconds, total)
                .goal(Goal::AtMost(0.9))
                .operations(5.0 * a_round, cores)
                .numpy(numpy_total),
            Row::new("of which all but the rounds", Unit::Seconds, all(&runs, |run| vec![run.besides_rounds()]))
                .goal(Goal::AtMost(0.1)),
            Row::new("of which from the start until ready", Unit::Seconds, all(&runs, |run| vec![run.ready])),
            Row::new("a later round of it, with evaluation", Unit::Seconds, later)
                .goal(Goal::AtMost(0.14))
                .operations(a_round, cores)
                .numpy(numpy_later),
        ])
    }

    /// One epoch of 60,000 examples in one client process: request to update.
    fn epochs(&self) -> Result<Vec<Row>> {
        let dealt = self.place.deal(1)?;
        let holding = |hidden| Holding::new(&self.place.mlp, &dealt, hidden);
        let bright = self.place.without_zeros(&dealt.partitions[0].path)?;
        let row = |name: &str, holding: &Holding, optimiser, rate, widths: &[usize]| -> Result<Row> {
            let row = Row::new(name, Unit::Seconds, self.epoch(holding, optimiser, rate)?);
            Ok(row.operations(60_000.0 * operations(widths), 1))
        };
        let twin = |optimiser| -> Result<Option<Figures>> {
            let n = usize::from(self.args.n);
            self.numpy.as_ref().map(|numpy| numpy.epochs(optimiser, &dealt, n).map(Figures::new)).transpose()
        };
        let widths = &[784, 128, 64, 10];
        Ok(vec![
            row("one epoch of 60,000, one thread, SGD, batch 32", &holding(""), "sgd", 0.1, widths)?
                .goal(Goal::AtMost(0.21))
                .goal(Goal::OfPeak(1.05))
                .numpy(twin("sgd")?),
            row("the same with Adam", &holding(""), "adam", 0.001, widths)?
                .goal(Goal::AtMost(0.31))
                .numpy(twin("adam")?),
            row("the same with SGD, no pixel 0", &holding("").with_partition(bright), "sgd", 0.1, widths)?
                .goal(Goal::OfPeak(0.85)),
            row("the same, hidden 256-128", &holding("256,128"), "sgd", 0.1, &[784, 256, 128, 10])?
                .goal(Goal::OfPeak(0.85)),
            row("the same, hidden 512-256", &holding("512,256"), "sgd", 0.1, &[784, 512, 256, 10])?
                .goal(Goal::OfPeak(0.85)),
        ])
    }

    fn epoch(&self, holding: &Holding, optimiser: &str, rate: f32) -> Result<Figures> {
        let mut client = Client::start(&self.place, holding)?;
        client.epoch(optimiser, rate)?;
        let epochs = (0..2 * self.args.n).map(|_| {
            self.look_at_peak();
            client.epoch(optimiser, rate)
        });
        Ok(Figures::new(epochs.collect::<Result<_>>()?))
    }

    /// Many clients, of which each round takes a tenth.
    fn many(&self) -> Result<Vec<Row>> {
        let a_round = 6_000.0 * TRAIN + 10_000.0 * EVALUATE;
        let (hundred, thousand) = (self.timed(HUNDRED, &[])?, self.timed(THOUSAND, &[])?);
        let later = |runs: &[Run]| all(runs, |run| run.rounds[1..].to_vec());
        let (_, hundred_twin) = self.twin(HUNDRED)?.unzip();
        let (thousand_total, thousand_twin) = self.twin(THOUSAND)?.unzip();
        let cores = self.machine.cores;
        Ok(vec![
            Row::new("100 clients, 10 % sampled, a later round", Unit::Seconds, later(&hundred))
                .goal(Goal::AtMost(0.03))
                .operations(a_round, cores)
                .numpy(hundred_twin),
            Row::new("1,000 clients, 10 % sampled, a later round", Unit::Seconds, later(&thousand))
                .goal(Goal::AtMost(0.04))
                .operations(a_round, cores)
                .numpy(thousand_twin),
            Row::new("the whole run of 10 rounds", Unit::Seconds, all(&thousand, |run| vec![run.total]))
                .goal(Goal::AtMost(1.5))
                .operations(10.0 * a_round, cores)
                .numpy(thousand_total),
        ])
    }

    /// Looked at every 2 ms, in runs of their own.
    fn memory(&self) -> Result<Vec<Row>> {
        let runs = self.federate(FOUR, &[], Memory::Sampled, 3)?;
        let peaks: Vec<f64> = runs.iter().filter_map(|run| run.peak_pss).collect();
        if peaks.is_empty() {
            self.tell("the memory of the clients may not be looked at here");
            return Ok(Vec::new());
        }
        let row = Row::new("peak PSS of host and 4 clients", Unit::Megabytes, Figures::new(peaks));
        Ok(vec![row.goal(Goal::AtMost(100.0))])
    }

    /// What a round costs besides the model's work, by a model with as many weights that has none. There is no
    /// checkpoint between the rounds, as a real round hides it behind its training.
    fn pipes(&self) -> Result<Vec<Row>> {
        let work = Work { rounds: 20, ..FOUR };
        let n = usize::from(self.args.n);
        let idle = ["--checkpoint-every", "1000000"];
        let idle: Vec<Run> = (0..=n)
            .map(|_| federation::run(&self.place, &self.place.idle, work, &idle, Memory::Ignored))
            .collect::<Result<_>>()?;
        let real = all(&self.timed(FOUR, &[])?, |run| run.rounds[1..].to_vec()).median();
        let idle = all(&idle[1..], |run| run.rounds[1..].to_vec());
        Ok(vec![
            Row::new("a round of a model that does nothing, 109,386 weights", Unit::Milliseconds, idle.map(|s| 1e3 * s)),
            Row::new("pipes and averaging, of a round of 4 clients", Unit::Percent, idle.map(|s| 100.0 * s / real))
                .goal(Goal::AtMost(2.0)),
        ])
    }

    /// A client with a quarter of Fashion-MNIST, started again and again.
    fn ready(&self) -> Result<Vec<Row>> {
        let dealt = self.place.deal(4)?;
        let holding = Holding::new(&self.place.mlp, &dealt, "");
        let starts = (0..10 * self.args.n).map(|_| Ok(1e3 * Client::start(&self.place, &holding)?.seconds_to_ready));
        let figures = Figures::new(starts.collect::<Result<_>>()?);
        Ok(vec![Row::new("spawn to ready, a client", Unit::Milliseconds, figures).goal(Goal::AtMost(4.0))])
    }

    fn mean(&self) -> Result<Vec<Row>> {
        let (shares, bandwidth) = aggregate::mean_against_bandwidth(self.args.n.into(), self.machine.cores);
        let name = format!("mean of 100 updates of 1 M weights, of the read bandwidth of all cores ({bandwidth:.1} GB/s)");
        Ok(vec![Row::new(name, Unit::Percent, Figures::new(shares)).goal(Goal::AtLeast(60.0))])
    }

    /// Runs of `work` after one that fills the caches.
    fn timed(&self, work: Work, more: &[&str]) -> Result<Vec<Run>> {
        self.federate(work, more, Memory::Ignored, 1)?;
        self.federate(work, more, Memory::Ignored, self.args.n)
    }

    fn federate(&self, work: Work, more: &[&str], memory: Memory, n: u16) -> Result<Vec<Run>> {
        let run = |_| {
            self.look_at_peak();
            federation::run(&self.place, &self.place.mlp, work, more, memory)
        };
        (0..n).map(run).collect()
    }

    fn twin(&self, work: Work) -> Result<Option<(Figures, Figures)>> {
        let n = usize::from(self.args.n.min(3));
        self.numpy.as_ref().map(|numpy| peers::twin(numpy, &self.place, work, n)).transpose()
    }

    fn peers(&self, work: Work) -> Result<Table> {
        let (n, cores) = (self.args.n.into(), self.machine.cores);
        peers::compare(&self.place, work, n, &self.environments, cores, &|text| self.tell(text))
    }

    fn look_at_peak(&self) {
        for _ in 0..20 {
            let now = support::peak();
            if now > self.peak.get() {
                self.peak.set(now);
            }
        }
    }

    /// What goes on, on a terminal or in a log.
    fn tell(&self, text: &str) {
        let mut errors = std::io::stderr();
        let start = if errors.is_terminal() { "\x1b[2m… " } else { "… " };
        let end = if errors.is_terminal() { "\x1b[0m" } else { "" };
        let _ = writeln!(errors, "{start}{text}{end}");
    }
}

/// The figures of all `runs`.
fn all(runs: &[Run], of: impl Fn(&Run) -> Vec<f64>) -> Figures {
    Figures::new(runs.iter().flat_map(of).collect())
}
