//! One client process and the thread in the host that talks to it.
//!
//! The thread sends what it is ordered and reports what came back, or why the client was lost; it watches the client
//! while there is nothing to do. Whatever ends the conversation ends the process, its process group and the thread.

use std::{
    convert::Infallible,
    fmt,
    hash::{BuildHasher, RandomState},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use fedpipe_protocol::{
    FrameError, InForce, Limits, PROTOCOL, Part, Parts, Reply, Request, Setup, Spare, WEIGHTS, begin, read, write,
};
use fedpipe_record::cause::Cause;
use nix::{
    sched::CpuSet,
    sys::eventfd::{EfdFlags, EventFd},
    unistd::Pid,
};

use crate::process::{
    affinity::keep_on,
    end::{End, Process, ProcessExit},
    inbox::Message,
    launch::Launched,
    log::ClientLog,
    pipes::{Allowance, GaveUp, Link, Want, gave_up, has_ended},
    spawn::{ClientCommand, Spawned, spawn},
    start_error::{StartCall, StartError, failed},
};

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
    /// Where it is to be done; where the process is, if nothing is said.
    pub(crate) cores: Option<CpuSet>,
}

/// What a worker's thread reports.
#[derive(Debug)]
pub(crate) enum News {
    /// A reply with a payload has begun: the client is supposed to have nothing more to do for it.
    Answers,
    Replied(Reply, Parts),
    /// The process is gone and reaped; nothing follows.
    Exited(ProcessExit),
}

/// A running client process; dropping it ends the process and waits for that.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) started: Instant,
    /// The bytes in its log when the process was started.
    pub(crate) log_start: u64,
    orders: Option<Sender<Order>>,
    pidfd: Arc<OwnedFd>,
    wake: Arc<EventFd>,
    dismissed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The time that an idle client has for the rest of a message that it began unasked.
const UNASKED: Duration = Duration::from_millis(500);

/// What is the same for all workers of a run.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    pub(crate) command: ClientCommand,
    /// The program that this command launches, where it is the launcher.
    pub(crate) launched: Option<Launched>,
    /// The folder of the clients' logs.
    pub(crate) logs: PathBuf,
    /// Names the fleet in the environment of its processes.
    pub(crate) mark: String,
    pub(crate) timeout: Duration,
    pub(crate) pipe_size: i32,
    /// What the updates of earlier rounds were in.
    pub(crate) spare: Arc<Spare>,
    /// For tests: each report is held back for a random time up to this, to show that no result depends on arrival.
    pub(crate) jitter: Option<Duration>,
}

impl Environment {
    /// Names a process in its environment.
    pub(crate) fn mark_of(&self, id: WorkerId) -> String {
        format!("{}{}", self.mark, id.generation)
    }

    /// Where process `slot` is logged.
    pub(crate) fn log(&self, slot: usize) -> PathBuf {
        self.logs.join(format!("{slot:03}.log"))
    }

    /// What `FEDPIPE_JITTER_MS` asks for.
    pub(crate) fn jitter_asked_for() -> Option<Duration> {
        std::env::var("FEDPIPE_JITTER_MS").ok()?.parse().ok().map(Duration::from_millis)
    }
}

