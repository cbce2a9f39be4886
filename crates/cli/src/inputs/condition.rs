//! The fields of a run by which lists are sorted and filtered: results, and the keys of the experiment.

use std::{cmp::Ordering, path::Path};

use fedpipe_record::{
    configuration::{STRATEGY, text},
    key_names::{key_at, path_of},
    measure::Measure,
    run_overview::RunOverview,
};
use strum::VariantNames;

/// The fields that are neither keys of an experiment nor measures of its result.
const FACTS: [&str; 4] = ["name", "when", "state", "rounds"];

/// A condition that a run meets or not, such as `lr=0.1` or `accuracy>0.8`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    field: String,
    /// The order of the run's value and the condition's.
    order: Ordering,
    value: String,
}

/// Returns the field that `name` calls: a result, or the path of a key.
///
/// # Errors
/// One sentence with the nearest key.
pub(crate) fn field(name: &str) -> Result<String, String> {
    let results = FACTS.iter().chain(Measure::VARIANTS);
    if results.clone().any(|result| *result == name) {
        return Ok(name.to_owned());
    }
    match path_of(name) {
        // A list has the strategy with all its rows as one value.
        Ok(path) if path == "strategy.name" => Ok(STRATEGY.to_owned()),
        Ok(path) => Ok(path),
        Err(why) => Err(format!("{why}; results are {}", results.copied().collect::<Vec<&str>>().join(", "))),
    }
}

/// Returns the value of a field as text; `None` for a run without it. `folder` is that of the list.
pub(crate) fn value_of(run: &RunOverview, field: &str, folder: &Path) -> Option<String> {
    match field {
        "name" => Some(name(run, folder)),
        "when" => {
            let since = run.began?.duration_since(std::time::UNIX_EPOCH).ok()?;
            Some(since.as_secs_f64().to_string())
        }
        "state" => Some(run.state.to_string()),
        "rounds" => Some(run.rounds.len().to_string()),
        _ => match field.parse::<Measure>() {
            Ok(measure) => run.last_share(measure).map(|value| value.to_string()),
            Err(_) => run.value(field),
        },
    }
}

/// Returns the path of a run relative to the folder of the list.
pub(crate) fn name(run: &RunOverview, folder: &Path) -> String {
    let below = run.directory.strip_prefix(folder).ok().filter(|path| !path.as_os_str().is_empty());
    below.unwrap_or(&run.directory).display().to_string()
}

/// Returns the order of two values: that of the numbers if both are, else that of the texts. No value is the least.
pub(crate) fn order(a: Option<&str>, b: Option<&str>) -> Ordering {
    let numbers = a.zip(b).and_then(|(a, b)| Some((a.parse::<f64>().ok()?, b.parse::<f64>().ok()?)));
    numbers.map_or_else(|| a.cmp(&b), |(a, b)| a.total_cmp(&b))
}

impl Condition {
    /// Parses a condition.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let place =
            text.find(['=', '<', '>']).ok_or_else(|| format!("{text:?} has no `=`, `<` or `>`; write KEY=VALUE"))?;
        let (name, rest) = text.split_at(place);
        let (sign, value) = rest.split_at(1);
        let field = field(name.trim())?;
        let order = match sign {
            "<" => Ordering::Less,
            ">" => Ordering::Greater,
            _ => Ordering::Equal,
        };
        let value = value.trim();
        if value.is_empty() || value.starts_with('=') {
            return Err(format!("{text:?} has no value; write KEY=VALUE, KEY<VALUE or KEY>VALUE"));
        }
        Ok(Self { value: canonical(&field, value), field, order })
    }

    /// Returns `true` for a run that meets the condition. The name of a rule stands for each of its parameters.
    pub(crate) fn is_met_by(&self, run: &RunOverview, folder: &Path) -> bool {
        let Some(own) = value_of(run, &self.field, folder) else { return false };
        let is_rule = self.order == Ordering::Equal && own.split_once(':').is_some_and(|(rule, _)| rule == self.value);
        is_rule || order(Some(&own), Some(&self.value)) == self.order
    }
}

/// Returns a value as an experiment writes it, such as `fedprox:mu=0.1` for `fedprox:0.1`.
fn canonical(field: &str, value: &str) -> String {
    let path = if field == STRATEGY { "strategy.name" } else { field };
    let read = key_at(path).filter(|key| key.path() == path).and_then(|key| key.read(value).ok());
    read.map_or_else(|| value.to_owned(), |value| text(&value))
}

#[cfg(test)]
mod tests {
    use fedpipe_record::{configuration::Configuration, experiment::Experiment, finite::Finite, round_line::Round};

    use super::*;

    fn run() -> RunOverview {
        let mut experiment = Experiment { model: "mlp".into(), ..Experiment::default() };
        experiment.strategy = "fedprox:0.1".parse().unwrap();
        let [accuracy, virtual_seconds] = [0.85, 12.5].map(|number| Some(Finite::try_from(number).unwrap()));
        RunOverview {
            directory: "runs/sweep-1/003".into(),
            configuration: Configuration::of(&experiment),
            seeds: [7, 7, 7, 7],
            seconds: 1.5,
            ..RunOverview::blank(vec![Round { accuracy, virtual_seconds, ..Round::blank(1) }])
        }
    }

    #[test]
    fn conditions_are_about_results_and_keys() {
        let run = run();
        for (text, expected) in [
            ("lr=0.1", true),
            ("lr=0.10", true),
            ("local.lr=0.2", false),
            ("lr<0.2", true),
            ("lr>0.1", false),
            ("strategy=fedprox", true),
            ("strategy=fedprox:0.1", true),
            ("strategy=fedprox:mu=0.1", true),
            ("strategy=fedprox:0.2", false),
            ("strategy=fedavg", false),
            ("data-seed=7", true),
            ("accuracy>0.8", true),
            ("accuracy>0.9", false),
            ("rmse<1", false),
            ("seconds=1.5", true),
            ("virtual-seconds<13", true),
            ("virtual-seconds-to-target>0", false),
            ("state=finished", true),
            ("name=sweep-1/003", true),
            ("rounds=1", true),
            ("model=mlp", true),
        ] {
            assert_eq!(Condition::parse(text).unwrap().is_met_by(&run, Path::new("runs")), expected, "{text}");
        }
    }

    #[test]
    fn a_wrong_condition_is_refused() {
        for (text, why) in [
            ("lr", "\"lr\" has no `=`, `<` or `>`"),
            ("lr==1", "has no value; write KEY=VALUE, KEY<VALUE or KEY>VALUE"),
            ("lr=", "has no value"),
            ("epoch=1", "no key `epoch`; did you mean local.epochs?; results are name, when"),
        ] {
            let error = Condition::parse(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn numbers_are_ordered_as_numbers() {
        assert_eq!(order(Some("9"), Some("10")), Ordering::Less);
        assert_eq!(order(Some("9"), Some("a")), Ordering::Less);
        assert_eq!(order(None, Some("0")), Ordering::Less);
    }
}
