//! The models that are found, and the isolation that the kernel enforces on one of them.

use fedpipe_host::Error;

use super::Finding;
use crate::inputs::dylibs::{all_dylibs, describe_dylib, folders, is_fixture};

/// The words by which the error of a dylib says that it is a model of another version.
const OTHER_VERSION: &str = "was built against another version of fedpipe-model";

pub(super) fn models() -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in all_dylibs() {
        match describe_dylib(&path) {
            Ok(model) if is_fixture(&model) => {}
            Ok(model) => findings.push(Finding::fine(format!("{} {}, {}", model.name, model.version, path.display()))),
            // The error has its remedy.
            Err(Error::Model(why)) if why.contains(OTHER_VERSION) => findings.push(Finding::limited(why, "")),
            // Other libraries lie in the same folders.
            Err(_) => {}
        }
    }
    if findings.is_empty() {
        let searched: Vec<String> = folders().iter().map(|folder| folder.display().to_string()).collect();
        let fact = format!("no model is in {}", searched.join(", "));
        findings.push(Finding::broken(fact, "build the models, or name their folder in FEDPIPE_MODELS"));
    }
    findings
}

/// Starts a client process, which isolates itself and describes its model.
pub(super) fn isolation_in_force() -> Vec<Finding> {
    let mut described = all_dylibs().into_iter().map(|path| describe_dylib(&path));
    let described = described.find(|described| !matches!(described, Err(Error::Model(_))));
    vec![match described {
        None => Finding::limited("not tried, since no model is found", "build the models first"),
        Some(Err(error)) => Finding::broken(error.to_string(), ""),
        Some(Ok(model)) if model.in_force.missing.is_empty() => Finding::fine(model.in_force.to_string()),
        Some(Ok(model)) => Finding::limited(
            model.in_force.to_string(),
            "use Linux 5.13 or later with Landlock (`lsm=` of the kernel's command line), and in a container a \
             seccomp profile that allows its calls",
        ),
    }]
}
