//! `ledger.jsonl`: one line of compact JSON for everything that a run's result rests on.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Event, Observer};

/// Writes the ledger.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
}

impl Ledger {
    /// A new ledger in the run directory.
    pub(crate) fn create(directory: &Path) -> std::io::Result<Self> {
        let path = directory.join("ledger.jsonl");
        Ok(Self { file: File::options().create_new(true).append(true).open(&path)?, path })
    }

    fn append(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        // One write, so that a power cut tears a line at most at its end.
        self.file.write_all(&text).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Observer for Ledger {
    fn observe(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        let line = match event {
            Event::Data(_) | Event::RoundStarted { .. } | Event::Trained { .. } => return Ok(()),
            Event::Started { experiment, .. } => {
                json!({"event": "started", "fedpipe": env!("CARGO_PKG_VERSION"), "cpu": cpu(), "experiment": experiment})
            }
            Event::Dealt { dataset, sizes } => json!({"event": "dealt", "dataset": dataset, "sizes": sizes}),
            Event::Ready { model, dylib_sha256, weights_sha256 } => json!({
                "event": "ready",
                "model": model.name,
                "version": model.version,
                "dylib_sha256": dylib_sha256,
                "weights_sha256": weights_sha256,
            }),
            Event::Lost(lost) => with_event("lost", lost)?,
            Event::RoundEnded(round) => with_event("round", round)?,
            Event::Finished(summary) => with_event("finished", summary)?,
        };
        self.append(&line)?;
        if matches!(event, Event::RoundEnded(_)) {
            self.file.flush()?;
        }
        Ok(())
    }
}

fn with_event(name: &str, value: &impl Serialize) -> anyhow::Result<Value> {
    let mut line = json!({"event": name});
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, serde_json::to_value(value)?) {
        line.extend(fields);
    }
    Ok(line)
}

/// The processor and what `nn` can use of it; bits are the same on all that have FMA.
fn cpu() -> Value {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let flags = field("flags").unwrap_or_default();
    let known = ["fma", "avx2", "avx512f"];
    let found: Vec<&str> = flags.split(' ').filter(|flag| known.contains(flag)).collect();
    json!({"name": field("model name"), "arch": std::env::consts::ARCH, "flags": found})
}
