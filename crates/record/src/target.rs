//! The target of a run: a score to be reached, at which the run ends, or whose time is only recorded.

use std::{fmt, str::FromStr};

use fedpipe_data::TargetKind;
use serde::{Deserialize, Serialize};

use crate::{finite::Finite, key_value::KeyValue, regression::Regression, round_line::Round};

/// The form of a target, for the error about another text.
const FORM: &str = "write a score, such as accuracy=0.85, loss=0.4, rmse=55, mae=40 or r2=0.45";

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
enum Metric {
    Accuracy,
    Loss,
    Rmse,
    Mae,
    R2,
}

impl Metric {
    /// Returns the only kind of target that has the score; `None` if each kind has it.
    fn kind(self) -> Option<TargetKind> {
        match self {
            Self::Accuracy => Some(TargetKind::Classes),
            Self::Loss => None,
            Self::Rmse | Self::Mae | Self::R2 => Some(TargetKind::Real),
        }
    }

    /// Returns `true` if a greater score is a better one.
    fn is_greater_better(self) -> bool {
        matches!(self, Self::Accuracy | Self::R2)
    }

    /// Returns the reason why no run can have the score `value`, if there is one.
    fn refusal(self, value: f64) -> Option<&'static str> {
        let (is_possible, reason) = match self {
            Self::Accuracy => ((0.0..=1.0).contains(&value), "is not from 0 to 1"),
            Self::Loss => (value.is_finite(), "is not finite"),
            Self::Rmse | Self::Mae => (value >= 0.0 && value.is_finite(), "is not a finite number from 0"),
            Self::R2 => (value <= 1.0 && value.is_finite(), "is not a finite number up to 1"),
        };
        (!is_possible).then_some(reason)
    }

    /// Returns the score of a round.
    fn of(self, on: MeasuredOn, round: &Round) -> Option<Finite> {
        let Scored { accuracy, loss, errors } = Scored::of(on, round)?;
        match self {
            Self::Accuracy => accuracy,
            Self::Loss => loss,
            Self::Rmse => errors.map(|errors| errors.rmse),
            Self::Mae => errors.map(|errors| errors.mae),
            Self::R2 => errors.and_then(|errors| errors.r2),
        }
    }
}

/// The scores of a round on the examples of a target.
struct Scored {
    accuracy: Option<Finite>,
    loss: Option<Finite>,
    errors: Option<Regression>,
}

impl Scored {
    /// Returns the scores of a round; `None` if its clients were not scored and the target is measured on their
    /// examples.
    fn of(on: MeasuredOn, round: &Round) -> Option<Self> {
        match on {
            MeasuredOn::TestSet => Some(Self { accuracy: round.accuracy, loss: round.loss, errors: round.regression }),
            MeasuredOn::HeldOut => round.used_models().map(|scores| Self {
                accuracy: scores.accuracy.map(|of| of.mean),
                loss: Some(scores.loss.mean),
                errors: scores.errors,
            }),
        }
    }
}

/// The examples on which a target is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasuredOn {
    /// The held-out examples of the clients that train, each with its own model if clients have one.
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
    /// The virtual seconds up to the end of that round; left out without a clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_seconds: Option<Finite>,
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
    /// Returns the reason why a run with this kind of target has no such score, and the remedy, if there is one.
    pub fn refusal(self, kind: TargetKind) -> Option<String> {
        let metric = self.metric;
        let reason = match metric.kind().filter(|needed| *needed != kind)? {
            TargetKind::Classes => "classes, and --target real has none; give rmse, mae, r2 or loss",
            TargetKind::Real => "a real target, and this run has classes; give accuracy or loss, or --target real",
        };
        Some(format!("--until {metric} needs {reason}"))
    }

    /// Returns the score, without what the run does then.
    pub fn score(self) -> String {
        format!("{}={}", self.metric, self.value)
    }

    /// Returns the time until the first of these rounds, from 1 on, that reached the target.
    pub fn time(self, on: MeasuredOn, rounds: &[Round]) -> TargetTime {
        let reached = rounds.iter().position(|round| self.is_reached(on, round));
        let seconds = reached.and_then(|last| {
            let sum = rounds[..=last].iter().fold(0.0, |sum, round| sum + round.seconds.get());
            Finite::try_from(sum).ok()
        });
        let virtual_seconds = reached.and_then(|last| rounds[last].virtual_seconds);
        TargetTime { target: self, on, round: reached.map(|index| rounds[index].round), seconds, virtual_seconds }
    }

    /// Returns `true` if the round reached the target. A round whose clients were not scored reached none on held-out
    /// examples.
    pub fn is_reached(self, on: MeasuredOn, round: &Round) -> bool {
        let is_good = |score: Finite| {
            if self.metric.is_greater_better() { score.get() >= self.value } else { score.get() <= self.value }
        };
        self.metric.of(on, round).is_some_and(is_good)
    }
}

