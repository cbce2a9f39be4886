//! All client processes of a run: starts them, hands out work and takes the answers.

pub(crate) mod batch;
pub(crate) mod cores;
mod crashes;
pub(crate) mod describe;
mod readiness;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc::RecvError},
};

use fedpipe_protocol::{InForce, Layout, Parts, Ready, Reply, Request, Setup, Tensor};
use nix::sched::CpuSet;

use fedpipe_record::{cause::Cause, crash::ClientCrash, experiment::OnFailure};

use crate::{
    error::{Error, Result},
    fleet::{
        batch::{Batch, Work},
        cores::Cores,
    },
    process::{
        conversation::{Environment, News, Order, Worker, WorkerId},
        end::ProcessExit,
        inbox::{Control, Message},
        stray::{end_strays, new_mark},
    },
};

/// One request for one process.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) slot: usize,
    /// The client whose partition it needs; work that needs none may go to another process.
    pub(crate) client: Option<u32>,
    pub(crate) request: Request,
    pub(crate) weights: Option<Arc<Vec<f32>>>,
}

/// What became of a job: the reply, or why there is none.
pub(crate) type Settled = std::result::Result<(Reply, Parts), ProcessExit>;

/// Looks at a reply, given the number of the model's weights; what it refuses counts as a loss.
pub(crate) type Check<'c> = dyn Fn(&Job, &Reply, &Parts, usize) -> std::result::Result<(), Cause> + 'c;

/// Hears of everything at once.
pub(crate) type Tell<'t> = dyn FnMut(Incident<'_>) -> Result<()> + 't;

/// Something that a run's observers are told.
pub(crate) enum Incident<'a> {
    /// A job was answered.
    Done(&'a Job),
    /// A client process crashed.
    Crashed(ClientCrash),
}

/// The processes of a run.
pub(crate) struct Fleet<'a> {
    environment: Environment,
    control: &'a Control,
    slots: Vec<Slot>,
    /// Processes that work at the same time.
    at_once: usize,
    /// On which they do.
    cores: Cores,
    policy: OnFailure,
    /// The first process's description of its model; the others must say the same. What confines a process, and how many
    /// examples it has, is its slot's, and left out here.
    model: Option<Ready>,
    /// The layout of that model; none where models are only described.
    layout: Option<Layout>,
    /// Isolation reports that [`Fleet::take_confined`] has not returned yet.
    confined: Vec<Confined>,
    generation: u64,
    /// The dylib from before a reload, until a round was done with the new one.
    before: Option<Installed>,
    /// Somebody asked for the model's dylib to be taken anew.
    pub(crate) reload_asked: bool,
}

/// The isolation of a process, by its own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Confined {
    /// The process; none where one word holds for all, which is so for those of this machine.
    pub(crate) process: Option<u32>,
    pub(crate) in_force: InForce,
}

/// The dylib that the setups name, and its model's description.
struct Installed {
    dylib: Option<PathBuf>,
    dylib_sha256: Option<String>,
    model: Option<Ready>,
}

struct Slot {
    setup: Setup,
    /// The isolation of its process, as the last one that was ready said.
    in_force: Option<InForce>,
    worker: Option<Worker>,
    ready: bool,
    /// Examples of each partition, as the first process that was ready said.
    examples: Option<Vec<u64>>,
    /// A process of this slot was ready once, so that the model and the data are fit for it.
    proven: bool,
}

/// How far a batch was dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dispatched {
    /// All that can have work have it.
    Fully,
    /// A process could not be started: once more.
    InPart,
}

impl<'a> Fleet<'a> {
    /// A fleet with one process for each of `setups`, all starting.
    pub(crate) fn start(
        environment: Environment,
        control: &'a Control,
        setups: Vec<Setup>,
        at_once: usize,
        policy: OnFailure,
    ) -> Result<Self> {
        let slot = |setup| Slot { setup, in_force: None, worker: None, ready: false, examples: None, proven: false };
        let slots: Vec<Slot> = setups.into_iter().map(slot).collect();
        let at_once = at_once.min(slots.len());
        // Who is elsewhere has other cores.
        let cores = if environment.command.elsewhere { Cores::none() } else { Cores::of_machine(at_once) };
        let mut fleet = Self {
            environment,
            control,
            slots,
            at_once,
            cores,
            policy,
            model: None,
            layout: None,
            confined: Vec::new(),
            generation: 0,
            before: None,
            reload_asked: false,
        };
        (0..fleet.slots.len()).try_for_each(|slot| fleet.start_worker(slot))?;
        Ok(fleet)
    }

    /// How many processes there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Processes that work at the same time.
    pub(crate) fn at_once(&self) -> usize {
        self.at_once
    }

    /// The processes' description of their model, without what is each one's own; none before the first job was done.
    pub(crate) fn model(&self) -> Option<&Ready> {
        self.model.as_ref()
    }

