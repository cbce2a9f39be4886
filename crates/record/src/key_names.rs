//! The names by which users call the keys of an experiment: paths such as `local.lr`, and short names such as `lr`.

use toml::de::{DeTable, DeValue};

use crate::{
    error::{Error, Result},
    experiment::Experiment,
    experiment_key::ExperimentKey,
    key_value::Arity,
};

/// The least similarity of a name that is suggested in the place of an unknown one.
const LEAST_SIMILARITY: f64 = 0.75;

/// Returns the path of the key that `name` calls.
///
/// A name is a path, a flag without its dashes, or the name of a key that only one section has. An entry follows its
/// key after a point, as in `model-options.hidden`.
///
/// # Errors
/// One sentence with the nearest name.
pub fn path_of(name: &str) -> std::result::Result<String, String> {
    let keys = Experiment::keys();
    if let Some(key) = called(name, &keys)? {
        return Ok(key.path());
    }
    let entry = name.split_once('.').and_then(|(outer, entry)| {
        let key = keys.iter().find(|key| key.arity == Arity::Entries && is_called(key, outer));
        key.filter(|_| !entry.is_empty()).map(|key| format!("{}.{entry}", key.path()))
    });
    match entry {
        Some(path) => Ok(path),
        None if name == "format" => Ok(name.to_owned()),
        None => Err(format!("an experiment has no key `{name}`; {}", remedy(name, &keys))),
    }
}

/// Returns the key with this path.
pub fn key_at(path: &str) -> Option<ExperimentKey> {
    let keys = Experiment::keys();
    let is_entry = |key: &ExperimentKey| {
        let entry = path.strip_prefix(&key.path()).and_then(|rest| rest.strip_prefix('.'));
        key.arity == Arity::Entries && entry.is_some()
    };
    keys.into_iter().find(|key| key.path() == path || is_entry(key))
}

/// Refuses a key in the text of an `experiment.toml` that no experiment has, and a value that the key does not take.
///
/// # Errors
/// [`Error::Experiment`] with the line and the column, and the nearest key or the values that are right. Text that is
/// no TOML is for its reader.
pub fn check_keys(text: &str) -> Result<()> {
    let (Ok(table), Ok(values)) = (DeTable::parse(text), text.parse::<toml::Table>()) else { return Ok(()) };
    let keys = Experiment::keys();
    let sections = sections(&keys);
    let check = |section: &str, name: &str| match keys.iter().find(|key| key.section == section && key.name == name) {
        Some(key) => key.refusal(&values),
        None => {
            let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
            Some(format!("an experiment has no key `{path}`; {}", remedy(&path, &keys)))
        }
    };
    let mut refused: Vec<(usize, String)> = Vec::new();
    for (key, value) in table.get_ref() {
        let (name, start): (&str, usize) = (key.get_ref(), key.span().start);
        match value.get_ref() {
            DeValue::Table(entries) if sections.contains(&name) => {
                let entries = entries.keys().map(|entry| (entry.span().start, check(name, entry.get_ref())));
                refused.extend(entries.filter_map(|(start, why)| Some((start, why?))));
            }
            _ if sections.contains(&name) => refused.push((start, format!("{name} is a section; write [{name}]"))),
            _ if name == "format" => {}
            _ => refused.extend(check("", name).map(|why| (start, why))),
        }
    }
    let Some((start, why)) = refused.into_iter().min() else { return Ok(()) };
    let (line, column) = place(text, start);
    Err(Error::Experiment(format!("line {line}, column {column}: {why}")))
}

/// Returns the line and the column, in characters, of a byte; both from 1.
fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..byte];
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// Returns the key that `name` calls by its path, its flag, or its own name where that is unique, in this order.
fn called<'k>(name: &str, keys: &'k [ExperimentKey]) -> std::result::Result<Option<&'k ExperimentKey>, String> {
    let by_path = keys.iter().find(|key| key.path() == name).or_else(|| keys.iter().find(|key| key.id() == name));
    if by_path.is_some() {
        return Ok(by_path);
    }
    let named: Vec<&ExperimentKey> = keys.iter().filter(|key| key.name == name).collect();
    match named[..] {
        [] => Ok(None),
        [key] => Ok(Some(key)),
        _ => {
            let paths: Vec<String> = named.iter().map(|key| key.path()).collect();
            Err(format!("several sections have a key `{name}`; write {}", paths.join(" or ")))
        }
    }
}

