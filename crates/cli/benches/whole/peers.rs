//! Other systems on the same work: scripts in `crates/python/peers`, on fedpipe's own partition files.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use fedpipe_data::Dealt;
use serde_json::Value;

use crate::{
    federation::{self, FOUR, HUNDRED, Run, THOUSAND, Work},
    place::Place,
    report::{Figures, Table},
    watch::{Memory, Watched, watch},
};

/// A peer, and the commands that run it here.
#[derive(Debug)]
pub(crate) struct Peer {
    name: &'static str,
    /// The name of its virtual environment, and the middle of the name of its requirements file.
    environment: &'static str,
    script: &'static str,
    arguments: &'static [&'static str],
    /// Python code that succeeds if the system is installed.
    check: &'static str,
    works: &'static [Work],
}

pub(crate) const NUMPY: Peer = Peer {
    name: "NumPy by hand, forked processes",
    environment: "numpy",
    script: "numpy_twin.py",
    arguments: &[],
    check: "import numpy",
    works: &[FOUR, HUNDRED, THOUSAND],
};

const PEERS: [Peer; 6] = [
    Peer {
        name: "the original design (Keras on TensorFlow)",
        environment: "keras-tf",
        script: "original_keras.py",
        arguments: &["--backend", "tensorflow"],
        check: "import keras, tensorflow",
        // A thousand processes with Keras would need a terabyte.
        works: &[FOUR],
    },
    Peer {
        name: "the original design (Keras on JAX)",
        environment: "keras-jax",
        script: "original_keras.py",
        arguments: &["--backend", "jax"],
        check: "import os; os.environ['KERAS_BACKEND'] = 'jax'; import keras",
        works: &[FOUR],
    },
    Peer {
        name: "PyTorch by hand, spawned processes",
        environment: "torch",
        script: "torch_by_hand.py",
        arguments: &[],
        check: "import torch, numpy",
        works: &[FOUR, HUNDRED, THOUSAND],
    },
    Peer {
        name: "FedJAX",
        environment: "fedjax",
        script: "fedjax_run.py",
        arguments: &[],
        check: "import jax, fedjax",
        works: &[FOUR, HUNDRED, THOUSAND],
    },
    Peer {
        name: "Flower simulation (Ray, NumPy clients)",
        environment: "flower",
        script: "flower_sim.py",
        arguments: &[],
        check: "import flwr, ray",
        works: &[FOUR, HUNDRED, THOUSAND],
    },
    NUMPY,
];

/// A peer that is installed.
#[derive(Debug)]
pub(crate) struct Installed {
    peer: &'static Peer,
    python: PathBuf,
    cores: usize,
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("python").join("peers")
}

impl Installed {
    /// Returns the peer in its environment below `environments`, or with the `python3` of the path. The error says how
    /// to install it.
    pub(crate) fn find(peer: &'static Peer, environments: &Path, cores: usize) -> Result<Self, String> {
        let own = environments.join(peer.environment).join("bin/python");
        let found = [own, "python3".into()].into_iter().find(|python| {
            let output = settle(Command::new(python).args(["-c", peer.check])).output();
            output.is_ok_and(|output| output.status.success())
        });
        let python = found.ok_or_else(|| {
            let environment = environments.join(peer.environment);
            let requirements = scripts().join(format!("requirements-{}.txt", peer.environment));
            let (environment, requirements) = (environment.display(), requirements.display());
            format!("python3 -m venv {environment} && {environment}/bin/pip install -r {requirements}")
        })?;
        Ok(Self { peer, python, cores })
    }

    fn command(&self, partitions: &Dealt, rounds: u32) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(scripts().join(self.peer.script)).args(self.peer.arguments);
        command.args(["--rounds", &rounds.to_string(), "--jobs", &self.cores.to_string()]);
        command.arg("--test").arg(&partitions.test.path).arg("--train");
        command.args(partitions.partitions.iter().map(|partition| &partition.path));
        settle(&mut command);
        command
    }

    /// Runs the peer once; also returns the versions that it printed.
    pub(crate) fn run(&self, work: Work, partitions: &Dealt, memory: Memory) -> Result<(Run, String)> {
        let mut command = self.command(partitions, work.rounds);
        command.args(["--fraction", &work.fraction.to_string()]);
        let watched = watch(&mut command, memory).with_context(|| format!("{} failed", self.peer.name))?;
        heard(&watched).with_context(|| format!("{} said too little", self.peer.name))
    }

    /// Returns the seconds of each of `n` epochs in one process; for [`NUMPY`].
    pub(crate) fn epochs(&self, optimiser: &str, partitions: &Dealt, n: usize) -> Result<Vec<f64>> {
        let mut command = self.command(partitions, n as u32);
        command.args(["--epoch", optimiser]);
        let watched = watch(&mut command, Memory::Ignored)?;
        let lines = watched.lines.iter().filter_map(|(_, line)| serde_json::from_str::<Value>(line).ok());
        Ok(lines.filter_map(|line| line["epoch_seconds"].as_f64()).collect())
    }
}

/// Gives each process one thread of arithmetic, with which each peer is fastest if processes share the cores, and lets
/// NumPy choose its kernels.
fn settle(command: &mut Command) -> &mut Command {
    for threads in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"] {
        command.env(threads, "1");
    }
    command.env_remove("OPENBLAS_CORETYPE").env_remove("OPENBLAS_L2_SIZE").env("PYTHONDONTWRITEBYTECODE", "1")
}

