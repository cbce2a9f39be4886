//! The keys of an experiment in words: the commented file that a user edits, and the explanation of one key.

use crate::{
    catalogue::CATALOGUES,
    error::{Error, Result},
    experiment::Experiment,
    experiment_key::ExperimentKey,
    format::FORMAT,
    key_value::Arity,
};

/// The columns of a comment.
const WIDTH: usize = 100;

/// The model of the commented file, since a model has no default.
const MODEL: &str = "mlp";

const HEAD: &str = "\
# An experiment of fedpipe: `fedpipe run --config FILE` runs it, and `fedpipe sweep FILE --set lr=0.01,0.1` a grid.
# A key has its default here. A key behind `#` is absent by default, or its default depends on other keys.
# `fedpipe config --explain KEY` says more about a key.
";

/// Returns the text of an `experiment.toml` with every key, its help and its default.
///
/// # Errors
/// Returns [`Error::Encoding`], which no experiment meets.
pub fn commented() -> Result<String> {
    let experiment = Experiment { model: MODEL.to_owned(), ..Experiment::default() };
    let table = toml::Table::try_from(&experiment).map_err(|error| Error::Encoding(error.to_string()))?;
    let mut text = format!("{HEAD}format = {FORMAT}\n");
    let mut section = "";
    for key in Experiment::keys() {
        if key.section != section {
            section = key.section;
            text += &format!("\n[{section}]\n");
        }
        let bounds = bounds(&key).map_or_else(String::new, |bounds| format!(" ({bounds})"));
        text += &format!("\n{}", comment(&format!("{}{bounds}", key.help)));
        text += &match key.find(&table).filter(|_| is_written(&key)) {
            Some(value) => format!("{} = {value}\n", key.name),
            None if key.arity == Arity::Entries => format!("# {}.KEY = \"VALUE\"\n", key.name),
            None => format!("# {} = {}\n", key.name, key.value_name()),
        };
    }
    Ok(text)
}

/// Returns the explanation of a key, a line each.
pub fn explanation(key: &ExperimentKey) -> Vec<String> {
    let mut lines = vec![key.path(), format!("  {}", key.help)];
    let mut fact = |name: &str, words: String| lines.push(format!("  {name}: {words}"));
    match key.long() {
        Some(_) => fact("flag", key.usage.to_owned()),
        None => fact("argument", key.usage.to_owned()),
    }
    key.default.iter().for_each(|default| fact("default", default.clone()));
    key.wants().iter().for_each(|wants| fact("values", (*wants).to_owned()));
    if !key.choices.is_empty() {
        fact("values", key.choices.join(", "));
    }
    if let Some(other) = key.excluded {
        fact("not together with", format!("--{other}"));
    }
    let catalogue = CATALOGUES.iter().find(|catalogue| catalogue.flag.strip_prefix("--") == key.long());
    for row in catalogue.map(|catalogue| (catalogue.rows)()).unwrap_or_default() {
        lines.push(format!("  {}", row.example));
        lines.push(format!("    {}", row.summary));
    }
    lines
}

/// Returns `true` for a key that the commented file has with its value. The rows of the strategy and a default in words
/// follow from other keys.
fn is_written(key: &ExperimentKey) -> bool {
    key.path() == "strategy.name" || key.section != "strategy" && !key.has_default_in_words()
}

/// Returns the range or the default in words.
fn bounds(key: &ExperimentKey) -> Option<String> {
    let default = key.default.as_ref().filter(|_| !is_written(key) && key.section != "strategy");
    let parts = [key.wants().map(str::to_owned), default.map(|default| format!("default: {default}"))];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Returns a text as lines of a comment.
fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if lines[last].chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(format!("# {word}"));
        } else {
            lines[last] += &format!(" {word}");
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commented_file_is_the_default_experiment_and_has_every_key() {
        let text = commented().unwrap();
        let expected = Experiment { model: MODEL.to_owned(), ..Experiment::default() };
        assert_eq!(Experiment::deserialize_from(text.parse().unwrap()).unwrap(), expected);
        for key in Experiment::keys() {
            let is_there = |line: &str| {
                let line = line.strip_prefix("# ").unwrap_or(line);
                line.strip_prefix(&key.name).is_some_and(|rest| rest.starts_with(" = ") || rest.starts_with(".KEY = "))
            };
            assert!(text.lines().any(is_there), "{}", key.path());
        }
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    }

    /// A default in words is no key of the file: `lr` is 0.001 with adam.
    #[test]
    fn a_default_that_depends_on_other_keys_is_a_comment() {
        let text = commented().unwrap();
        assert!(
            text.contains(
                "\n# Local learning rate (a finite number above 0; default: 0.1, with adam 0.001)\n# lr = X\n"
            ),
            "{text}"
        );
        assert!(text.contains("\nrounds = 5\n") && text.contains("\nname = \"fedavg\"\n"), "{text}");
    }

    #[test]
    fn a_key_is_explained_with_its_flag_and_its_rows() {
        let explain = |path: &str| explanation(&crate::key_names::key_at(path).unwrap());
        let lines = explain("local.lr");
        assert_eq!(
            lines,
            [
                "local.lr",
                "  Local learning rate",
                "  flag: --lr X",
                "  default: 0.1, with adam 0.001",
                "  values: a finite number above 0"
            ]
        );
        let lines = explain("strategy.server");
        assert!(lines.contains(&"  sgd:rate=1".to_owned()), "{lines:?}");
        assert!(explain("clients.on-failure").contains(&"  values: retry, drop, abort".to_owned()));
        for key in Experiment::keys() {
            assert!(explanation(&key).len() > 2, "{}", key.path());
        }
    }
}
