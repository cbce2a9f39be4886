//! The test examples: a draw from examples that have no test set, or the own part of each client.

use std::{fmt, str::FromStr};

use fedpipe_random::{
    key::{Key, Use},
    order::order,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    error::DataError,
    split::{Split, SplitTargets},
};

/// The rule that makes the test examples, as `--test-split` names it: a number, or `per-client:SHARE,merge`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TestSplitRule {
    /// This part of the examples is the test set.
    Drawn(f64),
    /// Each client holds out this share of its own examples, which are of the training and the test set of the files
    /// together. There is no test set.
    PerClient(f64),
}

impl TestSplitRule {
    /// Returns the share that each client holds out; `None` for a common test set.
    pub fn per_client(self) -> Option<f64> {
        match self {
            Self::Drawn(_) => None,
            Self::PerClient(share) => Some(share),
        }
    }
}

impl FromStr for TestSplitRule {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let refused = || DataError::TestSplitRule { text: text.to_owned() };
        let Some(rest) = text.strip_prefix("per-client:") else {
            return text.parse().map(Self::Drawn).map_err(|_| refused());
        };
        let (share, merge) = rest.split_once(',').ok_or_else(refused)?;
        let share: f64 = share.strip_prefix("share=").unwrap_or(share).parse().map_err(|_| refused())?;
        if share > 0.0 && share < 1.0 && merge == "merge" { Ok(Self::PerClient(share)) } else { Err(refused()) }
    }
}

impl fmt::Display for TestSplitRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drawn(part) => part.fmt(f),
            Self::PerClient(share) => write!(f, "per-client:{share},merge"),
        }
    }
}

/// A number, or a text.
impl Serialize for TestSplitRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Drawn(part) => serializer.serialize_f64(*part),
            Self::PerClient(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for TestSplitRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(part) => Ok(Self::Drawn(part)),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

/// The part of the examples that becomes the test set, and the seed of its draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TestSplit {
    /// The part, between 0 and 1.
    pub fraction: f64,
    /// The seed of the draw: that of the partition.
    pub seed: u64,
}

impl TestSplit {
    /// Returns the rows of the training and of the test set, both ascending.
    ///
    /// All rows are visited in the order of their number under the key. The draw is stratified: each class gives its
    /// first ⌊fraction · m + ½⌋ of m rows to the test set. Real targets count as one class.
    pub(crate) fn rows(&self, whole: &Split) -> [Vec<u32>; 2] {
        let n = whole.len() as u32;
        let class_of = |row: u32| match &whole.targets {
            SplitTargets::Classes(labels) => labels[row as usize] as usize,
            SplitTargets::Real(_) => 0,
        };
        let mut left: Vec<u32> = Vec::new();
        for row in 0..n {
            let class = class_of(row);
            left.resize(left.len().max(class + 1), 0);
            left[class] += 1;
        }
        let quota = |m: u32| (self.fraction * f64::from(m) + 0.5).floor() as u32;
        left.iter_mut().for_each(|m| *m = quota(*m));
        let key = Key { seed: self.seed, purpose: Use::TestSplit, client: 0, round: 0, epoch: 0 };
        let mut is_test = vec![false; n as usize];
        for row in order(&key, n) {
            let left = &mut left[class_of(row)];
            is_test[row as usize] = *left > 0;
            *left = left.saturating_sub(1);
        }
        [false, true].map(|wanted| (0..n).filter(|&row| is_test[row as usize] == wanted).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::SplitFeatures;

    fn split(targets: SplitTargets, n: usize) -> Split {
        Split { shape: vec![1], features: SplitFeatures::U8(vec![0; n]), targets, clients: None }
    }

    #[test]
    fn each_class_gives_its_part_and_the_seed_decides_the_rows() {
        let labels: Vec<u32> = (0..105).map(|row| if row < 5 { 1 } else { 0 }).collect();
        let whole = split(SplitTargets::Classes(labels.clone()), 105);
        let rows = |fraction, seed| TestSplit { fraction, seed }.rows(&whole);
        let [train, test] = rows(0.25, 1);
        let of = |class| test.iter().filter(|&&row| labels[row as usize] == class).count();
        assert_eq!((of(0), of(1)), (25, 1));
        let mut all = [train, test.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..105).collect::<Vec<_>>());
        assert!(test.is_sorted());
        assert_eq!(rows(0.25, 1)[1], test);
        assert_ne!(rows(0.25, 2)[1], test);
    }

    #[test]
    fn a_rule_is_read_as_it_is_written() {
        for (text, rule) in [
            ("0.25", TestSplitRule::Drawn(0.25)),
            ("per-client:0.25,merge", TestSplitRule::PerClient(0.25)),
            ("per-client:share=0.5,merge", TestSplitRule::PerClient(0.5)),
        ] {
            assert_eq!(text.parse::<TestSplitRule>().unwrap(), rule);
            let json = serde_json::to_string(&rule).unwrap();
            assert_eq!(serde_json::from_str::<TestSplitRule>(&json).unwrap(), rule, "{json}");
        }
        for text in
            ["", "x", "per-client", "per-client:0.25", "per-client:1,merge", "per-client:0,merge", "per-client:0.5,mix"]
        {
            let why = text.parse::<TestSplitRule>().unwrap_err().to_string();
            assert!(why.contains("per-client:0.25,merge"), "{why}");
        }
    }

    #[test]
    fn real_targets_are_drawn_as_one_class() {
        let whole = split(SplitTargets::Real(vec![0.5; 10]), 10);
        assert_eq!(TestSplit { fraction: 0.25, seed: 0 }.rows(&whole).map(|rows| rows.len()), [7, 3]);
    }
}
