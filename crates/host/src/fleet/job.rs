//! A job of a fleet, its result, and the submitter of jobs.

use std::{borrow::Cow, ops::Range, sync::Arc};

use fedpipe_protocol::{LOCAL, Parts, Reply, Request, with_local};
use fedpipe_record::crash::ClientCrash;

use crate::{
    error::Result,
    process::{
        conversation::{Checked, NamedVector},
        end::ProcessExit,
    },
};

/// One request for one process.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) slot: usize,
    /// The client whose partition the job needs. A job without one may move to another process.
    pub(crate) client: Option<u32>,
    pub(crate) request: Request,
    pub(crate) weights: Option<Arc<Vec<f32>>>,
    /// Further parts by name.
    pub(crate) parts: Vec<NamedVector>,
    /// `true` if the round can do without the answer: it scores a client, and changes no weights.
    pub(crate) only_scores: bool,
}

impl Job {
    /// Returns the weights from which the client starts: those that are sent, with the client's own values of the
    /// tensors in the ranges `local`.
    pub(crate) fn start(&self, local: &[Range<usize>]) -> Cow<'_, [f32]> {
        let weights = self.weights.as_ref().map_or(&[][..], |weights| weights);
        let own = self.parts.iter().find(|(name, _)| name == LOCAL).map_or(&[][..], |(_, own)| own);
        with_local(weights, own, local.iter().cloned())
    }
}

/// The result of a job: the reply, or the exit of the process because of which the job was given up.
pub(crate) type Settled = std::result::Result<(Reply, Parts), ProcessExit>;

/// Checks a reply, given the number of the model's weights, and decodes its parts. The process of a refused reply is
/// ended. The check runs in the thread that has read the reply, while the caches have the parts.
pub(crate) type Check = dyn Fn(&Job, &Reply, &mut Parts, usize) -> Checked + Send + Sync;

/// The submitter of jobs: the calls that the fleet makes while it works.
pub(crate) trait Submitter {
    /// Completes a job that is about to be sent for the first time. Jobs that wait thus have no parts in memory.
    ///
    /// # Errors
    /// Returns the errors of the submitter; the work ends with them.
    fn prepare(&mut self, _job: &mut Job) -> Result<()> {
        Ok(())
    }

    /// Receives an incident at once.
    ///
    /// # Errors
    /// Returns the errors of [`Submitter::prepare`].
    fn on_incident(&mut self, incident: Incident<'_>) -> Result<()>;
}

impl<F: FnMut(Incident<'_>) -> Result<()>> Submitter for F {
    fn on_incident(&mut self, incident: Incident<'_>) -> Result<()> {
        self(incident)
    }
}

/// An event of a fleet at work.
pub(crate) enum Incident<'a> {
    /// A job was answered.
    Done(&'a Job),
    /// A client process crashed.
    Crashed(ClientCrash),
}
