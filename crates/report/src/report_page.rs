//! `report.html`: all of a run in one file without a network, for a browser.

use fedpipe_record::{
    by_class::ByClass,
    crash::{ClientCrash, Consequence, Crash, StrategyCrash},
    experiment::Experiment,
    history::{History, ReadyLine, Stretch},
    line::Line,
    number_text::{rounded, significant},
    summary::{Stop, Summary},
    timeline::TimelineSession,
};
use minijinja::{AutoEscape, Environment, Value, context, value::Serde};
use serde::Serialize;
use serde_json::{Map, json};

use crate::{
    mistakes::Mistakes,
    page_data::{client_map, confusion_map, curves, split_map},
    timeline_rows::{shown_bytes, spans},
};

const TEMPLATE: &str = include_str!("../assets/page.html");
const STYLE: &str = include_str!("../assets/page.css");
const SCRIPT: &str = include_str!("../assets/page.js");

/// The most crashes and changes of the table; the ledger has all.
const MOST_EVENTS: usize = 200;

/// The most classes of a confusion matrix that is drawn.
const MOST_CLASSES: usize = 100;

/// The records that a page is made of.
#[derive(Debug, Clone, Copy)]
pub struct PageInput<'r> {
    /// The ledger.
    pub history: &'r History,
    /// The timeline; empty if there is none.
    pub sessions: &'r [TimelineSession],
    /// Examples that were taken for another class, if they were asked for.
    pub mistakes: Option<&'r Mistakes>,
    /// The scores by class, if the ledger has none.
    pub by_class: Option<&'r ByClass>,
}

/// A row of the table of crashes and changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct PageEvent {
    round: String,
    who: String,
    cause: String,
    words: String,
    then: &'static str,
}

/// Returns the page.
///
/// # Errors
/// Returns those of the template, which no record meets.
pub fn page(input: &PageInput<'_>) -> anyhow::Result<String> {
    let PageInput { history, sessions, mistakes, by_class } = *input;
    let Stretch { experiment, dealt, ready, .. } = history.stretch_of_last_round();
    let by_class = history.by_class.as_ref().or(by_class);
    let curves = curves(history);
    let clients = client_map(history);
    let split = dealt.as_ref().filter(|dealt| !dealt.sizes.is_empty()).map(split_map);
    let names = dealt.as_ref().map(|dealt| dealt.dataset.target.names()).unwrap_or_default();
    let classes = by_class.filter(|scores| scores.confusion.len() <= MOST_CLASSES);
    let spans = spans(sessions);
    let mut data = Map::new();
    for figure in &curves {
        data.insert(figure.id.to_owned(), serde_json::to_value(figure)?);
    }
    let others = [
        ("clients", clients.as_ref().map(serde_json::to_value)),
        ("split", split.as_ref().map(serde_json::to_value)),
        ("confusion", classes.map(|scores| serde_json::to_value(confusion_map(scores, &names)))),
        ("timeline", (!spans.is_empty()).then(|| serde_json::to_value(&spans))),
    ];
    for (name, value) in others {
        if let Some(value) = value {
            data.insert(name.to_owned(), value?);
        }
    }
    let mut events = page_events(history);
    let more = events.len().saturating_sub(MOST_EVENTS);
    events.truncate(MOST_EVENTS);
    let sections = [
        ("curves", "Curves", true),
        ("clients", "Clients", clients.is_some()),
        ("split", "Split", split.is_some()),
        ("classes", "Classes", classes.is_some()),
        ("mistakes", "Mistakes", mistakes.is_some()),
        ("timeline", "Timeline", !spans.is_empty()),
        ("events", "Crashes", true),
        ("experiment", "Experiment", true),
    ];
    let sections: Vec<_> = sections.iter().filter(|(_, _, there)| *there).map(|(id, name, _)| (*id, *name)).collect();
    let title = history.finished.as_ref().map_or_else(|| of_unfinished(experiment), Summary::title);
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("page", TEMPLATE)?;
    let values = context! {
        title,
        state => state(history),
        tiles => tiles(history),
        sections,
        style => Value::from_safe_string(STYLE.to_owned()),
        script => Value::from_safe_string(SCRIPT.to_owned()),
        curves => curves.iter().map(|figure| (figure.id, figure.caption)).collect::<Vec<_>>(),
        clients => clients.as_ref().map(|_| Value::from(Serde(client_words(history)))),
        split => split.as_ref().map(|_| format!("Examples by class and client, {}", experiment.data.partition)),
        classes => classes.map(|scores| Value::from(Serde(class_words(scores, &names)))),
        mistakes => mistakes.map(|found| Value::from(Serde(found))),
        timeline => !spans.is_empty(),
        events => Value::from(Serde(&events)),
        more_events => (more > 0).then(|| format!("{more} more are in ledger.jsonl.")),
        experiment => experiment.to_toml()?,
        facts => facts(history, ready.as_ref()),
        data => Value::from_safe_string(json_of_script(&data)?),
    };
    Ok(environment.get_template("page")?.render(values)?)
}

