//! Checks the report of a process that has loaded its model and its data.

use fedpipe_data::{DataError, Holdout, counted};
use fedpipe_protocol::{FailureKind, InForce, Layout, Level, Purpose, Ready};
use fedpipe_record::cause::{Cause, tame, with_last_words};

use crate::{
    error::{Error, Result},
    fleet::{Confined, Fleet, NeededFeature, ProcessSlot, job::Incident},
};

impl Fleet {
    /// Waits until the first process has described its model.
    ///
    /// # Errors
    /// Returns the errors of [`Fleet::next_settled`].
    pub(crate) fn ready(&mut self) -> Result<()> {
        self.await_ready(&|fleet| fleet.model.is_some())
    }

    /// Waits until every process was ready once, so that none is refused after the run has begun.
    ///
    /// # Errors
    /// Returns the errors of [`Fleet::next_settled`].
    pub(crate) fn all_ready(&mut self) -> Result<()> {
        self.await_ready(&|fleet| fleet.slots.iter().all(|slot| slot.proven))
    }

    /// Refuses processes that lack one of the features, now and whenever a process is ready. Clients elsewhere may have
    /// different features, so that all of them must be ready first.
    ///
    /// # Errors
    /// [`Error::Model`] naming the feature; as for [`Fleet::next_settled`].
    pub(crate) fn require(&mut self, needed: Vec<NeededFeature>) -> Result<()> {
        self.needed = needed;
        if self.needed.is_empty() {
            return Ok(());
        }
        let ready = (0..self.slots.len()).filter(|&slot| self.slots[slot].ready);
        ready
            .map(|slot| self.lacking(slot))
            .try_for_each(|lacking| lacking.map_or(Ok(()), |why| Err(Error::Model(why))))?;
        if self.environment.spawner.is_elsewhere() { self.all_ready() } else { Ok(()) }
    }

    /// Returns the reason why the features of a process do not suffice; none if they do.
    fn lacking(&self, slot: usize) -> Option<String> {
        let listed = &self.slots[slot].features;
        let NeededFeature { name, by } = self.needed.iter().find(|needed| !listed.contains(&needed.name))?;
        let client = match &self.model {
            Some(model) if !self.environment.spawner.is_elsewhere() => format!("the client {}", model.name),
            _ => self.name_of(slot),
        };
        Some(format!(
            "{client} lacks the feature {name:?}, which {by} needs; take a client that has it, or leave that out"
        ))
    }

    /// Waits until each process has reported the number of its examples. Each has one partition: that of the client
    /// with its number.
    ///
    /// # Errors
    /// Returns the errors of [`Fleet::next_settled`]; [`Error::Round`] for a process that reports no number.
    pub(crate) fn sizes(&mut self) -> Result<Vec<u64>> {
        self.await_ready(&|fleet| fleet.slots.iter().all(|slot| slot.examples.is_some()))?;
        let size = |(client, slot): (usize, &ProcessSlot)| match slot.examples.as_deref() {
            Some(&[examples]) => Ok(examples),
            _ => Err(Error::Round(format!(
                "client {client} does not say how many examples its own partition has, as a plain node of Flower's; give it a \
                 worker (`fedpipe serve`)"
            ))),
        };
        self.slots.iter().enumerate().map(size).collect()
    }

    /// Returns the held-out examples of each client, whose training examples are `sizes`. Each client decides which of
    /// its own examples it holds out.
    ///
    /// # Errors
    /// [`Error::Data`] for a client that holds out another share than that of the run.
    pub(crate) fn held_out(&self, sizes: &[u64], holdout: Holdout) -> Result<Vec<u64>> {
        let count = |(client, (slot, training)): (usize, (&ProcessSlot, &u64))| {
            let held_out = slot.held_out.first().copied().unwrap_or(0);
            let expected = holdout.count(training + held_out);
            if held_out == expected {
                return Ok(held_out);
            }
            let (all, share) = (counted(training + held_out, "example"), holdout.rows);
            let why = format!(
                "client {client} holds out {held_out} of its {all}, and the run {expected}; start its node with --holdout \
                 {share}"
            );
            Err(DataError::Reported(why).into())
        };
        self.slots.iter().zip(sizes).enumerate().map(count).collect()
    }

