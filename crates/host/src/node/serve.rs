//! A client process behind a Unix socket, for a federation whose host is on another machine.
//!
//! Each connection is a conversation of the pipe protocol with this side as the client: `hello`, `setup`, `ready`, then
//! requests. The model, the partition and the test set are the node's own; a setup gives the rest. The process behind
//! the socket outlives the connections. It is replaced after a crash, and for a setup of another run. Connections are
//! served one after the other.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fedpipe_data::{DataError, Partition, counted};
use fedpipe_protocol::{
    Evaluate, FailureKind, FrameError, HeldPartition, Isolation, Level, Limits, MOST_VECTORS, PROTOCOL, Part, Parts,
    Purpose, Ready, Reply, Request, Setup, WEIGHTS, read, write,
};
use fedpipe_record::{crash::Consequence, digest::bytes_sha256, experiment::OnFailure, memory_limit::MemoryLimit};

use crate::{
    disk::{TemporaryFolder, temporary_folder},
    error::{
        Error, Result,
        start_error::{StartCall, failed as start_failed},
    },
    experiment::limits::isolation,
    fleet::{
        Fleet,
        control::{Control, StopSign},
        describe::describe,
        job::{Check, Incident, Job},
    },
    node::socket::{Connection, Listener, is_stop},
    process::{conversation::Environment, spawn::ClientCommand},
};

/// The configuration of a node.
#[derive(Debug, Clone)]
pub struct Node {
    /// The command that starts a client.
    pub command: ClientCommand,
    /// The model's dylib.
    pub dylib: PathBuf,
    /// The partition file to train on.
    pub partition: PathBuf,
    /// The test set, as a partition file.
    pub test: PathBuf,
    /// The path of the socket.
    pub socket: PathBuf,
    /// The time that a client has for a reply, and a peer to begin a message and again for the whole of it.
    pub timeout: Duration,
    /// The level of isolation of the client. The node decides it, and not the run.
    pub isolation: Level,
    /// The memory limit of the client; none for half of this machine's memory.
    pub memory_limit: Option<MemoryLimit>,
    /// The limit of CPU time in seconds; none for no limit.
    pub cpu_limit: Option<u64>,
}

/// A node that listens. Dropping it removes its socket and ends its client.
#[derive(Debug)]
pub struct Service {
    node: Node,
    listener: Listener,
    /// The folder of the client's log and of a copy of the dylib, since truncating a dylib kills the processes that use
    /// it.
    folder: TemporaryFolder,
    model: Ready,
    dylib_sha256: String,
    /// The training examples, and the held-out ones.
    examples: [u64; 2],
    partition_sha256: String,
    test_sha256: String,
}

/// The name of the copy in its folder.
const COPY: &str = "model.so";

/// The end of a connection.
enum Visit {
    /// The conversation is complete.
    Over,
    /// The peer broke the protocol or closed the connection within a message.
    Broken(FrameError),
}

/// The process that serves, if there is one.
type Served = Option<Serving>;

struct Serving {
    setup: Setup,
    fleet: Fleet,
    /// The process has trained or evaluated, so that its model no longer has the initial weights.
    has_worked: bool,
}

impl Service {
    /// Checks the node's files and its model, and listens.
    ///
    /// # Errors
    /// [`Error::Model`], [`Error::Data`], [`Error::Isolation`] and, for the socket, [`Error::Usage`].
    pub fn start(node: Node) -> Result<Self> {
        let partition = Partition::open(&node.partition)?;
        let examples = [partition.training_len(), partition.held_out()].map(|count| count as u64);
        let partition_sha256 = partition.sha256();
        let test_sha256 = Partition::open(&node.test)?.sha256();
        let folder = temporary_folder("fedpipe-serve-")?;
        let dylib = std::fs::read(&node.dylib)
            .map_err(|error| Error::Model(format!("cannot read {}: {error}", node.dylib.display())))?;
        let copy = folder.path().join(COPY);
        std::fs::write(&copy, &dylib).map_err(|error| Error::temporary(&error))?;
        // The copy serves, and the original may be another file by now.
        let model = describe(&node.command, &copy, &isolation_of(&node)).map_err(|error| named(error, &copy, &node))?;
        let listener = Listener::bind(&node.socket)?;
        let dylib_sha256 = bytes_sha256(&dylib);
        Ok(Self { node, listener, folder, model, dylib_sha256, examples, partition_sha256, test_sha256 })
    }

