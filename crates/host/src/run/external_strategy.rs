//! A strategy that is a program of the user's (`--strategy-program COMMAND`): it receives each round's updates and
//! returns the new global weights. Its state comes with its reply, goes into the checkpoint and is sent with the next
//! request, so that a fresh process continues with the same bits. The program is launched and confined as a client's
//! program is, and started again as a client is: once a round, unless the policy is to abort.
//!
//! The run's own thread waits for the reply, so that a stop must wake it there.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fedpipe_protocol::{
    Aggregate, FailureKind, FrameError, InForce, Isolation, Layout, Level, Part, StrategyReply, StrategyRequest,
    StrategySetup, Update, UpdateHeader, WEIGHTS,
};
use fedpipe_record::{
    cause::{Cause, isolation_hint, with_last_words},
    crash::{Consequence, StrategyCrash},
    experiment::{Experiment, OnFailure},
};
use fedpipe_strategy::slots::{Slot, Slots};

use crate::{
    error::{
        Error, Result,
        start_error::{StartCall, StartError, failed},
    },
    fleet::control::StopSign,
    process::{
        end::{ConversationEnd, ProcessExit},
        launch::Launched,
        peer::{Peer, PeerPlan},
        pipes::has_exited,
        spawn::Spawner,
        stray::new_mark,
    },
    run::{aggregate::ClientUpdate, answers, directory::RunDir},
};

/// The name of the part that holds the program's state.
const STATE: &str = "state";

/// The slot of the program's state.
const PROGRAM: &str = "program";

/// The bytes of a pipe: the most that any user may request.
const PIPE_SIZE: i32 = 1 << 20;

/// The strategy, and the process that runs it; dropping it ends the process.
#[derive(Debug)]
pub(crate) struct StrategyProgram {
    plan: Plan,
    /// The process; none after a crash.
    running: Option<Peer>,
    in_force: InForce,
}

/// The configuration of a process.
#[derive(Debug)]
struct Plan {
    command: Box<dyn Spawner>,
    launched: Launched,
    setup: StrategySetup,
    isolation: Isolation,
    timeout: Duration,
    policy: OnFailure,
    log: PathBuf,
    stop: Arc<StopSign>,
}

/// Receives each crash of the program.
pub(crate) type OnCrash<'t> = dyn FnMut(&StrategyCrash) -> Result<()> + 't;

/// The end of a process.
enum Ended {
    Exited(Box<ProcessExit>),
    /// The run was stopped.
    Stopped,
    NotStarted(StartError),
}