fn heard(watched: &Watched) -> Option<(Run, String)> {
    let lines = watched.lines.iter().filter_map(|(at, line)| Some((*at, serde_json::from_str::<Value>(line).ok()?)));
    let lines: Vec<(f64, Value)> = lines.collect();
    let rounds: Vec<&(f64, Value)> = lines.iter().filter(|(_, line)| line["round"].is_u64()).collect();
    let versions = lines.iter().find_map(|(_, line)| line["versions"].as_object())?;
    let versions = versions.iter().map(|(name, version)| format!("{name} {}", version.as_str().unwrap_or("?")));
    let run = Run {
        total: watched.total,
        ready: lines.iter().find(|(_, line)| line["ready"] == true)?.0,
        ends: rounds.iter().map(|(at, _)| *at).collect(),
        accuracies: rounds.iter().filter_map(|(_, line)| line["accuracy"].as_f64()).collect(),
        peak_pss: watched.peak_pss,
        rounds: Vec::new(),
    };
    (run.accuracies.len() > 1).then(|| (run, versions.collect::<Vec<_>>().join(", ")))
}

/// The runs of one work by one system.
struct Contender {
    name: String,
    versions: String,
    memory: Option<f64>,
    runs: Vec<Run>,
}

impl Contender {
    fn figures(&self, of: impl Fn(&Run) -> Vec<f64>) -> Figures {
        Figures::new(self.runs.iter().flat_map(of).collect())
    }

    fn total(&self) -> Figures {
        self.figures(|run| vec![run.total])
    }

    fn accuracy(&self) -> f64 {
        self.figures(|run| run.accuracies.last().copied().into_iter().collect()).median()
    }

    fn cells(&self, fedpipe: &Contender, tolerance: f64) -> Vec<String> {
        let (total, accuracy) = (self.total(), self.accuracy());
        let same = (accuracy - fedpipe.accuracy()).abs() <= tolerance;
        vec![
            self.name.clone(),
            format!("{:.2} ({:.2} … {:.2})", total.median(), total.least(), total.most()),
            format!("{:.2}", self.figures(|run| vec![run.ready]).median()),
            format!("{:.3}", self.figures(Run::later_rounds).median()),
            self.memory.map_or("–".into(), |mb| format!("{mb:.0}")),
            format!("{:.1} %{}", 100.0 * accuracy, if same { "" } else { " (NOT THE SAME WORK)" }),
            format!("{:.1} ×", total.median() / fedpipe.total().median()),
            self.versions.clone(),
        ]
    }
}

/// Returns the installed peers that can do `work`. Reports how to install the others.
pub(crate) fn find_all(work: Work, environments: &Path, cores: usize, tell: &dyn Fn(&str)) -> Vec<Installed> {
    let mut found = Vec::new();
    for peer in PEERS.iter().filter(|peer| peer.works.contains(&work)) {
        match Installed::find(peer, environments, cores) {
            Ok(peer) => found.push(peer),
            Err(how) => tell(&format!("{} is not installed: {how}", peer.name)),
        }
    }
    found
}

/// Runs fedpipe and `peers` on `work`, in turn, `n` times, and returns a table of their results. The first run of each
/// is not timed: it fills the page cache, and its memory is measured.
pub(crate) fn compare(
    place: &Place,
    work: Work,
    n: usize,
    peers: Vec<Installed>,
    tell: &dyn Fn(&str),
) -> Result<Table> {
    let partitions = place.deal(work.clients)?;
    let fedpipe = |memory| federation::run(place, &place.mlp, work, &[], memory);
    let version = format!("fedpipe {}", env!("CARGO_PKG_VERSION"));
    let memory = fedpipe(Memory::Sampled)?.peak_pss;
    let mut contenders = vec![Contender { name: "fedpipe".into(), versions: version, memory, runs: Vec::new() }];
    let mut working = Vec::new();
    for installed in peers {
        let name = installed.peer.name;
        match installed.run(work, &partitions, Memory::Sampled) {
            Ok((Run { peak_pss: memory, .. }, versions)) => {
                contenders.push(Contender { name: name.into(), versions, memory, runs: Vec::new() });
                working.push(installed);
            }
            Err(error) => tell(&format!("{name} is left out: {error:#}")),
        }
    }
    for turn in 1..=n {
        tell(&format!("{}: turn {turn} of {n}", work.name));
        contenders[0].runs.push(fedpipe(Memory::Ignored)?);
        for (peer, contender) in working.iter().zip(&mut contenders[1..]) {
            match peer.run(work, &partitions, Memory::Ignored) {
                Ok((run, _)) => contender.runs.push(run),
                Err(error) => tell(&format!("a run is left out: {error:#}")),
            }
        }
    }
    contenders.retain(|contender| !contender.runs.is_empty());
    let head = vec!["system", "total s", "ready s", "later round s", "peak PSS MB", "accuracy", "takes", "versions"];
    Ok(Table {
        head,
        rows: contenders.iter().map(|contender| contender.cells(&contenders[0], work.tolerance)).collect(),
    })
}

/// Runs `work` in NumPy and returns the seconds of whole runs, and of later rounds.
pub(crate) fn twin(numpy: &Installed, place: &Place, work: Work, n: usize) -> Result<(Figures, Figures)> {
    let partitions = place.deal(work.clients)?;
    let runs: Vec<Run> = (0..n).map(|_| Ok(numpy.run(work, &partitions, Memory::Ignored)?.0)).collect::<Result<_>>()?;
    let later = Figures::new(runs.iter().flat_map(Run::later_rounds).collect());
    Ok((Figures::new(runs.iter().map(|run| run.total).collect()), later))
}
