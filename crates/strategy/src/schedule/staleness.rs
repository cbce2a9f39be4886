//! The weight of an update by its staleness s: the versions of the global weights since the client received its own
//! (Xie 2019, section 5.2).

use std::borrow::Cow;

use fedpipe_spec::table::{Parameter, Range, Value, Values};

/// A function of the staleness, 1 at s = 0 and never above 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Staleness {
    Constant,
    Polynomial { a: f64 },
    Hinge { a: f64, b: f64 },
}

/// The functions by name.
pub(crate) const FUNCTION: Parameter = Parameter {
    key: "staleness",
    default: Some(Value::Text(Cow::Borrowed("polynomial"))),
    range: Range::Word { of: &["constant", "polynomial", "hinge"], wants: "constant, polynomial or hinge" },
    help: "the weight of an update that is s versions old: 1; (1 + s)^−a; or 1 up to s = b and then 1/(a(s − b) + 1)",
};

pub(crate) const A: Parameter = Parameter {
    key: "a",
    default: Some(Value::Text(Cow::Borrowed(OF_PAPER))),
    range: Range::NumberOr { number: &Range::Positive, word: OF_PAPER, wants: "a number above 0, or paper" },
    help: "a of the staleness; paper is 0.5 of polynomial and 10 of hinge",
};

pub(crate) const B: Parameter = Parameter {
    key: "b",
    default: Some(Value::Number(4.0)),
    range: Range::NotNegative,
    help: "b of the staleness hinge",
};

/// The word for the value of the paper.
const OF_PAPER: &str = "paper";

impl Staleness {
    pub(super) fn of(values: &Values) -> Self {
        let (a, b) = (values.number_or_word("a"), values.number("b"));
        match values.text("staleness") {
            "constant" => Self::Constant,
            "hinge" => Self::Hinge { a: a.unwrap_or(10.0), b },
            _ => Self::Polynomial { a: a.unwrap_or(0.5) },
        }
    }

    /// Returns the weight of an update that is so many versions old.
    pub(super) fn weight(self, staleness: u64) -> f64 {
        let s = staleness as f64;
        match self {
            Self::Constant => 1.0,
            Self::Polynomial { a } => libm::pow(1.0 + s, -a),
            Self::Hinge { b, .. } if s <= b => 1.0,
            Self::Hinge { a, b } => 1.0 / (a * (s - b) + 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hinge of FedLab, 1/(a(s − b + 1)), is another function.
    #[test]
    fn the_functions_are_those_of_the_paper() {
        let at = |function: Staleness, staleness: [u64; 4]| staleness.map(|s| function.weight(s));
        assert_eq!(at(Staleness::Constant, [0, 1, 9, 1 << 40]), [1.0; 4]);
        assert_eq!(at(Staleness::Polynomial { a: 0.5 }, [0, 3, 8, 99]), [1.0, 0.5, 1.0 / 3.0, 0.1]);
        assert_eq!(at(Staleness::Hinge { a: 10.0, b: 4.0 }, [0, 4, 5, 14]), [1.0, 1.0, 1.0 / 11.0, 1.0 / 101.0]);
    }
}
