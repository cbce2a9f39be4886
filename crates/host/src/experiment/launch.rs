//! The launch of a run: the places and commands on this machine.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::process::spawn::ClientCommand;

/// The places and commands of a run on this machine. They change no result and are not part of an experiment.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The command that starts a client that loads a dylib.
    pub command: ClientCommand,
    /// The command that starts fedpipe's own client on this machine, which launches a program of the user's.
    pub launcher: ClientCommand,
    /// The model's dylib; none if the experiment's client is a program of the user's.
    pub dylib: Option<PathBuf>,
    /// The run directory; none for `runs/MODEL-N`.
    pub out: Option<PathBuf>,
    /// `true` if the run replaces a run in `out`.
    pub overwrite: bool,
    /// The cache of datasets and partitions.
    pub cache: fedpipe_data::Cache,
    /// The run directory that has the split by hand and the initial weights, for a run that repeats another; none for
    /// the places that the experiment names.
    pub inputs_folder: Option<PathBuf>,
    /// Further paths that no program of the user's may read: the run that this run repeats.
    pub closed: Vec<PathBuf>,
    /// The participants by round in a run that repeats another; empty for a run of its own.
    pub replay: BTreeMap<u64, Vec<u32>>,
    /// The trainings in virtual time without an update in a run that repeats another, each as the client and the bits
    /// of its start; empty for a run of its own.
    pub dropped: BTreeSet<(u32, u64)>,
    /// The dylibs that such a run loads later, by the first round that uses them.
    pub swaps: BTreeMap<u64, PathBuf>,
    /// The round after which such a run ends, as after its last one.
    pub ends_after: Option<u64>,
}
