//! A program at the other end of two pipes: a client or a strategy program.
//!
//! Both are launched, greeted, asked and ended in the same way; only their messages differ.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use fedpipe_protocol::{
    FailureKind, FrameStart, InForce, Limits, PROTOCOL, Part, Parts, Reply, Request, Spare, StrategyReply,
    StrategyRequest, begin, write,
};
use fedpipe_record::cause::Cause;
use nix::unistd::Pid;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::start_error::StartError,
    process::{
        container,
        end::{ConversationEnd, Ending, ProcessExit, Running, exit_cause},
        lane::Lane,
        log::ClientLog,
        pipes::{Link, WaitFor},
        spawn::{Spawned, Spawner},
        stray::end_strays,
        wakeup::Wakeup,
    },
};

/// The time that a peer has to exit after its pipe was closed.
const GRACE: Duration = Duration::from_millis(500);

/// A message from a peer.
pub(crate) trait PeerReply: Serialize + DeserializeOwned {
    /// Returns the protocol version of a hello.
    fn hello(&self) -> Option<u32>;

    /// Returns the failure that the peer reports in place of a reply.
    fn failure(&self) -> Option<(FailureKind, &str)>;

    /// Returns the type of the message, such as `update`.
    fn kind(&self) -> &'static str;
}

/// A request to a peer.
pub(crate) trait PeerRequest: Serialize {
    /// Returns the type of the message, such as `train`.
    fn kind(&self) -> &'static str;

    /// Returns the client that the request is about, if there is one.
    fn client(&self) -> Option<u32>;
}

impl PeerRequest for Request {
    fn kind(&self) -> &'static str {
        Request::kind(self)
    }

    fn client(&self) -> Option<u32> {
        Request::client(self)
    }
}

impl PeerRequest for StrategyRequest {
    fn kind(&self) -> &'static str {
        StrategyRequest::kind(self)
    }

    fn client(&self) -> Option<u32> {
        StrategyRequest::client(self)
    }
}

impl PeerReply for Reply {
    fn hello(&self) -> Option<u32> {
        if let Reply::Hello { protocol } = self { Some(*protocol) } else { None }
    }

    fn failure(&self) -> Option<(FailureKind, &str)> {
        if let Reply::Failed { kind, message } = self { Some((*kind, message)) } else { None }
    }

    fn kind(&self) -> &'static str {
        Reply::kind(self)
    }
}

impl PeerReply for StrategyReply {
    fn hello(&self) -> Option<u32> {
        if let StrategyReply::Hello { protocol } = self { Some(*protocol) } else { None }
    }

    fn failure(&self) -> Option<(FailureKind, &str)> {
        if let StrategyReply::Failed { kind, message } = self { Some((*kind, message)) } else { None }
    }

    fn kind(&self) -> &'static str {
        StrategyReply::kind(self)
    }
}

/// The bytes of a pipe by default: the most that any user may request.
pub(crate) const PIPE_SIZE: i32 = 1 << 20;

/// The configuration of a peer.
#[derive(Debug)]
pub(crate) struct PeerPlan {
    /// The number, the last argument of the program.
    pub(crate) number: u32,
    /// The mark in the environment of the process, by which a process that was left behind is found.
    pub(crate) mark: String,
    /// The bytes that each pipe should hold.
    pub(crate) pipe_size: i32,
    /// The file of the log.
    pub(crate) log: PathBuf,
    /// The time for each message.
    pub(crate) timeout: Duration,
}

/// A running peer. Dropping it kills and reaps its process.
pub(crate) struct Peer {
    process: Box<dyn Running>,
    pub(crate) link: Link,
    mark: String,
    timeout: Duration,
    started: Instant,
    /// The container's kills for want of memory before the process was started.
    kills_before: u64,
    /// A valid `hello` was received.
    greeted: bool,
    /// The lane in the timeline.
    pub(crate) lane: Lane,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("mark", &self.mark).field("greeted", &self.greeted).finish_non_exhaustive()
    }
}

impl Peer {
    /// Starts the process. `wakeup` ends the wait for an idle peer. After a dismissal, it ends every wait except the
    /// one for the exit.
    ///
    /// # Errors
    /// Returns the errors of [`Spawner::spawn`].
    pub(crate) fn start(spawner: &dyn Spawner, plan: PeerPlan, wakeup: Arc<Wakeup>) -> Result<Self, StartError> {
        let PeerPlan { number, mark, pipe_size, log, timeout } = plan;
        let kills_before = container::kills();
        let Spawned { process, ends } = spawner.spawn(number, &mark, pipe_size)?;
        let link = Link::new(ends, ClientLog::new(log), wakeup, timeout);
        Ok(Self {
            process,
            link,
            mark,
            timeout,
            started: Instant::now(),
            kills_before,
            greeted: false,
            lane: Lane::default(),
        })
    }