    /// Returns the model and the number of examples in one line.
    pub fn about(&self) -> String {
        let Self { model: Ready { name, version, .. }, dylib_sha256, examples, .. } = self;
        let [training, held_out] = examples;
        let held_out = if *held_out > 0 { format!(", and {held_out} held out") } else { String::new() };
        format!("{name} {version} (SHA-256 {dylib_sha256}) with {}{held_out}", counted(*training, "example"))
    }

    /// Serves until `control` is asked to stop; `warn` receives each problem as a sentence.
    ///
    /// # Errors
    /// [`Error::Stopped`] as the regular end, [`Error::System`] if the system fails.
    pub fn serve_connections(&self, control: &Control, warn: &mut dyn FnMut(&str)) -> Result<()> {
        let mut served = None;
        let wakeup = control.stop.wakeup().map_err(start_failed(StartCall::Descriptor));
        let wakeup = wakeup.map_err(|error| Error::not_started("the node", &error))?;
        loop {
            let mut connection = match self.listener.accept(self.node.timeout, &wakeup) {
                Ok(connection) => connection,
                Err(error) if is_stop(&error) => return Err(Error::Stopped(control.stop.signal())),
                Err(error) => return Err(anyhow::Error::from(error).into()),
            };
            match self.visit(&mut connection, &control.stop, &mut served, warn)? {
                Visit::Broken(FrameError::Io(error)) if is_stop(&error) => {
                    return Err(Error::Stopped(control.stop.signal()));
                }
                Visit::Broken(error) => warn(&format!("a connection was given up: {error}")),
                Visit::Over => {}
            }
        }
    }

    /// Has one conversation.
    fn visit(
        &self,
        connection: &mut Connection<'_>,
        stop: &Arc<StopSign>,
        served: &mut Served,
        warn: &mut dyn FnMut(&str),
    ) -> Result<Visit> {
        let mut is_ready = false;
        let mut reply = (Reply::Hello { protocol: PROTOCOL }, Parts::default());
        loop {
            let (message, parts) = &reply;
            let parts: Vec<Part<'_>> = parts.iter().map(|(name, data)| data.as_part(name)).collect();
            connection.next_message();
            if let Err(error) = write(connection, message, &parts) {
                return Ok(Visit::Broken(error.into()));
            }
            if let Reply::Failed { message, .. } = message {
                warn(&format!("a conversation has ended: {message}"));
                return Ok(Visit::Over);
            }
            let layout = served.as_ref().filter(|_| is_ready).and_then(|serving| serving.fleet.layout().ok());
            let payload = layout.map_or(0, |layout| MOST_VECTORS * layout.payload());
            connection.next_message();
            let (request, parts) = match read(connection, Limits::request(payload)) {
                Ok(request) => request,
                Err(FrameError::End) => return Ok(Visit::Over),
                Err(error) => return Ok(Visit::Broken(error)),
            };
            reply = match (request, &reply.0) {
                (Request::Setup(setup), Reply::Hello { .. }) => (self.set_up(setup, stop, served)?, Parts::default()),
                (Request::GetWeights, _) if is_ready && served.as_ref().is_some_and(|serving| serving.has_worked) => {
                    self.initial_weights(stop, served, warn)?
                }
                (request, _) => match served.as_mut() {
                    Some(Serving { fleet, has_worked, .. }) if is_ready => {
                        *has_worked |= matches!(request, Request::Train(_) | Request::Evaluate(_));
                        answer(fleet, request, parts, warn)?
                    }
                    _ => (failed(FailureKind::Protocol, "a setup comes first"), Parts::default()),
                },
            };
            is_ready |= matches!(reply.0, Reply::Ready(_));
        }
    }

