//! The commands that list the rows of a table, one for each table.

use clap::{Arg, ArgAction, ArgMatches, Command, Error, FromArgMatches, Subcommand, error::ErrorKind};
use fedpipe_record::catalogue::{CATALOGUES, Catalogue};

/// A table, and the form in which to list it.
#[derive(Debug)]
pub(crate) struct ListArgs {
    pub(crate) catalogue: &'static Catalogue,
    pub(crate) json: bool,
}

impl Subcommand for ListArgs {
    fn augment_subcommands(command: Command) -> Command {
        command.subcommands(CATALOGUES.iter().map(|Catalogue { name, flag, .. }| {
            let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the catalogue as JSON");
            Command::new(*name).about(format!("List the values of {flag}, with their parameters and sources")).arg(json)
        }))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        CATALOGUES.iter().any(|catalogue| catalogue.name == name)
    }
}

impl FromArgMatches for ListArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let (name, given) = matches.subcommand().ok_or_else(|| Error::new(ErrorKind::MissingSubcommand))?;
        let catalogue = CATALOGUES.iter().find(|catalogue| catalogue.name == name);
        let catalogue = catalogue.ok_or_else(|| Error::new(ErrorKind::InvalidSubcommand))?;
        Ok(Self { catalogue, json: given.get_flag("json") })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
