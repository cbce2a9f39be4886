//! The tensors and the models that stay with each client: the refusals, and the words of a run about them.

use fedpipe_protocol::{Layout, Place, Tensor};
use fedpipe_record::{experiment::Experiment, names::STATE, target::MeasuredOn};

use crate::{
    error::{Error, Result},
    run::clients::Clients,
};

impl Clients {
    /// Makes those tensors local that the strategy keeps with each client.
    ///
    /// # Errors
    /// [`Error::Usage`] for a model that the client term does not suit.
    pub(super) fn keep_local(&mut self, experiment: &Experiment) -> Result<()> {
        let term = &experiment.strategy.rules.term;
        let layout = self.fleet.layout()?;
        let refused = |why: String| Error::Usage(format!("the client term {term} does not suit the model: {why}"));
        term.check_layout(layout).map_err(refused)?;
        let local = term.local_tensors(layout).map_err(refused)?;
        if !local.is_empty() {
            let place = |tensor: &Tensor| if local.contains(&tensor.name) { Place::Local } else { tensor.place };
            let tensors = layout.tensors().iter().map(|tensor| Tensor { place: place(tensor), ..tensor.clone() });
            let layout = Layout::new(tensors.collect()).map_err(|error| refused(error.to_string()))?;
            self.kept_local = Some(layout);
        }
        Ok(())
    }

    /// Refuses local tensors of clients with data of their own, since the host stores the values. Returns a warning
    /// about the tensors and the models that stay with each client, if there are some.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the tensors.
    pub(super) fn check_local_tensors(&self, experiment: &Experiment) -> Result<Option<String>> {
        let names = self.local_tensors()?.join(", ");
        let rules = &experiment.strategy.rules;
        let of_strategy = self.kept_local.as_ref().map(|_| format!("the client term {}", rules.term));
        let keeper = of_strategy.unwrap_or_else(|| "the model".to_owned());
        let transforms = &rules.transforms;
        let kept = match (names.is_empty(), experiment.data.partition.is_own()) {
            (true, _) => None,
            (false, false) if !transforms.is_empty() => {
                return Err(Error::Usage(format!(
                    "{keeper} keeps the tensors {names} local to each client, and the transform {transforms} would change \
                     them each round; leave the transform out"
                )));
            }
            (false, true) => {
                return Err(Error::Usage(format!(
                    "{keeper} keeps the tensors {names} local to each client, and this host would store them, which \
                     --partition own excludes; share all tensors, or take another --partition"
                )));
            }
            (false, false) => {
                let stays = format!("{keeper} keeps the tensors {names} local to each client");
                check_scores(experiment, &stays)?;
                Some(format!(
                    "{stays}: the global weights have their initial values and no score; a new client begins with these \
                     values, and the state of each client, in the folder {STATE}, has its own"
                ))
            }
        };
        let own = rules.term.own_model().map(|_| {
            format!(
                "the client term {} trains a model of each client's own, which begins with the initial weights; the state \
                 of each client, in the folder {STATE}, has it",
                rules.term
            )
        });
        let has_personal = kept.is_some() || rules.term.is_personal() || experiment.fine_tuning_epochs() > 0;
        let holds_out = |client: &u32| self.held_out.get(*client as usize).is_some_and(|count| *count > 0);
        let is_unscored = has_personal && !experiment.training_list().iter().any(holds_out);
        let score = if kept.is_some() { "no score" } else { "no personal score" };
        let remedy = is_unscored.then(|| format!("give --holdout, or {score} is taken"));
        let all: Vec<String> = [kept, own, remedy].into_iter().flatten().collect();
        Ok((!all.is_empty()).then(|| all.join("; ")))
    }
}

/// Refuses what scores the global weights of a run whose tensors stay with each client, which the phrase `stays` says.
///
/// # Errors
/// [`Error::Usage`] with the reason and the remedy.
fn check_scores(experiment: &Experiment, stays: &str) -> Result<()> {
    let is_alone = experiment.strategy.rules.term.trains_alone();
    let (what, remedy) = match experiment.until {
        _ if is_alone => return Ok(()),
        _ if experiment.evaluation.by_class => ("--by-class".to_owned(), "leave it out"),
        Some(target) if experiment.measured_on() == MeasuredOn::TestSet => {
            (format!("--until {target}"), "give --holdout, so that the own models are scored")
        }
        _ => return Ok(()),
    };
    Err(Error::Usage(format!("{what} needs a score of the global weights, but {stays}; {remedy}")))
}
