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

#[cfg(test)]
mod tests {
    use fedpipe_protocol::{HeldPartition, Level, Target, Task};

    use super::*;

    #[test]
    fn a_program_may_read_the_partitions_and_the_test_set_that_it_serves() {
        let launched =
            Launched { program: "/p".into(), words: vec!["p".into()], open: vec![], closed: vec!["/c".into()] };
        let isolation = Isolation { level: Level::Require, memory_limit: Some(1), cpu_seconds: None };
        let held = |client, path: &str| HeldPartition { client, path: path.into(), sha256: None };
        let serve = Purpose::Serve {
            task: Task { shape: vec![1], target: Target::Classes(2) },
            partitions: vec![held(0, "/a"), held(3, "/b")],
            test: "/test".into(),
        };
        for (purpose, expected) in [(Purpose::Describe, &[][..]), (serve, &["/a", "/b", "/test"])] {
            let setup = Setup { purpose, ..Setup::describe(None, isolation.clone()) };
            let Request::Launch(launch) = launched.as_client(&setup) else { panic!("it is launched") };
            assert_eq!(launch.data, expected.iter().map(PathBuf::from).collect::<Vec<_>>());
            assert_eq!((launch.isolation, launch.closed), (setup.isolation, launched.closed.clone()));
        }
    }
}
