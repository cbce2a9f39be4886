//! A chain of transforms: rules that alter the change, in order, and at most one encoding, which is last.

use std::{fmt, str::FromStr};

use fedpipe_protocol::{PartData, Parts};
use fedpipe_random::key::Key;
use fedpipe_spec::{
    error::Error,
    table::{Named, Tabled},
    text::members_of,
};
use serde_with::{DeserializeFromStr, SerializeDisplay};

use super::{Encoded, Encoding, Transform};

/// The text of the chain without a transform.
const NONE: &str = "none";

/// The part of a change that no transform encodes: one 32-bit float a weight.
const CHANGE_PART: &str = "change";

/// A chain of transforms. Its text is `none`, or the texts of the transforms with `+` between them.
#[derive(Debug, Clone, Default, PartialEq, DeserializeFromStr, SerializeDisplay)]
pub struct Transforms(Vec<Named<Transform>>);

impl Transforms {
    /// Reads the transforms of a request.
    ///
    /// # Errors
    /// Returns the refusal of a text that names no transform, and of an encoding that is not the last.
    pub fn of_texts(texts: &[String]) -> Result<Self, Error> {
        Self::checked(texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)
    }

    fn checked(chain: Vec<Named<Transform>>) -> Result<Self, Error> {
        let misplaced = chain.windows(2).find(|pair| matches!(*pair[0], Transform::Encoding(_)));
        let Some([given, next]) = misplaced else { return Ok(Self(chain)) };
        let reason = match **next {
            Transform::Rule(_) => "it encodes the change, which a rule alters before; write it last",
            Transform::Encoding(_) => "both encode the change; leave one of them out",
        };
        Err(Error::Misplaced { what: Transform::WHAT, given: given.to_string(), next: next.to_string(), reason })
    }

    /// Returns the texts of the transforms, as a request has them.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Returns `true` if the update is the weights themselves.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the features that a client needs.
    pub fn features(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|transform| transform.feature().to_owned())
    }

    /// Returns `true` if the client has a residual.
    pub fn has_residual(&self) -> bool {
        self.encoding().is_some_and(Encoding::has_residual)
    }

    /// Returns the parts of a change, and the client's new residual. A change that no transform encodes is the part
    /// `change`.
    pub fn encode(&self, change: Vec<f32>, residual: &[f32], key: &Key) -> Encoded {
        let altered = self.0.iter().fold(change, |change, transform| match &**transform {
            Transform::Rule(rule) => rule.apply(change),
            Transform::Encoding(_) => change,
        });
        match self.encoding() {
            Some(encoding) => encoding.encode(altered, residual, key),
            None => Encoded::stateless(vec![(CHANGE_PART, PartData::F32(altered))]),
        }
    }

    /// Returns the change of `length` weights that the parts of an update encode.
    ///
    /// # Errors
    /// A phrase about parts that no client of fedpipe sends.
    pub fn decode(&self, parts: &mut Parts, length: usize) -> Result<Vec<f32>, String> {
        match self.encoding() {
            Some(encoding) => encoding.decode(parts, length),
            None => {
                let change = parts.take_f32(CHANGE_PART).filter(|change| change.len() == length);
                change.ok_or_else(|| format!("it has no part {CHANGE_PART:?} of the length {length}"))
            }
        }
    }

    /// Returns the bytes of an update of so many weights, without the residual.
    pub fn payload(&self, length: usize) -> u64 {
        self.encoding().map_or(4 * length as u64, |encoding| encoding.payload(length))
    }

    /// Returns the encoding at the end of the chain.
    fn encoding(&self) -> Option<&dyn Encoding> {
        match self.0.last().map(|last| &**last) {
            Some(Transform::Encoding(encoding)) => Some(&**encoding),
            Some(Transform::Rule(_)) | None => None,
        }
    }
}

impl fmt::Display for Transforms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&if self.is_empty() { NONE.to_owned() } else { self.texts().join("+") })
    }
}

impl FromStr for Transforms {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == NONE {
            return Ok(Self::default());
        }
        Self::checked(members_of(text).into_iter().map(str::parse).collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        preset::testing::every_row,
        transform::{features, testing::key},
    };

    fn read(text: &str) -> Transforms {
        text.parse().unwrap()
    }

    #[test]
    fn a_chain_survives_its_texts() {
        let cases = [
            ("none", "none", 0),
            ("clip:2", "clip:norm=2", 1),
            ("clip:1e+2+int8", "clip:norm=100+int8:bucket=512,l2=false", 2),
            ("clip:3+clip:norm=0.5+topk:1e-2", "clip:norm=3+clip:norm=0.5+topk:fraction=0.01,feedback=true", 3),
        ];
        for (text, shown, length) in cases {
            let chain = read(text);
            assert_eq!((chain.to_string().as_str(), chain.texts().len()), (shown, length), "{text}");
            assert_eq!((read(shown), Transforms::of_texts(&chain.texts()).unwrap()), (chain.clone(), chain), "{text}");
        }
    }

    #[test]
    fn a_chain_that_makes_no_sense_is_refused_with_the_reason() {
        let cases = [
            ("int8+clip:1", "int8:bucket=512,l2=false cannot stand before clip:norm=1: it encodes the change, which a"),
            ("int8+topk:0.1", "cannot stand before topk:fraction=0.1,feedback=true: both encode the change; leave one"),
            ("none+int8", "the transform `none` is unknown"),
            ("clip:1+", "the transform `` is unknown"),
            ("clip", "needs the key `norm`, a number above 0"),
            ("topk:2", "has fraction=2; give a number above 0 and at most 1"),
        ];
        for (text, expected) in cases {
            let why = text.parse::<Transforms>().unwrap_err().to_string();
            assert!(why.contains(expected), "{text}: {why}");
        }
    }

    #[test]
    fn rules_precede_the_encoding() {
        let change = vec![3.0_f32, 4.0];
        let plain = read("clip:10").encode(change.clone(), &[], &key());
        assert_eq!(plain, Encoded::stateless(vec![("change", PartData::F32(change.clone()))]));
        let clipped = read("clip:1").encode(change.clone(), &[], &key());
        let [(_, PartData::F32(clipped))] = &clipped.parts[..] else { panic!("{clipped:?}") };
        assert_eq!(
            read("clip:1+int8").encode(change.clone(), &[], &key()),
            read("int8").encode(clipped.clone(), &[], &key())
        );
        let mut parts = Parts::default();
        parts.set("change", PartData::F32(change.clone()));
        assert_eq!(read("clip:1").decode(&mut parts.clone(), 2), Ok(change));
        let why = read("clip:1").decode(&mut parts, 3).unwrap_err();
        assert_eq!(why, "it has no part \"change\" of the length 3");
    }

    #[test]
    fn each_row_has_its_feature() {
        assert_eq!(read("clip:1+topk:0.1").features().collect::<Vec<_>>(), ["clip", "compress:topk"]);
        assert_eq!(read("int8").features().collect::<Vec<_>>(), ["compress:int8"]);
        assert_eq!(read("none").features().count(), 0);
        let of_rows: Vec<_> = every_row::<Transform>().iter().map(|row| row.feature().to_owned()).collect();
        assert_eq!(features().collect::<Vec<_>>(), of_rows);
    }
}
