//! A client process behind a Unix socket, for a federation whose host is on another machine.
//!
//! Each connection is a conversation of the pipe protocol with this side as the client: `hello`, `setup`, `ready`, then
//! requests. The model, the partition and the test set are the node's own; a setup says the rest. The process behind the
//! socket outlives the connections, and is replaced where it died or where a setup asks for another. Connections are
//! served one after the other.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fedpipe_data::{DataError, Partition, counted};
use fedpipe_protocol::{
    FailureKind, FrameError, HeldPartition, Isolation, Layout, Level, Limits, PROTOCOL, Part, Parts, Purpose, Ready,
    Reply, Request, Setup, WEIGHTS, read, write,
};
use fedpipe_record::{crash::Consequence, digest::bytes_sha256, experiment::OnFailure, memory_limit::MemoryLimit};

use crate::{
    disk::{TemporaryFolder, temporary_folder},
    error::{Error, Result},
    experiment::limits::isolation,
    fleet::{Fleet, Incident, Job, describe::describe},
    node::socket::{Connection, Listener, is_stop},
    process::{
        conversation::Environment,
        inbox::{Control, Handle, Message},
        spawn::ClientCommand,
        stray::new_mark,
    },
};

/// What a node has.
#[derive(Debug, Clone)]
pub struct Node {
    /// How to start a client.
    pub command: ClientCommand,
    /// The model's dylib.
    pub dylib: PathBuf,
    /// The partition file to train on.
    pub partition: PathBuf,
    /// The test set, as a partition file.
    pub test: PathBuf,
    /// Where to listen.
    pub socket: PathBuf,
    /// What a client has for one answer, and a connection to begin a message and for the whole of it.
    pub timeout: Duration,
    /// What the client is confined to, which is the node's to say and not the run's; as in an [`Experiment`].
    pub isolation: Level,
    /// As in an [`Experiment`].
    pub memory_limit: Option<MemoryLimit>,
    /// As in an [`Experiment`].
    pub cpu_limit: Option<u64>,
}

/// A node that listens; its socket and its client end with it.
#[derive(Debug)]
pub struct Service {
    node: Node,
    listener: Listener,
    /// A copy of the dylib, since truncating one that is in use kills who uses it; and the client's log.
    folder: TemporaryFolder,
    model: Ready,
    dylib_sha256: String,
    examples: u64,
    partition_sha256: String,
    test_sha256: String,
}

/// The name of the copy in its folder.
const COPY: &str = "model.so";

/// Ends a service; may be given to another thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    listener: Arc<nix::sys::eventfd::EventFd>,
    run: Handle,
}

/// What a connection has left to do.
enum Visit {
    /// It ended, as it may.
    Over,
    /// The other side broke the protocol or went away.
    Broken(FrameError),
}

/// The process that serves, and the setup that it was started for.
type Served<'c> = Option<(Setup, Fleet<'c>)>;

impl Service {
    /// Looks at what the node has, and listens.
    ///
    /// # Errors
    /// [`Error::Model`], [`Error::Data`], [`Error::Isolation`] and, for the socket, [`Error::Usage`].
    pub fn start(node: Node) -> Result<Self> {
        let partition = Partition::open(&node.partition)?;
        let (examples, partition_sha256) = (partition.len() as u64, partition.sha256());
        let test_sha256 = Partition::open(&node.test)?.sha256();
        let folder = temporary_folder("fedpipe-serve-")?;
        let dylib = std::fs::read(&node.dylib)
            .map_err(|error| Error::Model(format!("cannot read {}: {error}", node.dylib.display())))?;
        let copy = folder.path().join(COPY);
        std::fs::write(&copy, &dylib).map_err(|error| Error::temporary(&error))?;
        // Of the copy, which is what will serve: the original may be another file by now.
        let model = describe(&node.command, &copy, &isolation_of(&node)).map_err(|error| named(error, &copy, &node))?;
        let listener = Listener::bind(&node.socket)?;
        let dylib_sha256 = bytes_sha256(&dylib);
        Ok(Self { node, listener, folder, model, dylib_sha256, examples, partition_sha256, test_sha256 })
    }

    /// What is served, in one line.
    pub fn about(&self) -> String {
        let Self { model: Ready { name, version, .. }, dylib_sha256, examples, .. } = self;
        format!("{name} {version} (SHA-256 {dylib_sha256}) with {}", counted(*examples, "example"))
    }

