//! The choices that files leave open when they are read.

use serde::{Deserialize, Serialize};

/// The choices that files leave open when they are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The kind of the targets.
    pub target: TargetKind,
}

/// The kind of the targets: labels, or real numbers for a regression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// Labels from 0, of which the model predicts one.
    #[default]
    Classes,
    /// Real numbers, which the model estimates.
    Real,
}
