//! One client process, with which the bench talks over its pipes as the host does. It measures the start and an epoch.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Write},
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use fedpipe_client::PROCESS_NAME;
use fedpipe_data::Dealt;
use fedpipe_protocol::{
    HeldPartition, Isolation, Layout, Level, Limits, Part, Purpose, Reply, Request, Setup, Target, Task, Train,
    WEIGHTS, read, write,
};
use nix::{
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    unistd::pipe2,
};

use crate::place::Place;

/// A client process that is ready. Dropping the value ends the process.
#[derive(Debug)]
pub(crate) struct Client {
    child: Child,
    to: Option<File>,
    from: BufReader<File>,
    weights: Vec<f32>,
    /// The time from before the process was started until it reported that its model is built. It is an upper bound on
    /// the time since `execve`: it includes the fork, and the isolation before the model is loaded.
    pub(crate) seconds_to_ready: f64,
}

/// The dylib and the files of a client.
#[derive(Debug)]
pub(crate) struct Holding {
    setup: Setup,
}

impl Holding {
    /// Returns the first partition of `dealt`, for `dylib` with its option `hidden` (empty for the default).
    pub(crate) fn new(dylib: &Path, dealt: &Dealt, hidden: &str) -> Self {
        let classes = dealt.dataset.target.class_count().unwrap_or_default();
        let task = Task { shape: dealt.dataset.shape.clone(), target: Target::Classes(classes as usize) };
        let partitions = vec![HeldPartition { client: 0, path: dealt.path_of(0), sha256: dealt.sha256_of(0) }];
        let options = if hidden.is_empty() { None } else { Some(("hidden".into(), hidden.into())) };
        let options: BTreeMap<String, String> = options.into_iter().collect();
        let purpose = Purpose::Serve { task, partitions, test: dealt.test.path.clone() };
        // A run has a limit of memory as well.
        let isolation = Isolation { level: Level::Auto, memory_limit: Some(2 << 30), cpu_seconds: None };
        let (dylib, test_sha256) = (Some(dylib.to_owned()), Some(dealt.test.sha256.clone()));
        Self {
            setup: Setup {
                dylib,
                dylib_sha256: None,
                test_sha256,
                options,
                seed: 0,
                init_seed: None,
                isolation,
                purpose,
            },
        }
    }

    /// Returns the same with another file as the partition.
    pub(crate) fn with_partition(mut self, file: PathBuf) -> Self {
        if let Purpose::Serve { partitions, .. } = &mut self.setup.purpose {
            (partitions[0].path, partitions[0].sha256) = (file, None);
        }
        self
    }
}

impl Client {
    pub(crate) fn start(place: &Place, holding: &Holding) -> Result<Self> {
        let (child_reads, to) = pipe2(OFlag::O_CLOEXEC)?;
        let (from, child_writes) = pipe2(OFlag::O_CLOEXEC)?;
        let own = [child_reads.as_raw_fd(), child_writes.as_raw_fd()];
        fcntl(&child_reads, FcntlArg::F_SETFD(FdFlag::empty()))?;
        fcntl(&child_writes, FcntlArg::F_SETFD(FdFlag::empty()))?;
        for end in [&to, &from] {
            // This is best effort, as in the host.
            let _ = fcntl(end, FcntlArg::F_SETPIPE_SZ(1 << 20));
        }
        let mut command = Command::new(&place.binary);
        command.arg0(PROCESS_NAME).args(own.map(|fd| fd.to_string())).arg("0");
        let started = Instant::now();
        let child = command.spawn().context("cannot start a client")?;
        drop((child_reads, child_writes));
        let (to, from) = (Some(File::from(to)), BufReader::new(File::from(from)));
        let mut client = Self { child, to, from, weights: Vec::new(), seconds_to_ready: 0.0 };
        client.hear(0)?;
        client.say(&Request::Setup(holding.setup.clone()), false)?;
        let Reply::Ready(ready) = client.hear(0)? else { bail!("the client is not ready") };
        client.seconds_to_ready = started.elapsed().as_secs_f64();
        let weights = Layout::new(ready.layout.clone())?.payload();
        client.say(&Request::GetWeights, false)?;
        client.hear(weights)?;
        Ok(client)
    }

    /// Returns the seconds from the request to train a local epoch, from the initial weights, until the update has
    /// arrived.
    pub(crate) fn epoch(&mut self, optimiser: &str, learning_rate: f32) -> Result<f64> {
        let weights = std::mem::take(&mut self.weights);
        let optimiser = format!(r#"{{"name":"{optimiser}"}}"#);
        let train = Train { learning_rate, optimiser, ..Train::plain(0, 1) };
        let started = Instant::now();
        self.weights.clone_from(&weights);
        self.say(&Request::Train(train), true)?;
        let Reply::Update(_) = self.hear(4 * weights.len() as u64)? else { bail!("the client gave no update") };
        let seconds = started.elapsed().as_secs_f64();
        self.weights = weights;
        Ok(seconds)
    }

    fn say(&mut self, request: &Request, with_weights: bool) -> Result<()> {
        let to = self.to.as_mut().context("the client was let go")?;
        let weights = with_weights.then_some(Part::F32(WEIGHTS, &self.weights));
        write(to, request, weights.as_slice())?;
        Ok(to.flush()?)
    }

    /// Receives the next reply. Its weights, if it has any, become the weights of this client.
    fn hear(&mut self, payload: u64) -> Result<Reply> {
        let (reply, mut parts) = read(&mut self.from, Limits::reply(payload))?;
        if let Reply::Failed { message, .. } = reply {
            bail!("the client failed: {message}");
        }
        if let Some(weights) = parts.take_f32(WEIGHTS) {
            self.weights = weights;
        }
        Ok(reply)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A client ends when its pipe ends.
        self.to = None;
        let _ = self.child.wait();
    }
}
