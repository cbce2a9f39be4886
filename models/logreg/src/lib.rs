//! Multinomial logistic regression, the smallest model of fedpipe: softmax(x · weight + bias).
#![forbid(unsafe_code)]

use fedpipe_model::{Description, Options, Result, Task, export_model};
use fedpipe_nn::{Architecture, Network, NetworkModel};

/// A network without a hidden layer.
struct LogReg;

impl Architecture for LogReg {
    const STARTS_AT_ZERO: bool = true;

    fn describe() -> Description {
        Description::new("logreg", env!("CARGO_PKG_VERSION"), "multinomial logistic regression, for classes")
    }

    fn network(_: &Options, task: &Task) -> Result<Network> {
        Ok(Network::new(&[task.inputs(), task.classes()?])?)
    }
}

export_model!(NetworkModel<LogReg>);

#[cfg(test)]
mod tests;
