//! One client process and the thread of the host that talks to it.
//!
//! The thread sends the requests that it is assigned and reports the replies. It also watches the client while there is
//! nothing to do. Whatever ends the conversation ends the process, its process group and the thread.

use std::{
    convert::Infallible,
    fmt,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc, Weak,
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use fedpipe_protocol::{FrameError, Limits, Part, Parts, Ready, Reply, Request, Setup, Spare, WEIGHTS, feature, read};
use fedpipe_record::cause::Cause;
use nix::{sched::CpuSet, unistd::Pid};

use crate::{
    disk::timeline_log::Timeline,
    error::start_error::{StartCall, StartError, failed},
    process::{
        affinity::keep_on,
        end::{ConversationEnd, ProcessExit},
        lane::Lane,
        launched::Launched,
        peer::{PIPE_SIZE, Peer, PeerPlan},
        pipes::{WaitError, WaitFor, has_exited, wait_error},
        spawn::Spawner,
        stray::new_mark,
        wakeup::Wakeup,
    },
};

/// The name of a client process. A process that is started again in the same slot has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessId {
    pub(crate) slot: usize,
    pub(crate) generation: u64,
}

/// A vector and the name of the part that carries it.
pub(crate) type NamedVector = (String, Arc<Vec<f32>>);

/// The result of the check of a reply.
pub(crate) type Checked = Result<(), Cause>;

/// Checks a reply and decodes its parts.
pub(crate) struct ReplyCheck(Box<CheckReply>);

type CheckReply = dyn Fn(&Reply, &mut Parts) -> Checked + Send;

impl ReplyCheck {
    pub(crate) fn new(check: impl Fn(&Reply, &mut Parts) -> Checked + Send + 'static) -> Self {
        Self(Box::new(check))
    }

    /// Returns a check that refuses nothing.
    pub(crate) fn none() -> Self {
        Self::new(|_, _| Ok(()))
    }
}

impl fmt::Debug for ReplyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyCheck")
    }
}

/// A request for a client process, and the limits of its reply.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) request: Request,
    pub(crate) weights: Option<Arc<Vec<f32>>>,
    /// Further parts by name.
    pub(crate) parts: Vec<NamedVector>,
    /// The most bytes of payload that the reply may have.
    pub(crate) reply_payload: u64,
    /// The check of the reply.
    pub(crate) check: ReplyCheck,
    /// The cores for the work; none to leave the process where it is.
    pub(crate) cores: Option<CpuSet>,
}

/// A report of a client process's thread.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all reports are replies, of which a job has one")]
pub(crate) enum ProcessReport {
    /// The reply to a request for weights has begun, so that the client has done its computing.
    ReplyBegun,
    /// A whole reply, and the result of its check.
    Replied(Reply, Parts, Checked),
    /// The process has exited and was reaped; no report follows.
    Exited(ProcessExit),
}

/// A running client process. Dropping it ends the process and waits for the end.
pub(crate) struct ClientProcess {
    pub(crate) id: ProcessId,
    pub(crate) started: Instant,
    /// The bytes in its log when the process was started.
    pub(crate) log_start: u64,
    assignments: Option<Sender<Assignment>>,
    exited: Arc<OwnedFd>,
    wakeup: Arc<Wakeup>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for ClientProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientProcess").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The breach of the protocol by a client that answers without a request.
pub(crate) const NO_REQUEST: &str = "it sent an answer without a request";

/// The time that an idle client has for the rest of a message that it began without a request.
const UNREQUESTED: Duration = Duration::from_millis(500);

/// The configuration that all client processes of a fleet share.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    pub(crate) spawner: Arc<dyn Spawner>,
    /// The program that the clients become, if they are started by a launcher.
    pub(crate) launched: Option<Launched>,
    /// The folder of the clients' logs.
    pub(crate) logs: PathBuf,
    /// The start of the mark in the environment of each process, by which a process that was left behind is found.
    pub(crate) mark: String,
    /// The time that a client has for a reply.
    pub(crate) timeout: Duration,
    /// The bytes of each pipe.
    pub(crate) pipe_size: i32,
    /// The buffers of the updates of earlier rounds.
    pub(crate) spare: Arc<Spare>,
    /// The times of messages.
    pub(crate) timeline: Timeline,
}