    /// The layout of the model's weights; none before the first job was done.
    pub(crate) fn layout(&self) -> Option<&Layout> {
        self.layout.as_ref()
    }

    /// Returns the isolation of the process of `slot`, as the last one that was ready said.
    pub(crate) fn in_force(&self, slot: usize) -> Option<&InForce> {
        self.slots.get(slot)?.in_force.as_ref()
    }

    /// Takes what is in force, in the order in which it was said: of each process elsewhere when it is first ready, and
    /// whenever a later one of it says something else; of the processes of this machine once.
    pub(crate) fn take_confined(&mut self) -> Vec<Confined> {
        std::mem::take(&mut self.confined)
    }

    /// Replaces all processes by fresh ones with another dylib, which must have a model of the same layout.
    ///
    /// # Errors
    /// The reason why not; the old processes stay.
    pub(crate) fn swap(&mut self, dylib: &Path, sha256: &str) -> Result<()> {
        let Setup { dylib: known, dylib_sha256, .. } = self.slots[0].setup.clone();
        let before = Installed { dylib: known, dylib_sha256, model: self.model.clone() };
        let dylib_sha256 = before.dylib_sha256.as_ref().map(|_| sha256.to_owned());
        let control = Control::default();
        let probe =
            Setup { dylib: Some(dylib.to_owned()), dylib_sha256: dylib_sha256.clone(), ..self.slots[0].setup.clone() };
        let environment = Environment { mark: new_mark(), ..self.environment.clone() };
        let mut probe = Fleet::start(environment, &control, vec![probe], 1, OnFailure::Abort)?;
        probe.ready()?;
        let model = probe.model.take();
        if let Some(difference) = layout_difference(self.layout.as_ref(), probe.layout.as_ref()) {
            return Err(Error::Model(format!("the model in {} has another layout: {difference}", dylib.display())));
        }
        self.replace_all(Installed { dylib: Some(dylib.to_owned()), dylib_sha256, model });
        self.before = Some(before);
        Ok(())
    }

    /// Keeps the dylib of the last [`Fleet::swap`]: a round was done with it.
    pub(crate) fn keep_dylib(&mut self) {
        self.before = None;
    }

    /// Returns to the dylib before the last [`Fleet::swap`]; returns `false` where it was kept, or there was none.
    pub(crate) fn revert(&mut self) -> bool {
        let before = self.before.take();
        before.map(|before| self.replace_all(before)).is_some()
    }

    fn replace_all(&mut self, Installed { dylib, dylib_sha256, model }: Installed) {
        self.model = model;
        for slot in &mut self.slots {
            (slot.setup.dylib, slot.setup.dylib_sha256) = (dylib.clone(), dylib_sha256.clone());
            slot.worker.iter_mut().for_each(Worker::dismiss);
        }
        // Each starts again when there is work for it: one that cannot is then lost as any other.
        for slot in &mut self.slots {
            slot.worker = None;
            slot.ready = false;
        }
    }

    /// Does `jobs`, each by its process in the order given, and returns what became of them, in the same order.
    ///
    /// # Errors
    /// A model that cannot be loaded, a stop, or the policy `abort` after a loss.
    pub(crate) fn run(
        &mut self,
        round: Option<u64>,
        jobs: Vec<Job>,
        check: &Check<'_>,
        tell: &mut Tell<'_>,
    ) -> Result<Vec<Settled>> {
        let mut batch = Batch::new(jobs, self.slots.len(), round);
        self.cores.forget_all();
        loop {
            while self.dispatch(&mut batch, tell)? == Dispatched::InPart {}
            if batch.settled.iter().all(Option::is_some) {
                return Ok(batch.settled.into_iter().flatten().collect());
            }
            self.take_message(&mut batch, check, tell)?;
        }
    }

    fn take_message(&mut self, batch: &mut Batch, check: &Check<'_>, tell: &mut Tell<'_>) -> Result<()> {
        let (id, news) = match self.control.inbox.recv() {
            Ok(Message::News(id, news)) => (id, news),
            Ok(Message::Reload) => {
                self.reload_asked = true;
                return Ok(());
            }
            Ok(Message::Stop(signal)) => return Err(Error::Stopped(signal)),
            Err(RecvError) => return Err(anyhow::anyhow!("the run's inbox is closed").into()),
        };
        let slot = id.slot;
        // A worker that was replaced may still have had something to say.
        if self.slots[slot].worker.as_ref().map(|worker| worker.id) != Some(id) {
            return Ok(());
        }
        let taken = match (news, batch.working[slot]) {
            (News::Exited(loss), _) => return self.lose(slot, loss, batch, tell),
            (News::Replied(Reply::Ready(ready), _), None) if !self.slots[slot].ready => {
                // One that is not welcome was never ready: the work that waits for it is lost with it.
                self.welcome(slot, ready).map(|()| (self.slots[slot].ready, self.slots[slot].proven) = (true, true))
            }
            (News::Answers, _) => {
                // A process that will go on where it is makes no room: another would fetch its own model into the caches of
                // that core, and be in the way when this one comes back.
                let stays = self.cores.know(slot)
                    && batch.fills(self.cores.count(), slot, 1)
                    && batch.is_next(slot, |slot| self.slots[slot].ready);
                batch.working[slot].iter_mut().for_each(|work| work.answering = !stays);
                Ok(())
            }
            (News::Replied(..), None) => Err(Cause::protocol("it answered what nobody had asked")),
            (News::Replied(reply, parts), Some(Work { job: index, .. })) => {
                let job = &batch.jobs[index];
                let weights = self.layout.as_ref().map_or(0, Layout::weight_count);
                let fit = check(job, &reply, &parts, weights);
                if fit.is_ok() {
                    batch.working[slot] = None;
                    batch.settled[index] = Some(Ok((reply, parts)));
                    tell(Incident::Done(job))?;
                }
                fit
            }
        };
        match taken {
            Ok(()) => Ok(()),
            Err(cause) => {
                let loss = self.refusal(slot, cause);
                self.lose(slot, loss, batch, tell)
            }
        }
    }

