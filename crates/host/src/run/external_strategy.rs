//! A strategy that is a program of the user's (`--strategy-program COMMAND`): it receives each round's updates and
//! returns the new global weights. A program with the ability samples the clients, or prepares their requests.
//!
//! The reply of the program has the program's state and that of each client. The states go into the checkpoint and into
//! the next request, so that a fresh process continues with the same bits. The program is launched and confined as a
//! client's program is. It is started again once a round, unless the policy is to abort.
//!
//! The run's own thread waits for the reply, so that a stop must wake it there.

mod exchange;

use std::{path::PathBuf, sync::Arc, time::Duration};

use fedpipe_protocol::{
    Ability, FailureKind, FrameError, InForce, Isolation, Layout, Level, StrategyReply, StrategyRequest, StrategySetup,
    Target,
};
use fedpipe_record::{
    cause::{Cause, isolation_hint, with_last_words},
    client_state::PROGRAM,
    crash::{Consequence, StrategyCrash},
    experiment::{Experiment, LocalSection, OnFailure},
};
use fedpipe_strategy::{
    closed_round::ClientUpdate,
    local_optimiser::to_json,
    local_work::ClientWork,
    slots::{Slot, Slots},
};
use nix::unistd::Pid;

use crate::{
    disk::timeline_log::Timeline,
    error::{
        Error, Result,
        start_error::{StartCall, StartError, failed},
    },
    experiment::processes::process_count,
    fleet::control::StopSign,
    process::{
        end::{ConversationEnd, ProcessExit},
        lane::Lane,
        launched::Launched,
        peer::{PIPE_SIZE, Peer, PeerPlan},
        pipes::has_exited,
        spawn::Spawner,
        stray::new_mark,
    },
    run::{
        directory::RunDir,
        external_strategy::exchange::{Aggregated, Capabilities},
    },
};

pub(crate) use exchange::{Before, ClientPlan};

/// The strategy, and the process that runs it; dropping it ends the process.
#[derive(Debug)]
pub(crate) struct StrategyProgram {
    plan: Plan,
    /// The process; none after a crash.
    running: Option<Peer>,
    in_force: InForce,
    /// The reply of the first process to its setup.
    rules: Capabilities,
    /// The round of the last crash at work; 0 before the first one.
    crashed_in: u64,
}

