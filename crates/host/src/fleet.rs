//! All client processes of a run: starts them, hands out work, and answers for those that are lost.

use std::{
    path::Path,
    sync::{Arc, mpsc::RecvError},
    time::Duration,
};

use fedpipe_protocol::{FailureKind, Parts, Purpose, Ready, Reply, Request, Setup};

use crate::{
    Cause, Error, Lost, OnFailure, Result, Then,
    batch::Batch,
    cause::tame,
    control::{Control, Message},
    log::last_lines_of,
    process::Loss,
    stray::{end_strays, new_mark},
    worker::{Environment, News, Order, Worker, WorkerId},
};

/// One request for one process.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) slot: usize,
    /// The client whose partition it needs; work that needs none may go to another process.
    pub(crate) client: Option<u32>,
    pub(crate) request: Request,
    pub(crate) weights: Option<Arc<Vec<f32>>>,
    pub(crate) reply_payload: u64,
}

/// What became of a job: the reply, or why there is none.
pub(crate) type Settled = std::result::Result<(Reply, Parts), Loss>;

/// Looks at a reply; what it refuses counts as a loss.
pub(crate) type Check<'c> = dyn Fn(&Job, &Reply, &Parts) -> std::result::Result<(), Cause> + 'c;

/// Hears of everything at once.
pub(crate) type Tell<'t> = dyn FnMut(Incident<'_>) -> Result<()> + 't;

/// Something that a run's observers are told.
pub(crate) enum Incident<'a> {
    /// A job was answered.
    Done(&'a Job),
    Lost(Lost),
}

/// The processes of a run.
pub(crate) struct Fleet<'a> {
    environment: Environment,
    control: &'a Control,
    slots: Vec<Slot>,
    /// Processes that work at the same time.
    at_once: usize,
    policy: OnFailure,
    /// What the first process said; the others must say the same.
    model: Option<Ready>,
    generation: u64,
    /// Somebody asked for the model's dylib to be taken anew.
    pub(crate) reload_asked: bool,
}