    /// Gives work to processes that have none, as far as `at_once` allows.
    fn dispatch(&mut self, batch: &mut Batch, tell: &mut Tell<'_>) -> Result<Dispatched> {
        // A process that is still starting takes a place, too: its work is next.
        let places = self.at_once.saturating_sub(batch.busy());
        for slot in batch.idle(|slot| self.slots[slot].ready, |slot| self.cores.know(slot)).into_iter().take(places) {
            if self.slots[slot].worker.is_none()
                && let Err(error) = self.start_worker(slot)
            {
                // Its work may go to a process that was passed already.
                self.lose(slot, ProcessExit::at_start(&error), batch, tell)?;
                return Ok(Dispatched::InPart);
            }
            // One that died idle has done no harm: its loss, which comes next, has it replaced.
            if !self.slots[slot].ready || self.slots[slot].worker.as_ref().is_some_and(Worker::has_ended) {
                continue;
            }
            let Some(index) = batch.waiting[slot].pop_front() else {
                continue;
            };
            let cores = self.cores_for(slot, batch);
            batch.working[slot] = Some(Work { job: index, answering: false });
            let Job { request, weights, .. } = &batch.jobs[index];
            let layout = self.layout.as_ref().filter(|_| request.is_answered_with_weights());
            let (request, weights, reply_payload) =
                (request.clone(), weights.clone(), layout.map_or(0, Layout::payload));
            let order = Order { request, weights, reply_payload, cores };
            if let Some(worker) = &self.slots[slot].worker {
                worker.send(order);
            }
        }
        Ok(Dispatched::Fully)
    }

    /// Where the process of `slot` is to do what it is about to be given; where it is, for one that may have threads.
    fn cores_for(&mut self, slot: usize, batch: &Batch) -> Option<CpuSet> {
        if !self.in_force(slot).is_some_and(|in_force| in_force.seccomp && !in_force.threads) {
            return None;
        }
        if batch.fills(self.cores.count(), slot, 0) {
            return self.cores.take(slot, |slot| batch.computes(slot));
        }
        self.cores.forget(slot);
        self.cores.all()
    }

    fn start_worker(&mut self, index: usize) -> Result<()> {
        self.generation += 1;
        let id = WorkerId { slot: index, generation: self.generation };
        let worker = Worker::start(&self.environment, id, &self.slots[index].setup, self.control.sender.clone());
        let worker = worker.map_err(|error| {
            let fewer = if error.is_of_number() { ", or lower --processes" } else { "" };
            anyhow::anyhow!("cannot start client process {index}: {error}{fewer}")
        })?;
        let slot = &mut self.slots[index];
        worker.send(Order {
            request: Request::Setup(slot.setup.clone()),
            weights: None,
            reply_payload: 0,
            cores: None,
        });
        slot.worker = Some(worker);
        slot.ready = false;
        Ok(())
    }
}

/// The first tensor that differs between two layouts, a phrase.
fn layout_difference(was: Option<&Layout>, is: Option<&Layout>) -> Option<String> {
    let tensors = |layout: Option<&Layout>| layout.map(|layout| layout.tensors().to_vec()).unwrap_or_default();
    let (was, is) = (tensors(was), tensors(is));
    let shown = |tensor: Option<&Tensor>| {
        tensor.map_or("nothing".into(), |tensor| format!("{} {:?} ({:?})", tensor.name, tensor.shape, tensor.kind))
    };
    let index = (0..was.len().max(is.len())).find(|&index| was.get(index) != is.get(index))?;
    Some(format!("its tensor {index} is {}, was {}", shown(is.get(index)), shown(was.get(index))))
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        // All are told before the first is waited for.
        self.slots.iter_mut().filter_map(|slot| slot.worker.as_mut()).for_each(Worker::dismiss);
        self.slots.clear();
        end_strays(&|mark| mark.starts_with(&self.environment.mark));
    }
}