impl Environment {
    /// Returns the environment of clients that need no launcher, with a mark of their own.
    pub(crate) fn new(spawner: Arc<dyn Spawner>, logs: PathBuf, timeout: Duration) -> Self {
        let mark = new_mark();
        let (spare, timeline) = Default::default();
        Self { spawner, launched: None, logs, mark, timeout, pipe_size: PIPE_SIZE, spare, timeline }
    }

    /// Returns the mark of a process, which stands in its environment.
    pub(crate) fn mark_of(&self, id: ProcessId) -> String {
        format!("{}{}", self.mark, id.generation)
    }

    /// Returns the path of the log of the processes in `slot`.
    pub(crate) fn log(&self, slot: usize) -> PathBuf {
        self.logs.join(format!("{slot:03}.log"))
    }
}

impl ClientProcess {
    /// Starts the process and the thread that talks to it. The thread passes its reports to `report`. If the process
    /// starts with a launcher, the launcher receives the isolation and the data of `setup`.
    pub(crate) fn start(
        environment: &Environment,
        id: ProcessId,
        setup: &Setup,
        report: impl Fn(ProcessReport) -> bool + Send + 'static,
    ) -> Result<Self, StartError> {
        let plan = PeerPlan {
            number: id.slot as u32,
            mark: environment.mark_of(id),
            pipe_size: environment.pipe_size,
            log: environment.log(id.slot),
            timeout: environment.timeout,
        };
        let wakeup = Arc::new(Wakeup::new().map_err(failed(StartCall::Descriptor))?);
        let mut peer = Peer::start(&*environment.spawner, plan, Arc::clone(&wakeup))?;
        peer.lane = Lane::new(&environment.timeline, id.slot as u32, peer.pid().map(Pid::as_raw));
        let log_start = peer.link.log.written();
        let exited = Arc::clone(peer.link.exited());
        let launch = environment.launched.as_ref().map(|launched| launched.as_client(setup));
        let (assignments, received) = mpsc::channel();
        let spare = Arc::clone(&environment.spare);
        let talk = move || {
            let Err(end) = converse(&mut peer, launch.as_ref(), &received, &spare, &report);
            let exit = peer.end(end);
            peer.lane.exited(exit.as_ref().map(|exit| &exit.cause));
            if let Some(exit) = exit {
                report(ProcessReport::Exited(exit));
                // The search reads every process of the machine, so that it comes after the report.
                peer.end_strays();
            }
        };
        let thread = std::thread::Builder::new().name(format!("client {}", id.slot)).stack_size(256 << 10).spawn(talk);
        let thread = Some(thread.map_err(failed(StartCall::Thread))?);
        Ok(Self { id, started: Instant::now(), log_start, assignments: Some(assignments), exited, wakeup, thread })
    }

    /// Returns `true` if the process has exited. Its last report was made, or follows soon.
    pub(crate) fn has_exited(&self) -> bool {
        has_exited(&self.exited)
    }

