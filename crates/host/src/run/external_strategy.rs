//! A strategy that is a program of the user's (`--strategy-program COMMAND`): it is sent each round's updates and gives the
//! new global weights. What it remembers comes with its answer, goes into the checkpoint and is sent with the next
//! request, so that a fresh process goes on with the same bits. It is launched and confined as a client's program is, and
//! started again as a client is: once a round, unless the policy is to abort.
//!
//! The run's own thread waits for the answer, so that a stop must wake it there.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use fedpipe_protocol::{
    Aggregate, FailureKind, FrameError, InForce, Isolation, Layout, Level, Limits, PROTOCOL, Part, Parts,
    StrategyReply, StrategyRequest, StrategySetup, Update, UpdateHeader, WEIGHTS, read, write,
};
use fedpipe_record::{
    cause::{Cause, isolation_hint, with_last_words},
    crash::{Consequence, StrategyCrash},
    experiment::{Experiment, OnFailure},
};
use fedpipe_strategy::server::ServerState;

use crate::{
    error::{Error, Result},
    process::{
        conversation,
        end::{End, Process, ProcessExit},
        inbox::StopSign,
        launch::Launched,
        log::ClientLog,
        pipes::{Allowance, Link, has_ended},
        spawn::{ClientCommand, Spawned, spawn},
        start_error::{StartCall, StartError, failed},
        stray::new_mark,
    },
    run::{aggregate::ClientUpdate, answers, directory::RunDir},
};

/// The name of the part that holds what the program remembers.
const STATE: &str = "state";

/// Bytes of a pipe: the most that any user may ask for.
const PIPE_SIZE: i32 = 1 << 20;

/// The strategy, and the process that runs it; dropping it ends the process.
#[derive(Debug)]
pub(crate) struct StrategyProgram {
    plan: Plan,
    /// None after a process that was lost.
    running: Option<Running>,
    in_force: InForce,
}

/// What starts a process.
#[derive(Debug)]
struct Plan {
    command: ClientCommand,
    launched: Launched,
    setup: StrategySetup,
    isolation: Isolation,
    timeout: Duration,
    policy: OnFailure,
    log: PathBuf,
    stop: Arc<StopSign>,
}

/// Tells of a lost process.
pub(crate) type TellLost<'t> = dyn FnMut(&StrategyCrash) -> Result<()> + 't;

/// The end of a process: lost, or ended for a stop.
enum Ended {
    Lost(Box<ProcessExit>),
    Stopped,
    NotStarted(StartError),
}

/// A running process of the program; dropping it ends the process.
struct Running {
    process: Process,
    link: Link,
    timeout: Duration,
    started: Instant,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("started", &self.started).finish_non_exhaustive()
    }
}

impl StrategyProgram {
    /// Starts the program through the launcher and waits until it is ready; its log is in the run directory.
    ///
    /// # Errors
    /// [`Error::Model`] where it does not come to that, [`Error::Isolation`], [`Error::Stopped`].
    pub(crate) fn start(
        (command, launched): (ClientCommand, Launched),
        experiment: &Experiment,
        layout: &Layout,
        directory: &RunDir,
        stop: &Arc<StopSign>,
    ) -> Result<Self> {
        let setup =
            StrategySetup { seed: experiment.seed, clients: experiment.clients, layout: layout.tensors().to_vec() };
        // The limits are the clients': a strategy holds the updates of all of them.
        let isolation = Isolation { level: experiment.isolation, memory_limit: None, cpu_seconds: None };
        let plan = Plan {
            command,
            launched,
            setup,
            isolation,
            timeout: Duration::from_secs_f64(experiment.client_timeout),
            policy: experiment.on_failure,
            log: directory.logs().join("strategy.log"),
            stop: Arc::clone(stop),
        };
        match Running::start(&plan) {
            Ok((running, in_force)) => Ok(Self { plan, running: Some(running), in_force }),
            Err(Ended::Stopped) => Err(Error::Stopped(plan.stop.signal())),
            Err(Ended::NotStarted(error)) => Err(Error::not_started("the strategy's program", &error)),
            Err(Ended::Lost(loss)) => {
                if let Cause::Reported { failure: FailureKind::Isolation, message } = loss.cause {
                    return Err(Error::Isolation(message));
                }
                let is_confined = plan.isolation.level != Level::Off && !loss.greeted;
                let hint = if is_confined { isolation_hint(&loss.cause, &loss.last_words) } else { "" };
                Err(Error::Model(lost("before the first round", &loss) + hint))
            }
        }
    }