/// Returns JSON that no browser takes for the end of the script around it.
fn json_of_script(data: &Map<String, serde_json::Value>) -> serde_json::Result<String> {
    Ok(serde_json::to_string(data)?.replace('<', "\\u003c"))
}

fn of_unfinished(experiment: &Experiment) -> String {
    let name = if experiment.model.is_empty() { "a program" } else { &experiment.model };
    format!("{name} on {}, seed {}", experiment.data.source, experiment.seed.0)
}

fn state(history: &History) -> String {
    let rounds = history.rounds.len();
    match history.finished.as_ref().map(|summary| &summary.stopped) {
        Some(Stop::Rounds) => format!("The last round, {rounds}, is done."),
        Some(Stop::Converged) => format!("Converged after round {rounds}."),
        Some(Stop::Reached) => format!("Reached its target in round {rounds}."),
        Some(Stop::MaxRounds) => format!("Stopped at its last allowed round, {rounds}."),
        Some(Stop::Signal(signal)) => format!("Stopped by signal {signal} after round {rounds}."),
        Some(Stop::Failed(why)) => format!("Failed after round {rounds}: {why}"),
        None => format!("Not ended; this page was drawn after round {rounds}."),
    }
}

/// Returns the numbers at the top.
fn tiles(history: &History) -> Vec<(&'static str, String)> {
    let last = history.rounds.last();
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let bytes: u64 = history.rounds.iter().map(|round| round.bytes_sent + round.bytes_received).sum();
    let seconds = history.rounds.iter().fold(0.0, |sum, round| sum + round.seconds.get());
    let seconds = history.finished.as_ref().map_or(seconds, |summary| summary.wall_seconds.get());
    let all = [
        ("accuracy", last.and_then(|round| round.accuracy).map(|share| percent(share.get()))),
        ("RMSE", last.and_then(|round| round.regression).map(|errors| significant(errors.rmse.get()))),
        ("loss", last.and_then(|round| round.loss).map(|loss| significant(loss.get()))),
        ("own models", last.and_then(|round| round.personal.as_ref()?.accuracy).map(|of| percent(of.mean.get()))),
        ("worst client", last.and_then(|round| round.used_models()?.accuracy).map(|of| percent(of.worst.get()))),
        ("rounds", Some(history.rounds.len().to_string())),
        ("clients", Some(history.experiment().clients.count.to_string())),
        ("seconds", Some(rounded(seconds, 2))),
        ("virtual seconds", last.and_then(|round| round.virtual_seconds).map(|end| rounded(end.get(), 2))),
        ("bytes on the pipes", Some(shown_bytes(bytes))),
        ("crashes", Some(history.failures.to_string())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn client_words(history: &History) -> serde_json::Value {
    let scores = history.rounds.iter().rev().find_map(|round| Some((round.round, round.used_models()?)));
    let text = scores.map_or_else(String::new, |(round, scores)| match scores.accuracy {
        Some(of) => format!(
            "After round {round}, the clients have a mean accuracy of {:.2} %, the worst client {:.2} %, the worst tenth {:.2} %, \
             and the standard deviation is {:.2} points.",
            100.0 * of.mean.get(),
            100.0 * of.worst.get(),
            100.0 * of.worst_decile.get(),
            100.0 * of.spread.get()
        ),
        None => format!(
            "After round {round}, the clients have a mean loss of {}, and the worst client {}.",
            significant(scores.loss.mean.get()),
            significant(scores.loss.worst.get())
        ),
    });
    json!({ "text": text, "caption": "Scores on held-out examples, by client and round" })
}

fn class_words(scores: &ByClass, names: &[String]) -> serde_json::Value {
    let number = |number: f64| format!("{number:.4}");
    let row = |class: usize| {
        let examples: u64 = scores.confusion[class].iter().sum();
        let [precision, recall, f1] = [&scores.precision, &scores.recall, &scores.f1].map(|of| number(of[class].get()));
        [names.get(class).cloned().unwrap_or_default(), examples.to_string(), precision, recall, f1]
    };
    let auc = scores.auc.map_or_else(String::new, |auc| format!(", AUC {:.4}", auc.get()));
    let caption = format!(
        "Confusion matrix on the test set: rows are labels, columns are predictions (macro-F1 {:.4}{auc})",
        scores.macro_f1.get()
    );
    json!({ "caption": caption, "rows": (0..scores.confusion.len()).map(row).collect::<Vec<_>>() })
}

/// Returns the crashes and changes in the order of the ledger.
fn page_events(history: &History) -> Vec<PageEvent> {
    let of_round = |round: u64| round.to_string();
    let change = |round: u64, who: &str, cause: String| PageEvent {
        round: of_round(round),
        who: who.to_owned(),
        cause,
        words: String::new(),
        then: "",
    };
    let crash = |round: String, who: String, Crash { cause, after_seconds, then, last_words, .. }: &Crash| PageEvent {
        round,
        who,
        cause: format!("after {:.2} s: {cause}", after_seconds.get()),
        words: last_words.join("\n"),
        then: consequence(*then),
    };
    let event = |line: &Line<'_>| match line {
        Line::ClientCrashed(crashed) => {
            let ClientCrash { round, client, process, crash: shared } = crashed.as_ref();
            let who = client
                .map_or_else(|| format!("process {process}"), |client| format!("client {client} (process {process})"));
            Some(crash(round.map_or_else(|| "before 1".to_owned(), of_round), who, shared))
        }
        Line::StrategyCrashed(crashed) => {
            let StrategyCrash { round, crash: shared } = crashed.as_ref();
            Some(crash(of_round(*round), "strategy program".to_owned(), shared))
        }
        Line::Resumed { round, forced, .. } => {
            let forced = if forced.is_empty() { String::new() } else { format!(", forced: {}", forced.join("; ")) };
            Some(change(*round, "host", format!("continued after round {round}{forced}")))
        }
        Line::Reloaded { round, dylib_sha256 } => {
            Some(change(*round, "model", format!("from here on the dylib is {dylib_sha256:.16}")))
        }
        Line::ReloadRefused { round, reason } => Some(change(*round, "model", format!("stays as it is: {reason}"))),
        _ => None,
    };
    history.lines().iter().filter_map(event).collect()
}

fn consequence(then: Consequence) -> &'static str {
    match then {
        Consequence::Retried => "a fresh process did its work again",
        Consequence::Moved => "another process did its work",
        Consequence::Dropped => "the round continued without it",
        Consequence::Unscored => "it has no score in this round",
        Consequence::Replaced => "it had no work; a fresh process took its place",
        Consequence::Aborted => "the run ended",
        Consequence::Reverted => "the round began again with the model from before the reload",
    }
}

/// Returns the hashes and identities.
fn facts(history: &History, ready: Option<&ReadyLine>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut add = |name: &str, value: &str| all.push((name.to_owned(), value.to_owned()));
    if let Some(ReadyLine { model, version, weights_sha256, program }) = ready {
        add("model", &format!("{model} {version}"));
        program.dylib_sha256.iter().for_each(|hash| add("dylib, SHA-256", hash));
        program.client_sha256.iter().for_each(|(file, hash)| add(&format!("{file}, SHA-256"), hash));
        add("initial weights, SHA-256", weights_sha256);
    }
    if let Some(round) = history.rounds.last() {
        add("final weights, SHA-256", &round.weights_sha256);
    }
    if let Some(dealt) = &history.last_stretch().dealt {
        add("dataset", &dealt.dataset.name);
        add("dataset, SHA-256", &dealt.dataset.sha256);
        add("partitions, SHA-256", &dealt.partitions_sha256);
    }
    add("ledger, last hash", &history.position().hash);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_run_ends_the_script() {
        let data = Map::from_iter([("a".to_owned(), json!("</script><b>"))]);
        assert_eq!(json_of_script(&data).unwrap(), r#"{"a":"\u003c/script>\u003cb>"}"#);
    }

    #[test]
    fn the_page_loads_nothing() {
        for text in [TEMPLATE, STYLE, SCRIPT] {
            for word in ["http:", "https:", "url(", "import ", "fetch("] {
                let found = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!found.contains(word), "{word}");
            }
        }
    }
}
