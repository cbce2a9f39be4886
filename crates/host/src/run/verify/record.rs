//! Compares the files of a run with its ledger, without running anything.

use std::{collections::BTreeSet, io, path::Path};

use fedpipe_data::counted;
use fedpipe_record::{
    checkpoint::Checkpoint,
    client_state::check,
    digest::bytes_sha256,
    experiment::Experiment,
    file::read_regular,
    history::{History, Stretch},
    names::{self, CHECKPOINTS},
    round_line::Round,
    summary::{RunFacts, Stop, Summary},
    target::TargetScore,
};
use fedpipe_strategy::convergence::Convergence;
use serde_json::{Map, Value};

use super::differences::shown;
use crate::error::{Error, Result};

/// The first difference between the ledger and the other files of the run in `directory`, a sentence.
///
/// # Errors
/// Returns [`Error::Output`] for a file that is there and cannot be read.
pub(super) fn difference(directory: &Path, history: &History) -> Result<Option<String>> {
    for check in [lines, experiment, partitions, dylibs, summary, checkpoints, states] {
        if let Some(difference) = check(directory, history)? {
            return Ok(Some(difference));
        }
    }
    Ok(None)
}

/// The difference between the final weights of the run in `directory` and those of the repeated one.
pub(super) fn weights_difference(directory: &Path, repeated: &Path) -> Result<Option<String>> {
    let Some(was) = read(&directory.join(names::FINAL_WEIGHTS))? else { return Ok(None) };
    let now = read(&repeated.join(names::FINAL_WEIGHTS))?;
    Ok((Some(was) != now).then(|| format!("{} does not hold the final weights", names::FINAL_WEIGHTS)))
}

/// Returns what a run cannot vouch for, a phrase each.
pub(super) fn not_vouched_for(directory: &Path, history: &History) -> Vec<String> {
    let mut phrases = vec![
        "seconds, the timeline, the processor, and fedpipe's version".to_owned(),
        "the number, causes and logs of crashed clients".to_owned(),
        "the isolation that was in force".to_owned(),
        format!(
            "{}, {}, {} and {}, which are drawn from the ledger",
            names::PICTURE,
            names::PARTITION_PICTURE,
            names::REPORT,
            names::METRICS
        ),
    ];
    let results = [names::SUMMARY, names::FINAL_WEIGHTS].into_iter().filter(|_| history.finished.is_some());
    let missing = results.chain([CHECKPOINTS]).filter(|name| !directory.join(name).exists());
    phrases.extend(missing.map(|name| format!("{name}, which is missing")));
    match history.finished.as_ref().map(|summary| &summary.stopped) {
        None => phrases.push("an end: the ledger has none, and later rounds may have been cut off".into()),
        Some(Stop::Signal(_) | Stop::Failed(_)) => phrases.push("the reason why it was stopped".into()),
        Some(_) => {}
    }
    phrases
}

/// Compares each line with those before it.
fn lines(_: &Path, history: &History) -> Result<Option<String>> {
    if !history.is_plain {
        return Ok(Some("the ledger has a line with more in it than a run writes".into()));
    }
    let last = history.rounds.len() as u64;
    let undescribed = history
        .stretches
        .iter()
        .find(|stretch| stretch.first_round <= last && (stretch.dealt.is_none() || stretch.ready.is_none()));
    if let Some(Stretch { first_round, .. }) = undescribed {
        return Ok(Some(format!("the ledger lacks the line on the data or the model of round {first_round}")));
    }
    if history.initial.is_none() && last > 0 {
        return Ok(Some("the ledger lacks the line on the score of the initial weights".into()));
    }
    let mut ends = history.stretches.iter().skip(1).map(|stretch| stretch.first_round).chain([u64::MAX]);
    Ok(history.stretches.iter().find_map(|stretch| {
        let end = ends.next().unwrap_or(u64::MAX);
        let rounds = history.rounds.iter().filter(|round| (stretch.first_round..end).contains(&round.round));
        let sizes = stretch.dealt.as_ref().map_or(&[][..], |dealt| &dealt.sizes);
        rounds.filter_map(|round| participants(&stretch.experiment, sizes, round)).next()
    }))
}

