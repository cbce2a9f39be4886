//! The sentence about arguments that clap refuses, from the context of its error.

use std::error::Error;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The context from which clap suggests a remedy, with the words before each.
const SUGGESTIONS: [(ContextKind, &str); 3] = [
    (ContextKind::SuggestedSubcommand, "a similar subcommand exists"),
    (ContextKind::SuggestedArg, "a similar argument exists"),
    (ContextKind::SuggestedValue, "a similar value exists"),
];

/// Returns one line: the fault, then the remedies that clap suggests.
pub(crate) fn sentence(error: &clap::Error) -> String {
    let mut sentence = fault(error);
    for (kind, words) in SUGGESTIONS {
        if let Some(similar) = error.get(kind) {
            sentence += &format!("; {words}: {}", quoted(similar));
        }
    }
    if let Some(ContextValue::StyledStrs(remedies)) = error.get(ContextKind::Suggested) {
        remedies.iter().for_each(|remedy| sentence += &format!("; {remedy}"));
    }
    sentence
}

fn fault(error: &clap::Error) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let argument = context(ContextKind::InvalidArg);
    let value = context(ContextKind::InvalidValue);
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument => format!("unexpected argument '{argument}' found"),
        ErrorKind::InvalidSubcommand => {
            format!("unrecognized subcommand '{}'", context(ContextKind::InvalidSubcommand))
        }
        ErrorKind::MissingRequiredArgument => format!("the following required arguments were not provided: {argument}"),
        ErrorKind::ArgumentConflict => format!("the argument '{argument}' cannot be used {}", conflict(error)),
        ErrorKind::InvalidValue if value.is_empty() => {
            format!("a value is required for '{argument}' but none was supplied{}", possible_values(error))
        }
        ErrorKind::InvalidValue => format!("invalid value '{value}' for '{argument}'{}", possible_values(error)),
        ErrorKind::ValueValidation => format!("invalid value '{value}' for '{argument}': {source}"),
        // No argument of this command meets the other kinds, but text that is not UTF-8.
        kind => kind.as_str().map_or(source, str::to_owned),
    }
}

/// Returns the arguments that exclude the refused one, or the same argument given before.
fn conflict(error: &clap::Error) -> String {
    match error.get(ContextKind::PriorArg) {
        Some(prior) if error.get(ContextKind::InvalidArg) == Some(prior) => "multiple times".to_owned(),
        Some(prior) => format!("with {}", quoted(prior)),
        None => "with one or more of the other specified arguments".to_owned(),
    }
}

fn possible_values(error: &clap::Error) -> String {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            format!(" [possible values: {}]", values.join(", "))
        }
        _ => String::new(),
    }
}

fn quoted(names: &ContextValue) -> String {
    match names {
        ContextValue::Strings(names) => names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", "),
        name => format!("'{name}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::sentence;
    use crate::args::parse;

    #[test]
    fn each_refusal_is_one_sentence() {
        let cases = [
            ("run", "the following required arguments were not provided: <MODEL>"),
            ("run mlp --clients many", "invalid value 'many' for '--clients <N>': give a whole number, at least 1"),
            ("run mlp --epochs", "a value is required for '--epochs <N>' but none was supplied"),
            ("run mlp --quux red", "unexpected argument '--quux' found; to pass '--quux' as a value, use '-- --quux'"),
            ("--rounds 3 run", "unexpected argument '--rounds' found; 'run --rounds' exists"),
            ("run mlp --round 3", "unexpected argument '--round' found; a similar argument exists: '--rounds'"),
            (
                "run mlp --rounds 3 --until-converged",
                "the argument '--rounds <N>' cannot be used with '--until-converged'",
            ),
            ("run --resume r --overwrite", "the argument '--resume <DIR>' cannot be used with '--overwrite'"),
            ("run mlp --seed 1 --seed 2", "the argument '--seed <N>' cannot be used multiple times"),
            (
                "run --resume d --out o --config c",
                "the argument '--resume <DIR>' cannot be used with '--out <DIR>', '--config <FILE>'",
            ),
            (
                "run mlp --isolation maybe",
                "invalid value 'maybe' for '--isolation <LEVEL>' [possible values: require, auto, off]",
            ),
            (
                "run mlp --on-failure abor",
                "invalid value 'abor' for '--on-failure <POLICY>' [possible values: retry, drop, abort]; \
                 a similar value exists: 'abort'",
            ),
            ("verfy", "unrecognized subcommand 'verfy'; a similar subcommand exists: 'verify'"),
        ];
        let differs = |(line, expected): (&str, &str)| {
            let arguments: Vec<_> = ["fedpipe"].into_iter().chain(line.split(' ')).map(Into::into).collect();
            let actual = sentence(&parse(&arguments).unwrap_err());
            (actual != expected).then(|| format!("{line}: {actual}"))
        };
        let wrong: Vec<String> = cases.into_iter().filter_map(differs).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
