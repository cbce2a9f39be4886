//! The checks of `fedpipe doctor`, as a table. Each check finds facts about this machine, and a remedy for what is not
//! in order.

mod folders;
mod found_models;
mod machine;

/// The state of what a check has looked at, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum State {
    /// In order.
    Fine,
    /// Runs are possible, with less.
    Limited,
    /// A usual run fails.
    Broken,
}

/// One finding of a check.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) state: State,
    pub(crate) fact: String,
    /// The remedy; empty if everything is in order.
    pub(crate) remedy: String,
}

impl Finding {
    fn fine(fact: impl Into<String>) -> Self {
        Self { state: State::Fine, fact: fact.into(), remedy: String::new() }
    }

    fn limited(fact: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Limited, fact: fact.into(), remedy: remedy.into() }
    }

    fn broken(fact: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Broken, fact: fact.into(), remedy: remedy.into() }
    }
}

/// A check: its subject, and the function that makes its findings.
type Check = (&'static str, fn() -> Vec<Finding>);

/// All checks, in the order in which they are printed.
pub(crate) const CHECKS: &[Check] = &[
    ("kernel", machine::kernel),
    ("/proc", machine::proc),
    ("descriptors", machine::descriptors),
    ("processes", machine::processes),
    ("memory", machine::memory),
    ("folder", folders::current),
    ("temporary", folders::temporary),
    ("cache", folders::cache),
    ("data", folders::data),
    ("models", found_models::models),
    ("isolation", found_models::isolation_in_force),
];
