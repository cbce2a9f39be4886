//! What a process says of its model and its data once it has loaded them, and whether that will do.

use fedpipe_data::counted;
use fedpipe_protocol::{FailureKind, InForce, Layout, Level, Purpose, Ready};

use super::{Confined, Fleet, Incident, Slot};
use crate::{
    error::{Error, Result},
    fleet::batch::Batch,
};
use fedpipe_record::cause::{Cause, tame, with_last_words};

impl Fleet<'_> {
    /// Waits until the first process has said what its model is.
    ///
    /// # Errors
    /// As for [`Fleet::run`].
    pub(crate) fn ready(&mut self) -> Result<()> {
        self.await_ready(&|fleet| fleet.model.is_some())
    }

    /// Waits until every process has been ready once, so that none is refused once the run has begun.
    ///
    /// # Errors
    /// As for [`Fleet::run`].
    pub(crate) fn all_ready(&mut self) -> Result<()> {
        self.await_ready(&|fleet| fleet.slots.iter().all(|slot| slot.proven))
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
                "client {client} says that its partition has {}, and can have 1 to {}",
                counted(examples, "example"),
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
            self.take_message(&mut batch, &|_, _, _, _| Ok(()), &mut |incident| match incident {
                Incident::Crashed(lost) => Err(Error::Round(with_last_words(&lost, &lost.last_words))),
                Incident::Done(_) => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Takes what a process says of its model.
    pub(super) fn welcome(&mut self, slot: usize, mut ready: Ready) -> std::result::Result<(), Cause> {
        let examples = std::mem::take(&mut ready.examples);
        let held = match &self.slots[slot].setup.purpose {
            Purpose::Serve { partitions, .. } => partitions.len(),
            Purpose::Describe => 0,
        };
        if !examples.is_empty() && examples.len() != held {
            let said = counted(examples.len(), "partition");
            return Err(Cause::protocol(format!("it says how many examples are in {said}, and holds {held}")));
        }
        let before = self.slots[slot].examples.get_or_insert_with(|| examples.clone());
        if *before != examples {
            let total = |examples: &[u64]| examples.iter().sum::<u64>();
            let (is, was) = (counted(total(&examples), "example"), total(before));
            return Err(Cause::rejected(format!("its data have {is}, had {was} before")));
        }
        let Ready { name, version, summary, options, layout, in_force, .. } = &mut ready;
        let options = options.iter_mut().flat_map(|option| [&mut option.key, &mut option.default, &mut option.help]);
        let names = layout.iter_mut().map(|tensor| &mut tensor.name).chain(&mut in_force.missing);
        for text in [name, version, summary].into_iter().chain(options).chain(names) {
            *text = tame(text);
        }
        let layout = match &self.slots[slot].setup.purpose {
            Purpose::Serve { .. } => {
                let layout = Layout::new(ready.layout.clone());
                Some(layout.map_err(|error| Cause::reported(FailureKind::Model, &error.to_string()))?)
            }
            Purpose::Describe => None,
        };
        let in_force = std::mem::take(&mut ready.in_force);
        if self.model.as_ref().is_some_and(|model| *model != ready) {
            return Err(Cause::protocol("its model is not that of the other clients"));
        }
        self.confine(slot, in_force)?;
        self.model.get_or_insert(ready);
        self.layout = layout;
        Ok(())
    }

    /// Takes what a process says that confines it. Those of this machine must all say the same, since all are told the same.
    fn confine(&mut self, slot: usize, in_force: InForce) -> std::result::Result<(), Cause> {
        let lacking = in_force.lacking();
        if self.slots[slot].setup.isolation.level == Level::Require && !lacking.is_empty() {
            let (who, lacking) = (self.name_of(slot), lacking.join("; "));
            let message = format!(
                "isolation is required, but {who} says that it lacks {lacking}; let its machine enforce it, or give \
                 --isolation auto"
            );
            return Err(Cause::reported(FailureKind::Isolation, &message));
        }
        let elsewhere = self.environment.command.elsewhere;
        // A word that is not another's is compared with the slot's own last one, and recorded where it is new.
        let before = match elsewhere {
            true => self.slots[slot].in_force.as_ref(),
            false => self.slots.iter().find_map(|slot| slot.in_force.as_ref()),
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

    /// The client of a process, or the process where it serves several.
    fn name_of(&self, slot: usize) -> String {
        match &self.slots[slot].setup.purpose {
            Purpose::Serve { partitions, .. } if partitions.len() == 1 => format!("client {}", partitions[0].client),
            _ => format!("client process {slot}"),
        }
    }
}
