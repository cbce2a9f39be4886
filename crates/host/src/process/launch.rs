//! A program of the user's that fedpipe's own client starts: the launcher confines it first.

use std::path::PathBuf;

use fedpipe_protocol::{Isolation, ProgramLaunch, Purpose, Request, Setup};

/// A program that is started through the launcher, which confines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launched {
    pub(crate) program: PathBuf,
    pub(crate) words: Vec<String>,
    /// The paths that it may read and execute besides its data.
    pub(crate) open: Vec<PathBuf>,
    /// The paths that the program must not read: clients' data and runs.
    pub(crate) closed: Vec<PathBuf>,
}

impl Launched {
    /// What the launcher of the client with this setup is told.
    pub(crate) fn as_client(&self, setup: &Setup) -> Request {
        let data = match &setup.purpose {
            Purpose::Describe => Vec::new(),
            Purpose::Serve { partitions, test, .. } => {
                partitions.iter().map(|held| &held.path).chain([test]).cloned().collect()
            }
        };
        self.request(setup.isolation.clone(), data)
    }

    /// What the launcher is told of a program that is to be confined so, and to read `data` besides its own files.
    pub(crate) fn request(&self, isolation: Isolation, data: Vec<PathBuf>) -> Request {
        let Self { program, words, open, closed } = self.clone();
        Request::Launch(ProgramLaunch { program, words, isolation, data, open, closed })
    }
}
