//! The numbers by which runs are compared, and the axes over which their scores are drawn.

use serde::Serialize;

use crate::{client_scores::ClientScores, finite::Finite, round_line::Round};

/// A number that measures the result of a run.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::VariantNames,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Measure {
    /// The accuracy on the test set, in percent.
    Accuracy,
    /// The mean loss on the test set.
    Loss,
    /// The root of the mean squared error on the test set.
    Rmse,
    /// The coefficient of determination on the test set.
    R2,
    /// The accuracy on the held-out examples of the clients that train, in percent.
    HeldOut,
    /// The accuracy on the held-out examples of the model that a client uses, in percent: its own, or the global one.
    Personal,
    /// The root of the mean squared error of that model.
    PersonalRmse,
    /// The seconds of the run.
    Seconds,
    /// The virtual seconds from the start of the run to its last round.
    VirtualSeconds,
    /// The rounds up to the one that reached the target.
    RoundsToTarget,
    /// The seconds of these rounds.
    SecondsToTarget,
    /// The virtual seconds from the start of the run to the end of that round.
    VirtualSecondsToTarget,
}

impl Measure {
    /// The measures of a whole run, which its rounds do not have.
    pub const TIMES: [Self; 5] = [
        Self::RoundsToTarget,
        Self::Seconds,
        Self::SecondsToTarget,
        Self::VirtualSeconds,
        Self::VirtualSecondsToTarget,
    ];

    /// Returns the value of a round; `None` for a round without it, and for a measure of a whole run.
    pub fn of(self, round: &Round) -> Option<f64> {
        self.share_of(round).map(|value| self.scale() * value)
    }

    /// Returns the value of a round as the ledger has it: an accuracy is at most 1.
    pub(crate) fn share_of(self, round: &Round) -> Option<f64> {
        let accuracy = |scores: Option<&ClientScores>| scores?.accuracy.map(|of| of.mean);
        let value = match self {
            Self::Accuracy => round.accuracy,
            Self::Loss => round.loss,
            Self::Rmse => round.regression.map(|errors| errors.rmse),
            Self::R2 => round.regression.and_then(|errors| errors.r2),
            Self::HeldOut => accuracy(round.held_out.as_ref()),
            Self::Personal => accuracy(round.used_models()),
            Self::PersonalRmse => round.used_models().and_then(|scores| scores.rmse).map(|of| of.mean),
            Self::Seconds
            | Self::VirtualSeconds
            | Self::RoundsToTarget
            | Self::SecondsToTarget
            | Self::VirtualSecondsToTarget => None,
        };
        value.map(Finite::get)
    }

    /// Returns `true` for a measure of a whole run.
    pub fn is_time(self) -> bool {
        Self::TIMES.contains(&self)
    }

    /// Returns `true` if a greater value is better.
    pub fn is_gain(self) -> bool {
        self.is_percent() || self == Self::R2
    }

    /// Returns `true` for a share in percent.
    pub fn is_percent(self) -> bool {
        matches!(self, Self::Accuracy | Self::HeldOut | Self::Personal)
    }

    fn scale(self) -> f64 {
        if self.is_percent() { 100.0 } else { 1.0 }
    }
}

/// The axis over which the scores of a run are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum CurveAxis {
    /// The rounds.
    Round,
    /// The seconds of the rounds so far.
    Seconds,
    /// The virtual seconds from the start of the run.
    VirtualSeconds,
    /// The megabytes that a federation would have sent and received so far.
    Megabytes,
}

impl CurveAxis {
    /// Returns the place of the end of each round; `None` for a round that has none.
    pub fn places(self, rounds: &[Round]) -> Vec<Option<f64>> {
        let mut sum = 0.0;
        let mut sum_to = |more: f64| {
            sum += more;
            Some(sum)
        };
        let place = |round: &Round| match self {
            Self::Round => Some(round.round as f64),
            Self::Seconds => sum_to(round.seconds.get()),
            Self::VirtualSeconds => round.virtual_seconds.map(Finite::get),
            Self::Megabytes => sum_to((round.bytes_sent + round.bytes_received) as f64 / 1e6),
        };
        rounds.iter().map(place).collect()
    }

    /// Returns the name of the axis in a picture.
    pub fn name(self) -> &'static str {
        match self {
            Self::Round => "round",
            Self::Seconds => "seconds",
            Self::VirtualSeconds => "virtual seconds",
            Self::Megabytes => "megabytes sent and received",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client_scores::ClientScore, regression::Regression};

    fn finite(number: f64) -> Finite {
        Finite::try_from(number).unwrap()
    }

    #[test]
    fn a_measure_is_in_the_units_of_a_reader() {
        let regression = Some(Regression { rmse: finite(3.0), mae: finite(2.0), r2: None });
        let loss = Some(finite(0.5));
        let round = Round { accuracy: Some(finite(0.85)), regression, loss, ..Round::blank(1) };
        let score = ClientScore { client: 0, examples: 4, correct: Some(3), errors: None, loss_sum: 1.0 };
        let round = Round { personal: ClientScores::new(&[score]).unwrap(), ..round };
        let values =
            [Measure::Accuracy, Measure::Loss, Measure::Rmse, Measure::R2, Measure::HeldOut, Measure::Personal];
        let expected = [Some(85.0), Some(0.5), Some(3.0), None, None, Some(75.0)];
        assert_eq!(values.map(|measure| measure.of(&round)), expected);
        assert_eq!("held-out".parse(), Ok(Measure::HeldOut));
        assert_eq!(Measure::R2.to_string(), "r2");
        assert!(Measure::TIMES.iter().all(|time| time.of(&round).is_none() && !time.is_gain()));
    }

    #[test]
    fn each_axis_has_the_end_of_a_round() {
        let round = |number, seconds, virtual_seconds: Option<f64>| Round {
            seconds: finite(seconds),
            virtual_seconds: virtual_seconds.map(finite),
            bytes_sent: 1_000_000,
            bytes_received: 500_000,
            ..Round::blank(number)
        };
        let rounds = [round(1, 0.5, Some(10.0)), round(2, 0.25, None)];
        for (axis, places) in [
            (CurveAxis::Round, [Some(1.0), Some(2.0)]),
            (CurveAxis::Seconds, [Some(0.5), Some(0.75)]),
            (CurveAxis::VirtualSeconds, [Some(10.0), None]),
            (CurveAxis::Megabytes, [Some(1.5), Some(3.0)]),
        ] {
            assert_eq!(axis.places(&rounds), places, "{axis}");
        }
    }
}
