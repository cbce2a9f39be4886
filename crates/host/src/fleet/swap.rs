//! Another dylib for all processes of a fleet, and the return to the one before.

use std::path::{Path, PathBuf};

use fedpipe_protocol::{Kind, Layout, Place, Ready, Setup, Tensor};
use fedpipe_record::experiment::OnFailure;

use crate::{
    error::{Error, Result},
    fleet::Fleet,
    process::{
        conversation::{ClientProcess, Environment},
        stray::new_mark,
    },
};

/// The dylib in the setups, and the description of its model.
pub(super) struct Installed {
    dylib: Option<PathBuf>,
    dylib_sha256: Option<String>,
    model: Option<Ready>,
}

impl Fleet {
    /// Replaces all processes by fresh ones with another dylib, whose model must have the same layout.
    ///
    /// # Errors
    /// Returns the errors of a process with the new dylib, [`Error::Model`] for another layout, [`Error::Stopped`]. The
    /// old processes then remain.
    pub(crate) fn swap(&mut self, dylib: &Path, sha256: &str) -> Result<()> {
        let Setup { dylib: current, dylib_sha256, .. } = self.slots[0].setup.clone();
        let before = Installed { dylib: current, dylib_sha256, model: self.model.clone() };
        let dylib_sha256 = before.dylib_sha256.as_ref().map(|_| sha256.to_owned());
        let probe =
            Setup { dylib: Some(dylib.to_owned()), dylib_sha256: dylib_sha256.clone(), ..self.slots[0].setup.clone() };
        let environment = Environment { mark: new_mark(), ..self.environment.clone() };
        let mut probe = Fleet::start(environment, self.inbox.stop(), vec![probe], 1, OnFailure::Abort)?;
        probe.ready()?;
        let model = probe.model.take();
        if let Some(difference) = layout_difference(self.layout.as_ref(), probe.layout.as_ref()) {
            return Err(Error::Model(format!("the model in {} has another layout: {difference}", dylib.display())));
        }
        self.replace_all(Installed { dylib: Some(dylib.to_owned()), dylib_sha256, model });
        self.before = Some(before);
        Ok(())
    }

    /// Keeps the dylib of the last [`Fleet::swap`], since a round succeeded with it.
    pub(crate) fn keep_dylib(&mut self) {
        self.before = None;
    }

    /// Returns to the dylib before the last [`Fleet::swap`]. Returns `false` if there is none, or the new one is kept.
    pub(crate) fn revert(&mut self) -> bool {
        let before = self.before.take();
        before.map(|before| self.replace_all(before)).is_some()
    }

    fn replace_all(&mut self, Installed { dylib, dylib_sha256, model }: Installed) {
        self.model = model;
        for slot in &mut self.slots {
            (slot.setup.dylib, slot.setup.dylib_sha256) = (dylib.clone(), dylib_sha256.clone());
            slot.process.iter_mut().for_each(ClientProcess::dismiss);
        }
        // The dispatch starts a process when there is a job for it, and handles a failure as that of any other process.
        for slot in &mut self.slots {
            slot.process = None;
            slot.ready = false;
        }
    }
}

/// Returns the first tensor that differs between two layouts, as a phrase.
fn layout_difference(was: Option<&Layout>, is: Option<&Layout>) -> Option<String> {
    let tensors = |layout: Option<&Layout>| layout.map(|layout| layout.tensors().to_vec()).unwrap_or_default();
    let (was, is) = (tensors(was), tensors(is));
    let shown = |tensor: Option<&Tensor>| tensor.map_or("nothing".into(), in_words);
    let index = (0..was.len().max(is.len())).find(|&index| was.get(index) != is.get(index))?;
    Some(format!("its tensor {index} is {}, was {}", shown(is.get(index)), shown(was.get(index))))
}

/// Returns a tensor in words.
fn in_words(Tensor { name, shape, kind, place }: &Tensor) -> String {
    let place = match place {
        Place::Shared => "shared",
        Place::Local => "local",
    };
    let kind = match kind {
        Kind::Param => "parameter",
        Kind::Buffer => "buffer",
    };
    format!("{name} {shape:?} ({place} {kind})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_a_tensor_have_its_place_and_its_kind() {
        let tensor = |name: &str, kind, place| Tensor { name: name.into(), shape: vec![1], kind, place };
        let layout = |kind, place| {
            Layout::new(vec![tensor("w", Kind::Param, Place::Shared), tensor("own", kind, place)]).unwrap()
        };
        let was = layout(Kind::Param, Place::Shared);
        assert_eq!(layout_difference(Some(&was), Some(&was)), None);
        for (kind, place, words) in
            [(Kind::Param, Place::Local, "local parameter"), (Kind::Buffer, Place::Shared, "shared buffer")]
        {
            let difference = layout_difference(Some(&was), Some(&layout(kind, place))).unwrap();
            assert_eq!(difference, format!("its tensor 1 is own [1] ({words}), was own [1] (shared parameter)"));
        }
    }
}
