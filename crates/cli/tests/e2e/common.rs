//! Helpers of all tests: a folder to run in, and the directory that a run leaves.

use std::{
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Once},
    thread,
    time::{Duration, Instant},
};

use fedpipe_data::{Cache, DataStep, Deal, Dealt, Holdout, Reading, Source, deal};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use tempfile::TempDir;

/// A folder to run in, with its own cache of datasets and partitions.
#[derive(Debug)]
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        catch_ignored_signals();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("marks")).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns `fedpipe` with `arguments`, which are separated by spaces.
    pub(crate) fn fedpipe(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fedpipe"));
        self.settle(&mut command).args(arguments.split_whitespace());
        command
    }

    /// Gives a command this place's folder, cache and models.
    pub(crate) fn settle<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.current_dir(self.0.path()).env("XDG_CACHE_HOME", self.path("cache")).env("FEDPIPE_MODELS", dylibs());
        // Models that the user has installed are none of the tests'.
        command.env("XDG_DATA_HOME", self.path("data"));
        // A backtrace of each fault would fill the logs.
        command.env("RUST_BACKTRACE", "0")
    }

    /// Runs `fedpipe run` on the sample. The run must succeed.
    pub(crate) fn run(&self, arguments: &str) -> Run {
        let (output, run) = self.try_run(arguments);
        assert!(output.status.success(), "fedpipe run {arguments}: {}\n{}", output.status, stderr(&output));
        run
    }

    /// Runs `fedpipe run` on the sample and into `--out out`, unless `arguments` name others.
    pub(crate) fn try_run(&self, arguments: &str) -> (Output, Run) {
        let (mut command, run) = self.command(arguments);
        (command.output().unwrap(), run)
    }

    /// Returns the command of [`Place::try_run`], not yet started.
    pub(crate) fn command(&self, arguments: &str) -> (Command, Run) {
        let mut command = self.fedpipe(&format!("run {arguments}"));
        let words: Vec<&str> = arguments.split_whitespace().collect();
        if !words.iter().any(|word| ["--data", "--config"].contains(word)) {
            command.args(["--data", "sample"]);
        }
        let out = words.iter().position(|word| *word == "--out").map_or("out", |at| words[at + 1]);
        if !words.contains(&"--out") {
            command.args(["--out", out]);
        }
        (command, Run(self.path(out)))
    }

    /// Returns the sample, dealt to clients by a scheme.
    pub(crate) fn deal(&self, scheme: &str, clients: u32) -> Dealt {
        self.deal_by(scheme, clients, 0, &mut |_| ())
    }

    /// Returns the sample as a run has dealt it here.
    pub(crate) fn dealt_before(&self, clients: u32, seed: u64) -> Dealt {
        self.deal_by("iid", clients, seed, &mut |step| panic!("the run had dealt other partitions: {step}"))
    }

    fn deal_by(&self, scheme: &str, clients: u32, seed: u64, on_step: &mut dyn FnMut(DataStep)) -> Dealt {
        let wanted = Deal {
            source: Source::Sample,
            reading: Reading::default(),
            scheme: scheme.parse().unwrap(),
            clients,
            seed,
            holdout: Holdout::default(),
            split_file: None,
        };
        deal(&wanted, &Cache::at(self.path("cache/fedpipe")), on_step).unwrap()
    }

    /// Returns the files and folders here, except the cache and the marks, with a digest of each file.
    pub(crate) fn contents(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path == self.path("cache") || path == self.path("marks") {
                    continue;
                }
                let digest = if path.is_dir() { "folder".to_owned() } else { sha256(&fs::read(&path).unwrap()) };
                folders.extend(path.is_dir().then(|| path.clone()));
                found.push((path, digest));
            }
        }
        found.sort();
        found
    }
}

/// A run directory.
#[derive(Debug, Clone)]
pub(crate) struct Run(pub(crate) PathBuf);

impl Run {
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        let path = self.0.join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn summary(&self) -> Value {
        serde_json::from_slice(&self.read("summary.json")).unwrap()
    }

    /// Returns the lines of the ledger for one kind of event.
    pub(crate) fn ledger(&self, event: &str) -> Vec<Value> {
        let text = String::from_utf8(self.read("ledger.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == event).collect()
    }

    pub(crate) fn weights_sha256(&self) -> String {
        self.summary()["weights_sha256"].as_str().unwrap().to_owned()
    }

    /// Returns the output of all clients.
    pub(crate) fn logs(&self) -> String {
        let logs = fs::read_dir(self.0.join("clients")).into_iter().flatten().flatten();
        logs.map(|log| String::from_utf8_lossy(&fs::read(log.path()).unwrap()).into_owned()).collect()
    }
}

/// Catches the signals of a terminal that are ignored here, as those of a job in the background of a script are. A
/// process inherits a signal that is ignored, but not one that is caught. `fedpipe` respects an ignored signal, so that
/// a test would wait forever for its end.
fn catch_ignored_signals() {
    static CAUGHT: Once = Once::new();
    CAUGHT.call_once(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(mask.trim(), 16).unwrap();
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 1) {
            // The flag is never read: the test goes on, as it does while the signal is ignored.
            signal_hook::flag::register(signal, Arc::default()).unwrap();
        }
    });
}

/// Returns the folder in which cargo builds the models and fixtures: that of this test.
pub(crate) fn dylibs() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// Returns the dylib of a crate by its name.
pub(crate) fn dylib(name: &str) -> PathBuf {
    dylibs().join(format!("lib{}.so", name.replace('-', "_")))
}

/// Returns the root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until `look` finds something, where no event can be waited for. A test that reaches the limit has failed.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    const LIMIT: Duration = Duration::from_secs(60);
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "not in {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Checks all cases and names each one that fails.
pub(crate) fn check_all<C: Debug>(cases: impl IntoIterator<Item = C>, check: impl Fn(&C) -> Result<(), String>) {
    let failed: Vec<String> =
        cases.into_iter().filter_map(|case| check(&case).err().map(|why| format!("{case:?}: {why}"))).collect();
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
}