/// Compares the participants of a round with those that it sampled.
fn participants(experiment: &Experiment, sizes: &[u64], round: &Round) -> Option<String> {
    let Round { round: number, clients, failed, participants, .. } = round;
    if !round.updates.is_empty() {
        return trainings(experiment, sizes, round);
    }
    // The program of a strategy may sample in its own way, which only a repeated run shows.
    let is_program = experiment.strategy.program.is_some();
    let sampled = if is_program { (0..experiment.clients.count).collect() } else { experiment.sample(*number, sizes) };
    // The losses of the candidates decide, and these are candidates.
    let is_choice = experiment.strategy.sampler.asks_losses();
    let is_ascending = participants.windows(2).all(|pair| pair[0] < pair[1]);
    if !is_ascending || participants.iter().any(|client| !sampled.contains(client)) {
        return Some(format!(
            "round {number}: the participants {participants:?} in the ledger are not of those sampled"
        ));
    }
    let attackers = experiment.attackers().into_iter().filter(|client| sampled.contains(client)).collect::<Vec<_>>();
    if attackers != round.attackers && !is_choice {
        return Some(format!(
            "round {number}: the attackers {:?} in the ledger are not those of the seed, {attackers:?}",
            round.attackers
        ));
    }
    // All took part where none is named.
    let are_all = participants.is_empty() && !sampled.is_empty();
    let all = if are_all { experiment.clients.count as usize } else { participants.len() };
    let is_open = is_program || is_choice;
    let counts = |total: u32| total == sampled.len() as u32 || is_open && total < sampled.len() as u32;
    if *clients as usize != all || !clients.checked_add(*failed).is_some_and(counts) {
        return Some(format!(
            "round {number}: the ledger says {} and {failed} that failed, of {} sampled and {all} that took part",
            counted(*clients, "client"),
            sampled.len()
        ));
    }
    None
}

/// Compares the trainings of a round in virtual time with the clients that it sampled. Their times are compared when
/// the run is repeated.
fn trainings(experiment: &Experiment, sizes: &[u64], round: &Round) -> Option<String> {
    let Round { round: number, clients, failed, participants, updates, late, .. } = round;
    let mut trained: Vec<u32> = updates.iter().map(|update| update.client).collect();
    trained.sort_unstable();
    let is_synchronous = experiment.strategy.is_synchronous();
    let mut sampled: Vec<u32> = trained.iter().chain(late).copied().collect();
    sampled.sort_unstable();
    if is_synchronous && sampled != experiment.sample(*number, sizes) {
        return Some(format!(
            "round {number}: the clients that were trained or late in the ledger, {sampled:?}, are not those sampled"
        ));
    }
    let attackers = experiment.attackers().into_iter().filter(|client| trained.contains(client)).collect::<Vec<_>>();
    if attackers != round.attackers {
        return Some(format!(
            "round {number}: the attackers {:?} in the ledger are not those of the seed, {attackers:?}",
            round.attackers
        ));
    }
    let has_all = participants.is_empty() && *clients == experiment.clients.count;
    let are_named = participants.len() == *clients as usize && participants.is_sorted();
    let is_fewest = clients.checked_add(*failed).is_some_and(|total| total as usize == updates.len());
    let are_trained = participants.iter().all(|client| trained.binary_search(client).is_ok());
    (!(is_fewest && are_trained && (has_all || are_named))).then(|| {
        format!(
            "round {number}: the ledger says {} and {failed} that failed, of {} and the participants {participants:?}",
            counted(*clients, "update"),
            counted(updates.len(), "training")
        )
    })
}

fn experiment(directory: &Path, history: &History) -> Result<Option<String>> {
    let text = read(&directory.join(names::EXPERIMENT))?.unwrap_or_default();
    let table = String::from_utf8_lossy(&text).parse().ok();
    let written = table.and_then(|table| Experiment::deserialize_from(table).ok());
    // A forced resume writes the ledger first, and may have been killed then.
    let same = written.is_some_and(|written| {
        written == *history.experiment() || history.resumed_since && history.experiments.contains(&written)
    });
    Ok((!same).then(|| format!("{} is not the experiment that the ledger has", names::EXPERIMENT)))
}