    /// Has the launcher start the program, if there is a launcher, and receives the program's hello. Returns the
    /// isolation that the launcher reports.
    pub(crate) fn open<R: PeerReply>(&mut self, launch: Option<&Request>) -> Result<Option<InForce>, ConversationEnd> {
        self.link.allow(self.timeout);
        let in_force = launch.map(|launch| self.launch(launch)).transpose()?;
        let reply: R = self.receive(0)?.0;
        match reply.hello() {
            Some(PROTOCOL) => {
                self.greeted = true;
                self.lane.received(reply.kind(), None, 0);
                Ok(in_force)
            }
            Some(protocol) => {
                Err(ConversationEnd::breach(format!("it speaks protocol {protocol}, this host {PROTOCOL}")))
            }
            None => Err(no_first_message(&reply)),
        }
    }

    fn launch(&mut self, launch: &Request) -> Result<InForce, ConversationEnd> {
        write(&mut self.link, launch, &[])?;
        match self.receive(0)?.0 {
            Reply::Launched(in_force) => Ok(in_force),
            other => Err(no_first_message(&other)),
        }
    }

    /// Sends a request and receives the reply, whose parts have at most `payload` bytes.
    pub(crate) fn ask<R: PeerReply>(
        &mut self,
        request: &impl PeerRequest,
        parts: &[Part<'_>],
        payload: u64,
    ) -> Result<(R, Parts), ConversationEnd> {
        self.send(request, parts)?;
        let begun = self.begin::<R>(payload)?;
        let bytes = begun.payload();
        let (reply, parts) = self.finish(begun, &Spare::default())?;
        self.lane.received(reply.kind(), request.client(), bytes);
        Ok((reply, parts))
    }

    /// Sends a request. From now on the peer has its time to receive the request and to reply.
    pub(crate) fn send(&mut self, request: &impl PeerRequest, parts: &[Part<'_>]) -> Result<(), ConversationEnd> {
        self.link.allow(self.timeout);
        let at = self.lane.now();
        write(&mut self.link, request, parts)?;
        let bytes = parts.iter().map(|part| part.bytes().len() as u64).sum();
        self.lane.sent(at, (request.kind(), request.client()), bytes);
        Ok(())
    }

    fn receive<R: PeerReply>(&mut self, payload: u64) -> Result<(R, Parts), ConversationEnd> {
        let begun = self.begin(payload)?;
        self.finish(begun, &Spare::default())
    }

    /// Receives the header of a reply, whose parts have at most `payload` bytes.
    pub(crate) fn begin<R: PeerReply>(&mut self, payload: u64) -> Result<FrameStart<R>, ConversationEnd> {
        let begun = begin(&mut self.link, Limits::reply(payload))?;
        self.lane.begin_reply();
        Ok(begun)
    }

    /// Receives the rest of a reply. A failure that the peer reports ends the conversation.
    pub(crate) fn finish<R: PeerReply>(
        &mut self,
        begun: FrameStart<R>,
        spare: &Spare,
    ) -> Result<(R, Parts), ConversationEnd> {
        let (reply, parts) = begun.finish(&mut self.link, spare)?;
        match reply.failure() {
            Some((kind, message)) => Err(ConversationEnd::Unfit(Cause::reported(kind, message))),
            None => Ok((reply, parts)),
        }
    }

    /// Returns the number of the process; none for a peer that is a thread.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.process.pid()
    }

    /// Ends the process. Returns the exit, or none if the host ended the conversation.
    pub(crate) fn end(&mut self, end: ConversationEnd) -> Option<ProcessExit> {
        let blamed = match Ending::of(end, self.timeout) {
            Ending::LetGo => {
                self.let_go();
                return None;
            }
            Ending::Kill => {
                let _ = self.process.kill();
                return None;
            }
            Ending::Blame(cause) => Some(cause),
            Ending::AwaitExit if self.wait_for_exit() => None,
            Ending::AwaitExit => Some(Cause::protocol("it closed its pipe and did not exit")),
        };
        let cpu_time = self.process.cpu_time();
        let status = self.process.kill();
        self.link.drain_log();
        let cause = blamed.unwrap_or_else(|| exit_cause(status, self.kills_before));
        let log = Some(self.link.log.path().to_owned()).filter(|path| path.exists());
        let last_words = self.link.log.last_lines();
        let after = self.started.elapsed();
        Some(ProcessExit { cause, last_words, log, after, cpu_time, greeted: self.greeted })
    }

    /// Ends the processes that the peer started and that left its process group.
    pub(crate) fn end_strays(&self) {
        end_strays(&|mark| mark == self.mark);
    }

    /// Closes the pipe, at whose end an idle process exits by itself.
    fn let_go(&mut self) {
        self.link.close();
        self.wait_for_exit();
        let _ = self.process.kill();
        self.link.drain_log();
    }

    /// Waits, at most the grace, until the process has exited; the log is drained meanwhile.
    fn wait_for_exit(&mut self) -> bool {
        self.link.allow(GRACE);
        self.link.wait(WaitFor::Exit).is_ok()
    }
}

fn no_first_message(reply: &impl PeerReply) -> ConversationEnd {
    ConversationEnd::breach(format!("its first message is {:?}", reply.kind()))
}
