//! The decisions of this machine about an experiment: the launch of clients, their number and limits, and the commands
//! of programs.

pub(crate) mod closed;
pub(crate) mod command;
pub(crate) mod launch;
pub(crate) mod limits;
mod places;
pub(crate) mod processes;
mod shim;
mod wrapper;

use std::path::Path;

use fedpipe_record::experiment::Experiment;

use crate::{error::Result, experiment::command::UserProgram};

/// Refuses an experiment that cannot run on any data.
///
/// # Errors
/// Returns [`Error::Usage`](crate::error::Error::Usage) with the value, the reason and the remedy.
pub(crate) fn check(experiment: &Experiment) -> Result<()> {
    client_program(experiment)?;
    strategy_program(experiment)?;
    Ok(experiment.check()?)
}

/// Returns the program of `--client`, if there is one.
pub(crate) fn client_program(experiment: &Experiment) -> Result<Option<UserProgram>> {
    experiment.client.as_deref().map(|command| UserProgram::parse("--client", command)).transpose()
}

/// Returns the program of `--strategy-program`, if there is one.
pub(crate) fn strategy_program(experiment: &Experiment) -> Result<Option<UserProgram>> {
    let command = experiment.strategy.program.as_deref();
    command.map(|command| UserProgram::parse("--strategy-program", command)).transpose()
}

/// Returns the name of the run's folder, without its number.
pub(crate) fn run_name(experiment: &Experiment) -> Result<String> {
    if let Some(program) = client_program(experiment)? {
        return Ok(program.name());
    }
    let stem = Path::new(&experiment.model).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(stem.strip_prefix("lib").unwrap_or(&stem).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_after_its_model_or_its_program() {
        let name = |model: &str, client: Option<&str>| {
            let (model, client) = (model.to_owned(), client.map(str::to_owned));
            run_name(&Experiment { model, client, ..Experiment::default() }).unwrap()
        };
        assert_eq!(name("mlp", None), "mlp");
        assert_eq!(name("target/release/liblogreg.so", None), "logreg");
        assert_eq!(name("mlp", Some("./build/mine --fast")), "mine");
    }

    #[test]
    fn a_command_that_cannot_be_split_is_refused_by_its_flag() {
        let refused = |experiment: Experiment| check(&experiment).unwrap_err().to_string();
        let command = Some("python3 'x".to_owned());
        assert!(refused(Experiment { client: command.clone(), ..Experiment::default() }).starts_with("--client "));
        let mut strategy_program = Experiment::default();
        strategy_program.strategy.program = command;
        assert!(refused(strategy_program).starts_with("--strategy-program "));
    }
}
