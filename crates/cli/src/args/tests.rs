//! The commands that the READMEs show, and the experiment's keys beside the flags.

use std::ffi::OsString;

use clap::error::{ContextKind, ErrorKind};

use crate::args::{argument_error::sentence, parse};

#[path = "../../tests/e2e/markdown.rs"]
mod markdown;

use markdown::{documents, words};

/// Returns the arguments in a line of a README that calls the command, or that makes `just` call it.
fn arguments(code: &str) -> Option<Vec<OsString>> {
    let code = code.replace('…', "mlp");
    let words = words(code.split([';', '|', '\\']).next()?);
    let mut words =
        words.into_iter().skip_while(|word| ["uv", "run", "and", "&&"].contains(&word.as_str()) || word.contains('='));
    let call = match words.next()?.as_str() {
        "fedpipe" | "target/release/fedpipe" => Vec::new(),
        "just" if words.next()? == "run" => match words.next() {
            Some(client) if ["keras", "torch"].contains(&client.as_str()) => {
                vec!["run".into(), "--client".into(), client]
            }
            model => ["run".into()].into_iter().chain(model).collect(),
        },
        _ => return None,
    };
    Some(["fedpipe".to_owned()].into_iter().chain(call).chain(words).map(OsString::from).collect())
}

/// Returns `true` if `error` is about an argument or a value that is absent.
fn lacks_an_argument(error: &clap::Error) -> bool {
    match error.kind() {
        ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => true,
        ErrorKind::InvalidValue => {
            error.get(ContextKind::InvalidValue).is_some_and(|value| value.to_string().is_empty())
        }
        _ => false,
    }
}

#[test]
fn commands_in_the_readmes_are_understood() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for document in documents() {
        let lines = document.code_lines().into_iter().map(|line| (line, false));
        // A sentence may name a command without its arguments.
        for (code, is_name) in lines.chain(document.spans().into_iter().map(|span| (span, true))) {
            let Some(arguments) = arguments(&code) else { continue };
            seen += 1;
            let Err(error) = parse(&arguments) else { continue };
            if error.kind() != ErrorKind::DisplayHelp && !(is_name && lacks_an_argument(&error)) {
                wrong.push(format!("{}: {code:?}: {}", document.path, sentence(&error)));
            }
        }
    }
    assert!(wrong.is_empty() && seen > 40, "of {seen} commands\n{}", wrong.join("\n"));
}
