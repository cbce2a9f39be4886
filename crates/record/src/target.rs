//! The target of a run: a score to be reached, at which the run ends, or whose time is only recorded.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{experiment_key::KeyValue, finite::Finite, round_line::Round};

/// A score to be reached, such as `accuracy=0.85` or `loss=0.4,stop=false`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetScore {
    metric: Metric,
    value: f64,
    /// `true` if the run ends at the target.
    pub stops: bool,
}

/// The score that a target is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    /// At least as great as the value.
    Accuracy,
    /// At most as great as the value.
    Loss,
}

/// The examples on which a target is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasuredOn {
    /// The held-out examples of the clients that train.
    HeldOut,
    /// The test set.
    TestSet,
}

/// The time until a run reached its target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetTime {
    /// The target, as the user would type it.
    pub target: TargetScore,
    /// The examples on which the target is measured.
    pub on: MeasuredOn,
    /// The first round that reached the target; `None` if none did.
    pub round: Option<u64>,
    /// The seconds of the rounds up to that one.
    pub seconds: Option<Finite>,
}

impl fmt::Display for MeasuredOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeldOut => "held-out examples",
            Self::TestSet => "the test set",
        })
    }
}

impl TargetScore {
    /// Returns `true` if only a run with classes has the score.
    pub fn needs_classes(self) -> bool {
        self.metric == Metric::Accuracy
    }

    /// Returns the time until the first of these rounds, from 1 on, that reached the target.
    pub fn time(self, on: MeasuredOn, rounds: &[Round]) -> TargetTime {
        let reached = rounds.iter().position(|round| self.is_reached(on, round));
        let seconds = reached.and_then(|last| {
            let sum = rounds[..=last].iter().fold(0.0, |sum, round| sum + round.seconds.get());
            Finite::try_from(sum).ok()
        });
        TargetTime { target: self, on, round: reached.map(|index| rounds[index].round), seconds }
    }

    /// Returns `true` if the round reached the target. A round whose clients were not scored reached none on held-out
    /// examples.
    pub fn is_reached(self, on: MeasuredOn, round: &Round) -> bool {
        let scores = match on {
            MeasuredOn::TestSet => Some((round.accuracy, round.loss)),
            MeasuredOn::HeldOut => {
                round.held_out.as_ref().map(|scores| (scores.accuracy.map(|of| of.mean), scores.loss.mean))
            }
        };
        scores.is_some_and(|(accuracy, loss)| match self.metric {
            Metric::Accuracy => accuracy.is_some_and(|accuracy| accuracy.get() >= self.value),
            Metric::Loss => loss.get() <= self.value,
        })
    }
}

impl fmt::Display for TargetScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, value, stops } = self;
        let metric = match metric {
            Metric::Accuracy => "accuracy",
            Metric::Loss => "loss",
        };
        let goes_on = if *stops { "" } else { ",stop=false" };
        write!(f, "{metric}={value}{goes_on}")
    }
}

impl FromStr for TargetScore {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (score, stop) = text.split_once(',').map_or((text, "stop=true"), |(score, stop)| (score, stop));
        let stops = match stop {
            "stop=true" => true,
            "stop=false" => false,
            other => return Err(format!("{other:?} is no end; write stop=true or stop=false")),
        };
        let form = "write a score, such as accuracy=0.85 or loss=0.4";
        let Some((metric, value)) = score.split_once('=') else { return Err(format!("{score:?} has no `=`; {form}")) };
        let value: f64 = value.parse().map_err(|_| format!("{value:?} is not a number; {form}"))?;
        let metric = match metric {
            "accuracy" if (0.0..=1.0).contains(&value) => Metric::Accuracy,
            "accuracy" => return Err(format!("the accuracy {value} is not from 0 to 1; {form}")),
            "loss" if value.is_finite() => Metric::Loss,
            "loss" => return Err(format!("the loss {value} is not finite; {form}")),
            other => return Err(format!("{other:?} is no score of a run; {form}")),
        };
        Ok(Self { metric, value, stops })
    }
}

impl TryFrom<String> for TargetScore {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TargetScore> for String {
    fn from(target: TargetScore) -> Self {
        target.to_string()
    }
}

impl KeyValue for TargetScore {
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_scores::{ClientScore, ClientScores};

    fn round(number: u64, accuracy: f64, loss: f64) -> Round {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let (accuracy, loss) = (finite(accuracy), finite(loss));
        Round { accuracy: Some(accuracy), loss, seconds: finite(0.5), ..Round::blank(number) }
    }

    #[test]
    fn a_target_survives_its_text() {
        for text in ["accuracy=0.85", "loss=0.4,stop=false", "accuracy=1", "loss=-2"] {
            assert_eq!(text.parse::<TargetScore>().unwrap().to_string(), text);
        }
        assert_eq!("loss=0.4,stop=true".parse::<TargetScore>().unwrap().to_string(), "loss=0.4");
    }

    #[test]
    fn what_is_no_target_is_refused_with_its_form() {
        for (text, says) in [
            ("0.85", "\"0.85\" has no `=`"),
            ("f1=0.5", "\"f1\" is no score of a run"),
            ("accuracy=85", "the accuracy 85 is not from 0 to 1"),
            ("accuracy=NaN", "the accuracy NaN is not from 0 to 1"),
            ("loss=inf", "the loss inf is not finite"),
            ("loss=low", "\"low\" is not a number"),
            ("loss=1,stop=no", "\"stop=no\" is no end; write stop=true or stop=false"),
        ] {
            let why = text.parse::<TargetScore>().unwrap_err();
            assert!(why.starts_with(says) && why.contains("; write "), "{why}");
        }
    }

    #[test]
    fn the_time_to_a_target_ends_with_the_first_round_that_reached_it() {
        let rounds = [round(1, 0.5, 2.0), round(2, 0.75, 1.0), round(3, 0.5, 2.0), round(4, 0.9, 0.1)];
        let time = |text: &str| {
            let TargetTime { round, seconds, .. } =
                text.parse::<TargetScore>().unwrap().time(MeasuredOn::TestSet, &rounds);
            (round, seconds.map(Finite::get))
        };
        assert_eq!(time("accuracy=0.75"), (Some(2), Some(1.0)));
        assert_eq!(time("accuracy=0.76"), (Some(4), Some(2.0)));
        assert_eq!(time("loss=1"), (Some(2), Some(1.0)));
        assert_eq!(time("loss=0"), (None, None));
    }

    #[test]
    fn a_round_whose_clients_were_not_scored_reached_nothing_on_held_out_examples() {
        let target: TargetScore = "accuracy=0.5".parse().unwrap();
        let unscored = round(1, 1.0, 0.0);
        assert!(target.is_reached(MeasuredOn::TestSet, &unscored));
        assert!(!target.is_reached(MeasuredOn::HeldOut, &unscored));
        let score = ClientScore { client: 0, examples: 2, correct: Some(1), loss_sum: 3.0 };
        let scored = Round { held_out: ClientScores::new(&[score]).unwrap(), ..round(2, 0.0, 9.0) };
        assert!(target.is_reached(MeasuredOn::HeldOut, &scored));
        assert!("loss=1.5".parse::<TargetScore>().unwrap().is_reached(MeasuredOn::HeldOut, &scored));
        assert!(!"loss=1.4".parse::<TargetScore>().unwrap().is_reached(MeasuredOn::HeldOut, &scored));
    }
}
