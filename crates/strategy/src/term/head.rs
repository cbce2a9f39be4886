//! The head of a model: the tensors that personal rules tell apart from the others, which are the body.

use std::borrow::Cow;

use fedpipe_protocol::Layout;
use fedpipe_spec::table::{Parameter, Range, Value, Values};

pub(crate) const HEAD: Parameter = Parameter {
    key: "head",
    default: Some(Value::Text(Cow::Borrowed("1"))),
    range: Range::Text("a number of layers from 0, or names joined by +"),
    help: "the head: the number of the last layers, or the names of layers or tensors, such as dense3",
};

/// A head, as an experiment names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Head {
    /// The last layers.
    Last(usize),
    /// Layers or tensors by name.
    Named(Vec<String>),
}

impl Head {
    /// Returns the head that the parameter [`HEAD`] names.
    pub(super) fn of(values: &Values) -> Self {
        let text = values.text(HEAD.key);
        match text.parse() {
            Ok(count) => Self::Last(count),
            Err(_) => Self::Named(names_in(text)),
        }
    }

    /// Returns the names of the head's tensors.
    ///
    /// # Errors
    /// The reason why the model has no such head: it has fewer layers, or none of a name; or the head is all of it.
    pub(super) fn tensors(&self, layout: &Layout) -> Result<Vec<String>, String> {
        let all: Vec<&str> = layout.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
        let head = match self {
            Self::Last(count) => {
                let layers: Vec<&[&str]> = all.chunk_by(|a, b| layer_of(a) == layer_of(b)).collect();
                if layers.len() <= *count {
                    let has = layers.len();
                    return Err(format!(
                        "head={count} takes all of its layers, which are {has}; give a smaller number"
                    ));
                }
                layers[layers.len() - count..].concat()
            }
            Self::Named(names) => of_names(&all, names)?,
        };
        if head.len() == all.len() {
            return Err("the head is the whole model, so that no body is left; name fewer tensors".to_owned());
        }
        Ok(head.into_iter().map(str::to_owned).collect())
    }

    /// Returns the names of the tensors that are not in the head; the errors are those of [`Head::tensors`].
    pub(super) fn body(&self, layout: &Layout) -> Result<Vec<String>, String> {
        let head = self.tensors(layout)?;
        let all = layout.tensors().iter().map(|tensor| tensor.name.clone());
        Ok(all.filter(|name| !head.contains(name)).collect())
    }
}

/// Returns the names that a text joins by `+`.
pub(super) fn names_in(text: &str) -> Vec<String> {
    text.split('+').map(|name| name.trim().to_owned()).collect()
}

/// Returns those of the tensors that the names name: tensors, or layers with all their tensors.
///
/// # Errors
/// A name is of no tensor and of no layer.
pub(super) fn of_names<'a>(all: &[&'a str], names: &[String]) -> Result<Vec<&'a str>, String> {
    let is_of = |tensor: &str, name: &str| tensor == name || layer_of(tensor) == name;
    match names.iter().find(|name| all.iter().all(|tensor| !is_of(tensor, name))) {
        Some(unknown) => Err(format!("it has no tensor and no layer {unknown:?}; its tensors are {}", all.join(", "))),
        None => Ok(all.iter().copied().filter(|tensor| names.iter().any(|name| is_of(tensor, name))).collect()),
    }
}

/// Returns the layer of a tensor: its name up to the last `.` or `/`, such as `dense1` of `dense1.weight`; the whole
/// name if it has none.
pub(super) fn layer_of(tensor: &str) -> &str {
    tensor.rfind(['.', '/']).map_or(tensor, |end| &tensor[..end])
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::{Kind, Place, Tensor};

    use super::*;

    fn layout(names: &[&str]) -> Layout {
        let tensor = |name: &&str| {
            let (name, kind) = ((*name).to_owned(), Kind::Param);
            Tensor { name, shape: vec![1], kind, place: Place::Shared }
        };
        Layout::new(names.iter().map(tensor).collect()).unwrap()
    }

    const NAMES: [&str; 5] = ["dense1.weight", "dense1.bias", "scale", "dense2/kernel", "dense2/bias"];

    fn named(text: &str) -> Head {
        text.parse().map_or_else(|_| Head::Named(names_in(text)), Head::Last)
    }

    #[test]
    fn a_head_is_the_last_layers_or_what_is_named() {
        let layout = layout(&NAMES);
        let cases: [(&str, &[&str]); 6] = [
            ("0", &[]),
            ("1", &NAMES[3..]),
            ("2", &NAMES[2..]),
            ("dense2", &NAMES[3..]),
            ("dense2/bias+scale", &["scale", "dense2/bias"]),
            ("dense1.bias + dense2", &["dense1.bias", "dense2/kernel", "dense2/bias"]),
        ];
        for (text, expected) in cases {
            let head = named(text);
            assert_eq!(head.tensors(&layout).unwrap(), expected, "{text}");
            let mut both = [head.tensors(&layout).unwrap(), head.body(&layout).unwrap()].concat();
            both.sort_unstable();
            let mut all = NAMES.map(str::to_owned);
            all.sort_unstable();
            assert_eq!(both, all, "{text}");
        }
    }

    #[test]
    fn a_head_that_the_model_does_not_have_is_refused() {
        let layout = layout(&NAMES);
        let cases = [
            ("3", "head=3 takes all of its layers, which are 3; give a smaller number"),
            ("dense1+scale+dense2", "the head is the whole model, so that no body is left; name fewer tensors"),
            ("dense", "it has no tensor and no layer \"dense\"; its tensors are dense1.weight, dense1.bias"),
        ];
        for (text, expected) in cases {
            let why = named(text).tensors(&layout).unwrap_err();
            assert!(why.starts_with(expected), "{why}");
        }
    }
}
