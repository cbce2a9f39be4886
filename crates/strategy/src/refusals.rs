//! The rows that do not combine, each pair with its reason. A run with such a pair is refused before a process starts.

use fedpipe_protocol::LOCAL;

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

const REFUSALS: [Refusal; 22] = [
    Refusal {
        applies: |rows, _| rows.term.trains_alone() && !aggregates_nothing(rows),
        names: |rows, _| [term(rows), aggregating(rows)],
        reason: "the clients train alone and send nothing that the rule could work on; leave the rule out",
    },
    Refusal {
        applies: |rows, optimiser| rows.needs_accumulation() && !optimiser.accumulates(),
        names: |rows, optimiser| [rows.needing_accumulation(), format!("the optimiser {optimiser}")],
        reason: "the rule divides by the accumulated steps of the local optimiser, which this one does not have; take \
                 sgd with keep=false",
    },
    Refusal {
        applies: |rows, optimiser| rows.term.needs_first_step() && !optimiser.begins_with_gradient(),
        names: |rows, optimiser| [term(rows), format!("the optimiser {optimiser}")],
        reason: "the rule takes the gradient from the first step, which is not η times the gradient here; take \
                 nesterov=false",
    },
    Refusal {
        applies: |rows, _| rows.term.needs_equal_mean() && !rows.aggregator.is_mean(),
        names: |rows, _| [term(rows), aggregator(rows)],
        reason: "the state of the server follows the mean of the clients' changes; take the aggregator mean",
    },
    Refusal {
        applies: |rows, _| rows.term.needs_equal_mean() && !rows.weighting.is_equal(),
        names: |rows, _| [term(rows), weighting(rows)],
        reason: "the state of the server is the equal mean of the clients' states; take the weighting equal",
    },
    Refusal {
        applies: |rows, _| rows.transforms.has_residual() && rows.term.state_follows_update(),
        names: |rows, _| [term(rows), format!("the transform {}", rows.transforms)],
        reason: "the rule takes an update for the change of one round, and a residual adds those of earlier rounds; take \
                 feedback=false",
    },
    Refusal {
        applies: |rows, _| rows.term.client_slots().contains(&LOCAL) && !rows.transforms.is_empty(),
        names: |rows, _| [term(rows), format!("the transform {}", rows.transforms)],
        reason: "the transform would alter the tensors that stay with the client; leave the transform out",
    },
    Refusal {
        applies: |rows, optimiser| rows.term.own_model().is_some() && optimiser.keeps_momentum(),
        names: |rows, optimiser| [term(rows), format!("the optimiser {optimiser}")],
        reason: "the client's own model would begin with the momentum of the global one; take keep=false",
    },
    Refusal {
        applies: |rows, _| rows.term.moves_mean() && !rows.server.keeps_aggregate(),
        names: |rows, _| [term(rows), server(rows)],
        reason: "the rule moves the mean by its own state; take the server optimiser sgd at rate 1",
    },
    Refusal {
        applies: |rows, _| rows.aggregator.is_chain() && rows.aggregator.needs_numbers(),
        names: |rows, _| {
            [
                format!("the pre-aggregators of {}", rows.aggregator),
                format!("the aggregator {}", rows.aggregator.rule()),
            ]
        },
        reason: "the rule needs the numbers of each client's update, which a mixture of updates does not have; leave the \
                 pre-aggregators out",
    },
    Refusal {
        applies: |rows, _| rows.server.needs_changes() && !(rows.aggregator.is_mean() && rows.weighting.is_equal()),
        names: |rows, _| [server(rows), format!("{} by {}", aggregator(rows), weighting(rows))],
        reason: "the rule compares the changes with their equal mean; take the aggregator mean and the weighting equal",
    },
    Refusal {
        applies: |rows, _| {
            let counts_draws =
                rows.aggregator.is_mean() && !rows.term.needs_equal_mean() && !rows.server.needs_changes();
            rows.sampler.repeats() && !counts_draws
        },
        names: |rows, _| {
            let others = format!("{}, {} and {}", aggregator(rows), term(rows), server(rows));
            [format!("the sampler {}", rows.sampler), others]
        },
        reason: "a client that is drawn twice counts twice, which only the mean knows; take replacement=false, or the \
                 aggregator mean with another term and server",
    },
    Refusal {
        applies: |rows, _| rows.alters_updates() && rows.term.state_follows_update(),
        names: |rows, _| [term(rows), format!("the attack {}", rows.attack)],
        reason: "the client's state follows from the update that the attack alters after it; take the attack label-flip, \
                 or another term",
    },
    Refusal {
        applies: |rows, _| !rows.aggregator.is_weighted() && !rows.weighting.is_equal(),
        names: |rows, _| [aggregator(rows), weighting(rows)],
        reason: "all clients have the same weight in the rule; take the weighting equal, or leave it out",
    },
    Refusal {
        applies: |rows, _| !rows.is_synchronous() && !rows.term.server_slots().is_empty(),
        names: |rows, _| [term(rows), schedule(rows)],
        reason: "the states of the server and of the clients belong to one version of the weights, and the updates are of \
                 several; take the schedule synchronous",
    },
    Refusal {
        applies: |rows, _| !rows.is_synchronous() && rows.aggregator.score_start().is_some(),
        names: |rows, _| [aggregator(rows), schedule(rows)],
        reason: "the rule compares the clients' losses of the same weights, and the updates are of several versions; take \
                 the schedule synchronous",
    },
    Refusal {
        applies: |rows, _| !rows.is_synchronous() && !rows.sampler.draws_successors(),
        names: |rows, _| [format!("the sampler {}", rows.sampler), schedule(rows)],
        reason: "a client that ends is replaced by an idle one, and there are no rounds to sample for; take uniform, or \
                 by-size without replacement",
    },
    Refusal {
        applies: |rows, _| rows.takes_single_updates() && !rows.aggregator.suits_one_update(),
        names: |rows, _| [aggregator(rows), schedule(rows)],
        reason: "the rule compares updates, and each update comes alone; take the aggregator mean, or a buffer",
    },
    Refusal {
        applies: |rows, _| rows.takes_single_updates() && !rows.weighting.is_equal(),
        names: |rows, _| [weighting(rows), schedule(rows)],
        reason: "the weight of an update has no effect where each comes alone; leave it out, or take a buffer",
    },
    Refusal {
        applies: |rows, _| rows.takes_single_updates() && rows.server.needs_changes(),
        names: |rows, _| [server(rows), schedule(rows)],
        reason: "the rule compares the changes with their mean, and each change comes alone; take another server \
                 optimiser, or a buffer",
    },
    Refusal {
        applies: |rows, _| rows.takes_single_updates() && rows.attack.needs_honest(),
        names: |rows, _| [format!("the attack {}", rows.attack), schedule(rows)],
        reason: "the attack is made of the honest updates beside it, and each update comes alone; take another attack, or \
                 a buffer",
    },
    Refusal {
        applies: |rows, _| rows.schedule.over_commitment() > 1.0 && rows.sampler.least(2) < 2,
        names: |rows, _| [format!("the sampler {}", rows.sampler), schedule(rows)],
        reason: "over-commitment adds clients to a fixed number, which this rule does not have; take uniform, or \
                 over-commit=1",
    },
];

