//! The rows of the table, with their goals. A group of rows is a function.

use anyhow::Result;

use crate::{
    Bench, aggregate,
    client::{Client, Holding},
    crash::{self, State},
    federation::{self, FOUR, HUNDRED, Run, THOUSAND, Work},
    peers,
    report::{Figures, Goal, Row, Unit},
    watch::Memory,
};

/// Returns the floating-point operations to train on one example. The first layer needs no gradient at its inputs.
const fn training(widths: &[usize]) -> f64 {
    let (mut all, mut layer) = (0, 1);
    while layer < widths.len() {
        all += widths[layer - 1] * widths[layer];
        layer += 1;
    }
    2.0 * (3 * all - widths[0] * widths[1]) as f64
}

/// The widths of the default MLP.
const TRAIN: f64 = training(&[784, 128, 64, 10]);
const EVALUATE: f64 = 2.0 * (784 * 128 + 128 * 64 + 64 * 10) as f64;

impl Bench {
    /// Measures `fedpipe run mlp` as the README has it.
    pub(crate) fn runs(&self) -> Result<Vec<Row>> {
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

    /// Measures one epoch of 60,000 examples in one client process, from request to update.
    pub(crate) fn epochs(&self) -> Result<Vec<Row>> {
        let dealt = self.place.deal(1)?;
        let holding = |hidden| Holding::new(&self.place.mlp, &dealt, hidden);
        let bright = self.place.without_zeros(&dealt.partitions[0].path)?;
        let row = |name: &str, holding: &Holding, optimiser, rate, widths: &[usize]| -> Result<Row> {
            let row = Row::new(name, Unit::Seconds, self.epoch(holding, optimiser, rate)?);
            Ok(row.operations(60_000.0 * training(widths), 1))
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
                .not_skipped(60_000.0 * 2.0 * (2 * 784 * 128) as f64)
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

    /// Measures many clients, of which each round samples a tenth.
    pub(crate) fn many(&self) -> Result<Vec<Row>> {
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

    /// Measures memory every 2 ms, in runs of its own.
    pub(crate) fn memory(&self) -> Result<Vec<Row>> {
        let runs = self.federate(FOUR, &[], Memory::Sampled, 3)?;
        let peaks: Vec<f64> = runs.iter().filter_map(|run| run.peak_pss).collect();
        if peaks.is_empty() {
            self.tell("the memory of the clients may not be looked at here");
            return Ok(Vec::new());
        }
        let row = Row::new("peak PSS of host and 4 clients", Unit::Megabytes, Figures::new(peaks));
        Ok(vec![row.goal(Goal::AtMost(100.0))])
    }

    /// Measures a round without the model's work, by a model with as many weights that does nothing. There is no
    /// checkpoint between the rounds, since a real round writes it during training.
    pub(crate) fn pipes(&self) -> Result<Vec<Row>> {
        let work = Work { rounds: 20, ..FOUR };
        let n = usize::from(self.args.n);
        let idle = ["--checkpoint-every", "1000000"];
        let idle: Vec<Run> = (0..=n)
            .map(|_| federation::run(&self.place, &self.place.idle, work, &idle, Memory::Ignored))
            .collect::<Result<_>>()?;
        let real = all(&self.timed(FOUR, &[])?, |run| run.rounds[1..].to_vec()).median();
        let idle = all(&idle[1..], |run| run.rounds[1..].to_vec());
        Ok(vec![
            Row::new(
                "a round of a model that does nothing, 109,386 weights",
                Unit::Milliseconds,
                idle.map(|s| 1e3 * s),
            ),
            Row::new("pipes and averaging, of a round of 4 clients", Unit::Percent, idle.map(|s| 100.0 * s / real))
                .goal(Goal::AtMost(2.0)),
        ])
    }

    /// Measures the start of a client with a quarter of Fashion-MNIST, again and again.
    pub(crate) fn ready(&self) -> Result<Vec<Row>> {
        let dealt = self.place.deal(4)?;
        let holding = Holding::new(&self.place.mlp, &dealt, "");
        let starts = (0..10 * self.args.n).map(|_| Ok(1e3 * Client::start(&self.place, &holding)?.seconds_to_ready));
        let figures = Figures::new(starts.collect::<Result<_>>()?);
        Ok(vec![Row::new("spawn to ready, a client", Unit::Milliseconds, figures).goal(Goal::AtMost(4.0))])
    }

    /// Measures the time until a killed client is detected, in each state of the client.
    pub(crate) fn crash(&self) -> Result<Vec<Row>> {
        let row = |name: &str, state| -> Result<Row> {
            let times: Vec<Vec<f64>> =
                (0..self.args.n).map(|_| crash::detect(&self.place, state)).collect::<Result<_>>()?;
            Ok(Row::new(name, Unit::Milliseconds, Figures::new(times.concat())).goal(Goal::AtMost(10.0)))
        };
        Ok(vec![
            row("SIGKILL of an idle client until it is in the ledger", State::Idle)?,
            row("SIGKILL of a training client until it is in the ledger", State::Training)?,
        ])
    }

    pub(crate) fn mean(&self) -> Result<Vec<Row>> {
        let (shares, bandwidth) = aggregate::mean_against_bandwidth(self.args.n.into(), self.machine.cores);
        let name =
            format!("mean of 100 updates of 1 M weights, of the read bandwidth of all cores ({bandwidth:.1} GB/s)");
        Ok(vec![Row::new(name, Unit::Percent, Figures::new(shares)).goal(Goal::AtLeast(60.0))])
    }

    /// Measures each robust rule, in multiples of the mean's processor time.
    pub(crate) fn rules(&self) -> Result<Vec<Row>> {
        let goals = [
            ("median", Some(8.0)),
            ("trimmed-mean:f=20", Some(8.0)),
            ("krum:20", Some(10.0)),
            ("multi-krum:20", None),
            ("bulyan:20", None),
            ("geometric-median", None),
            ("norm-bounding:1", None),
            ("centred-clipping:median", None),
            ("nnm+trimmed-mean:f=20", None),
        ];
        let costs = aggregate::rule_costs(&goals.map(|(rule, _)| rule), self.args.n.into())?;
        let row = |((rule, goal), costs): (&(&str, Option<f64>), Vec<f64>)| {
            let name = format!("{rule} of 100 updates of 1 M weights, in the mean's processor time");
            let row = Row::new(name, Unit::Means, Figures::new(costs));
            match *goal {
                Some(most) => row.goal(Goal::AtMost(most)),
                None => row,
            }
        };
        Ok(goals.iter().zip(costs).map(row).collect())
    }

    /// Returns the runs of `work`, after one that fills the caches.
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
}

/// Returns the figures of all `runs`.
fn all(runs: &[Run], of: impl Fn(&Run) -> Vec<f64>) -> Figures {
    Figures::new(runs.iter().flat_map(of).collect())
}