fn partitions(directory: &Path, history: &History) -> Result<Option<String>> {
    let Some(dealt) = &history.last_stretch().dealt else { return Ok(None) };
    let sha256 = read(&directory.join(names::PARTITIONS))?.map(|digests| bytes_sha256(&digests));
    let same = sha256.as_ref() == Some(&dealt.partitions_sha256);
    Ok((!same).then(|| format!("{} is not the list of partitions that the ledger has", names::PARTITIONS)))
}

fn dylibs(directory: &Path, history: &History) -> Result<Option<String>> {
    let first = history.program().and_then(|program| program.dylib_sha256.as_ref());
    let first = first.map(|sha256| (names::MODEL.to_owned(), sha256));
    let later = history.reloads.iter().map(|(&round, sha256)| (names::model_from(round), sha256));
    for (name, sha256) in first.into_iter().chain(later) {
        match read(&directory.join(&name))?.map(|bytes| bytes_sha256(&bytes)) {
            None => return Ok(Some(format!("{name} is missing, whose SHA-256 the ledger has as {sha256}"))),
            Some(now) if now != *sha256 => {
                return Ok(Some(format!("{name} has the SHA-256 {now}, and {sha256} in the ledger")));
            }
            Some(_) => {}
        }
    }
    Ok(None)
}

/// Compares the last line with the lines before it, and the summary's file with the last line.
fn summary(directory: &Path, history: &History) -> Result<Option<String>> {
    let differs = |why: &str| Ok(Some(format!("{} {why}", names::SUMMARY)));
    let file = read(&directory.join(names::SUMMARY))?;
    let parsed: Option<Summary> = file.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
    let (result, stretch) = match (&file, parsed.as_ref(), &history.finished) {
        (None, _, None) => return Ok(None),
        (None, _, Some(recorded)) => (recorded, history.last_stretch()),
        (Some(file), _, Some(recorded)) if *file != recorded.to_text()?.as_bytes() => {
            return differs("is not the result that the ledger has");
        }
        (Some(_), _, Some(recorded)) => (recorded, history.last_stretch()),
        // A resume cuts off the end before it removes the results, which are those of the rounds before.
        (Some(file), Some(stated), None) if history.resumed_since && *file == stated.to_text()?.as_bytes() => {
            (stated, history.stretch_of_last_round())
        }
        (Some(_), _, None) => return differs("has an end that the ledger lacks"),
    };
    let expected = expected(result, stretch, history);
    let does_not_follow = "the result does not follow from the ledger's lines";
    Ok(match expected {
        Some(expected) if expected == *result => None,
        Some(expected) => Some(format!("{does_not_follow}{}", numbers_that_differ(result, &expected))),
        None => Some(format!("{does_not_follow}, with which no run ends so: {}", shown(&result.stopped))),
    })
}

/// Returns the numbers of a result that are not those that follow from the lines, a line each.
fn numbers_that_differ(result: &Summary, expected: &Summary) -> String {
    let object = |summary: &Summary| match serde_json::to_value(summary) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    };
    let (stated, expected) = (object(result), object(expected));
    let keys: BTreeSet<&String> = stated.keys().chain(expected.keys()).collect();
    let line = |key: &String| {
        let [stated, expected] = [&stated, &expected].map(|object| object.get(key));
        let is_other = stated != expected;
        is_other.then(|| format!("\n  {key} is {}, and the lines say {}", shown(&stated), shown(&expected)))
    };
    keys.into_iter().filter_map(line).collect()
}

/// Returns the summary that follows from the lines of the ledger. It takes from `result` what no line says.
fn expected(result: &Summary, stretch: &Stretch, history: &History) -> Option<Summary> {
    let (experiment, ready, dealt) = (&stretch.experiment, stretch.ready.as_ref()?, stretch.dealt.as_ref()?);
    let weights_sha256 = history.rounds.last().map_or(&*ready.weights_sha256, Round::result_sha256);
    let facts = RunFacts {
        model: &ready.model,
        dataset: &dealt.dataset.name,
        target: &dealt.dataset.target,
        initial: history.initial,
        by_class: history.by_class.clone(),
        // They are compared when the run is repeated.
        local_tensors: result.local_tensors.clone(),
        weights_sha256: weights_sha256.to_owned(),
        wall_seconds: result.wall_seconds,
        // Without the last line, the ledger also lacks the crashes of the round that was stopped.
        failures: if history.finished.is_some() { history.failures } else { result.failures },
        stopped: end(&result.stopped, experiment, history)?,
    };
    Some(Summary::new(experiment, &history.rounds, facts))
}