impl StrategyProgram {
    /// Starts the program through the launcher and waits until it is ready. Its log is in the run directory.
    ///
    /// # Errors
    /// [`Error::Model`] if the program fails, [`Error::Isolation`], [`Error::Stopped`].
    pub(crate) fn start(
        (command, launched): (impl Spawner + 'static, Launched),
        experiment: &Experiment,
        layout: &Layout,
        directory: &RunDir,
        stop: &Arc<StopSign>,
    ) -> Result<Self> {
        let setup = StrategySetup {
            seed: experiment.seed.0,
            clients: experiment.clients.count,
            layout: layout.tensors().to_vec(),
        };
        // The limits are the clients': a strategy holds the updates of all of them.
        let isolation = Isolation { level: experiment.execution.isolation, memory_limit: None, cpu_seconds: None };
        let plan = Plan {
            command: Box::new(command),
            launched,
            setup,
            isolation,
            timeout: Duration::from_secs_f64(experiment.execution.client_timeout),
            policy: experiment.clients.on_failure,
            log: directory.logs().join("strategy.log"),
            stop: Arc::clone(stop),
        };
        match start(&plan) {
            Ok((running, in_force)) => Ok(Self { plan, running: Some(running), in_force }),
            Err(Ended::Stopped) => Err(Error::Stopped(plan.stop.signal())),
            Err(Ended::NotStarted(error)) => Err(Error::not_started("the strategy's program", &error)),
            Err(Ended::Exited(exit)) => {
                if let Cause::Reported { failure: FailureKind::Isolation, message } = exit.cause {
                    return Err(Error::Isolation(message));
                }
                let is_confined = plan.isolation.level != Level::Off && !exit.greeted;
                let hint = if is_confined { isolation_hint(&exit.cause, &exit.last_words) } else { "" };
                Err(Error::Model(crash_sentence("before the first round", &exit) + hint))
            }
        }
    }

    /// Returns the isolation that the kernel enforces on the program.
    pub(crate) fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Returns the new global weights from `weights` and the updates, which are in client order, and moves the
    /// program's state on. A program that crashed is started again, once a round.
    ///
    /// # Errors
    /// [`Error::Round`] if the program crashes again or its reply is refused, [`Error::Stopped`]; those of `on_crash`.
    pub(crate) fn apply(
        &mut self,
        round: u64,
        server: &Slots,
        weights: &[f32],
        updates: &[ClientUpdate],
        on_crash: &mut OnCrash<'_>,
    ) -> Result<(Vec<f32>, Slots)> {
        // An idle program that exited had no work.
        if let Some(idle) = self.running.take_if(|peer| has_exited(peer.link.exited()))
            && let Ended::Exited(exit) = end(idle, ConversationEnd::Failed(FrameError::End))
        {
            on_crash(&StrategyCrash { round, crash: exit.crash(Consequence::Replaced) })?;
        }
        let mut attempts = 0;
        loop {
            let exit = match self.aggregate(round, server, weights, updates) {
                Ok((moved, program)) => {
                    return Ok((moved, Slots::from_iter([(PROGRAM, Slot::Bytes(Arc::new(program)))])));
                }
                Err(Ended::Stopped) => return Err(Error::Stopped(self.plan.stop.signal())),
                Err(Ended::NotStarted(error)) => Box::new(ProcessExit::at_start(&error)),
                Err(Ended::Exited(exit)) => exit,
            };
            attempts += 1;
            let then = match self.plan.policy {
                OnFailure::Retry | OnFailure::Drop if attempts == 1 => Consequence::Retried,
                _ => Consequence::Aborted,
            };
            on_crash(&StrategyCrash { round, crash: exit.crash(then) })?;
            if then == Consequence::Aborted {
                return Err(Error::Round(crash_sentence(&format!("in round {round}"), &exit)));
            }
        }
    }

    /// Has the process aggregate, or a fresh one if there is none.
    fn aggregate(
        &mut self,
        round: u64,
        server: &Slots,
        weights: &[f32],
        updates: &[ClientUpdate],
    ) -> std::result::Result<(Vec<f32>, Vec<u8>), Ended> {
        let mut peer = match self.running.take() {
            Some(peer) => peer,
            None => start(&self.plan)?.0,
        };
        match aggregate(&mut peer, round, server, weights, updates) {
            Ok(aggregated) => {
                self.running = Some(peer);
                Ok(aggregated)
            }
            Err(reason) => Err(end(peer, reason)),
        }
    }
}

impl Drop for StrategyProgram {
    fn drop(&mut self) {
        if let Some(peer) = self.running.take() {
            end(peer, ConversationEnd::Dismissed);
        }
    }
}

/// Starts a process and waits until it is ready. Returns the isolation that the kernel enforces on it.
fn start(plan: &Plan) -> std::result::Result<(Peer, InForce), Ended> {
    let wakeup = plan.stop.wakeup().map_err(failed(StartCall::Descriptor)).map_err(Ended::NotStarted)?;
    let peer_plan =
        PeerPlan { number: 0, mark: new_mark(), pipe_size: PIPE_SIZE, log: plan.log.clone(), timeout: plan.timeout };
    let mut peer = Peer::start(&*plan.command, peer_plan, wakeup).map_err(Ended::NotStarted)?;
    match set_up(&mut peer, plan) {
        Ok(in_force) => Ok((peer, in_force)),
        Err(reason) => Err(end(peer, reason)),
    }
}

fn set_up(peer: &mut Peer, plan: &Plan) -> std::result::Result<InForce, ConversationEnd> {
    let launch = plan.launched.request(plan.isolation.clone(), Vec::new());
    let in_force = peer.open::<StrategyReply>(Some(&launch))?;
    match peer.ask::<StrategyReply>(&StrategyRequest::SetupStrategy(plan.setup.clone()), &[], 0)? {
        (StrategyReply::ReadyStrategy, _) => Ok(in_force.unwrap_or_default()),
        (other, _) => Err(ConversationEnd::breach(format!("it answered the setup with {other:?}"))),
    }
}

/// Has the program aggregate; returns the new weights and the new state.
fn aggregate(
    peer: &mut Peer,
    round: u64,
    server: &Slots,
    weights: &[f32],
    updates: &[ClientUpdate],
) -> std::result::Result<(Vec<f32>, Vec<u8>), ConversationEnd> {
    let names: Vec<String> = updates.iter().map(|update| format!("update/{}", update.header.client)).collect();
    let mut parts = vec![Part::F32(WEIGHTS, weights), Part::U8(STATE, server.bytes(PROGRAM))];
    parts.extend(names.iter().zip(updates).map(|(name, update)| Part::F32(name, &update.weights)));
    let headers = updates.iter().map(|update| {
        let Update { client, examples, steps, accumulation, loss_sum, .. } = update.header;
        UpdateHeader { client, examples, steps, accumulation, loss_sum }
    });
    let request = StrategyRequest::Aggregate(Aggregate { round, updates: headers.collect() });
    let (reply, mut answer) = peer.ask::<StrategyReply>(&request, &parts, most_payload(weights.len()))?;
    if reply != StrategyReply::Aggregated {
        return Err(ConversationEnd::breach(format!("it answered a request to aggregate with {reply:?}")));
    }
    let checked = answers::only(&answer, &[WEIGHTS, STATE]);
    let checked = checked.and_then(|()| answers::weights(&answer, weights.len(), "look at the program"));
    checked.map_err(ConversationEnd::Unfit)?;
    Ok((answer.take_f32(WEIGHTS).unwrap_or_default(), answer.take_u8(STATE).unwrap_or_default()))
}

/// Ends the process and its descendants. Returns the exit, or the stop if the host ended the conversation.
fn end(mut peer: Peer, reason: ConversationEnd) -> Ended {
    let exit = peer.end(reason);
    peer.end_strays();
    exit.map_or(Ended::Stopped, |exit| Ended::Exited(Box::new(exit)))
}

/// Returns the time and the cause of a crash, with the last words of the program.
fn crash_sentence(when: &str, exit: &ProcessExit) -> String {
    with_last_words(&format!("the strategy's program crashed {when}: {}", exit.cause), &exit.last_words)
}

/// Returns the most bytes of a reply: the weights, 16 values of 4 bytes of state for each, and 1 MiB.
fn most_payload(weights: usize) -> u64 {
    (4 + 64) * weights as u64 + (1 << 20)
}

#[cfg(test)]
mod tests;
