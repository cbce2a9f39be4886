//! Rows of a strategy that an experiment names one by one, in its section `[strategy]`.

use std::fs;

use fedpipe_record::checkpoint::Checkpoint;

use crate::{
    common::{Place, Run},
    idx,
};

/// The weights of `logreg` on images of 28×28 in ten classes.
const WEIGHTS: u64 = 7850;

/// Runs `logreg` with the section `[strategy]` of these lines.
fn run(place: &Place, out: &str, rows: &str, arguments: &str) -> Run {
    fs::write(place.path(format!("{out}.toml")), format!("format = 2\n[strategy]\n{rows}\n")).unwrap();
    place.run(&format!("logreg --config {out}.toml --data sample --clients 4 --out {out} {arguments}"))
}

/// Returns a number of each round's line.
fn numbers(run: &Run, field: &str) -> Vec<u64> {
    run.ledger("round").iter().map(|line| line[field].as_u64().unwrap()).collect()
}

#[test]
fn int8_has_a_quarter_of_the_bytes_and_costs_little_accuracy() {
    let place = Place::new();
    let plain = run(&place, "plain", "name = \"fedavg\"", "--rounds 5");
    let coded = run(&place, "coded", "name = \"fedavg\"\ntransform = \"int8:bucket=512\"", "--rounds 5");
    assert_eq!(numbers(&plain, "bytes_received"), [4 * 4 * WEIGHTS; 5]);
    // A byte a weight and a scale of four bytes for each 512 weights.
    assert_eq!(numbers(&coded, "bytes_received"), [4 * (WEIGHTS + 4 * WEIGHTS.div_ceil(512)); 5]);
    assert_eq!(numbers(&coded, "bytes_sent"), [4 * 4 * WEIGHTS; 5]);
    let accuracy = |run: &Run| run.summary()["accuracy"].as_f64().unwrap();
    assert_ne!(plain.weights_sha256(), coded.weights_sha256());
    assert!((accuracy(&plain) - accuracy(&coded)).abs() < 0.02, "{} {}", accuracy(&plain), accuracy(&coded));
}

#[test]
fn topk_has_a_tenth_of_the_bytes_and_a_residual_of_each_client() {
    let place = Place::new();
    let coded = run(&place, "coded", "name = \"fedavg\"\ntransform = \"topk:0.05\"", "--rounds 5");
    // An index and a value for each twentieth weight.
    assert_eq!(numbers(&coded, "bytes_received"), [4 * 8 * WEIGHTS.div_ceil(20); 5]);
    assert_eq!(numbers(&coded, "bytes_sent"), [4 * 4 * WEIGHTS; 5], "the residual is the client's own");
    assert_eq!(numbers(&coded, "bytes_of_states"), [4 * 4 * WEIGHTS; 5]);
    let forgetful = "name = \"fedavg\"\ntransform = \"topk:fraction=0.05,feedback=false\"";
    let forgetful = run(&place, "forgetful", forgetful, "--rounds 5");
    assert!(forgetful.ledger("round").iter().all(|line| line.get("bytes_of_states").is_none()));
    assert!(!forgetful.0.join("state").exists());
    let loss = |run: &Run| run.summary()["loss"].as_f64().unwrap();
    assert!(loss(&coded) < 0.9 * loss(&forgetful), "{} {}", loss(&coded), loss(&forgetful));
}

/// The part `change` and the values of all indices are the same change.
#[test]
fn topk_of_all_weights_has_the_bits_of_a_bound_that_no_change_reaches() {
    let place = Place::new();
    let [all, unbound, bound] =
        [("all", "topk:fraction=1,feedback=true"), ("unbound", "clip:norm=1000000"), ("bound", "clip:norm=0.1")].map(
            |(out, transform)| {
                let rows = format!("name = \"fedavg\"\ntransform = \"{transform}\"");
                let run = run(&place, out, &rows, "--rounds 3");
                let text = fs::read_to_string(run.0.join("experiment.toml")).unwrap();
                assert!(text.contains(&format!("transform = \"{transform}\"")), "{text}");
                run
            },
        );
    assert_eq!(all.weights_sha256(), unbound.weights_sha256());
    assert_ne!(bound.weights_sha256(), unbound.weights_sha256());
    assert_eq!(numbers(&all, "bytes_received"), [4 * 8 * WEIGHTS; 3]);
    assert_eq!(numbers(&bound, "bytes_received"), [4 * 4 * WEIGHTS; 3]);
    // The weights begin at zero, and each of three rounds moves them by the mean of the changes.
    let length = |run: &Run| {
        let checkpoint = Checkpoint::all(&run.0, &|_| Ok(())).unwrap().next().unwrap().1.unwrap();
        checkpoint.weights.iter().map(|weight| f64::from(*weight).powi(2)).sum::<f64>().sqrt()
    };
    assert!(length(&bound) <= 0.3 && length(&unbound) > 0.3, "{} {}", length(&bound), length(&unbound));
}

