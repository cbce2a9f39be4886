//! What a process says of its model and its data once it has loaded them, and whether that will do.

use fedpipe_protocol::{FailureKind, Layout, Purpose, Ready};

use super::{Fleet, Incident, Slot};
use crate::{
    Cause, Error, Result,
    batch::Batch,
    cause::{tame, with_last_words},
};

impl Fleet<'_> {
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
            self.take_message(&mut batch, &|_, _, _, _| Ok(()), &mut |incident| match incident {
                Incident::Lost(lost) => Err(Error::Round(with_last_words(&lost, &lost.last_words))),
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
        let layout = match &self.slots[slot].setup.purpose {
            Purpose::Serve { .. } => {
                let layout = Layout::new(ready.layout.clone());
                Some(layout.map_err(|error| Cause::reported(FailureKind::Model, &error.to_string()))?)
            }
            Purpose::Describe => None,
        };
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
                self.layout = layout;
                Ok(())
            }
        }
    }
}