/// Returns `true` if the rules for updates are those that have no effect where nothing is aggregated.
fn aggregates_nothing(rows: &Composition) -> bool {
    rows.aggregator.is_mean()
        && rows.weighting.is_equal()
        && rows.server.keeps_aggregate()
        && rows.transforms.is_empty()
        && rows.is_synchronous()
}

/// Names the rule for updates that is not the default.
fn aggregating(rows: &Composition) -> String {
    match () {
        () if !rows.transforms.is_empty() => format!("the transform {}", rows.transforms),
        () if !rows.aggregator.is_mean() => aggregator(rows),
        () if !rows.server.keeps_aggregate() => server(rows),
        () if !rows.is_synchronous() => schedule(rows),
        () => weighting(rows),
    }
}

fn aggregator(rows: &Composition) -> String {
    format!("the aggregator {}", rows.aggregator)
}

fn server(rows: &Composition) -> String {
    format!("the server optimiser {}", rows.server)
}

fn weighting(rows: &Composition) -> String {
    format!("the weighting {}", rows.weighting)
}

fn schedule(rows: &Composition) -> String {
    format!("the schedule {}", rows.schedule)
}

fn term(rows: &Composition) -> String {
    format!("the client term {}", rows.term)
}

/// Returns the reason why the rows do not combine, one sentence; `None` if they do.
pub fn refusal(rows: &Composition, optimiser: &LocalOptimiser) -> Option<String> {
    let Refusal { names, reason, .. } = REFUSALS.iter().find(|refusal| (refusal.applies)(rows, optimiser))?;
    let [one, other] = names(rows, optimiser);
    Some(format!("{one} and {other} do not combine: {reason}"))
}