/// The configuration of a process.
#[derive(Debug)]
struct Plan {
    command: Box<dyn Spawner>,
    launched: Launched,
    setup: StrategySetup,
    /// The features that the experiment asks each client for.
    features: Vec<String>,
    isolation: Isolation,
    timeout: Duration,
    policy: OnFailure,
    log: PathBuf,
    /// The timeline, and the number of the program there.
    lane: (Timeline, u32),
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
    /// Returns [`Error::Model`] if the program fails, [`Error::Isolation`], [`Error::Stopped`].
    pub(crate) fn start(
        (command, launched): (impl Spawner + 'static, Launched),
        experiment: &Experiment,
        (target, layout): (Target, &Layout),
        (directory, timeline): (&RunDir, &Timeline),
        stop: &Arc<StopSign>,
    ) -> Result<Self> {
        let setup = setup(experiment, target, layout);
        // The limits are the clients': a strategy holds the updates of all of them.
        let isolation = Isolation { level: experiment.execution.isolation, memory_limit: None, cpu_seconds: None };
        let plan = Plan {
            command: Box::new(command),
            launched,
            setup,
            features: experiment.local.features().map(|(name, _)| name).collect(),
            isolation,
            timeout: Duration::from_secs_f64(experiment.execution.client_timeout),
            policy: experiment.clients.on_failure,
            log: directory.logs().join("strategy.log"),
            lane: (timeline.clone(), process_count(experiment)),
            stop: Arc::clone(stop),
        };
        match start(&plan) {
            Ok((running, Started { in_force, rules })) => {
                Ok(Self { plan, running: Some(running), in_force, rules, crashed_in: 0 })
            }
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

    /// Returns `true` if the program answers this request, or has this state.
    pub(crate) fn can(&self, ability: Ability) -> bool {
        self.rules.abilities.contains(&ability)
    }

    /// Returns the features that each client needs.
    pub(crate) fn features(&self) -> &[String] {
        &self.rules.features
    }

    /// Returns the clients of a round, ascending: `count` of `clients`, or as many as the program chooses.
    ///
    /// # Errors
    /// Returns the errors of [`StrategyProgram::apply`].
    pub(crate) fn sample(
        &mut self,
        before: &Before<'_>,
        (clients, count): (u32, u32),
        on_crash: &mut OnCrash<'_>,
    ) -> Result<Vec<u32>> {
        self.ask(before.round, on_crash, &|peer, _| exchange::sample(peer, before, clients, count))
    }

    /// Returns the part of a client's request that the program decides. `state` is the client's state.
    ///
    /// # Errors
    /// Returns the errors of [`StrategyProgram::apply`].
    pub(crate) fn prepare(
        &mut self,
        before: &Before<'_>,
        (client, work): (u32, ClientWork),
        state: &Slots,
        on_crash: &mut OnCrash<'_>,
    ) -> Result<ClientPlan> {
        let layout = self.plan.setup.layout.clone();
        self.ask(before.round, on_crash, &|peer, rules| {
            exchange::prepare(peer, before, (client, work, state.bytes(PROGRAM)), (rules, &layout))
        })
    }

    /// Returns the new global weights from the updates, which are in client order, and moves the program's state and
    /// those of the clients on. A program that crashed is started again, once a round.
    ///
    /// # Errors
    /// Returns [`Error::Round`] if the program crashes again or its reply is refused, [`Error::Stopped`]; those of
    /// `on_crash`.
    pub(crate) fn apply(
        &mut self,
        before: &Before<'_>,
        updates: &mut [ClientUpdate],
        on_crash: &mut OnCrash<'_>,
    ) -> Result<(Vec<f32>, Slots)> {
        let received = &*updates;
        let Aggregated { weights, state, clients } =
            self.ask(before.round, on_crash, &|peer, rules| exchange::aggregate(peer, before, received, rules))?;
        for (update, state) in updates.iter_mut().zip(clients) {
            // A state that the program left out, or left empty, stays as it is.
            let state = state.filter(|state| !state.is_empty());
            state.into_iter().for_each(|state| update.after.set(PROGRAM, Slot::Bytes(Arc::new(state))));
        }
        Ok((weights, Slots::from_iter([(PROGRAM, Slot::Bytes(Arc::new(state)))])))
    }

    /// Has the process do the `work`, or a fresh process once a round.
    fn ask<A>(&mut self, round: u64, on_crash: &mut OnCrash<'_>, work: &ProgramWork<'_, A>) -> Result<A> {
        // An idle program that exited had no work.
        if let Some(idle) = self.running.take_if(|peer| has_exited(peer.link.exited()))
            && let Ended::Exited(exit) = end(idle, ConversationEnd::Failed(FrameError::End))
        {
            on_crash(&StrategyCrash { round, crash: exit.crash(Consequence::Replaced) })?;
        }
        loop {
            let exit = match self.attempt(work) {
                Ok(answer) => return Ok(answer),
                Err(Ended::Stopped) => return Err(Error::Stopped(self.plan.stop.signal())),
                Err(Ended::NotStarted(error)) => Box::new(ProcessExit::at_start(&error)),
                Err(Ended::Exited(exit)) => exit,
            };
            let is_first = self.crashed_in != round;
            self.crashed_in = round;
            let then = match self.plan.policy {
                OnFailure::Retry | OnFailure::Drop if is_first => Consequence::Retried,
                _ => Consequence::Aborted,
            };
            on_crash(&StrategyCrash { round, crash: exit.crash(then) })?;
            if then == Consequence::Aborted {
                return Err(Error::Round(crash_sentence(&format!("in round {round}"), &exit)));
            }
        }
    }

    /// Has the process do the `work`, or a fresh one if there is none.
    fn attempt<A>(&mut self, work: &ProgramWork<'_, A>) -> std::result::Result<A, Ended> {
        let mut peer = match self.running.take() {
            Some(peer) => peer,
            None => self.start_again()?,
        };
        match work(&mut peer, &self.rules) {
            Ok(answer) => {
                self.running = Some(peer);
                Ok(answer)
            }
            Err(reason) => Err(end(peer, reason)),
        }
    }

    /// Starts a fresh process, which must have the abilities and the features of the first one.
    fn start_again(&self) -> std::result::Result<Peer, Ended> {
        let (peer, Started { rules, .. }) = start(&self.plan)?;
        if rules == self.rules {
            Ok(peer)
        } else {
            Err(end(peer, ConversationEnd::breach("its abilities or features differ from those before")))
        }
    }
}

/// A request to a program and the check of its answer.
type ProgramWork<'w, A> = dyn Fn(&mut Peer, &Capabilities) -> std::result::Result<A, ConversationEnd> + 'w;

impl Drop for StrategyProgram {
    fn drop(&mut self) {
        if let Some(peer) = self.running.take() {
            end(peer, ConversationEnd::Dismissed);
        }
    }
}

/// Returns the facts that the program receives.
fn setup(experiment: &Experiment, target: Target, layout: &Layout) -> StrategySetup {
    let LocalSection { batch_size, ref optimiser, .. } = experiment.local;
    StrategySetup {
        seed: experiment.seed.0,
        sample_seed: experiment.sample_seed(),
        clients: experiment.clients.count,
        target,
        layout: layout.tensors().to_vec(),
        batch_size,
        optimiser: to_json(optimiser),
    }
}

/// The facts about a process that is ready.
struct Started {
    /// The isolation that the kernel enforces on it.
    in_force: InForce,
    rules: Capabilities,
}

/// Starts a process and waits until it is ready.
fn start(plan: &Plan) -> std::result::Result<(Peer, Started), Ended> {
    let wakeup = plan.stop.wakeup().map_err(failed(StartCall::Descriptor)).map_err(Ended::NotStarted)?;
    let peer_plan =
        PeerPlan { number: 0, mark: new_mark(), pipe_size: PIPE_SIZE, log: plan.log.clone(), timeout: plan.timeout };
    let mut peer = Peer::start(&*plan.command, peer_plan, wakeup).map_err(Ended::NotStarted)?;
    let (timeline, process) = &plan.lane;
    peer.lane = Lane::of_strategy(timeline, *process, peer.pid().map(Pid::as_raw));
    match set_up(&mut peer, plan) {
        Ok(started) => Ok((peer, started)),
        Err(reason) => Err(end(peer, reason)),
    }
}

fn set_up(peer: &mut Peer, plan: &Plan) -> std::result::Result<Started, ConversationEnd> {
    let launch = plan.launched.request(plan.isolation.clone(), Vec::new());
    let in_force = peer.open::<StrategyReply>(Some(&launch))?.unwrap_or_default();
    match peer.ask::<StrategyReply>(&StrategyRequest::SetupStrategy(plan.setup.clone()), &[], 0)? {
        (StrategyReply::ReadyStrategy { abilities, features }, _) => {
            // The plain phase of a request may need a feature that no program knows of.
            let features = features.into_iter().chain(plan.features.iter().cloned()).collect();
            Ok(Started { in_force, rules: Capabilities { abilities, features } })
        }
        (other, _) => Err(ConversationEnd::breach(format!("it answered the setup with {other:?}"))),
    }
}

/// Ends the process and its descendants. Returns the exit, or the stop if the host ended the conversation.
fn end(mut peer: Peer, reason: ConversationEnd) -> Ended {
    let exit = peer.end(reason);
    peer.lane.exited(exit.as_ref().map(|exit| &exit.cause));
    peer.end_strays();
    exit.map_or(Ended::Stopped, |exit| Ended::Exited(Box::new(exit)))
}

/// Returns the time and the cause of a crash, with the last words of the program.
fn crash_sentence(when: &str, exit: &ProcessExit) -> String {
    with_last_words(&format!("the strategy's program crashed {when}: {}", exit.cause), &exit.last_words)
}

#[cfg(test)]
pub(super) mod tests;