/// A random part of `most`; random as hash maps are, and not from the run's seed.
fn some_of(most: Duration) -> Duration {
    let random = RandomState::new().hash_one(Instant::now());
    most.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

impl Worker {
    /// Starts the process and its thread, which does what `setup` asks first and reports to `inbox`.
    pub(crate) fn start(
        environment: &Environment,
        id: WorkerId,
        setup: &Setup,
        inbox: Sender<Message>,
    ) -> Result<Self, StartError> {
        let mark = environment.mark_of(id);
        let Spawned { child, pidfd, to, from, log } =
            spawn(&environment.command, id.slot as u32, &mark, environment.pipe_size)?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let mut process = Process::new(child, mark);
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let wake = Arc::new(wake.map_err(failed(StartCall::Descriptor))?);
        let dismissed = Arc::new(AtomicBool::new(false));
        let client_log = ClientLog::new(environment.log(id.slot));
        let log_start = client_log.written();
        let Environment { timeout, jitter, .. } = *environment;
        let mut link = Link {
            to,
            from,
            pidfd: Arc::clone(&pidfd),
            log_pipe: Some(log),
            log: client_log,
            wake: Arc::clone(&wake),
            dismissed: Arc::clone(&dismissed),
            time: Allowance::new(timeout),
            dead: false,
            greeted: false,
        };
        let launch = environment.launched.as_ref().map(|launched| launched.as_client(setup));
        let (orders, received) = mpsc::channel();
        let started = Instant::now();
        let spare = Arc::clone(&environment.spare);
        let thread =
            std::thread::Builder::new().name(format!("client {}", id.slot)).stack_size(256 << 10).spawn(move || {
                let report = |news| {
                    jitter.inspect(|&most| std::thread::sleep(some_of(most)));
                    inbox.send(Message::News(id, news)).is_ok()
                };
                let Err(end) = converse(&mut link, pid, launch.as_ref(), &received, timeout, &spare, &report);
                if let Some(loss) = process.end(&mut link, end, timeout, started) {
                    report(News::Exited(loss));
                    // It takes a look at every process of the machine, which no report waits for.
                    process.end_strays();
                }
            });
        let thread = thread.map_err(failed(StartCall::Thread))?;
        Ok(Self { id, started, log_start, orders: Some(orders), pidfd, wake, dismissed, thread: Some(thread) })
    }

    /// Returns `true` if the process has ended: its loss is reported, or soon will be.
    pub(crate) fn has_ended(&self) -> bool {
        has_ended(&self.pidfd)
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

/// Says what is ordered and reports the replies, until one side ends.
pub(crate) fn converse(
    link: &mut Link,
    process: Pid,
    launch: Option<&Request>,
    orders: &Receiver<Order>,
    timeout: Duration,
    spare: &Spare,
    report: &dyn Fn(News) -> bool,
) -> Result<Infallible, End> {
    link.allow(timeout);
    let confined = launch.map(|launch| launched(link, launch)).transpose()?;
    greeted(link)?;
    // A Weak does not keep old weights alive, but keeps their address from being given to others: equal pointers are the
    // same weights.
    let (mut keeps_weights, mut kept) = (false, Weak::new());
    let mut kept_on = None;
    loop {
        let order = next_order(link, orders)?;
        link.allow(timeout);
        if let Some(cores) = order.cores
            && kept_on != Some(cores)
        {
            // By this thread, which reaps the process: nobody else can have its number.
            keep_on(&cores, process);
            kept_on = Some(cores);
        }
        let new = order.weights.as_ref().filter(|weights| !kept.ptr_eq(&Arc::downgrade(weights)));
        write(link, &order.request, new.map(|weights| Part::F32(WEIGHTS, weights)).as_slice())?;
        if let Some(weights) = new.filter(|_| keeps_weights) {
            kept = Arc::downgrade(weights);
        }
        let begun = begin(link, Limits { payload: order.reply_payload })?;
        if order.reply_payload > 0 && !report(News::Answers) {
            return Err(End::Dismissed);
        }
        let (mut reply, parts) = begun.finish(link, spare)?;
        if let Reply::Failed { kind, message } = reply {
            return Err(End::Unfit(Cause::reported(kind, &message)));
        }
        if let Reply::Ready(ready) = &mut reply {
            // It is of this conversation alone: a node (`fedpipe serve`) that passes the rest on must not promise it.
            keeps_weights = std::mem::take(&mut ready.keeps_weights);
            // A program is not asked what confines it: the launcher said so before the program had run.
            confined.iter().for_each(|confined| ready.in_force.clone_from(confined));
        }
        if !report(News::Replied(reply, parts)) {
            return Err(End::Dismissed);
        }
    }
}

/// Has a program launched; gives what the kernel enforces on it.
pub(crate) fn launched(link: &mut Link, launch: &Request) -> Result<InForce, End> {
    write(link, launch, &[])?;
    match read(link, Limits { payload: 0 })?.0 {
        Reply::Launched(in_force) => Ok(in_force),
        other => Err(unexpected(other)),
    }
}

/// Takes a client's hello.
fn greeted(link: &mut Link) -> Result<(), End> {
    match read(link, Limits { payload: 0 })?.0 {
        Reply::Hello { protocol: PROTOCOL } => {
            link.greeted = true;
            Ok(())
        }
        Reply::Hello { protocol } => {
            let message = format!("it speaks protocol {protocol}, this host {PROTOCOL}");
            Err(End::Unfit(Cause::protocol(message)))
        }
        other => Err(unexpected(other)),
    }
}

fn unexpected(reply: Reply) -> End {
    End::Unfit(match reply {
        Reply::Failed { kind, message } => Cause::reported(kind, &message),
        other => Cause::protocol(format!("its first message is {}", name(&other))),
    })
}

/// Waits for an order, watching the idle client.
fn next_order(link: &mut Link, orders: &Receiver<Order>) -> Result<Order, End> {
    loop {
        match orders.try_recv() {
            Ok(order) => return Ok(order),
            Err(TryRecvError::Disconnected) => return Err(End::Dismissed),
            Err(TryRecvError::Empty) => {}
        }
        match link.wait(Want::Order) {
            Ok(()) => return Err(unasked(link)),
            Err(error) if gave_up(&error) == Some(GaveUp::Woken) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ends the conversation with an idle client whose pipe has something. A message is named if it comes whole and soon.
fn unasked(link: &mut Link) -> End {
    link.allow(UNASKED);
    match read::<Reply>(link, Limits { payload: 0 }) {
        Ok((reply, _)) => End::Unfit(Cause::protocol(format!("it said {} unasked", name(&reply)))),
        Err(FrameError::Io(error)) if gave_up(&error) == Some(GaveUp::Deadline) => {
            End::Unfit(Cause::protocol("it wrote a part of a message unasked"))
        }
        Err(error) => error.into(),
    }
}

fn name(reply: &Reply) -> String {
    let json = serde_json::to_value(reply).unwrap_or_default();
    format!("{:?}", json["type"].as_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests;
