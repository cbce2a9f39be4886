//! One client process and the thread in the host that talks to it.
//!
//! The thread sends what it is ordered and reports what came back, or why the client was lost; it watches the client
//! while there is nothing to do. Whatever ends the conversation ends the process, its process group and the thread.

use std::{
    fmt,
    path::PathBuf,
    process::{Child, ExitStatus},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use fedpipe_protocol::{FrameError, Limits, PROTOCOL, Part, Parts, Reply, Request, WEIGHTS, read, write};
use nix::{
    sys::{
        eventfd::{EfdFlags, EventFd},
        signal::{Signal, killpg},
    },
    unistd::Pid,
};

use crate::{
    cause::Cause,
    control::Message,
    link::{GaveUp, Link, Want},
    log::ClientLog,
    spawn::{ClientCommand, Spawned, spawn},
};

/// Lines of a lost client's output that are shown.
const LAST_WORDS: usize = 3;

/// How long a client may take to end after its pipe was closed.
const GRACE: Duration = Duration::from_millis(500);

/// Which worker a report is about; a process that is started again in the same place is another worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkerId {
    pub(crate) slot: usize,
    pub(crate) generation: u64,
}

/// A request to be sent, and what its reply may hold.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) request: Request,
    pub(crate) weights: Option<Arc<Vec<f32>>>,
    /// Bytes of payload that the reply may have.
    pub(crate) reply_payload: u64,
}

/// What a worker's thread reports.
#[derive(Debug)]
pub(crate) enum News {
    Replied(Reply, Parts),
    /// The process is gone and reaped; nothing follows.
    Lost(Loss),
}

/// A lost client process.
#[derive(Debug, Clone)]
pub(crate) struct Loss {
    pub(crate) cause: Cause,
    pub(crate) last_words: Vec<String>,
    pub(crate) log: Option<PathBuf>,
    /// Since the process was started.
    pub(crate) after: Duration,
}

/// A running client process; dropping it ends the process and waits for that.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    orders: Option<Sender<Order>>,
    wake: Arc<EventFd>,
    dismissed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What is the same for all workers of a run.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    pub(crate) command: ClientCommand,
    /// The folder of the clients' logs.
    pub(crate) logs: PathBuf,
    pub(crate) timeout: Duration,
    pub(crate) pipe_size: i32,
}

impl Worker {
    /// Starts the process and its thread, which reports to `inbox`.
    pub(crate) fn start(
        environment: &Environment,
        id: WorkerId,
        inbox: Sender<Message>,
    ) -> std::io::Result<Self> {
        let Spawned { child, pidfd, to, from, log } =
            spawn(&environment.command, id.slot as u32, environment.pipe_size)?;
        let mut process = Process { child, reaped: false };
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let dismissed = Arc::new(AtomicBool::new(false));
        let client_log = ClientLog::new(environment.logs.join(format!("{:03}.log", id.slot)));
        let mut link = Link {
            to,
            from,
            pidfd,
            log_pipe: Some(log),
            log: client_log,
            wake: Arc::clone(&wake),
            dismissed: Arc::clone(&dismissed),
            deadline: None,
            dead: false,
        };
        let (orders, received) = mpsc::channel();
        let timeout = environment.timeout;
        let thread = std::thread::Builder::new().name(format!("client {}", id.slot)).stack_size(256 << 10).spawn(
            move || {
                let started = Instant::now();
                let report = |news| inbox.send(Message::News(id, news)).is_ok();
                let ended = converse(&mut link, &received, timeout, &report);
                let loss = process.end(&mut link, ended, timeout, started);
                if let Some(loss) = loss {
                    report(News::Lost(loss));
                }
            },
        )?;
        Ok(Self { id, orders: Some(orders), wake, dismissed, thread: Some(thread) })
    }

    /// Sends an order; a lost worker's report is then already on its way.
    pub(crate) fn send(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
            let _ = self.wake.write(1);
        }
    }

    /// Tells the thread to end its process, without waiting for it.
    pub(crate) fn dismiss(&mut self) {
        self.orders = None;
        self.dismissed.store(true, Ordering::Release);
        let _ = self.wake.write(1);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.dismiss();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Why a conversation ended.
enum End {
    /// The host has no more orders.
    Dismissed,
    Failed(FrameError),
    Unfit(Cause),
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        End::Failed(error)
    }
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        End::Failed(error.into())
    }
}

