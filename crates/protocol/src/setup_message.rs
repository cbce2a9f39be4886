//! The setup of a client: its model, its data, its isolation; and the model as the client describes it.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::isolation::{InForce, Isolation};

/// The configuration of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The path of the model's dylib; `None` for a client that is its own model.
    pub dylib: Option<PathBuf>,
    /// The SHA-256 of the dylib, in hexadecimal. It is given if the client has its own copy of the file (`fedpipe
    /// serve`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dylib_sha256: Option<String>,
    /// The SHA-256 of the test set's labels followed by its examples, in hexadecimal. `None` if the host has checked
    /// the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_sha256: Option<String>,
    /// The model's options as the user gave them.
    pub options: BTreeMap<String, String>,
    /// The run's seed.
    pub seed: u64,
    /// The seed of the initial weights; `None` for that of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_seed: Option<u64>,
    /// The isolation of the client.
    pub isolation: Isolation,
    /// The purpose of the client.
    pub purpose: Purpose,
}

/// The purpose for which a client is started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Describe the model. The client gets no data.
    Describe,
    /// Train and evaluate.
    Serve {
        /// The task that the data define.
        task: Task,
        /// The partitions that this process holds: one, or several for a worker.
        partitions: Vec<HeldPartition>,
        /// The path of the test set.
        test: PathBuf,
    },
}

/// A partition and the number of the client that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPartition {
    /// The client's number, from 0.
    pub client: u32,
    /// The path of the partition file; empty if the client has its own.
    pub path: PathBuf,
    /// The SHA-256 of the partition's labels followed by its examples, in hexadecimal; `None` if the host does not have
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// The learning task that the data define: the shape of the inputs and the kind of the targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The shape of one example.
    pub shape: Vec<usize>,
    /// The kind of the targets.
    pub target: Target,
}

/// The kind of the targets: `{"classes": N}` or `"real"` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The number of classes. Each label is smaller.
    Classes(usize),
    /// Real numbers (regression).
    Real,
}

impl Setup {
    /// Returns the setup of a client that describes the model in `dylib`, or itself.
    pub fn describe(dylib: Option<PathBuf>, isolation: Isolation) -> Self {
        Self {
            dylib,
            dylib_sha256: None,
            test_sha256: None,
            options: BTreeMap::new(),
            seed: 0,
            init_seed: None,
            isolation,
            purpose: Purpose::Describe,
        }
    }

    /// Returns the number of classes; 0 for a real target, and for a client that describes a model.
    pub fn classes(&self) -> u64 {
        match &self.purpose {
            Purpose::Serve { task: Task { target: Target::Classes(classes), .. }, .. } => *classes as u64,
            Purpose::Serve { .. } | Purpose::Describe => 0,
        }
    }
}

/// The description of a client whose model is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The model's name.
    pub name: String,
    /// The model's version.
    pub version: String,
    /// A description of the model in one line.
    pub summary: String,
    /// The options that the model accepts.
    pub options: Vec<OptionSpec>,
    /// The tensors of the flat weights, in order; empty for [`Purpose::Describe`], which builds no model.
    pub layout: Vec<Tensor>,
    /// The number of training examples of each partition of the setup; empty if the client does not report it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<u64>,
    /// The number of held-out examples of each partition; empty if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_out: Vec<u64>,
    /// The optional abilities of the client, such as `proximal`; see [`feature`](crate::feature).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The instruction set that the model computes with, such as `avx2`; empty if the client does not report it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instruction_set: String,
    /// The isolation in force; by default none.
    #[serde(default)]
    pub in_force: InForce,
}

/// One option of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionSpec {
    /// The key, as in `--model-option key=value`.
    pub key: String,
    /// The value if the user gives none.
    pub default: String,
    /// The help text, one line.
    pub help: String,
}

/// A named tensor of the flat weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// The name, unique in the layout.
    pub name: String,
    /// The sizes; the weights are stored row-major.
    pub shape: Vec<usize>,
    /// The role of the tensor in the server optimiser.
    pub kind: Kind,
    /// The place where the tensor is kept.
    pub place: Place,
}

/// The role of a tensor in the server optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A parameter that is trained by gradients.
    Param,
    /// A running statistic, which is averaged and never changed by a server optimiser.
    Buffer,
}

/// The place where a tensor is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// At the host, averaged over the clients.
    Shared,
    /// At each client.
    Local,
}