    /// Has a process serve the setup of a run, and returns the reply for the run: `ready`, or a refusal.
    fn set_up(&self, requested: Setup, stop: &Arc<StopSign>, served: &mut Served) -> Result<Reply> {
        let setup = self.own_setup(requested);
        self.ready_or_failed(setup.and_then(|setup| self.serve(setup, stop, served)))
    }

    /// Returns the initial weights of the model, those of a fresh process: the present one has other weights by now.
    fn initial_weights(
        &self,
        stop: &Arc<StopSign>,
        served: &mut Served,
        warn: &mut dyn FnMut(&str),
    ) -> Result<(Reply, Parts)> {
        let fresh = served.take().map(|Serving { setup, .. }| setup);
        let ready = fresh.map(|setup| self.ready_or_failed(self.serve(setup, stop, served))).transpose()?;
        match (ready, served.as_mut()) {
            (Some(Reply::Ready(_)), Some(serving)) => {
                answer(&mut serving.fleet, Request::GetWeights, Parts::default(), warn)
            }
            (ready, _) => {
                Ok((ready.unwrap_or_else(|| failed(FailureKind::Protocol, "a setup comes first")), Parts::default()))
            }
        }
    }

    /// Returns the reply for a process that is ready, or a refusal.
    fn ready_or_failed(&self, served: Result<Ready>) -> Result<Reply> {
        match served {
            Ok(ready) => Ok(Reply::Ready(ready)),
            Err(Error::Stopped(signal)) => Err(Error::Stopped(signal)),
            Err(error) => {
                let kind = match error {
                    Error::Isolation(_) => FailureKind::Isolation,
                    Error::Data(_) => FailureKind::Data,
                    _ => FailureKind::Refused,
                };
                Ok(failed(kind, named(error, &self.copy(), &self.node).to_string()))
            }
        }
    }

    /// Has a process serve `setup`: the present one if it was started for the same setup, or else a fresh one.
    fn serve(&self, setup: Setup, stop: &Arc<StopSign>, served: &mut Served) -> Result<Ready> {
        let mut serving = match served.take() {
            Some(serving) if serving.setup == setup => serving,
            other => {
                // Two processes would need twice the memory.
                drop(other);
                Serving { fleet: self.start_process(setup.clone(), stop)?, setup, has_worked: false }
            }
        };
        let fleet = &mut serving.fleet;
        fleet.ready()?;
        let examples = fleet.sizes()?;
        let held_out = fleet.reported_held_out(0).to_vec();
        let in_force = fleet.in_force(0).cloned().unwrap_or_default();
        let ready =
            Ready { examples, held_out, features: fleet.features(0).to_vec(), in_force, ..fleet.model()?.clone() };
        *served = Some(serving);
        Ok(ready)
    }

    fn copy(&self) -> PathBuf {
        self.folder.path().join(COPY)
    }

    /// Returns the setup of a run with the node's own files in it.
    ///
    /// # Errors
    /// The reason why this node cannot serve the run.
    fn own_setup(&self, requested: Setup) -> Result<Setup> {
        if let Some(wanted) = requested.dylib_sha256.as_ref().filter(|&wanted| *wanted != self.dylib_sha256) {
            let name = &self.model.name;
            let own = &self.dylib_sha256;
            return Err(Error::Model(format!(
                "this node has the model {name} with SHA-256 {own}, the run's is {wanted}; install the same dylib"
            )));
        }
        if let Some(wanted) = requested.test_sha256.as_ref().filter(|&wanted| *wanted != self.test_sha256) {
            let own = &self.test_sha256;
            return Err(data(format!(
                "this node has the test set with SHA-256 {own}, the run's is {wanted}; give it the same test set"
            )));
        }
        let Purpose::Serve { task, partitions, .. } = requested.purpose else {
            return Err(Error::Model("a node serves a partition; `describe` has no place here".into()));
        };
        let [HeldPartition { client, sha256, .. }] = &partitions[..] else {
            return Err(Error::Model(format!("this node has one partition, asked for are {}", partitions.len())));
        };
        let client = *client;
        if let Some(wanted) = sha256.as_ref().filter(|&wanted| *wanted != self.partition_sha256) {
            let own = &self.partition_sha256;
            return Err(data(format!(
                "this node has a partition with SHA-256 {own}, that of the run's client {client} is {wanted}; give it that \
                 client's partition"
            )));
        }
        // The process checks the files that it maps, since they may have changed after the start of the node.
        let sha256 = Some(self.partition_sha256.clone());
        let test_sha256 = Some(self.test_sha256.clone());
        let partitions = vec![HeldPartition { client, path: self.node.partition.clone(), sha256 }];
        let purpose = Purpose::Serve { task, partitions, test: self.node.test.clone() };
        let dylib = Some(self.copy());
        let isolation = isolation_of(&self.node);
        Ok(Setup { dylib, dylib_sha256: None, test_sha256, isolation, purpose, ..requested })
    }

