//! The rows that do not combine, each pair with its reason. A run with such a pair is refused before a process starts.

use crate::{local_optimiser::LocalOptimiser, preset::Composition};

/// A pair of rows that do not combine.
struct Refusal {
    /// Returns `true` if the composition has the pair.
    applies: fn(&Composition, &LocalOptimiser) -> bool,
    /// Names the two rows.
    names: fn(&Composition, &LocalOptimiser) -> [String; 2],
    /// The reason, and the remedy.
    reason: &'static str,
}

const REFUSALS: [Refusal; 5] = [
    Refusal {
        applies: |rows, optimiser| rows.needs_accumulation() && optimiser.name() == "adam",
        names: |rows, optimiser| [rows.needing_accumulation(), format!("the optimiser {optimiser}")],
        reason: "the rule divides by the accumulated steps of the local optimiser, which Adam does not have; take sgd",
    },
    Refusal {
        applies: |rows, _| rows.term.has_state() && !rows.aggregator.is_mean(),
        names: |rows, _| [term(rows), format!("the aggregator {}", rows.aggregator)],
        reason: "the state of the clients follows the mean of their changes; take the aggregator mean",
    },
    Refusal {
        applies: |rows, _| rows.term.has_state() && rows.weighting.name() != "equal",
        names: |rows, _| [term(rows), format!("the weighting {}", rows.weighting)],
        reason: "the state of the server is the equal mean of the clients' states; take the weighting equal",
    },
    Refusal {
        applies: |rows, _| rows.term.name() == "dynamic" && !rows.server.keeps_aggregate(),
        names: |rows, _| [term(rows), format!("the server optimiser {}", rows.server)],
        reason: "the rule moves the mean by its own state; take the server optimiser sgd at rate 1",
    },
    Refusal {
        applies: |rows, _| rows.aggregator.name() == "median" && rows.weighting.name() != "examples",
        names: |rows, _| [format!("the aggregator {}", rows.aggregator), format!("the weighting {}", rows.weighting)],
        reason: "a median has no weights; leave the weighting out",
    },
];

fn term(rows: &Composition) -> String {
    format!("the client term {}", rows.term)
}

/// Returns the reason why the rows do not combine, one sentence; `None` if they do.
pub fn refusal(rows: &Composition, optimiser: &LocalOptimiser) -> Option<String> {
    let Refusal { names, reason, .. } = REFUSALS.iter().find(|refusal| (refusal.applies)(rows, optimiser))?;
    let [one, other] = names(rows, optimiser);
    Some(format!("{one} and {other} do not combine: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::StrategyRows;

    fn refused(strategy: &str, rows: &[(&str, &str)], optimiser: &str) -> Option<String> {
        refusal(&StrategyRows::read(strategy, rows), &optimiser.parse().unwrap())
    }

    #[test]
    fn each_pair_is_refused_with_its_reason_and_its_neighbours_are_not() {
        let momentum = "sgd:momentum=0.9";
        type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str, Option<&'static str>);
        let cases: [Case; 20] = [
            ("scaffold", &[], "adam", Some("the client term control-variate and the optimiser adam")),
            ("scaffold", &[], momentum, None),
            ("fednova", &[], "adam", Some("the aggregator normalised and the optimiser adam")),
            ("fednova", &[("term", "proximal:0.1")], momentum, None),
            ("fednova", &[("server", "momentum")], "sgd", None),
            ("fedprox:0.1", &[], "adam", None),
            ("fedprox:0.1", &[("aggregate", "median")], "sgd", None),
            ("scaffold", &[("aggregate", "median")], "sgd", Some("control-variate and the aggregator median")),
            ("feddyn:0.1", &[("aggregate", "median")], "sgd", Some("dynamic:alpha=0.1 and the aggregator median")),
            ("feddyn:0.1", &[("aggregate", "normalised")], "sgd", Some("and the aggregator normalised")),
            ("scaffold", &[("weighting", "examples")], "sgd", Some("and the weighting examples")),
            ("feddyn:0.1", &[("weighting", "steps")], "sgd", Some("and the weighting steps")),
            ("feddyn:0.1", &[("server", "adam")], "sgd", Some("and the server optimiser adam")),
            ("feddyn:0.1", &[("server", "momentum:beta=0")], "adam", None),
            ("scaffold", &[("server", "adam")], "sgd", None),
            ("fedavg", &[("aggregate", "median"), ("weighting", "steps")], "sgd", Some("a median has no weights")),
            ("fedavg", &[("aggregate", "median"), ("weighting", "equal")], "sgd", Some("a median has no weights")),
            ("fedavg", &[("aggregate", "median"), ("server", "adam")], "adam", None),
            ("scaffold", &[("transform", "int8")], "sgd", None),
            ("feddyn:0.1", &[("transform", "clip:1+topk:0.1")], "adam", None),
        ];
        for (strategy, rows, optimiser, expected) in cases {
            let told = refused(strategy, rows, optimiser);
            match expected {
                None => assert_eq!(told, None, "{strategy} {rows:?} {optimiser}"),
                Some(expected) => {
                    let told = told.unwrap_or_else(|| panic!("{strategy} {rows:?} {optimiser} was accepted"));
                    assert!(told.contains(expected) && told.contains("do not combine: "), "{told}");
                }
            }
        }
    }
}
