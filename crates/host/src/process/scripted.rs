//! Clients for tests below the process: what a peer says is given by a test, and no process is started.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::ExitStatus,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::unistd::Pid;

use crate::{
    error::start_error::StartError,
    process::{
        end::Running,
        peer::{Peer, PeerPlan},
        pipes::Ends,
        spawn::{Spawned, Spawner},
        wakeup::Wakeup,
    },
};

/// A peer that is no process and never exits.
struct Nobody {
    _alive: io::PipeWriter,
}

impl Running for Nobody {
    fn pid(&self) -> Option<Pid> {
        None
    }

    fn cpu_time(&self) -> Duration {
        Duration::ZERO
    }

    fn kill(&mut self) -> io::Result<ExitStatus> {
        Ok(ExitStatus::from_raw(0))
    }
}

/// Gives out pipes whose other ends the test holds.
#[derive(Debug)]
struct Given(Mutex<Option<(File, File)>>);

impl Spawner for Given {
    fn spawn(&self, _number: u32, _mark: &str, _pipe_size: i32) -> Result<Spawned, StartError> {
        let pipes = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (to, from) = pipes.expect("there is one peer");
        let (exited, alive) = io::pipe().expect("a pipe");
        let ends = Ends { to, from, exited: Arc::new(OwnedFd::from(exited)), log: None };
        Ok(Spawned { process: Box::new(Nobody { _alive: alive }), ends })
    }
}

/// Returns a peer that reads from the other end of `to` and writes to that of `from`. It has a minute for each message.
pub(crate) fn peer(to: File, from: File) -> Peer {
    let timeout = Duration::from_secs(60);
    let log = "/nonexistent/000.log".into();
    let plan = PeerPlan { number: 0, mark: String::new(), pipe_size: 0, log, timeout };
    let wakeup = Arc::new(Wakeup::new().expect("an event"));
    Peer::start(&Given(Mutex::new(Some((to, from)))), plan, wakeup).expect("nothing can fail")
}

#[cfg(test)]
pub(crate) use threads::{Scripted, ScriptedClient, exit, ready, signal, trained};

#[cfg(test)]
mod threads {
    use std::{
        collections::HashMap,
        fmt,
        io::{Read, Write},
        net::Shutdown,
        os::unix::net::UnixStream,
        thread::JoinHandle,
    };

    use fedpipe_protocol::{
        BlockSums, InForce, Kind, Limits, PROTOCOL, Part, Parts, Place, Ready, Reply, Request, Setup, StartScore,
        Tensor, Update, WEIGHTS, read, write,
    };
    use serde::{Serialize, de::DeserializeOwned};

    use super::*;

    /// The behaviour of a client, up to its exit.
    type Script = dyn Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync;

    /// Starts each client as a thread that follows the script.
    #[derive(Clone)]
    pub(crate) struct Scripted {
        script: Arc<Script>,
        is_elsewhere: bool,
        starts: Arc<Mutex<HashMap<u32, usize>>>,
    }

