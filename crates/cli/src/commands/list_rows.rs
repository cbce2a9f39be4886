//! `fedpipe strategies` and its kin: list the rows of a table.

use std::process::ExitCode;

use fedpipe_data::Entry;
use fedpipe_host::{Error, Result};

use crate::{args::list_args::ListArgs, screen::output::print_result};

/// Prints the rows of a table, as text or as JSON.
pub(crate) fn list_rows(args: &ListArgs) -> Result<ExitCode> {
    let rows = (args.catalogue.rows)();
    if args.json {
        let text = serde_json::to_string_pretty(&rows).map_err(|error| Error::System(error.into()))?;
        print_result(text)?;
        return Ok(ExitCode::SUCCESS);
    }
    for row in rows {
        if !print_result(row_text(row))? {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the form of a row, its rule and its parameters.
pub(super) fn row_text(row: Entry) -> String {
    let mut text = format!("{}\n  {} ({})", row.example, row.summary, row.source);
    for parameter in row.parameters {
        let default = parameter.default.map_or_else(String::new, |default| format!(" [default: {default}]"));
        text += &format!("\n  {}: {}; {}{default}", parameter.key, parameter.help, parameter.range);
    }
    text
}