    /// What ends [`Service::run`] under the same `control`.
    pub fn stopper(&self, control: &Control) -> Stopper {
        Stopper { listener: Arc::clone(&self.listener.stopped), run: control.handle() }
    }

    /// Serves until it is stopped; `tell` hears of what went wrong, a sentence each.
    ///
    /// # Errors
    /// [`Error::Stopped`] as the good end, others where the system fails.
    pub fn run(&self, control: &Control, tell: &mut dyn FnMut(&str)) -> Result<()> {
        let mut served = None;
        loop {
            let connection = self.listener.accept(self.node.timeout);
            let mut connection = connection.map_err(|error| match is_stop(&error) {
                true => stop(control),
                false => anyhow::Error::from(error).into(),
            })?;
            match self.visit(&mut connection, control, &mut served, tell)? {
                Visit::Broken(FrameError::Io(error)) if is_stop(&error) => return Err(stop(control)),
                Visit::Broken(error) => tell(&format!("a connection was given up: {error}")),
                Visit::Over => {}
            }
        }
    }

    /// One conversation.
    fn visit<'c>(
        &self,
        connection: &mut Connection<'_>,
        control: &'c Control,
        served: &mut Served<'c>,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Visit> {
        let mut is_ready = false;
        let mut reply = (Reply::Hello { protocol: PROTOCOL }, None);
        loop {
            let (said, weights) = &reply;
            let weights = weights.as_deref().map(|weights| Part::F32(WEIGHTS, weights));
            connection.next_message();
            if let Err(error) = write(connection, said, weights.as_slice()) {
                return Ok(Visit::Broken(error.into()));
            }
            if let Reply::Failed { message, .. } = said {
                tell(message);
                return Ok(Visit::Over);
            }
            let layout = served.as_ref().filter(|_| is_ready).and_then(|(_, fleet)| fleet.layout());
            let payload = layout.map_or(0, Layout::payload);
            connection.next_message();
            let (request, parts) = match read(connection, Limits { payload }) {
                Ok(request) => request,
                Err(FrameError::End) => return Ok(Visit::Over),
                Err(error) => return Ok(Visit::Broken(error)),
            };
            reply = match (request, &reply.0) {
                (Request::Setup(asked), Reply::Hello { .. }) => (self.set_up(asked, control, served)?, None),
                (request, _) => match served.as_mut() {
                    Some((_, fleet)) if is_ready => answer(fleet, request, parts, tell)?,
                    _ => (failed(FailureKind::Protocol, "a setup comes first"), None),
                },
            };
            is_ready |= matches!(reply.0, Reply::Ready(_));
        }
    }

    /// Whether a process serves what is asked.
    fn set_up<'c>(&self, asked: Setup, control: &'c Control, served: &mut Served<'c>) -> Result<Reply> {
        match self.own(asked).and_then(|setup| self.process_for(setup, control, served)) {
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

    /// The process that serves `setup` is the one there is, or a fresh one.
    fn process_for<'c>(&self, setup: Setup, control: &'c Control, served: &mut Served<'c>) -> Result<Ready> {
        let mut fleet = match served.take() {
            Some((serving, fleet)) if serving == setup => fleet,
            other => {
                drop(other);
                // What the process before had to say would be taken for the next one's.
                while let Ok(message) = control.inbox.try_recv() {
                    if let Message::Stop(signal) = message {
                        return Err(Error::Stopped(signal));
                    }
                }
                self.start_process(setup.clone(), control)?
            }
        };
        fleet.ready()?;
        let examples = fleet.sizes()?;
        let (Some(model), Some(in_force)) = (fleet.model().cloned(), fleet.in_force(0).cloned()) else {
            return Err(anyhow::anyhow!("a client is ready, but has not said what it is").into());
        };
        let ready = Ready { examples, in_force, ..model };
        *served = Some((setup, fleet));
        Ok(ready)
    }

    fn copy(&self) -> PathBuf {
        self.folder.path().join(COPY)
    }

    /// The setup that was asked for, with what is the node's own, or why it is refused.
    fn own(&self, asked: Setup) -> Result<Setup> {
        if let Some(wanted) = asked.dylib_sha256.as_ref().filter(|&wanted| *wanted != self.dylib_sha256) {
            let (name, own) = (&self.model.name, &self.dylib_sha256);
            return Err(Error::Model(format!(
                "this node has the model {name} with SHA-256 {own}, the run's is {wanted}; install the same dylib"
            )));
        }
        if let Some(wanted) = asked.test_sha256.as_ref().filter(|&wanted| *wanted != self.test_sha256) {
            let own = &self.test_sha256;
            return Err(data(format!(
                "this node has the test set with SHA-256 {own}, the run's is {wanted}; give it the same test set"
            )));
        }
        let Purpose::Serve { task, partitions, .. } = asked.purpose else {
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
        // The process checks what it maps: the files may have changed since the node was started.
        let (sha256, test_sha256) = (Some(self.partition_sha256.clone()), Some(self.test_sha256.clone()));
        let partitions = vec![HeldPartition { client, path: self.node.partition.clone(), sha256 }];
        let purpose = Purpose::Serve { task, partitions, test: self.node.test.clone() };
        let (dylib, isolation) = (Some(self.copy()), isolation_of(&self.node));
        Ok(Setup { dylib, dylib_sha256: None, test_sha256, isolation, purpose, ..asked })
    }

    fn start_process<'c>(&self, setup: Setup, control: &'c Control) -> Result<Fleet<'c>> {
        let environment = Environment {
            command: self.node.command.clone(),
            launched: None,
            mark: new_mark(),
            spare: Arc::default(),
            logs: self.folder.path().to_owned(),
            timeout: self.node.timeout,
            pipe_size: 1 << 20,
            jitter: None,
        };
        // What a loss costs is for the federation's host to say.
        Fleet::start(environment, control, vec![setup], 1, OnFailure::Drop)
    }
}