/// Returns the reason why a rule does not suit this local learning rate, one sentence; `None` if it does.
///
/// A proximal term μ takes the share ημ of the way in each step. From 2 on, ‖a‖₁ may be 0, or changes its sign, and
/// Ditto's own models diverge.
pub fn pull_refusal(rows: &Composition, learning_rate: f32) -> Option<String> {
    let of_own_model = f64::from(learning_rate) * f64::from(rows.term.pull_of_own_model());
    if of_own_model >= 2.0 {
        let term = term(rows);
        return Some(format!(
            "{term} pulls a client's own model by the share {of_own_model} of the way in each step, the product of --lr \
             {learning_rate} and lambda, so that it moves away; give a product below 2"
        ));
    }
    let pull = f64::from(learning_rate) * f64::from(rows.term.proximal());
    (rows.needs_accumulation() && pull >= 2.0).then(|| {
        format!(
            "{} divides by the accumulated steps, and with {} and --lr {learning_rate} the product of --lr and mu is \
             {pull}, at which they may be 0; give a product below 2",
            rows.needing_accumulation(),
            term(rows)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::StrategyRows;

    /// Rows in the place of a preset's, by key.
    type Rows<'r> = &'r [(&'r str, &'r str)];

    fn refused(strategy: &str, rows: Rows<'_>, optimiser: &str) -> Option<String> {
        refusal(&StrategyRows::read(strategy, rows), &optimiser.parse().unwrap())
    }

    /// The reasons of the pairs, which `fedpipe-record` tests one by one.
    #[test]
    fn a_refusal_names_both_rows_the_reason_and_the_remedy() {
        let cases: [(&str, Rows<'_>, &str, &str); 5] = [
            ("scaffold", &[], "adam", "the client term control-variate:option=II and the optimiser adam:beta1=0.9"),
            (
                "scaffold",
                &[("aggregate", "median")],
                "sgd",
                "the client term control-variate:option=II and the aggregator median",
            ),
            (
                "feddyn:0.1",
                &[("weighting", "steps")],
                "sgd",
                "the client term dynamic:alpha=0.1 and the weighting steps",
            ),
            ("feddyn:0.1", &[("server", "sgd:0.5")], "sgd", "dynamic:alpha=0.1 and the server optimiser sgd:rate=0.5"),
            (
                "fedavg",
                &[("aggregate", "median"), ("weighting", "steps")],
                "sgd",
                "the aggregator median and the weighting steps",
            ),
        ];
        for (strategy, rows, optimiser, expected) in cases {
            let why = refused(strategy, rows, optimiser).unwrap();
            let (pair, reason) = why.split_once(" do not combine: ").unwrap();
            assert!(pair.contains(expected) && reason.contains("; "), "{why}");
        }
    }

    /// A number as the bound clips a single change, and the median of one length does not.
    #[test]
    fn a_rule_that_compares_updates_is_refused_where_each_comes_alone() {
        for schedule in ["asynchronous", "buffered:size=1"] {
            let refused = |rows: Rows<'_>| refused("fedasync", &[rows, &[("schedule", schedule)][..]].concat(), "sgd");
            for aggregator in
                ["median", "normalised", "geometric-median", "bucketing:2+mean", "centred-clipping:median"]
            {
                let why = refused(&[("aggregate", aggregator)]).unwrap();
                assert!(
                    why.contains("do not combine: the rule compares updates, and each update comes alone"),
                    "{why}"
                );
            }
            for aggregator in ["mean", "norm-bounding:1", "centred-clipping:1"] {
                assert_eq!(refused(&[("aggregate", aggregator)]), None, "{aggregator}");
            }
            let why = refused(&[("weighting", "examples")]).unwrap();
            assert!(why.starts_with("the weighting examples and the schedule ") && why.contains("no effect"), "{why}");
            assert!(refused(&[("server", "extrapolation")]).unwrap().contains("each change comes alone"));
        }
        assert_eq!(refused("fedasync", &[("schedule", "buffered"), ("aggregate", "median")], "sgd"), None);
    }

    /// A parameter may take the reason away.
    #[test]
    fn a_row_is_refused_for_a_property_and_not_for_its_name() {
        let cases: [(&str, Rows<'_>); 6] = [
            ("feddyn:0.1", &[("server", "momentum:beta=0")]),
            ("scaffold", &[("server", "adam"), ("transform", "int8")]),
            ("fednova", &[("term", "proximal:0.1"), ("server", "momentum")]),
            ("fedprox:0.1", &[("aggregate", "median"), ("server", "adam")]),
            ("ditto:0.1", &[("aggregate", "median"), ("transform", "topk:0.1"), ("attack", "zero:0.1")]),
            ("fedper", &[("server", "adam"), ("attack", "zero:0.1")]),
        ];
        for (strategy, rows) in cases {
            assert_eq!(refused(strategy, rows, "sgd:momentum=0.9"), None, "{strategy} {rows:?}");
        }
    }

    /// At ημ = 2 an even number of steps ends where it began.
    #[test]
    fn a_proximal_term_that_may_undo_the_steps_is_refused_where_a_rule_divides_by_them() {
        let refused = |strategy: &str, mu: &str, rate| {
            let term = format!("proximal:{mu}");
            pull_refusal(&StrategyRows::read(strategy, &[("term", &term)]), rate)
        };
        let why = refused("fednova", "4", 0.5).unwrap();
        assert!(why.contains("normalised") && why.contains("--lr 0.5") && why.contains("below 2"), "{why}");
        assert_eq!(
            [("fednova", "3.9"), ("fednova", "0"), ("fedavg", "9")].map(|(of, mu)| refused(of, mu, 0.5)),
            [const { None }; 3]
        );
    }

    #[test]
    fn a_pull_of_an_own_model_that_diverges_is_refused() {
        let refused = |lambda: &str| pull_refusal(&StrategyRows::read("ditto:1", &[("term", lambda)]), 0.5);
        let why = refused("personal-model:4").unwrap();
        assert!(why.contains("personal-model:lambda=4") && why.ends_with("give a product below 2"), "{why}");
        assert_eq!(refused("personal-model:3.9"), None);
    }

    #[test]
    fn a_rule_without_weights_records_the_equal_weighting() {
        let rows = StrategyRows::read("fedavg", &[("aggregate", "median")]);
        assert_eq!(rows.to_string(), "fedavg with the weighting equal, the aggregator median");
    }
}