    fn start_process(&self, setup: Setup, stop: &Arc<StopSign>) -> Result<Fleet> {
        let command = Arc::new(self.node.command.clone());
        let logs = self.folder.path().to_owned();
        // The host of the federation decides the consequence of a crash.
        Fleet::start(Environment::new(command, logs, self.node.timeout), stop, vec![setup], 1, OnFailure::Drop)
    }
}

/// Returns the isolation of a node's client.
fn isolation_of(node: &Node) -> Isolation {
    isolation(node.isolation, node.memory_limit, node.cpu_limit, 1)
}

/// Returns the error with the path of the original dylib in place of the copy's, which the user has never seen.
fn named(error: Error, copy: &Path, node: &Node) -> Error {
    match error {
        Error::Model(message) => {
            Error::Model(message.replace(&copy.display().to_string(), &node.dylib.display().to_string()))
        }
        error => error,
    }
}

/// Has the process answer a request; returns the reply and its weights.
fn answer(fleet: &mut Fleet, request: Request, mut parts: Parts, warn: &mut dyn FnMut(&str)) -> Result<(Reply, Parts)> {
    let refused = |why: &str| Ok((failed(FailureKind::Protocol, why), Parts::default()));
    let weights = match request {
        Request::Setup(_) | Request::Launch(_) => {
            return refused("a second setup");
        }
        Request::Evaluate(Evaluate { client: Some(_), predictions: Some(_), .. }) => {
            return refused("predictions for held-out examples, which leave this node as sums alone");
        }
        Request::GetWeights => None,
        Request::Train(_) | Request::Evaluate(_) => match parts.take_f32(WEIGHTS) {
            // The client itself would use the weights of its last request.
            None => return refused("the request has no part \"weights\""),
            weights => weights.map(Arc::new),
        },
    };
    // A job of a client is never moved, so that the run's host decides the consequence of a crash.
    let parts = parts.into_vectors().map(|(name, values)| (name, Arc::new(values))).collect();
    let job = Job { slot: 0, client: Some(0), request, weights, parts, only_scores: false };
    let mut crash = None;
    // The run's host checks the reply.
    let no_check: Arc<Check> = Arc::new(|_: &Job, _: &Reply, _: &mut Parts, _| Ok(()));
    fleet.submit(job, &no_check);
    let settled = fleet.next_settled(None, &mut |incident: Incident<'_>| {
        match incident {
            Incident::Crashed(idle) if idle.crash.then == Consequence::Replaced => {
                warn(&format!("the idle client crashed: {}; a fresh process takes its place", idle.crash.cause));
            }
            Incident::Crashed(busy) => crash = Some(busy.crash.cause.to_string()),
            Incident::Done(_) => {}
        }
        Ok(())
    });
    match (settled.map(|job| job.map(|job| job.settled)), crash) {
        (Ok(Some(Ok(answered))), _) => Ok(answered),
        (Err(Error::Stopped(signal)), _) => Err(Error::Stopped(signal)),
        (Err(error), _) => Ok((failed(FailureKind::Model, error.to_string()), Parts::default())),
        (Ok(_), cause) => {
            let why = cause.unwrap_or("its work was not done".into());
            Ok((failed(FailureKind::Model, why), Parts::default()))
        }
    }
}

fn data(message: String) -> Error {
    DataError::Reported(message).into()
}

fn failed(kind: FailureKind, message: impl Into<String>) -> Reply {
    Reply::Failed { kind, message: message.into() }
}

#[cfg(test)]
mod tests;
