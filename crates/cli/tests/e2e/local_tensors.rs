//! Local tensors: each client keeps its own, as FedBN does with its norms. The model is the fixture `personal`.
//!
//! Client 0 has b = 4 and client 1 has b = 8. All numbers are sums of few powers of two, so that the test repeats the
//! arithmetic without rounding.

use fedpipe_record::{checkpoint::Checkpoint, names};
use serde_json::json;

use crate::{
    common::{Place, Run, stderr, stdout},
    idx,
};

const TARGETS: [f32; 2] = [4.0, 8.0];
const ROUNDS: usize = 4;
const ARGUMENTS: &str =
    "personal --data ./rows --clients 2 --partition shards:per-client=1 --seed 3 --batch-size 4 --lr 0.25 --rounds 4";

fn place() -> Place {
    let place = Place::new();
    idx::write_rows(&place.path("rows"), &TARGETS.map(|target| [target as u8, 0]));
    place
}

/// Returns the weights of a federation that shares w and the buffer, and own if `shared`; and own of each client.
fn expected(shared: bool) -> ([f32; 3], [f32; 2]) {
    let (mut global, mut own) = ([0.0, 0.5, 0.0], [0.5; 2]);
    for _ in 0..ROUNDS {
        let updates = [0, 1].map(|client: usize| {
            let start = if shared { global[1] } else { own[client] };
            let step = 0.25 * (global[0] + start - TARGETS[client]);
            [global[0] - step, start - step, global[2] + 1.0]
        });
        own = updates.map(|update| update[1]);
        let mean = [0, 1, 2].map(|index| (updates[0][index] + updates[1][index]) / 2.0);
        global = if shared { mean } else { [mean[0], 0.5, mean[2]] };
    }
    (global, own)
}

/// Returns the newest checkpoint, and the slot `local` of each client that has one.
fn state(run: &Run) -> (Checkpoint, Vec<Vec<f32>>) {
    let checkpoint = Checkpoint::all(&run.0, &|_| Ok(())).unwrap().next().unwrap().1.unwrap();
    let local = checkpoint.meta.clients.iter().map(|file| {
        let slots = file.read(&run.read(&format!("{}/{}", names::STATE, file.name()))).unwrap();
        slots.vector("local").unwrap().to_vec()
    });
    let local = local.collect();
    (checkpoint, local)
}

#[test]
fn each_client_keeps_its_own_tensor_and_the_global_one_keeps_its_initial_value() {
    let place = place();
    let (output, run) = place.try_run(ARGUMENTS);
    let errors = stderr(&output);
    assert!(output.status.success(), "{errors}");
    let (global, own) = expected(false);
    let (checkpoint, local) = state(&run);
    assert_eq!((&checkpoint.weights[..], &local), (&global[..], &own.map(|own| vec![own]).to_vec()));
    assert_ne!(own[0], own[1]);
    let warning = "the tensors own local to each client: the global weights have their initial values and no score";
    assert_eq!(errors.matches(warning).count(), 1, "{errors}");
    let verified = stdout(&place.fedpipe("verify out").output().unwrap());
    assert!(verified.ends_with("verified: 4 rounds have the same bits\n"), "{verified}");

    // A buffer takes the mean under a server optimiser that moves parameters by half.
    let half = place.run(&format!("{ARGUMENTS} --strategy fedavgm:rate=0.5,beta=0 --out half"));
    assert_eq!(state(&half).0.weights[1..], [0.5, ROUNDS as f32]);
}

#[test]
fn shared_tensors_are_those_of_fedavg_to_the_bit() {
    let place = place();
    let run = place.run(&format!("{ARGUMENTS} --model-option place=shared"));
    let (checkpoint, local) = state(&run);
    assert_eq!((&checkpoint.weights[..], local.len()), (&expected(true).0[..], 0));
    assert!(!run.0.join(names::STATE).exists() && run.ledger("round")[0]["clients_sha256"] == json!(null));
}