/// Returns the end that follows from the rounds, or the `stated` end where the rounds could continue. Returns `None` if
/// the stated end is impossible.
fn end(stated: &Stop, experiment: &Experiment, history: &History) -> Option<Stop> {
    let mut convergence = Convergence::new(experiment.tolerance);
    history.rounds.iter().for_each(|round| round.observed_by(&mut convergence));
    let is_last = history.rounds.len() as u64 >= experiment.last_round();
    let on = experiment.measured_on();
    let is_reached =
        |target: TargetScore| target.stops && history.rounds.iter().any(|round| target.is_reached(on, round));
    match (stated, experiment.is_open_ended()) {
        (Stop::Failed(_), _) => Some(stated.clone()),
        _ if experiment.until.is_some_and(is_reached) => Some(Stop::Reached),
        _ if experiment.until_converged && convergence.reached() => Some(Stop::Converged),
        (_, true) if is_last => Some(Stop::MaxRounds),
        (_, false) if is_last => Some(Stop::Rounds),
        (Stop::Signal(_), _) => Some(stated.clone()),
        (Stop::Rounds | Stop::Converged | Stop::Reached | Stop::MaxRounds, _) => None,
    }
}

fn checkpoints(directory: &Path, history: &History) -> Result<Option<String>> {
    let fits = |checkpoint: &Checkpoint| history.fits(checkpoint);
    let mut all = Checkpoint::all(directory, &fits).map_err(|error| Error::in_run("read", directory, &error))?;
    Ok(all.find_map(|(path, checked)| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        checked.err().map(|why| format!("the checkpoint {name}: {why}"))
    }))
}

/// Compares the files of the clients' states with the hashes in the checkpoints.
fn states(directory: &Path, _: &History) -> Result<Option<String>> {
    let all = Checkpoint::all(directory, &|_| Ok(())).map_err(|error| Error::in_run("read", directory, &error))?;
    let mut whole = all.filter_map(|(_, checkpoint)| checkpoint.ok());
    Ok(whole.find_map(|checkpoint| check(directory, &checkpoint.meta.clients).err()))
}

/// Returns the contents of a file; `None` if there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match read_regular(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::in_run("read", path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(clients: u32, failed: u32, participants: &[u32]) -> Round {
        Round { clients, failed, participants: participants.into(), ..Round::blank(1) }
    }

    #[test]
    fn the_program_of_a_strategy_may_sample_any_clients() {
        let mut experiment = Experiment::default();
        experiment.clients.fraction = 0.25;
        let own = round(2, 1, &[1, 3]);
        assert!(participants(&experiment, &[1; 4], &own).unwrap().contains("are not of those sampled"));
        experiment.strategy.program = Some("true".into());
        assert_eq!(participants(&experiment, &[1; 4], &own), None);
        assert!(participants(&experiment, &[1; 4], &round(2, 1, &[1, 4])).is_some(), "there is no client 4");
        assert!(participants(&experiment, &[1; 4], &round(2, 3, &[1, 3])).is_some(), "there are four clients");
    }

    #[test]
    fn participants_are_compared_with_the_sample() {
        let experiment = Experiment::default();
        assert_eq!(experiment.clients.count, 4);
        for (round, expected) in [
            (round(4, 0, &[]), None),
            (round(3, 1, &[0, 1, 3]), None),
            (round(3, 1, &[1, 0, 3]), Some("are not of those sampled")),
            (round(3, 1, &[0, 1, 9]), Some("are not of those sampled")),
            (round(3, 0, &[0, 1, 3]), Some("the ledger says 3 clients and 0 that failed")),
            (round(3, 1, &[]), Some("the ledger says 3 clients and 1 that failed")),
        ] {
            match (participants(&experiment, &[1; 4], &round), expected) {
                (None, None) => {}
                (Some(stated), Some(expected)) => assert!(stated.contains(expected), "{stated}"),
                (stated, expected) => panic!("{round:?}: {stated:?}, expected {expected:?}"),
            }
        }
    }
}
