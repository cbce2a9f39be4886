//! Landlock: which files may be read. Nothing may be written, and executed only what a program of the user's needs; no TCP port
//! may be used, and nobody outside signalled.

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, Scope, path_beneath_rules,
};

use super::{Policy, libraries};

/// The newest interface that this was tested on; an older kernel enforces what it knows of it.
const NEWEST: ABI = ABI::V7;

/// The one file that may be written.
const NULL: &str = "/dev/null";

/// Confines this thread to reading what `policy` names and the system's libraries; gives the interface in force.
pub(super) fn restrict(policy: &Policy) -> Result<u32, String> {
    let status = ruleset(policy).map_err(|error| error.to_string())?;
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => Ok((effective_abi as u32).min(NEWEST as u32)),
        LandlockStatus::NotEnabled => {
            Err("this kernel has it, but was booted without; add landlock to its lsm=".into())
        }
        LandlockStatus::NotImplemented => Err("this kernel is older than 5.13, or a container forbids it".into()),
    }
}

fn ruleset(policy: &Policy) -> Result<RestrictionStatus, RulesetError> {
    let libraries = libraries::places().into_iter();
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        // A dylib is mapped, not executed, so that reading is all that `dlopen` needs.
        .add_rules(path_beneath_rules(libraries.chain(policy.readable.iter().cloned()), AccessFs::ReadFile))?;
    let ruleset = match &policy.program {
        None => ruleset,
        Some(program) => ruleset
            .add_rules(path_beneath_rules(&program.open, AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute))?
            .add_rules(path_beneath_rules(&program.listed, AccessFs::ReadDir))?
            .add_rules(path_beneath_rules([NULL], AccessFs::ReadFile | AccessFs::WriteFile))?,
    };
    ruleset
        // Denials are the model's errors; a model that makes them in a loop shall not fill the system's audit log.
        .log_same_exec(false)?
        .restrict_self()
}