impl Stopper {
    /// Ends the service; `signal` is what asked for it.
    pub fn stop(&self, signal: i32) {
        self.run.stop(signal);
        let _ = self.listener.write(1);
    }
}

/// Returns the isolation of a node's client.
fn isolation_of(node: &Node) -> Isolation {
    isolation(node.isolation, node.memory_limit, node.cpu_limit, 1)
}

/// A client knows the copy of the dylib; the user knows the original.
fn named(error: Error, copy: &Path, node: &Node) -> Error {
    match error {
        Error::Model(message) => {
            Error::Model(message.replace(&copy.display().to_string(), &node.dylib.display().to_string()))
        }
        error => error,
    }
}

/// The reply to a request, with its weights.
fn answer(
    fleet: &mut Fleet<'_>,
    request: Request,
    mut parts: Parts,
    tell: &mut dyn FnMut(&str),
) -> Result<(Reply, Option<Vec<f32>>)> {
    let weights = match request {
        Request::Setup(_) | Request::Launch(_) => {
            return Ok((failed(FailureKind::Protocol, "a second setup"), None));
        }
        Request::GetWeights => None,
        Request::Train(_) | Request::Evaluate(_) => match parts.take_f32(WEIGHTS) {
            // The client itself would take the last ones.
            None => return Ok((failed(FailureKind::Protocol, "the request has no part \"weights\""), None)),
            weights => weights.map(Arc::new),
        },
    };
    // It is some client's, so that a loss is told and not mended behind the host's back.
    let job = Job { slot: 0, client: Some(0), request, weights };
    let mut lost = None;
    let settled = fleet.run(None, vec![job], &|_, _, _, _| Ok(()), &mut |incident| {
        match incident {
            Incident::Crashed(loss) if loss.then == Consequence::Replaced => {
                tell(&format!("the idle client was lost: {}; a fresh process takes its place", loss.cause));
            }
            Incident::Crashed(loss) => lost = Some(loss.cause.to_string()),
            Incident::Done(_) => {}
        }
        Ok(())
    });
    let settled = settled.map(|settled| settled.into_iter().next());
    match (settled, lost) {
        (Ok(Some(Ok((reply, mut parts)))), _) => Ok((reply, parts.take_f32(WEIGHTS))),
        (Err(Error::Stopped(signal)), _) => Err(Error::Stopped(signal)),
        (Err(error), _) => Ok((failed(FailureKind::Model, error.to_string()), None)),
        (Ok(_), lost) => Ok((failed(FailureKind::Model, lost.unwrap_or("its work was not done".into())), None)),
    }
}

fn data(message: String) -> Error {
    DataError::Reported(message).into()
}

fn failed(kind: FailureKind, message: impl Into<String>) -> Reply {
    Reply::Failed { kind, message: message.into() }
}

/// The stop that was asked for.
fn stop(control: &Control) -> Error {
    let signals = control.inbox.try_iter().filter_map(|message| match message {
        Message::Stop(signal) => Some(signal),
        _ => None,
    });
    Error::Stopped(signals.last().unwrap_or(0))
}
