//! The refusal of a folder that holds no run.

use std::path::Path;

use crate::{
    error::{Error, Result},
    names::LEDGER,
    sweep::SWEEP,
};

/// Refuses a folder without a ledger.
///
/// # Errors
/// Returns [`Error::RunDirectory`] with the reason and the remedy.
pub fn check_holds_run(directory: &Path) -> Result<()> {
    let shown = directory.display();
    let why = match () {
        () if directory.join(LEDGER).exists() => return Ok(()),
        () if directory.join(SWEEP).exists() => {
            format!("{shown} is a sweep, and no run; give the directory of one of its runs, such as {shown}/000")
        }
        () if directory.exists() => format!("{shown} holds no run (no {LEDGER}); give the directory of a run"),
        () => format!("there is no folder {shown}; give the directory of a run"),
    };
    Err(Error::RunDirectory(why))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_without_a_run_is_refused_with_the_reason() {
        let place = tempfile::tempdir().unwrap();
        let check = |path: &Path| check_holds_run(path).map_err(|error| error.to_string());
        let absent = check(&place.path().join("a")).unwrap_err();
        assert!(absent.starts_with("there is no folder ") && absent.ends_with("/a; give the directory of a run"));
        assert!(check(place.path()).unwrap_err().contains(" holds no run (no ledger.jsonl); give the directory"));
        fs::write(place.path().join(SWEEP), "{}").unwrap();
        assert!(check(place.path()).unwrap_err().contains(" is a sweep, and no run; give"));
        fs::write(place.path().join(LEDGER), "").unwrap();
        assert_eq!(check(place.path()), Ok(()));
    }
}