struct Slot {
    setup: Setup,
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
        let slot = |setup| Slot { setup, worker: None, ready: false, examples: None, proven: false };
        let slots = setups.into_iter().map(slot).collect();
        let mut fleet =
            Self { environment, control, slots, at_once, policy, model: None, generation: 0, reload_asked: false };
        (0..fleet.slots.len()).try_for_each(|slot| fleet.start_worker(slot))?;
        Ok(fleet)
    }

    /// How many processes there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Processes that work at the same time.
    pub(crate) fn at_once(&self) -> usize {
        self.at_once.min(self.slots.len())
    }

    /// What the processes said of their model; none before the first job was done.
    pub(crate) fn model(&self) -> Option<&Ready> {
        self.model.as_ref()
    }

    /// Replaces all processes by fresh ones with another dylib, which must have a model of the same layout.
    ///
    /// # Errors
    /// The reason why not; the old processes stay.
    pub(crate) fn swap(&mut self, dylib: &Path) -> Result<()> {
        let with_dylib = |setup: &Setup| Setup { dylib: Some(dylib.to_owned()), ..setup.clone() };
        let control = Control::default();
        let probe = with_dylib(&self.slots[0].setup);
        let environment = Environment { mark: new_mark(), ..self.environment.clone() };
        let mut probe = Fleet::start(environment, &control, vec![probe], 1, OnFailure::Abort)?;
        probe.ready()?;
        let model = probe.model.take();
        if model.as_ref().map(|model| &model.layout) != self.model.as_ref().map(|model| &model.layout) {
            return Err(Error::Model(format!("the model in {} has another layout", dylib.display())));
        }
        self.model = model;
        for slot in &mut self.slots {
            slot.setup = with_dylib(&slot.setup);
            slot.worker.iter_mut().for_each(Worker::dismiss);
        }
        // Each starts again when there is work for it: one that cannot is then lost as any other.
        for slot in &mut self.slots {
            slot.worker = None;
            slot.ready = false;
        }
        Ok(())
    }

    /// Waits until the first process has said what its model is.
    ///
    /// # Errors
    /// As for [`Fleet::run`].
    pub(crate) fn ready(&mut self) -> Result<()> {
        self.await_ready(&|fleet| fleet.model.is_some())
    }

    /// Waits until all processes have said how many examples they have: each has one partition, that of the client of its
    /// number.
    ///
    /// # Errors
    /// As for [`Fleet::run`]; [`Error::Round`] for one that does not say, or whose number cannot be.
    pub(crate) fn sizes(&mut self) -> Result<Vec<u64>> {
        self.await_ready(&|fleet| fleet.slots.iter().all(|slot| slot.examples.is_some()))?;
        let size = |(client, slot): (usize, &Slot)| match slot.examples.as_deref() {
            // Rows are counted in u32.
            Some(&[examples]) if (1..=u64::from(u32::MAX)).contains(&examples) => Ok(examples),
            Some(&[examples]) => Err(Error::Round(format!(
                "client {client} says that its partition has {examples} examples, and can have 1 to {}",
                u32::MAX
            ))),
            _ => Err(Error::Round(format!(
                "client {client} does not say how many examples its own partition has, as a plain node of Flower's; give it a \
                 worker (`fedpipe serve`)"
            ))),
        };
        self.slots.iter().enumerate().map(size).collect()
    }

    fn await_ready(&mut self, are_ready: &dyn Fn(&Self) -> bool) -> Result<()> {
        let mut batch = Batch::new(Vec::new(), self.slots.len(), None);
        while !are_ready(self) {
            self.take_message(&mut batch, &|_, _, _| Ok(()), &mut |incident| match incident {
                Incident::Lost(lost) if lost.last_words.is_empty() => Err(Error::Round(lost.to_string())),
                Incident::Lost(lost) => {
                    Err(Error::Round(format!("{lost}; its last words: {}", lost.last_words.join(" | "))))
                }
                Incident::Done(_) => Ok(()),
            })?;
        }
        Ok(())
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
            (News::Lost(loss), _) => return self.lose(slot, loss, batch, tell),
            (News::Replied(Reply::Ready(ready), _), None) if !self.slots[slot].ready => {
                // One that is not welcome was never ready: the work that waits for it is lost with it.
                self.welcome(slot, ready).map(|()| (self.slots[slot].ready, self.slots[slot].proven) = (true, true))
            }
            (News::Replied(..), None) => Err(Cause::protocol("it answered what nobody had asked")),
            (News::Replied(reply, parts), Some(index)) => {
                let job = &batch.jobs[index];
                let fit = check(job, &reply, &parts);
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

    /// Gives work to every process that has none, as far as `at_once` allows, in the order of the processes.
    fn dispatch(&mut self, batch: &mut Batch, tell: &mut Tell<'_>) -> Result<Dispatched> {
        let mut busy = batch.working.iter().flatten().count();
        for slot in 0..self.slots.len() {
            if busy >= self.at_once {
                break;
            }
            let (Some(&index), None) = (batch.waiting[slot].front(), batch.working[slot]) else {
                continue;
            };
            // A process that is still starting counts as busy: its work is next.
            busy += 1;
            if self.slots[slot].worker.is_none()
                && let Err(error) = self.start_worker(slot)
            {
                // Its work may go to a process that was passed already.
                self.lose(slot, Loss::at_start(&error), batch, tell)?;
                return Ok(Dispatched::InPart);
            }
            let (Some(worker), true) = (&self.slots[slot].worker, self.slots[slot].ready) else {
                continue;
            };
            batch.waiting[slot].pop_front();
            batch.working[slot] = Some(index);
            let Job { request, weights, reply_payload, .. } = &batch.jobs[index];
            worker.send(Order { request: request.clone(), weights: weights.clone(), reply_payload: *reply_payload });
        }
        Ok(Dispatched::Fully)
    }

    fn start_worker(&mut self, index: usize) -> Result<()> {
        self.generation += 1;
        let id = WorkerId { slot: index, generation: self.generation };
        let worker = Worker::start(&self.environment, id, &self.slots[index].setup, self.control.sender.clone());
        let worker = worker.map_err(|error| {
            anyhow::anyhow!("cannot start client process {index}: {error}; lower --processes or raise `ulimit -n`")
        })?;
        let slot = &mut self.slots[index];
        worker.send(Order { request: Request::Setup(slot.setup.clone()), weights: None, reply_payload: 0 });
        slot.worker = Some(worker);
        slot.ready = false;
        Ok(())
    }

    /// Takes what a process says of its model.
    fn welcome(&mut self, slot: usize, mut ready: Ready) -> std::result::Result<(), Cause> {
        let examples = std::mem::take(&mut ready.examples);
        let held = match &self.slots[slot].setup.purpose {
            Purpose::Serve { partitions, .. } => partitions.len(),
            Purpose::Describe => 0,
        };
        if !examples.is_empty() && examples.len() != held {
            let said = examples.len();
            return Err(Cause::protocol(format!("it says how many examples {said} partitions have, and holds {held}")));
        }
        let before = self.slots[slot].examples.get_or_insert_with(|| examples.clone());
        if *before != examples {
            return Err(Cause::rejected(format!("its partition has {examples:?} examples, had {before:?} before")));
        }
        let Ready { name, version, summary, options, layout, in_force, .. } = &mut ready;
        let options = options.iter_mut().flat_map(|option| [&mut option.key, &mut option.default, &mut option.help]);
        let names = layout.iter_mut().map(|tensor| &mut tensor.name).chain(&mut in_force.missing);
        for text in [name, version, summary].into_iter().chain(options).chain(names) {
            *text = tame(text);
        }
        if let Some(model) = self.model.as_ref().filter(|_| self.environment.command.elsewhere) {
            ready.in_force.clone_from(&model.in_force);
        }
        match &self.model {
            Some(model) if model.in_force != ready.in_force => Err(Cause::protocol(format!(
                "its isolation is not that of the other clients ({}), but {}",
                model.in_force, ready.in_force
            ))),
            Some(model) if *model != ready => Err(Cause::protocol("its model is not that of the other clients")),
            Some(_) => Ok(()),
            None => {
                self.model = Some(ready);
                Ok(())
            }
        }
    }

    /// Ends a process that lives, but whose answer is not taken.
    fn refusal(&mut self, slot: usize, cause: Cause) -> Loss {
        let worker = self.slots[slot].worker.take();
        let after = worker.as_ref().map_or(Duration::ZERO, |worker| worker.started.elapsed());
        if let Some(worker) = worker {
            let mark = self.environment.mark_of(worker.id);
            // Once its thread has ended, all that it printed is in its log.
            drop(worker);
            end_strays(&|of| of == mark);
        }
        let log = self.environment.log(slot);
        Loss {
            cause,
            last_words: last_lines_of(&log),
            log: Some(log).filter(|log| log.exists()),
            after,
            processor_time: Duration::ZERO,
        }
    }

    /// Settles a lost process: its work is done again, goes to another process, or is given up.
    fn lose(&mut self, slot: usize, loss: Loss, batch: &mut Batch, tell: &mut Tell<'_>) -> Result<()> {
        let loss = loss.by_limit(&self.slots[slot].setup.isolation);
        // Waited for once the loss is told: its thread may still look for strays.
        let worker = self.slots[slot].worker.take();
        let was_ready = std::mem::take(&mut self.slots[slot].ready);
        if let (false, Some(message)) = (self.slots[slot].proven, no_model(&loss.cause)) {
            return Err(message);
        }
        // Work that waits for a process that died while it started is lost with it.
        let index = batch.working[slot].take();
        let index = index.or_else(|| if was_ready { None } else { batch.waiting[slot].pop_front() });
        let then = match index {
            None => Then::Replaced,
            Some(index) => self.reassign(slot, index, batch),
        };
        let lost = Lost {
            round: batch.round,
            client: index.and_then(|index| batch.jobs[index].client),
            process: slot as u32,
            cause: loss.cause.clone(),
            after_seconds: loss.after.as_secs_f64(),
            then,
            last_words: loss.last_words.clone(),
            log: loss.log.clone(),
        };
        let who = lost.to_string();
        tell(Incident::Lost(lost))?;
        drop(worker);
        match (then, index) {
            (Then::Aborted, _) => Err(Error::Round(who)),
            (Then::Dropped, Some(index)) => {
                batch.settled[index] = Some(Err(loss));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Decides what becomes of the job that a process was lost with.
    fn reassign(&self, slot: usize, index: usize, batch: &mut Batch) -> Then {
        batch.attempts[index] += 1;
        let attempts = batch.attempts[index];
        let movable = batch.jobs[index].client.is_none();
        match self.policy {
            OnFailure::Abort => Then::Aborted,
            OnFailure::Retry if attempts == 1 => {
                batch.waiting[slot].push_front(index);
                Then::Retried
            }
            _ if movable && (attempts as usize) <= self.slots.len() => {
                batch.waiting[(slot + 1) % self.slots.len()].push_back(index);
                Then::Moved
            }
            _ => Then::Dropped,
        }
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        // All are told before the first is waited for.
        self.slots.iter_mut().filter_map(|slot| slot.worker.as_mut()).for_each(Worker::dismiss);
        self.slots.clear();
        end_strays(&|mark| mark.starts_with(&self.environment.mark));
    }
}

/// A failure that every process would repeat: the model, the data or the system do not fit, so the run cannot start.
fn no_model(cause: &Cause) -> Option<Error> {
    match cause {
        Cause::Reported { failure: FailureKind::Isolation, message } => Some(Error::Isolation(message.clone())),
        Cause::Reported { message, .. } => Some(Error::Model(message.clone())),
        _ => None,
    }
}