fn is_called(key: &ExperimentKey, name: &str) -> bool {
    key.path() == name || key.id() == name
}

fn sections(keys: &[ExperimentKey]) -> Vec<&'static str> {
    let mut sections: Vec<&str> = keys.iter().map(|key| key.section).filter(|section| !section.is_empty()).collect();
    sections.dedup();
    sections
}

/// Returns the remedy for a name that calls no key.
fn remedy(name: &str, keys: &[ExperimentKey]) -> String {
    let (section, own) = name.rsplit_once('.').unwrap_or(("", name));
    // The key may be in another section than the one given.
    if let Ok(Some(meant)) = called(own, keys) {
        return format!("write {}", meant.path());
    }
    let paths: Vec<String> = keys.iter().map(ExperimentKey::path).collect();
    let in_section = keys.iter().filter(|key| key.section == section);
    let candidates = in_section.map(|key| (&*key.name, key.path()));
    let by_flag = keys.iter().map(|key| (key.id(), key.path()));
    let by_path = paths.iter().map(|path| (path.as_str(), path.clone()));
    // A path with a section may be wrong in its section, but is none.
    let is_path = !section.is_empty();
    let of_sections = sections(keys).into_iter().filter(|_| !is_path).map(|section| (section, format!("[{section}]")));
    let of_paths = by_path.filter(|_| !sections(keys).contains(&section));
    let near = nearest(own, candidates)
        .or_else(|| nearest(name, of_paths.chain(of_sections)))
        .or_else(|| nearest(own, by_flag));
    if let Some(near) = near {
        return format!("did you mean {near}?");
    }
    let names: Vec<&str> = keys.iter().filter(|key| key.section == section).map(|key| &*key.name).collect();
    let sections = sections(keys);
    match section {
        section if sections.contains(&section) => format!("the section {section} has {}", names.join(", ")),
        _ => format!("see `fedpipe config`, or the sections {}", sections.join(", ")),
    }
}