    impl fmt::Debug for Scripted {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Scripted")
        }
    }

    impl Scripted {
        pub(crate) fn new(script: impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static) -> Self {
            Self { script: Arc::new(script), is_elsewhere: false, starts: Arc::default() }
        }

        /// Returns the same clients as if on another machine.
        pub(crate) fn elsewhere(self) -> Self {
            Self { is_elsewhere: true, ..self }
        }
    }

    /// Returns the status of an exit by itself.
    pub(crate) fn exit(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    /// Returns the status of an exit by a signal.
    pub(crate) fn signal(number: i32) -> ExitStatus {
        ExitStatus::from_raw(number)
    }

    impl Spawner for Scripted {
        fn spawn(&self, number: u32, _mark: &str, _pipe_size: i32) -> Result<Spawned, StartError> {
            let mut starts = self.starts.lock().unwrap();
            let count = starts.entry(number).or_default();
            let start = *count;
            *count += 1;
            let pair = || {
                let (host, client) = UnixStream::pair().unwrap();
                host.set_nonblocking(true).unwrap();
                (File::from(OwnedFd::from(host)), client)
            };
            let ((to, input), (from, output), (log, prints)) = (pair(), pair(), pair());
            let pipes = [&input, &output, &prints].map(|stream| stream.try_clone().unwrap());
            let (exited, alive) = io::pipe().unwrap();
            let script = Arc::clone(&self.script);
            let run = move || {
                let mut client = ScriptedClient { number, start, input, output, prints };
                let status = script(&mut client);
                [&client.input, &client.output, &client.prints].iter().for_each(|end| close(end));
                drop(alive);
                status
            };
            let thread = Some(std::thread::Builder::new().spawn(run).unwrap());
            let process = Box::new(ClientThread { thread, pipes, status: signal(libc::SIGABRT) });
            let ends = Ends { to, from, exited: Arc::new(OwnedFd::from(exited)), log: Some(log) };
            Ok(Spawned { process, ends })
        }

        fn is_elsewhere(&self) -> bool {
            self.is_elsewhere
        }
    }

    fn close(end: &UnixStream) {
        // The other side may have closed it.
        let _ = end.shutdown(Shutdown::Both);
    }

    struct ClientThread {
        thread: Option<JoinHandle<ExitStatus>>,
        /// The client's ends, so that the host can close them.
        pipes: [UnixStream; 3],
        status: ExitStatus,
    }

    impl Running for ClientThread {
        fn pid(&self) -> Option<Pid> {
            None
        }

        fn cpu_time(&self) -> Duration {
            Duration::ZERO
        }

        fn kill(&mut self) -> io::Result<ExitStatus> {
            self.pipes[..2].iter().for_each(close);
            if let Some(Ok(status)) = self.thread.take().map(JoinHandle::join) {
                self.status = status;
            }
            Ok(self.status)
        }
    }

    impl Drop for ClientThread {
        fn drop(&mut self) {
            let _ = self.kill();
        }
    }

    /// The client's side of a conversation.
    pub(crate) struct ScriptedClient {
        pub(crate) number: u32,
        /// The clients that were started in this slot before.
        pub(crate) start: usize,
        input: UnixStream,
        output: UnixStream,
        prints: UnixStream,
    }

    impl ScriptedClient {
        pub(crate) fn say(&mut self, reply: &Reply, weights: Option<&[f32]>) {
            let part = weights.map(|weights| Part::F32(WEIGHTS, weights));
            self.send(reply, part.as_slice());
        }

        /// Sends a message of any protocol.
        pub(crate) fn send(&mut self, message: &impl Serialize, parts: &[Part<'_>]) {
            // A host that is gone hears nothing.
            let _ = write(&mut self.output, message, parts);
        }

        /// Writes to the standard output.
        pub(crate) fn print(&mut self, text: &str) {
            let _ = self.prints.write_all(text.as_bytes());
        }

        /// Receives the next request; none once the host has closed the pipe.
        pub(crate) fn next(&mut self) -> Option<(Request, Parts)> {
            self.receive()
        }

        /// Receives the next message of any protocol; none once the host has closed the pipe.
        pub(crate) fn receive<M: DeserializeOwned>(&mut self) -> Option<(M, Parts)> {
            read(&mut self.input, Limits::request(1 << 20)).ok()
        }

        /// Says nothing until the host closes the pipe.
        pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
            let _ = io::copy(&mut (&mut self.input).take(u64::MAX), &mut io::sink());
            exit(0)
        }

        /// Greets the host and receives the setup.
        pub(crate) fn greet(&mut self) -> Option<Setup> {
            self.say(&Reply::Hello { protocol: PROTOCOL }, None);
            match self.next() {
                Some((Request::Setup(setup), _)) => Some(setup),
                _ => None,
            }
        }

        /// Answers the setup and every request, as an honest client does.
        pub(crate) fn serve(&mut self) -> ExitStatus {
            self.serve_as(ready());
            exit(0)
        }

        /// Serves as a client that describes itself in this way.
        pub(crate) fn serve_as(&mut self, ready: Ready) {
            if self.greet().is_some() {
                self.say(&Reply::Ready(ready), None);
                self.answer_all();
            }
        }

        /// Answers requests until the host closes the pipe.
        pub(crate) fn answer_all(&mut self) {
            while let Some((request, parts)) = self.next() {
                self.answer(&request, parts);
            }
        }

        pub(crate) fn answer(&mut self, request: &Request, mut parts: Parts) {
            let received = parts.take_f32(WEIGHTS);
            match request {
                Request::Train(train) => {
                    let start = train.score_start.map(|_| StartScore { loss_sum: 0.5, examples: 1 });
                    let update = Update { start, ..Update::plain(train.client, train.round, 1) };
                    self.say(&Reply::Update(update), Some(&trained(train.client, &received.unwrap())));
                }
                Request::Evaluate(evaluate) => {
                    let sums =
                        |&block: &u32| BlockSums { block, loss_sum: 0.5, correct: 1, examples: 1, regression: None };
                    self.say(&Reply::Evaluated { blocks: evaluate.blocks.iter().map(sums).collect() }, None);
                }
                Request::GetWeights => self.say(&Reply::Weights, Some(&[0.0, 0.0])),
                Request::Setup(_) | Request::Launch(_) => {}
            }
        }
    }

    /// Returns the update of a scripted client.
    pub(crate) fn trained(client: u32, weights: &[f32]) -> Vec<f32> {
        weights.iter().map(|weight| weight + client as f32 + 1.0).collect()
    }

    /// Returns the description of a model with two weights.
    pub(crate) fn ready() -> Ready {
        let tensor = Tensor { name: "w".into(), shape: vec![2], kind: Kind::Param, place: Place::Shared };
        Ready {
            name: "scripted".into(),
            version: "1".into(),
            summary: String::new(),
            options: Vec::new(),
            layout: vec![tensor],
            examples: vec![1],
            instruction_set: String::new(),
            features: Vec::new(),
            in_force: InForce::default(),
        }
    }
}
