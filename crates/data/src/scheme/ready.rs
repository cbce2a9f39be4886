//! Gives each client the rows of one file: ready partitions, which nobody dealt.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::natural::Natural;
use super::{Labelled, Partitioner};
use crate::error::DataError;

pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "files",
    summary: "gives each client the rows of one safetensors file of a directory, which stands in the place of --data",
    parameters: &[Parameter {
        key: "dir",
        default: None,
        range: Range::Text("the path of a directory"),
        help: "the directory, with a file for each client and test.safetensors",
    }],
    source: "ready partitions",
    build: |values| Arc::new(Files { directory: values.text("dir").into() }),
};

#[derive(Debug)]
struct Files {
    directory: PathBuf,
}

impl Partitioner for Files {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        Natural.deal(labelled, clients, seed)
    }

    fn is_natural(&self) -> bool {
        true
    }

    fn keeps_names(&self) -> bool {
        true
    }

    fn directory(&self) -> Option<&Path> {
        Some(&self.directory)
    }
}
