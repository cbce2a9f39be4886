//! A program of the user's that fedpipe's own client starts, as a launcher that first confines itself.

use std::path::PathBuf;

use fedpipe_protocol::{Isolation, ProgramLaunch, Purpose, Request, Setup};

/// A program and its command line, for the launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launched {
    pub(crate) program: PathBuf,
    pub(crate) words: Vec<String>,
    /// The paths that the program may read and execute besides its data.
    pub(crate) open: Vec<PathBuf>,
    /// The paths that the program must not read: clients' data and runs.
    pub(crate) closed: Vec<PathBuf>,
}

impl Launched {
    /// Returns the request to the launcher of a client with this setup.
    pub(crate) fn as_client(&self, setup: &Setup) -> Request {
        let data = match &setup.purpose {
            Purpose::Describe => Vec::new(),
            Purpose::Serve { partitions, test, .. } => {
                partitions.iter().map(|held| &held.path).chain([test]).cloned().collect()
            }
        };
        self.request(setup.isolation.clone(), data)
    }

    /// Returns the request to the launcher of a program that is confined to `isolation` and may also read `data`.
    pub(crate) fn request(&self, isolation: Isolation, data: Vec<PathBuf>) -> Request {
        let Self { program, words, open, closed } = self.clone();
        Request::Launch(ProgramLaunch { program, words, isolation, data, open, closed })
    }
}
