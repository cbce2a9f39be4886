//! The multi-layer perceptron, the default model of fedpipe: dense layers with ReLU between them, for classes and for a
//! real target.
#![forbid(unsafe_code)]

use fedpipe_model::{Description, Options, Place, Result, Task, export_model};
use fedpipe_nn::{Architecture, HiddenOptions, LayerSpec, Network, NetworkModel, Shape};

struct Mlp;

impl Architecture for Mlp {
    fn describe() -> Description {
        let summary = "multi-layer perceptron with ReLU, for classes or a real target";
        let description = Description::new("mlp", env!("CARGO_PKG_VERSION"), summary).option(
            "hidden",
            "128,64",
            "widths of the hidden layers, from the inputs on",
        );
        HiddenOptions::describe(description)
    }

    fn network(options: &Options, task: &Task) -> Result<Network> {
        let mut layers = HiddenOptions::read(options)?.dense(&options.list("hidden")?)?;
        layers.push(LayerSpec::Dense { outputs: task.outputs() });
        Ok(Network::stack(Shape::flat(task.inputs()), &layers)?)
    }

    fn norm_place(options: &Options) -> Result<Place> {
        Ok(HiddenOptions::read(options)?.norm_place)
    }
}

export_model!(NetworkModel<Mlp>);

#[cfg(test)]
mod tests;