    /// What the kernel enforces on the program.
    pub(crate) fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// The new global weights from `weights` and the updates, which are in client order; moves the program's state on.
    /// A program that is lost is started again, once a round.
    ///
    /// # Errors
    /// [`Error::Round`] where the program is lost or its answer is not taken, [`Error::Stopped`]; those of `tell`.
    pub(crate) fn apply(
        &mut self,
        round: u64,
        server: &ServerState,
        weights: &[f32],
        updates: &[ClientUpdate],
        tell: &mut TellLost<'_>,
    ) -> Result<(Vec<f32>, ServerState)> {
        // One that died idle has done no harm.
        if let Some(idle) = self.running.take_if(|running| has_ended(&running.link.pidfd))
            && let Ended::Lost(loss) = idle.end(End::Failed(FrameError::End))
        {
            tell(&crash_of(round, &loss, Consequence::Replaced))?;
        }
        let mut attempts = 0;
        loop {
            let loss = match self.aggregate(round, server, weights, updates) {
                Ok((moved, program)) => {
                    return Ok((moved, ServerState { m: server.m.clone(), v: server.v.clone(), program }));
                }
                Err(Ended::Stopped) => return Err(Error::Stopped(self.plan.stop.signal())),
                Err(Ended::NotStarted(error)) => Box::new(ProcessExit::at_start(&error)),
                Err(Ended::Lost(loss)) => loss,
            };
            attempts += 1;
            let then = match self.plan.policy {
                OnFailure::Retry | OnFailure::Drop if attempts == 1 => Consequence::Retried,
                _ => Consequence::Aborted,
            };
            tell(&crash_of(round, &loss, then))?;
            if then == Consequence::Aborted {
                return Err(Error::Round(lost(&format!("in round {round}"), &loss)));
            }
        }
    }

    /// Has the process aggregate, a fresh one where there is none.
    fn aggregate(
        &mut self,
        round: u64,
        server: &ServerState,
        weights: &[f32],
        updates: &[ClientUpdate],
    ) -> std::result::Result<(Vec<f32>, Vec<u8>), Ended> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None => Running::start(&self.plan)?.0,
        };
        match running.aggregate(round, server, weights, updates) {
            Ok(aggregated) => {
                self.running = Some(running);
                Ok(aggregated)
            }
            Err(end) => Err(running.end(end)),
        }
    }
}

impl Running {
    fn start(plan: &Plan) -> std::result::Result<(Self, InForce), Ended> {
        let started = Instant::now();
        let mark = new_mark();
        let wake = plan.stop.wake().map_err(failed(StartCall::Descriptor)).map_err(Ended::NotStarted)?;
        let spawned = spawn(&plan.command, 0, &mark, PIPE_SIZE).map_err(Ended::NotStarted)?;
        let Spawned { child, pidfd, to, from, log } = spawned;
        let link = Link {
            to,
            from,
            pidfd,
            log_pipe: Some(log),
            log: ClientLog::new(plan.log.clone()),
            wake,
            dismissed: Arc::clone(&plan.stop.raised),
            time: Allowance::new(plan.timeout),
            dead: false,
            greeted: false,
        };
        let mut running = Self { process: Process::new(child, mark), link, timeout: plan.timeout, started };
        match running.greet(plan) {
            Ok(in_force) => Ok((running, in_force)),
            Err(end) => Err(running.end(end)),
        }
    }