#[test]
fn a_resume_has_the_local_tensors_of_the_run_before() {
    let place = place();
    place.run(&ARGUMENTS.replace("--rounds 4", "--rounds 2"));
    let resumed = place.fedpipe("run --resume out --rounds 4").output().unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    let (checkpoint, local) = state(&Run(place.path("out")));
    let (global, own) = expected(false);
    assert_eq!((&checkpoint.weights[..], local), (&global[..], own.map(|own| vec![own]).to_vec()));
}

/// The batch norms of `mlp` and `cnn`. Each channel has a factor, a shift, a mean and a variance.
#[test]
fn a_batch_norm_is_shared_or_local_and_continues_after_a_resume() {
    const RULES: &str = "--clients 3 --holdout 0.1 --lr 0.05 --seed 5 --model-option hidden=16 --model-option dropout=0.1 \
                         --model-option norm=batch --model-option norm-place";
    // The number of weights that a client keeps.
    let cases = [
        (format!("mlp {RULES}=shared"), 0),
        (format!("mlp {RULES}=local"), 4 * 16),
        (format!("cnn {RULES}=local --model-option channels=2 --model-option kernel=9"), 4 * (2 + 16)),
    ];
    let place = Place::new();
    for (number, (arguments, kept)) in cases.iter().enumerate() {
        let run = place.run(&format!("{arguments} --rounds 3 --out whole-{number}"));
        // Without the local norms the global weights are no whole model.
        let accuracy = run.summary()["accuracy"].as_f64();
        assert!(if *kept > 0 { accuracy.is_none() } else { accuracy.unwrap() > 0.3 }, "{arguments}: {}", run.summary());
        let (mean, (_, local)) = (tensor(&run, "norm1.running_mean"), state(&run));
        assert!(local.iter().all(|values| values.len() == *kept), "{arguments}: {local:?}");
        assert_eq!((local.len(), mean.iter().all(|mean| *mean == 0.0)), if *kept > 0 { (3, true) } else { (0, false) });
        assert!(local.windows(2).all(|pair| pair[0] != pair[1]), "{arguments}: {local:?}");

        place.run(&format!("{arguments} --rounds 1 --out cut-{number}"));
        let output = place.fedpipe(&format!("run --resume cut-{number} --rounds 3")).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let resumed = Run(place.path(format!("cut-{number}")));
        assert_eq!((resumed.weights_sha256(), state(&resumed).1), (run.weights_sha256(), local), "{arguments}");
        // A client with local norms is scored with its own ones alone.
        let [own, held_out] = ["personal", "held_out"].map(|name| run.summary()[name].clone());
        assert!(
            if *kept > 0 { own["clients"] == json!([0, 1, 2]) && held_out.is_null() } else { own.is_null() },
            "{own}"
        );
        assert_eq!(resumed.summary()["personal"], own, "{arguments}");
        let verified = stdout(&place.fedpipe(&format!("verify whole-{number}")).output().unwrap());
        assert!(verified.ends_with("verified: 3 rounds have the same bits\n"), "{verified}");
    }
}

/// Returns the values of a tensor of the global model.
fn tensor(run: &Run, name: &str) -> Vec<f32> {
    let file = run.read("model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let (values, _) = tensors.tensor(name).unwrap().data().as_chunks();
    values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// A rounding each round would move what no other client has a part in.
#[test]
fn local_tensors_and_buffers_are_not_changed_by_a_transform() {
    let place = place();
    let (output, _) = place.try_run(&format!("{ARGUMENTS} --transform clip:1+int8"));
    let says = "error: the model keeps the tensors own local to each client, and the transform clip:norm=1+int8";
    assert!(output.status.code() == Some(2) && stderr(&output).contains(says), "{}", stderr(&output));
    let (output, _) = place.try_run(&format!("{ARGUMENTS} --transform int8 --model-option place=shared"));
    let says = "error: the model has the buffers seen, which no gradient moves, and the transform int8";
    assert!(output.status.code() == Some(2) && stderr(&output).contains(says), "{}", stderr(&output));
}