/// Says what is ordered and reports the replies, until one side ends.
fn converse(link: &mut Link, orders: &Receiver<Order>, timeout: Duration, report: &dyn Fn(News) -> bool) -> End {
    let mut talk = || -> Result<(), End> {
        link.deadline = Some(Instant::now() + timeout);
        match read(link, Limits { payload: 0 })? {
            (Reply::Hello { protocol: PROTOCOL }, _) => {}
            (Reply::Hello { protocol }, _) => {
                let message = format!("it speaks protocol {protocol}, this host {PROTOCOL}");
                return Err(End::Unfit(Cause::protocol(message)));
            }
            (other, _) => return Err(End::Unfit(Cause::protocol(format!("its first message is {}", name(&other))))),
        }
        loop {
            let order = next_order(link, orders)?;
            link.deadline = Some(Instant::now() + timeout);
            let weights = order.weights.as_ref().map(|weights| Part::F32(WEIGHTS, weights));
            write(link, &order.request, weights.as_slice())?;
            let (reply, parts) = read(link, Limits { payload: order.reply_payload })?;
            if let Reply::Failed { kind, message } = reply {
                return Err(End::Unfit(Cause::Reported { failure: kind, message }));
            }
            if !report(News::Replied(reply, parts)) {
                return Err(End::Dismissed);
            }
        }
    };
    match talk() {
        Ok(()) => End::Dismissed,
        Err(end) => end,
    }
}

/// Waits for an order, watching the idle client.
fn next_order(link: &mut Link, orders: &Receiver<Order>) -> Result<Order, End> {
    link.deadline = None;
    loop {
        match orders.try_recv() {
            Ok(order) => return Ok(order),
            Err(TryRecvError::Disconnected) => return Err(End::Dismissed),
            Err(TryRecvError::Empty) => {}
        }
        match link.wait(Want::Order) {
            Ok(()) => match read::<Reply>(link, Limits { payload: 0 }) {
                Ok((reply, _)) => {
                    let message = format!("it said {} unasked", name(&reply));
                    return Err(End::Unfit(Cause::protocol(message)));
                }
                Err(error) => return Err(error.into()),
            },
            Err(error) if gave_up(&error) == Some(GaveUp::Woken) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn name(reply: &Reply) -> String {
    let json = serde_json::to_value(reply).unwrap_or_default();
    format!("{:?}", json["type"].as_str().unwrap_or("?"))
}

fn gave_up(error: &std::io::Error) -> Option<GaveUp> {
    error.get_ref()?.downcast_ref::<GaveUp>().copied()
}

/// A child that is killed and reaped, whatever happens to its thread.
struct Process {
    child: Child,
    reaped: bool,
}

impl Process {
    /// Ends the process and says why it was lost, unless it was dismissed.
    fn end(&mut self, link: &mut Link, end: End, timeout: Duration, started: Instant) -> Option<Loss> {
        let cause = match end {
            End::Dismissed => {
                self.let_go(link);
                return None;
            }
            End::Failed(FrameError::Io(error)) if gave_up(&error) == Some(GaveUp::Woken) => {
                let _ = self.kill();
                return None;
            }
            End::Unfit(cause) => Some(cause),
            End::Failed(FrameError::Malformed(message)) => Some(Cause::protocol(message)),
            End::Failed(FrameError::Io(error)) if gave_up(&error) == Some(GaveUp::Deadline) => {
                Some(Cause::deadline(timeout))
            }
            // The pipe ended or broke: the exit says why.
            End::Failed(_) if wait_for_exit(link) => None,
            End::Failed(_) => Some(Cause::protocol("it closed its pipe and lives on")),
        };
        let status = self.kill();
        link.drain_log();
        let cause = cause.unwrap_or_else(|| match status {
            Ok(status) => Cause::of_exit(status),
            Err(error) => Cause::System { message: error.to_string() },
        });
        let log = Some(link.log.path().to_owned()).filter(|path| path.exists());
        Some(Loss { cause, last_words: link.log.last_lines(LAST_WORDS), log, after: started.elapsed() })
    }

    /// Lets an idle process end by itself at the end of its pipe.
    fn let_go(&mut self, link: &mut Link) {
        // Closing is dropping: another file takes the pipe's place.
        if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
            link.to = null;
            wait_for_exit(link);
        }
        let _ = self.kill();
        link.drain_log();
    }

    /// Kills what is left of the process group (a client's own children among it) and reaps the child. The group goes
    /// first: until it is reaped, the child's number cannot be another's.
    fn kill(&mut self) -> std::io::Result<ExitStatus> {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        self.reaped = true;
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.kill();
        }
    }
}

/// Waits, at most the grace, for the process to end; its log is drained meanwhile.
fn wait_for_exit(link: &mut Link) -> bool {
    link.deadline = Some(Instant::now() + GRACE);
    link.wait(Want::Death).is_ok()
}
