//! The identity of the code that a run executes and that is not fedpipe's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::MODEL;

/// SHA-256 of the files that a command names, by the word that names each.
pub type Files = BTreeMap<String, String>;

/// The model's dylib, and the files of the user's programs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeIdentity {
    /// SHA-256 of the run's own copy of the dylib; none if the client is a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dylib_sha256: Option<String>,
    /// SHA-256 of the files that the client's command names, by the word that names each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub client_sha256: Files,
    /// The same of the strategy's command.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub strategy_sha256: Files,
}

impl CodeIdentity {
    /// Returns the changes from this identity to the one of `now`, a sentence each. (A program in the place of a dylib
    /// is a difference of the experiments.)
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let mut differences = match (&self.dylib_sha256, &now.dylib_sha256) {
            (Some(before), Some(is)) if before != is => vec![format!("{} is {is}, was {before}", MODEL)],
            _ => Vec::new(),
        };
        differences.extend(changes(&self.client_sha256, &now.client_sha256));
        differences.extend(changes(&self.strategy_sha256, &now.strategy_sha256));
        differences
    }
}

/// Returns the changes of a command's files, a sentence each.
fn changes(recorded: &Files, now: &Files) -> Vec<String> {
    let changed = recorded.iter().filter_map(|(word, before)| match now.get(word) {
        None => Some(format!("there is no file {word} here (a command is run in the folder of its run's start)")),
        Some(is) if is != before => Some(format!("{word} is {is}, was {before}")),
        Some(_) => None,
    });
    changed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> Files {
        files.iter().map(|&(word, sha256)| (word.to_owned(), sha256.to_owned())).collect()
    }

    #[test]
    fn a_changed_or_missing_file_is_told_and_a_new_one_is_not() {
        let identity = |dylib: Option<&str>, client: &[(&str, &str)]| CodeIdentity {
            dylib_sha256: dylib.map(str::to_owned),
            client_sha256: files(client),
            strategy_sha256: files(&[]),
        };
        let before = identity(Some("1"), &[("a.py", "2"), ("b.py", "3")]);
        assert_eq!(before.changes(&before), Vec::<String>::new());
        let now = identity(Some("9"), &[("a.py", "8"), ("c.py", "7")]);
        let changes = before.changes(&now);
        assert_eq!(changes[..2], ["model.so is 9, was 1", "a.py is 8, was 2"]);
        assert!(changes[2].starts_with("there is no file b.py here") && changes.len() == 3, "{changes:?}");
        // A client in the place of a model is a difference of the experiments.
        assert_eq!(identity(Some("1"), &[]).changes(&identity(None, &[])), Vec::<String>::new());
    }
}