    /// Returns the descriptor that is readable once the process has exited.
    #[cfg(test)]
    pub(crate) fn exited_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.exited)
    }

    /// Assigns a request to the process. If the process has exited, the exit is reported instead of a reply.
    pub(crate) fn assign(&self, assignment: Assignment) {
        if let Some(assignments) = &self.assignments {
            let _ = assignments.send(assignment);
            self.wakeup.wake();
        }
    }

    /// Has the thread end its process, without waiting for the end.
    pub(crate) fn dismiss(&mut self) {
        self.assignments = None;
        self.wakeup.dismiss();
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        self.dismiss();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends the assigned requests and reports the replies, until one side ends the conversation.
pub(crate) fn converse(
    peer: &mut Peer,
    launch: Option<&Request>,
    assignments: &Receiver<Assignment>,
    spare: &Spare,
    report: &dyn Fn(ProcessReport) -> bool,
) -> Result<Infallible, ConversationEnd> {
    let launched = peer.open::<Reply>(launch)?;
    let mut kept = KeptWeights::default();
    let mut last_cores = None;
    loop {
        let Assignment { mut request, weights, parts, reply_payload, check, cores } =
            next_assignment(peer, assignments)?;
        if let (Some(cores), Some(process)) = (cores.filter(|_| cores != last_cores), peer.pid()) {
            // This thread reaps the process, so that no other process can have its number.
            keep_on(&cores, process);
            last_cores = Some(cores);
        }
        let new = kept.update(weights);
        request.set_weights_version(kept.version);
        let further = parts.iter().map(|(name, values)| Part::F32(name, values));
        let all: Vec<Part<'_>> = new.iter().map(|weights| Part::F32(WEIGHTS, weights)).chain(further).collect();
        peer.send(&request, &all)?;
        let begun = peer.begin::<Reply>(reply_payload)?;
        let bytes = begun.payload();
        if reply_payload > 0 && !report(ProcessReport::ReplyBegun) {
            return Err(ConversationEnd::Dismissed);
        }
        let (mut reply, mut parts) = peer.finish(begun, spare)?;
        if let Reply::Update(update) = &mut reply {
            peer.lane.trained(update);
        }
        peer.lane.received(reply.kind(), request.client(), bytes);
        if let Reply::Ready(ready) = &mut reply {
            kept.take_ability(ready);
            // The launcher reported the isolation before the program ran; the program's own report does not count.
            launched.iter().for_each(|in_force| ready.in_force.clone_from(in_force));
        }
        let checked = (check.0)(&reply, &mut parts);
        if !report(ProcessReport::Replied(reply, parts, checked)) {
            return Err(ConversationEnd::Dismissed);
        }
    }
}

/// The weights that a client keeps from its last request.
#[derive(Debug, Default)]
struct KeptWeights {
    /// The client has said that it keeps weights.
    are_kept: bool,
    /// A `Weak` does not keep old weights alive, but reserves their address, so that equal pointers are the same
    /// weights.
    last: Weak<Vec<f32>>,
    /// The version of the weights that were sent last, from 1; the host counts them.
    version: u64,
}

impl KeptWeights {
    /// Returns the weights if the client does not have them yet. The caller must send them.
    fn update(&mut self, weights: Option<Arc<Vec<f32>>>) -> Option<Arc<Vec<f32>>> {
        let new = weights.filter(|weights| !self.last.ptr_eq(&Arc::downgrade(weights)))?;
        self.version += 1;
        if self.are_kept {
            self.last = Arc::downgrade(&new);
        }
        Some(new)
    }

    /// Takes the ability to keep weights out of the features. The ability is this conversation's alone: a node
    /// (`fedpipe serve`) passes the other features on and must not promise this one.
    fn take_ability(&mut self, ready: &mut Ready) {
        let all = ready.features.len();
        ready.features.retain(|name| name != feature::KEEPS_WEIGHTS);
        self.are_kept = ready.features.len() < all;
    }
}

/// Waits for an assignment and watches the idle client.
fn next_assignment(peer: &mut Peer, assignments: &Receiver<Assignment>) -> Result<Assignment, ConversationEnd> {
    loop {
        match assignments.try_recv() {
            Ok(assignment) => return Ok(assignment),
            Err(TryRecvError::Disconnected) => return Err(ConversationEnd::Dismissed),
            Err(TryRecvError::Empty) => {}
        }
        match peer.link.wait(WaitFor::Wakeup) {
            Ok(()) => return Err(unrequested(peer)),
            Err(error) if wait_error(&error) == Some(WaitError::Woken) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the end of the conversation with an idle client that has written something. It names a message that is
/// complete in time.
fn unrequested(peer: &mut Peer) -> ConversationEnd {
    peer.link.allow(UNREQUESTED);
    match read::<Reply>(&mut peer.link, Limits::reply(0)) {
        Ok((reply, _)) => ConversationEnd::breach(format!("it sent {:?} without a request", reply.kind())),
        Err(FrameError::Io(error)) if wait_error(&error) == Some(WaitError::Deadline) => {
            ConversationEnd::breach("it sent a part of a message without a request")
        }
        Err(error) => error.into(),
    }
}

#[cfg(test)]
mod tests;
