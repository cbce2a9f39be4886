//! A convolutional network in the style of LeNet: convolutions with pooling, then dense layers, with ReLU between them.
#![forbid(unsafe_code)]

use fedpipe_model::{Description, Error, Options, Place, Result, Task, export_model};
use fedpipe_nn::{Architecture, HiddenOptions, LayerSpec, Network, NetworkModel, Shape};

/// The height and the width of the squares of which pooling takes the maximum.
const POOL: usize = 2;

struct Cnn;

impl Architecture for Cnn {
    const EVALUATION_BATCH: usize = 25;

    fn describe() -> Description {
        let description = Description::new(
            "cnn",
            env!("CARGO_PKG_VERSION"),
            "convolutional network in the style of LeNet, for classes",
        )
        .option("channels", "10,20", "channels of the convolutions, each followed by pooling")
        .option("kernel", "5", "height and width of the kernels")
        .option("hidden", "120,84", "widths of the dense layers after the convolutions");
        HiddenOptions::describe(description)
    }

    fn network(options: &Options, task: &Task) -> Result<Network> {
        let (hidden, kernel) = (HiddenOptions::read(options)?, options.get("kernel")?);
        let mut layers = Vec::new();
        for channels in options.list("channels")? {
            layers.push(LayerSpec::Conv { channels, kernel });
            layers.extend(hidden.norm);
            layers.extend([LayerSpec::MaxPool { size: POOL }, LayerSpec::Relu]);
        }
        layers.extend(hidden.dense(&options.list("hidden")?)?);
        layers.push(LayerSpec::Dense { outputs: task.classes()? });
        Ok(Network::stack(image(options, task)?, &layers)?)
    }

    fn norm_place(options: &Options) -> Result<Place> {
        Ok(HiddenOptions::read(options)?.norm_place)
    }
}

/// Returns the shape of the images, which all convolutions fit.
fn image(options: &Options, task: &Task) -> Result<Shape> {
    let shape = Shape::of(&task.shape);
    let (_, height, width) = shape.dimensions();
    let given = &task.shape;
    if (height, width) == (1, 1) {
        return Err(Error::new(format!(
            "model cnn takes images, of a shape such as [28, 28] or [32, 32, 3], but the examples have the shape \
             {given:?}; take the model mlp"
        )));
    }
    let (channels, kernel) = (options.list::<usize>("channels")?, options.get::<usize>("kernel")?);
    // From the last convolution to the first: pooling leaves one pixel of a square, and a kernel an image smaller by
    // its own side less one.
    let least =
        channels.iter().fold(1usize, |side, _| side.saturating_mul(POOL).saturating_add(kernel.saturating_sub(1)));
    if height < least || width < least {
        let list: Vec<String> = channels.iter().map(usize::to_string).collect();
        let list = list.join(",");
        return Err(Error::new(format!(
            "model cnn with channels={list} and kernel={kernel} takes images of at least {least}×{least}, but the \
             examples have the shape {given:?}; try fewer channels or a smaller kernel"
        )));
    }
    Ok(shape)
}

export_model!(NetworkModel<Cnn>);

#[cfg(test)]
mod tests;