    fn await_ready(&mut self, are_ready: &dyn Fn(&Self) -> bool) -> Result<()> {
        while !are_ready(self) {
            // A process that exited without a job is replaced here.
            let missing = (0..self.slots.len()).filter(|&slot| self.slots[slot].process.is_none());
            missing.collect::<Vec<_>>().into_iter().try_for_each(|slot| self.start_process(slot))?;
            self.handle_report(None, &mut |incident: Incident<'_>| match incident {
                Incident::Crashed(crash) => Err(Error::Round(with_last_words(&crash, &crash.crash.last_words))),
                Incident::Done(_) => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Checks the report of a process that is ready, and keeps it if it is the first.
    pub(super) fn check_ready(&mut self, slot: usize, mut ready: Ready) -> std::result::Result<(), Cause> {
        let examples = std::mem::take(&mut ready.examples);
        let held_out = std::mem::take(&mut ready.held_out);
        let held = match &self.slots[slot].setup.purpose {
            Purpose::Serve { partitions, .. } => partitions.len(),
            Purpose::Describe => 0,
        };
        if let Some(examples) = [&examples, &held_out].into_iter().find(|of| !of.is_empty() && of.len() != held) {
            let counted_partitions = counted(examples.len(), "partition");
            return Err(Cause::protocol(format!(
                "it says how many examples are in {counted_partitions}, and holds {held}"
            )));
        }
        let all: Vec<u64> =
            (0..).zip(&examples).map(|(index, count)| count + held_out.get(index).unwrap_or(&0)).collect();
        self.check_counts(slot, &all)?;
        if self.slots[slot].examples.is_none() {
            self.slots[slot].held_out = held_out.clone();
        }
        let before = self.slots[slot].examples.get_or_insert_with(|| examples.clone());
        if *before != examples {
            let total = |examples: &[u64]| examples.iter().sum::<u64>();
            let (now, earlier) = (counted(total(&examples), "example"), total(before));
            return Err(Cause::rejected(format!("its data have {now}, had {earlier} before")));
        }
        let Ready { name, version, summary, options, layout, instruction_set, in_force, .. } = &mut ready;
        let options = options.iter_mut().flat_map(|option| [&mut option.key, &mut option.default, &mut option.help]);
        let names = layout.iter_mut().map(|tensor| &mut tensor.name).chain(&mut in_force.missing);
        for text in [name, version, summary, instruction_set].into_iter().chain(options).chain(names) {
            *text = tame(text);
        }
        let layout = match &self.slots[slot].setup.purpose {
            Purpose::Serve { .. } => {
                let layout = Layout::new(ready.layout.clone());
                Some(layout.map_err(|error| Cause::reported(FailureKind::Model, &error.to_string()))?)
            }
            Purpose::Describe => None,
        };
        self.slots[slot].features = std::mem::take(&mut ready.features);
        let in_force = std::mem::take(&mut ready.in_force);
        // The machines of clients elsewhere may differ; an instruction set changes no bit.
        self.model.iter().for_each(|model| ready.instruction_set.clone_from(&model.instruction_set));
        if self.model.as_ref().is_some_and(|model| *model != ready) {
            return Err(Cause::protocol("its model is not that of the other clients"));
        }
        self.check_isolation(slot, in_force)?;
        self.model.get_or_insert(ready);
        self.lacking(slot).map_or(Ok(()), |why| Err(Cause::reported(FailureKind::Refused, &why)))?;
        self.layout = layout;
        Ok(())
    }

    /// Checks that each partition of a process has examples, as many as rows can be counted.
    fn check_counts(&self, slot: usize, examples: &[u64]) -> std::result::Result<(), Cause> {
        let possible = 1..=u64::from(u32::MAX);
        let Some(index) = examples.iter().position(|count| !possible.contains(count)) else { return Ok(()) };
        let client = match &self.slots[slot].setup.purpose {
            Purpose::Serve { partitions, .. } => partitions[index].client,
            Purpose::Describe => 0,
        };
        let message = format!(
            "client {client} says that its partition has {}, and can have 1 to {}; give it other data, or leave the \
             client out",
            counted(examples[index], "example"),
            u32::MAX
        );
        Err(Cause::reported(FailureKind::Data, &message))
    }

    /// Checks the isolation that a process reports. All processes of this machine must report the same.
    fn check_isolation(&mut self, slot: usize, in_force: InForce) -> std::result::Result<(), Cause> {
        let lacking = in_force.lacking();
        if self.slots[slot].setup.isolation.level == Level::Require && !lacking.is_empty() {
            let message = format!(
                "isolation is required, but {} says that it lacks {}; let its machine enforce it, or give --isolation auto",
                self.name_of(slot),
                lacking.join("; ")
            );
            return Err(Cause::reported(FailureKind::Isolation, &message));
        }
        let elsewhere = self.environment.spawner.is_elsewhere();
        // Elsewhere, each slot has an isolation of its own, and a change of it is recorded.
        let before = if elsewhere {
            self.slots[slot].in_force.as_ref()
        } else {
            self.slots.iter().find_map(|slot| slot.in_force.as_ref())
        };
        match before {
            Some(before) if *before == in_force => {}
            Some(before) if !elsewhere => {
                return Err(Cause::protocol(format!(
                    "its isolation is not that of the other clients ({before}), but {in_force}"
                )));
            }
            _ => {
                let process = elsewhere.then_some(slot as u32);
                self.confined.push(Confined { process, in_force: in_force.clone() });
            }
        }
        self.slots[slot].in_force = Some(in_force);
        Ok(())
    }

    /// Returns the name of the process's client, or of the process if it serves several.
    fn name_of(&self, slot: usize) -> String {
        match &self.slots[slot].setup.purpose {
            Purpose::Serve { partitions, .. } if partitions.len() == 1 => format!("client {}", partitions[0].client),
            _ => format!("client process {slot}"),
        }
    }
}
