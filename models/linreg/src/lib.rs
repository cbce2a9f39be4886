//! Linear regression, the smallest model of fedpipe for a real target: x · weight + bias, under the squared error.
#![forbid(unsafe_code)]

use fedpipe_model::{Description, Options, Result, Task, export_model};
use fedpipe_nn::{Architecture, Network, NetworkModel};

/// A network without a hidden layer, with one output.
struct LinReg;

impl Architecture for LinReg {
    const STARTS_AT_ZERO: bool = true;

    fn describe() -> Description {
        Description::new("linreg", env!("CARGO_PKG_VERSION"), "linear regression, for a real target")
    }

    fn network(_: &Options, task: &Task) -> Result<Network> {
        task.real()?;
        Ok(Network::new(&[task.inputs(), 1])?)
    }
}

export_model!(NetworkModel<LinReg>);

#[cfg(test)]
mod tests;
