//! The identity of the code that a run executes, as it is on this machine now.

use fedpipe_record::{experiment::Experiment, identity::CodeIdentity};

use crate::{
    error::Result,
    experiment::{client_program, command::UserProgram, strategy_program},
    run::directory::RunDir,
};

/// Returns the identity of the run's dylib and of the files of its programs.
pub(crate) fn code_identity(experiment: &Experiment, directory: &RunDir) -> Result<CodeIdentity> {
    let dylib_sha256 = experiment.client.is_none().then(|| directory.model()).transpose()?.map(|dylib| dylib.sha256);
    Ok(CodeIdentity { dylib_sha256, ..program_files(experiment)? })
}

/// Returns the identity of the files of the user's programs, which are not the run's own.
pub(crate) fn program_files(experiment: &Experiment) -> Result<CodeIdentity> {
    let files = |program: Option<UserProgram>| program.map(|program| program.files()).unwrap_or_default();
    let (client, strategy) = (client_program(experiment)?, strategy_program(experiment)?);
    Ok(CodeIdentity { dylib_sha256: None, client_sha256: files(client), strategy_sha256: files(strategy) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fedpipe_record::digest::bytes_sha256;

    use super::*;

    #[test]
    fn the_code_is_the_dylib_or_the_files_of_the_programs() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, name).unwrap();
            path.display().to_string()
        };
        let (dylib, client, strategy) = (file("m.so"), file("client.sh"), file("strategy.sh"));
        let identity = |experiment: &Experiment, dylib: Option<&str>, out: &str| {
            let out = folder.path().join(out);
            let (directory, _) = RunDir::create(experiment, dylib.map(str::as_ref), Some(&out), false).unwrap();
            code_identity(experiment, &directory).unwrap()
        };
        let mut of_dylib = Experiment { model: "m".into(), ..Experiment::default() };
        of_dylib.strategy.program = Some(format!("sh {strategy}"));
        let found = identity(&of_dylib, Some(&dylib), "a");
        assert_eq!((found.dylib_sha256, found.client_sha256.len()), (Some(bytes_sha256(b"m.so")), 0));
        assert_eq!(found.strategy_sha256, [(strategy, bytes_sha256(b"strategy.sh"))].into());
        let of_program = Experiment { client: Some(format!("sh {client}")), ..Experiment::default() };
        let found = identity(&of_program, None, "b");
        assert_eq!((found.dylib_sha256, found.strategy_sha256.len()), (None, 0));
        assert_eq!(found.client_sha256, [(client, bytes_sha256(b"client.sh"))].into());
    }
}