    fn greet(&mut self, plan: &Plan) -> std::result::Result<InForce, End> {
        self.link.allow(self.timeout);
        let launch = plan.launched.request(plan.isolation.clone(), Vec::new());
        let in_force = conversation::launched(&mut self.link, &launch)?;
        match self.answer(0)? {
            (StrategyReply::Hello { protocol: PROTOCOL }, _) => self.link.greeted = true,
            (other, _) => return Err(unfit(format!("its first message is {other:?}"))),
        }
        match self.ask(&StrategyRequest::SetupStrategy(plan.setup.clone()), &[], 0)? {
            (StrategyReply::ReadyStrategy, _) => Ok(in_force),
            (other, _) => Err(unfit(format!("it answered the setup with {other:?}"))),
        }
    }

    fn aggregate(
        &mut self,
        round: u64,
        server: &ServerState,
        weights: &[f32],
        updates: &[ClientUpdate],
    ) -> std::result::Result<(Vec<f32>, Vec<u8>), End> {
        let names: Vec<String> = updates.iter().map(|update| format!("update/{}", update.header.client)).collect();
        let mut parts = vec![Part::F32(WEIGHTS, weights), Part::U8(STATE, &server.program)];
        parts.extend(names.iter().zip(updates).map(|(name, update)| Part::F32(name, &update.weights)));
        let headers = updates.iter().map(|update| {
            let Update { client, examples, steps, accumulation, loss_sum, .. } = update.header;
            UpdateHeader { client, examples, steps, accumulation, loss_sum }
        });
        let request = StrategyRequest::Aggregate(Aggregate { round, updates: headers.collect() });
        let (reply, mut answer) = self.ask(&request, &parts, most_payload(weights.len()))?;
        if reply != StrategyReply::Aggregated {
            return Err(unfit(format!("it answered a request to aggregate with {reply:?}")));
        }
        let checked = answers::only(&answer, &[WEIGHTS, STATE]);
        let checked = checked.and_then(|()| answers::weights(&answer, weights.len(), "look at the program"));
        checked.map_err(End::Unfit)?;
        Ok((answer.take_f32(WEIGHTS).unwrap_or_default(), answer.take_u8(STATE).unwrap_or_default()))
    }

    fn ask(
        &mut self,
        request: &StrategyRequest,
        parts: &[Part<'_>],
        most_payload: u64,
    ) -> std::result::Result<(StrategyReply, Parts), End> {
        self.link.allow(self.timeout);
        write(&mut self.link, request, parts)?;
        self.answer(most_payload)
    }

    fn answer(&mut self, most_payload: u64) -> std::result::Result<(StrategyReply, Parts), End> {
        match read(&mut self.link, Limits { payload: most_payload })? {
            (StrategyReply::Failed { kind, message }, _) => Err(End::Unfit(Cause::reported(kind, &message))),
            answer => Ok(answer),
        }
    }

    /// Ends the process and says why; where nothing was wrong with it, the run was stopped.
    fn end(mut self, end: End) -> Ended {
        self.process
            .end(&mut self.link, end, self.timeout, self.started)
            .map_or(Ended::Stopped, |loss| Ended::Lost(Box::new(loss)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.end(&mut self.link, End::Dismissed, self.timeout, self.started);
        self.process.end_strays();
    }
}

/// Says when and why the program was lost, with its last words.
fn crash_of(round: u64, exit: &ProcessExit, then: Consequence) -> StrategyCrash {
    let ProcessExit { cause, last_words, log, after, .. } = exit.clone();
    StrategyCrash { round, cause, after_seconds: after.into(), then, last_words, log }
}

fn lost(when: &str, loss: &ProcessExit) -> String {
    with_last_words(&format!("the strategy's program was lost {when}: {}", loss.cause), &loss.last_words)
}

fn unfit(message: String) -> End {
    End::Unfit(Cause::protocol(message))
}

/// Bytes that an answer may have: the weights, and a state of 16 values of 4 bytes for each, and 1 MiB.
fn most_payload(weights: usize) -> u64 {
    (4 + 64) * weights as u64 + (1 << 20)
}
