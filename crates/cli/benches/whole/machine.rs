//! The machine on which the figures were measured.

use std::{fs, process::Command};

use fedpipe_nn::Isa;
use serde_json::{Value, json};

/// The date, the processor and the versions.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    date: String,
    cpu: String,
    isa: &'static str,
    kernel: String,
    rustc: String,
    /// The load of the minute before, by other programs.
    load: f64,
}

impl Machine {
    pub(crate) fn this(isa: Isa) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            date: first_line(Command::new("date").args(["-u", "+%F %H:%M UTC"])),
            cpu: model.map_or("?", |(_, name)| name.trim()).to_owned(),
            isa: isa.name(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            rustc: first_line(Command::new("rustc").arg("--version")),
            load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        }
    }

    /// Returns a line for the head of a table.
    pub(crate) fn line(&self, peak: Option<f64>) -> String {
        let Self { cores, date, cpu, isa, kernel, rustc, load } = self;
        let peak = peak.map_or("refused".into(), |peak| format!("{peak:.1} GFLOP/s a core"));
        format!("{date}; {cpu}, {cores} cores, {isa}, FMA peak {peak}; Linux {kernel}; {rustc}; load before {load}")
    }

    /// Returns a warning if other work runs, since figures that are measured beside it are worth little.
    pub(crate) fn warning(&self) -> Option<String> {
        (self.load > 0.3)
            .then(|| format!("warning: the load is {}: other programs run here and slow the bench", self.load))
    }

    pub(crate) fn json(&self) -> Value {
        let Self { cores, date, cpu, isa, kernel, rustc, load } = self;
        json!({"date": date, "cpu": cpu, "cores": cores, "isa": isa, "kernel": kernel, "rustc": rustc, "load": load})
    }
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    output.ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_else(|| "?".to_owned())
}