impl fmt::Display for TargetScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let goes_on = if self.stops { "" } else { ",stop=false" };
        write!(f, "{}{goes_on}", self.score())
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
        let Some((name, value)) = score.split_once('=') else { return Err(format!("{score:?} has no `=`; {FORM}")) };
        let metric: Metric = name.parse().map_err(|_| format!("{name:?} is no score of a run; {FORM}"))?;
        let value: f64 = value.parse().map_err(|_| format!("{value:?} is not a number; {FORM}"))?;
        if let Some(reason) = metric.refusal(value) {
            return Err(format!("the {metric} {value} {reason}; {FORM}"));
        }
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
    use fedpipe_protocol::RegressionSums;

    use super::*;
    use crate::client_scores::{ClientScore, ClientScores};

    fn round(number: u64, accuracy: f64, loss: f64) -> Round {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let (accuracy, loss) = (Some(finite(accuracy)), Some(finite(loss)));
        Round { accuracy, loss, seconds: finite(0.5), ..Round::blank(number) }
    }

    #[test]
    fn a_target_survives_its_text() {
        for text in ["accuracy=0.85", "loss=0.4,stop=false", "accuracy=1", "loss=-2", "rmse=55", "mae=0", "r2=-0.5"] {
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
            ("rmse=-1", "the rmse -1 is not a finite number from 0"),
            ("mae=NaN", "the mae NaN is not a finite number from 0"),
            ("r2=1.5", "the r2 1.5 is not a finite number up to 1"),
            ("RMSE=5", "\"RMSE\" is no score of a run"),
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
        let without_global = Round { accuracy: None, loss: None, ..unscored.clone() };
        assert!(!target.is_reached(MeasuredOn::TestSet, &without_global));
        assert!(target.is_reached(MeasuredOn::TestSet, &unscored));
        assert!(!target.is_reached(MeasuredOn::HeldOut, &unscored));
        let score = ClientScore { client: 0, examples: 2, correct: Some(1), errors: None, loss_sum: 3.0 };
        let scored = Round { held_out: ClientScores::new(&[score]).unwrap(), ..round(2, 0.0, 9.0) };
        assert!(target.is_reached(MeasuredOn::HeldOut, &scored));
        assert!("loss=1.5".parse::<TargetScore>().unwrap().is_reached(MeasuredOn::HeldOut, &scored));
        assert!(!"loss=1.4".parse::<TargetScore>().unwrap().is_reached(MeasuredOn::HeldOut, &scored));
    }
    #[test]
    fn errors_are_at_most_the_target_and_r2_at_least() {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let errors = |rmse, r2: Option<f64>| Regression { rmse: finite(rmse), mae: finite(1.0), r2: r2.map(finite) };
        let with = |rmse, r2| Round { regression: Some(errors(rmse, r2)), ..Round::blank(1) };
        let reached =
            |text: &str, round: &Round| text.parse::<TargetScore>().unwrap().is_reached(MeasuredOn::TestSet, round);
        for (target, is_reached) in [
            ("rmse=2", true),
            ("rmse=1.9", false),
            ("mae=1", true),
            ("mae=0.9", false),
            ("r2=0.5", true),
            ("r2=0.6", false),
            ("accuracy=0", false),
        ] {
            assert_eq!(reached(target, &with(2.0, Some(0.5))), is_reached, "{target}");
        }
        assert!(!reached("r2=-1", &with(2.0, None)), "equal targets have no R²");
        let sums = RegressionSums { squared_error: 8.0, target_square_sum: 16.0, ..RegressionSums::default() };
        let score = ClientScore { client: 0, examples: 2, correct: None, errors: Some(sums), loss_sum: 8.0 };
        let held_out = ClientScores::new(&[score]).unwrap();
        let scored = Round { held_out, ..with(9.0, None) };
        let on_held_out = |text: &str| text.parse::<TargetScore>().unwrap().is_reached(MeasuredOn::HeldOut, &scored);
        assert_eq!(["rmse=2", "rmse=1.9", "r2=0.5", "r2=0.6"].map(on_held_out), [true, false, true, false]);
    }

    #[test]
    fn a_score_that_the_target_has_not_is_refused_with_those_that_it_has() {
        let refusal = |text: &str, kind| text.parse::<TargetScore>().unwrap().refusal(kind);
        for kind in [TargetKind::Classes, TargetKind::Real] {
            assert_eq!(refusal("loss=1", kind), None);
        }
        assert_eq!(refusal("accuracy=1", TargetKind::Classes), None);
        let why = refusal("accuracy=1", TargetKind::Real).unwrap();
        assert_eq!(why, "--until accuracy needs classes, and --target real has none; give rmse, mae, r2 or loss");
        for text in ["rmse=1", "mae=1", "r2=1"] {
            assert_eq!(refusal(text, TargetKind::Real), None);
            assert!(refusal(text, TargetKind::Classes).unwrap().contains("; give accuracy or loss, or --target real"));
        }
    }
}
