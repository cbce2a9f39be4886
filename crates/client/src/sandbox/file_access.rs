//! Landlock: the files that a client may read.
//!
//! A client may write nothing, use no TCP port and signal no process outside. Only a program of the user's may execute
//! files.

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, Scope, path_beneath_rules,
};

use super::{Policy, libraries};

/// The newest ABI of Landlock that the tests have run on. An older kernel enforces the part that it has.
const NEWEST: ABI = ABI::V7;

/// The only file that a program may write.
const NULL: &str = "/dev/null";

/// Restricts this thread to the files of `policy` and the system's libraries. Returns the version of the ABI in force.
pub(super) fn restrict(policy: &Policy) -> Result<u32, String> {
    version(&ruleset(policy).map_err(|error| error.to_string())?.landlock)
}

/// Returns the version of the ABI in force, or the reason why there is none.
fn version(status: &LandlockStatus) -> Result<u32, String> {
    match *status {
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
        // `dlopen` maps a dylib and does not execute it, so the right to read is enough.
        .add_rules(path_beneath_rules(libraries.chain(policy.readable.iter().cloned()), AccessFs::ReadFile))?;
    let ruleset = match &policy.program {
        None => ruleset,
        Some(program) => ruleset
            .add_rules(path_beneath_rules(&program.open, AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute))?
            .add_rules(path_beneath_rules(&program.listed, AccessFs::ReadDir))?
            .add_rules(path_beneath_rules([NULL], AccessFs::ReadFile | AccessFs::WriteFile))?,
    };
    ruleset
        // A model that is denied in a loop must not fill the system's audit log.
        .log_same_exec(false)?
        .restrict_self()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_landlock_is_explained_and_a_newer_one_has_the_version_that_is_used() {
        let available = |effective_abi| LandlockStatus::Available { effective_abi, kernel_abi: None };
        assert_eq!([ABI::V1, NEWEST].map(|abi| version(&available(abi))), [Ok(1), Ok(7)]);
        let cases =
            [(LandlockStatus::NotEnabled, "add landlock to its lsm="), (LandlockStatus::NotImplemented, "5.13")];
        for (status, reason) in cases {
            assert!(version(&status).unwrap_err().contains(reason));
        }
    }
}
