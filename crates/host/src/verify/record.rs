//! The files of a run against its ledger, without running anything.

use std::{fs, io, path::Path};

use crate::{
    Convergence, Error, Experiment, Result, Stop, Summary, checkpoint::Checkpoint, history::History, run_dir::RunDir,
    summary::bytes_sha256,
};

/// The first difference between the ledger and the other files of the run in `directory`, a sentence.
///
/// # Errors
/// [`Error::Output`] for a file that is there and cannot be read.
pub(super) fn difference(directory: &Path, history: &History) -> Result<Option<String>> {
    for check in [experiment, partitions, dylibs, summary, checkpoints] {
        if let Some(difference) = check(directory, history)? {
            return Ok(Some(difference));
        }
    }
    Ok(None)
}

/// The difference between the final weights of the run in `directory` and those of the repeated one.
pub(super) fn weights_difference(directory: &Path, repeated: &Path) -> Result<Option<String>> {
    let Some(was) = read(&directory.join(RunDir::WEIGHTS))? else { return Ok(None) };
    let now = read(&repeated.join(RunDir::WEIGHTS))?;
    Ok((Some(was) != now).then(|| format!("{} does not hold the final weights", RunDir::WEIGHTS)))
}

/// What a run cannot vouch for, a phrase each.
pub(super) fn not_vouched_for(history: &History) -> Vec<String> {
    let mut phrases = vec![
        "seconds and processor time".to_owned(),
        "the causes and logs of lost clients".to_owned(),
        format!("{}, which is drawn from the ledger", RunDir::PICTURE),
    ];
    match history.finished.as_ref().map(|summary| &summary.stopped) {
        None => phrases.push("an end: the ledger has none, and later rounds may have been cut off".into()),
        Some(Stop::Signal(_) | Stop::Failed(_)) => phrases.push("the reason why it was stopped".into()),
        Some(_) => {}
    }
    phrases
}

fn experiment(directory: &Path, history: &History) -> Result<Option<String>> {
    let path = directory.join(RunDir::EXPERIMENT);
    let text = read(&path)?.unwrap_or_default();
    let table = String::from_utf8_lossy(&text).parse();
    let same =
        table.ok().and_then(|table| Experiment::deserialize_from(table).ok()).as_ref() == Some(history.experiment());
    Ok((!same).then(|| format!("{} is not the experiment that the ledger has", RunDir::EXPERIMENT)))
}

fn partitions(directory: &Path, history: &History) -> Result<Option<String>> {
    let Some(dealt) = &history.last_stretch().dealt else { return Ok(None) };
    let sha256 = read(&directory.join(RunDir::PARTITIONS))?.map(|digests| bytes_sha256(&digests));
    let same = sha256.as_ref() == Some(&dealt.partitions_sha256);
    Ok((!same).then(|| format!("{} is not the list of partitions that the ledger has", RunDir::PARTITIONS)))
}

fn dylibs(directory: &Path, history: &History) -> Result<Option<String>> {
    let first = history.program().and_then(|program| program.dylib_sha256.as_ref());
    let first = first.map(|sha256| (RunDir::MODEL.to_owned(), sha256));
    let later = history.reloads.iter().map(|(&round, sha256)| (RunDir::model_from(round), sha256));
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
    let differs = |why: &str| Ok(Some(format!("{} {why}", RunDir::SUMMARY)));
    let file = read(&directory.join(RunDir::SUMMARY))?;
    let told: Option<Option<Summary>> = file.map(|bytes| serde_json::from_slice(&bytes).ok());
    let result = match (&told, &history.finished) {
        (None, None) => return Ok(None),
        (Some(told), Some(recorded)) if told.as_ref() != Some(recorded) => {
            return differs("is not the result that the ledger has");
        }
        (_, Some(recorded)) => recorded,
        // A resume cuts off the end and removes the results before its first round.
        (Some(Some(told)), None) if history.resumed_since => told,
        (Some(_), None) => return differs("tells of an end that the ledger lacks"),
    };
    let expected = expected(result, history);
    let same = expected.as_ref() == Some(result);
    let shown = |summary: &Summary| serde_json::to_string(summary).unwrap_or_default();
    Ok((!same).then(|| {
        let expected = expected.as_ref().map_or("none".into(), shown);
        format!("the result does not follow from the ledger's lines: {}, which say {expected}", shown(result))
    }))
}

/// The result that follows from the lines of the ledger, but for what no line says.
fn expected(result: &Summary, history: &History) -> Option<Summary> {
    let stretch = history.last_stretch();
    let (experiment, ready, dealt) = (&stretch.experiment, stretch.ready.as_ref()?, stretch.dealt.as_ref()?);
    let last = history.rounds.last();
    Some(Summary {
        model: ready.model.clone(),
        client: experiment.client.clone(),
        dataset: dealt.dataset.name.clone(),
        clients: experiment.clients,
        rounds: history.rounds.len() as u64,
        strategy: experiment.strategy_name(),
        partition: experiment.partition.to_string(),
        seed: experiment.seed,
        accuracy: last.map(|round| round.accuracy),
        loss: last.map(|round| round.loss),
        weights_sha256: last.map_or(&ready.weights_sha256, |round| &round.weights_sha256).clone(),
        wall_seconds: result.wall_seconds,
        // Those of the round that was stopped are cut off with the end.
        failures: if history.finished.is_some() { history.failures } else { result.failures },
        clients_dropped: history.rounds.iter().any(|round| round.failed > 0),
        stopped: end(&result.stopped, history)?,
    })
}

/// The end that follows from the rounds; `told` where the rounds alone could go on. None where that cannot be.
fn end(told: &Stop, history: &History) -> Option<Stop> {
    let experiment = history.experiment();
    let mut convergence = Convergence::new(experiment.tolerance);
    history.rounds.iter().for_each(|round| convergence.take(round));
    let is_last = history.rounds.len() as u64 >= experiment.last_round();
    match (told, experiment.until_converged) {
        (Stop::Failed(_), _) => Some(told.clone()),
        (_, true) if convergence.reached() => Some(Stop::Converged),
        (_, true) if is_last => Some(Stop::MaxRounds),
        (_, false) if is_last => Some(Stop::Rounds),
        (Stop::Signal(_), _) => Some(told.clone()),
        (Stop::Rounds | Stop::Converged | Stop::MaxRounds, _) => None,
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

/// A file's contents; none where it is not there.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::in_run("read", path, &error)),
    }
}
