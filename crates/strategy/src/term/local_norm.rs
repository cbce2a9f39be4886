//! Normalisation layers that stay with each client, FedBN (Li 2021, Algorithm 1): factor, shift and running statistics.

use std::{borrow::Cow, sync::Arc};

use fedpipe_protocol::{Kind, LOCAL, Layout};
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{
    ClientTerm,
    head::{layer_of, names_in, of_names},
};

/// The word for the layers that are norms by their names or their buffers.
const AUTO: &str = "auto";

pub(crate) const NORM: Parameter = Parameter {
    key: "norm",
    default: Some(Value::Text(Cow::Borrowed(AUTO))),
    range: Range::Text("auto, or names joined by +"),
    help: "the layers or tensors; auto takes each layer with a buffer, or with norm or bn in its name",
};

pub(super) const ROW: TableRow<dyn ClientTerm> = TableRow {
    name: "local-norm",
    summary: "each client keeps its own normalisation layers; FedBN",
    parameters: &[NORM],
    source: "Li 2021 (FedBN), Algorithm 1",
    build: |values| {
        let text = values.text("norm");
        Arc::new(LocalNorm { named: (text != AUTO).then(|| names_in(text)) })
    },
};

#[derive(Debug)]
struct LocalNorm {
    /// The names of the layers or tensors; `None` for each layer that is a norm.
    named: Option<Vec<String>>,
}

impl ClientTerm for LocalNorm {
    fn client_slots(&self) -> &'static [&'static str] {
        &[LOCAL]
    }

    fn local_tensors(&self, layout: &Layout) -> Result<Vec<String>, String> {
        let all: Vec<&str> = layout.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
        let norms = match &self.named {
            Some(names) => of_names(&all, names)?,
            None => {
                let buffers = layout.tensors().iter().filter(|tensor| tensor.kind == Kind::Buffer);
                let with_buffer: Vec<&str> = buffers.map(|tensor| layer_of(&tensor.name)).collect();
                let is_norm = |name: &&str| with_buffer.contains(&layer_of(name)) || names_a_norm(layer_of(name));
                all.into_iter().filter(is_norm).collect()
            }
        };
        if norms.is_empty() {
            return Err("it has no normalisation layer; add one, such as with --model-option norm=batch, or name the \
                        tensors by norm="
                .to_owned());
        }
        Ok(norms.into_iter().map(str::to_owned).collect())
    }
}

/// Returns `true` if a part of the layer's name is of a norm: it has `norm` in it, or is `bn` with a number or none.
fn names_a_norm(layer: &str) -> bool {
    let parts = layer.split(|c: char| !c.is_alphanumeric());
    let is_norm = |part: &str| part.contains("norm") || part.trim_end_matches(|c: char| c.is_ascii_digit()) == "bn";
    parts.map(str::to_ascii_lowercase).any(|part| is_norm(&part))
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::{Place, Tensor};

    use super::*;

    fn layout(tensors: &[(&str, Kind)]) -> Layout {
        let tensor = |&(name, kind): &(&str, Kind)| {
            let (name, place) = (name.to_owned(), Place::Shared);
            Tensor { name, shape: vec![1], kind, place }
        };
        Layout::new(tensors.iter().map(tensor).collect()).unwrap()
    }

    fn local(named: Option<&str>, tensors: &[(&str, Kind)]) -> Result<Vec<String>, String> {
        LocalNorm { named: named.map(names_in) }.local_tensors(&layout(tensors))
    }

    #[test]
    fn a_norm_is_known_by_its_buffers_or_its_name() {
        let tensors = [
            ("dense1.weight", Kind::Param),
            ("norm1.scale", Kind::Param),
            ("layers.bn2.weight", Kind::Param),
            ("BatchNormalization_1/gamma", Kind::Param),
            ("odd.weight", Kind::Param),
            ("odd.mean", Kind::Buffer),
            ("dense2.bnx", Kind::Param),
            ("subnet.weight", Kind::Param),
        ];
        let norms = local(None, &tensors).unwrap();
        assert_eq!(norms, tensors[1..6].iter().map(|(name, _)| *name).collect::<Vec<_>>());
        assert_eq!(local(Some("odd+dense1.weight"), &tensors).unwrap(), ["dense1.weight", "odd.weight", "odd.mean"]);
    }

    #[test]
    fn a_model_without_norms_is_refused() {
        let tensors = [("dense1.weight", Kind::Param), ("dense1.bias", Kind::Param)];
        let why = local(None, &tensors).unwrap_err();
        assert!(why.contains("no normalisation layer") && why.contains("norm=batch"), "{why}");
        let why = local(Some("bn1"), &tensors).unwrap_err();
        assert!(why.contains("no tensor and no layer \"bn1\""), "{why}");
    }
}