/// The correction c − c_k goes along with the weights where it is not zero: from round 2 on.
#[test]
fn the_first_round_of_scaffold_has_the_bits_of_the_equal_mean() {
    let place = Place::new();
    let arguments = "--rounds 2 --partition dirichlet:alpha=0.3";
    let [scaffold, equal, examples] = [
        ("scaffold", "name = \"scaffold\""),
        ("equal", "name = \"fedavg\"\nweighting = \"equal\""),
        ("examples", "name = \"fedavg\""),
    ]
    .map(|(out, rows)| run(&place, out, rows, arguments));
    let [first, second] = [0, 1].map(|round| {
        [&scaffold, &equal, &examples]
            .map(|run| run.ledger("round")[round]["weights_sha256"].as_str().unwrap().to_owned())
    });
    assert!(first[0] == first[1] && first[1] != first[2], "{first:?}");
    assert_ne!(second[0], second[1]);
    assert_eq!(numbers(&scaffold, "bytes_sent"), [4 * 4 * WEIGHTS, 2 * 4 * 4 * WEIGHTS]);
    assert_eq!(numbers(&scaffold, "bytes_of_states"), [4 * 4 * WEIGHTS; 2]);
    // The correction of FedDyn is the client's own.
    let dynamic = run(&place, "dynamic", "name = \"feddyn:0.1\"", "--rounds 2");
    assert_eq!(numbers(&dynamic, "bytes_sent"), [4 * 4 * WEIGHTS; 2]);
}

/// The model is the fixture `personal`, whose arithmetic is exact for these values, so that the test repeats it: the
/// middle value for each weight, or the mean of the middle two.
#[test]
fn the_median_is_that_of_the_clients_for_each_weight() {
    let place = Place::new();
    for (targets, out) in [(&[4.0_f32, 64.0, 8.0][..], "odd"), (&[4.0, 64.0, 8.0, 16.0], "even")] {
        idx::write_rows(&place.path(out), &targets.iter().map(|target| [*target as u8, 0]).collect::<Vec<_>>());
        let of_data = format!("--data ./{out} --clients {} --partition shards:per-client=1", targets.len());
        let of_model = "--model-option place=shared --batch-size 4 --lr 0.25 --rounds 3 --aggregate median";
        let run = place.run(&format!("personal {of_data} {of_model} --out {out}-run"));
        let mut weights = [0.0, 0.5, 0.0];
        for _ in 0..3 {
            let updates: Vec<[f32; 3]> = targets
                .iter()
                .map(|target| 0.25 * (weights[0] + weights[1] - target))
                .map(|step| [weights[0] - step, weights[1] - step, weights[2] + 1.0])
                .collect();
            weights = [0, 1, 2].map(|index| {
                let mut column: Vec<f32> = updates.iter().map(|update| update[index]).collect();
                column.sort_by(f32::total_cmp);
                (column[(column.len() - 1) / 2] + column[column.len() / 2]) / 2.0
            });
        }
        let checkpoint = Checkpoint::all(&run.0, &|_| Ok(())).unwrap().next().unwrap().1.unwrap();
        assert_eq!(checkpoint.weights[..], weights, "{out}");
    }
}

/// In the first round each client takes ⌈n/32⌉ steps, so that the means by steps and by examples differ.
#[test]
fn the_weighting_by_steps_is_another_mean() {
    let place = Place::new();
    let arguments = "--rounds 1 --partition dirichlet:alpha=0.3";
    let hashes = ["examples", "steps", "equal"].map(|weighting| {
        run(&place, weighting, &format!("name = \"fedavg\"\nweighting = \"{weighting}\""), arguments).weights_sha256()
    });
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2], "{hashes:?}");
}