/// Returns the path of the candidate whose name is most similar to `name`, if one is similar.
fn nearest<'n>(name: &str, candidates: impl Iterator<Item = (&'n str, String)>) -> Option<String> {
    let similar = candidates.map(|(known, path)| (strsim::jaro_winkler(name, known), path));
    let near = similar.filter(|(similarity, _)| *similarity > LEAST_SIMILARITY);
    near.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_called_by_its_path_and_by_its_flag() {
        for key in Experiment::keys() {
            assert_eq!(path_of(&key.path()).as_ref(), Ok(&key.path()));
            assert_eq!(key_at(&key.path()).map(|found| found.path()), Some(key.path()));
            // A path precedes a flag of the same name.
            let other = Experiment::keys().into_iter().find(|other| other.path() == key.id());
            assert_eq!(path_of(key.id()), Ok(other.map_or(key.path(), |other| other.path())));
        }
    }

    #[test]
    fn short_names_are_those_of_flags_and_of_keys_that_are_unique() {
        for (name, path) in [
            ("lr", "local.lr"),
            ("seed", "seed"),
            ("clients", "clients.count"),
            ("count", "clients.count"),
            ("strategy", "strategy.name"),
            ("every", "evaluation.every"),
            ("model-option.hidden", "model-options.hidden"),
            ("model-options.hidden", "model-options.hidden"),
        ] {
            assert_eq!(path_of(name).as_deref(), Ok(path));
        }
        assert_eq!(key_at("model-options.hidden").unwrap().name, "model-options");
        assert!(key_at("lr").is_none() && key_at("model-optionshidden").is_none());
    }

    #[test]
    fn an_unknown_name_has_the_nearest_one_as_its_remedy() {
        for (name, remedy) in [
            ("local.epoch", "did you mean local.epochs?"),
            ("epoch", "did you mean local.epochs?"),
            ("local.seed", "write seed"),
            ("locl.lr", "write local.lr"),
            ("clients.cuont", "did you mean clients.count?"),
            ("stratgy", "did you mean"),
            ("local.zzz", "the section local has epochs, local-steps, batch-size, lr, lr-schedule, uneven, optimiser"),
            ("zzz", "see `fedpipe config`, or the sections data, clients, local, "),
            ("model-options.", "did you mean model-options?"),
        ] {
            let error = path_of(name).unwrap_err();
            assert!(error.starts_with(&format!("an experiment has no key `{name}`; {remedy}")), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_of_a_file_is_named_with_its_place() {
        let check = |text: &str| check_keys(text).map_err(|error| error.to_string());
        assert_eq!(check("format = 2\nmodel = 'mlp'\nclients.count = 3\n[model-options]\nany = '1'\n"), Ok(()));
        assert_eq!(check("this is no TOML"), Ok(()));
        for (text, expected) in [
            ("format = 2\nmodle = 'mlp'\n", "line 2, column 1: an experiment has no key `modle`; did you mean model?"),
            (
                "[local]\n  batch_size = 3",
                "line 2, column 3: an experiment has no key `local.batch_size`; did you mean local.batch-size?",
            ),
            (
                "clients = { count = 2, fractoin = 1 }",
                "line 1, column 24: an experiment has no key `clients.fractoin`; did you mean clients.fraction?",
            ),
            ("'ä' = 1\n[data]\nsource = 'ä'\nlr = 1", "line 1, column 1: an experiment has no key `ä`; see"),
            ("[data]\nsource = 'ä'\nlr = 1", "line 3, column 1: an experiment has no key `data.lr`; write local.lr"),
            ("lr = 1\n[locla]\n", "line 1, column 1: an experiment has no key `lr`; write local.lr"),
            ("\n[locla]\nlr = 1", "line 2, column 2: an experiment has no key `locla`; did you mean [local]?"),
            (
                "clients.cuont = 1\nrouns = 2",
                "line 1, column 9: an experiment has no key `clients.cuont`; did you mean clients.count?",
            ),
            ("rounds = 3\n[local]\nlr = 'fast'", "line 3, column 1: --lr is fast; give a finite number above 0"),
            ("local = { epochs = 1, lr = 1e300 }", "line 1, column 23: --lr is 1e300; give at most 3.4028235e38"),
            ("[time]\nstep-time = 1e300", "line 2, column 1: --step-time is 1e300; give 1e-9 to 1e9 virtual seconds"),
            ("clients.count = 'two'", "line 1, column 9: --clients is two; give a whole number, at least 1"),
            ("clients.count = '2'", "line 1, column 9: --clients is 2; write the value without quotes"),
            ("clients.count = 2.5", "--clients is 2.5; give a whole number, at least 1"),
            ("clients.count = 2.0", "--clients is 2; write the number without a point"),
            ("clients.count = 5000000000", "line 1, column 9: --clients is 5000000000; give at most 4294967295"),
            ("evaluation.fine-tune = -1", "line 1, column 12: --fine-tune is -1; give a whole number from 0"),
            ("data.standardise = 1", "line 1, column 6: --standardise is 1; give true or false"),
            ("model = 3", "line 1, column 1: model is 3; write the value in quotes"),
            (
                "[model-options]\nhidden = 3",
                "line 1, column 2: --model-option is { hidden = 3 }; write each value in quotes",
            ),
            ("[strategy]\nname = 'fedfoo'", "line 2, column 1: --strategy: the strategy `fedfoo` is unknown"),
            ("local = 3", "line 1, column 1: local is a section; write [local]"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(expected), "{error}\n{expected}");
        }
    }
}
