//! Each member of the ABI arrives where it belongs: the fixture `echo` writes what it receives into its weights.

use abi_stable::std_types::{RSlice, RStr};
use fedpipe_model::{
    Kind, Place, Tensor,
    abi::{AbiEpoch, AbiExamples},
};

use crate::{Behind, bytes, floats, open, plain, real};

/// The number of values that `echo` writes; one more weight is its statistic.
const RECEIVED: usize = 16;

fn echo() -> Behind {
    Behind::new("echo", "{}", &[1, 2])
}

/// Returns the values that `echo` has received, without the zeros behind them.
fn received(echo: &Behind) -> Vec<f32> {
    let mut values = echo.weights();
    values.truncate(RECEIVED);
    values.truncate(values.iter().rposition(|value| *value != 0.0).map_or(0, |last| last + 1));
    values
}

#[test]
fn a_description_comes_without_data() {
    let description = open("echo").describe().unwrap();
    assert_eq!((&*description.name, &*description.version), ("echo", "0.1.0"));
    assert!(description.summary.starts_with("fixture: "), "{description:?}");
    let options: Vec<_> = description.options.iter().map(|o| [&*o.key, &*o.default, &*o.help]).collect();
    let expected =
        [["first", "1.5", "the first weight at the start"], ["second", "2.5", "the second weight at the start"]];
    assert_eq!(options, expected);
}

#[test]
fn a_model_is_built_from_options_task_and_seed() {
    let built = Behind::new("echo", r#"{"second":"7"}"#, &[4, 5]);
    assert_eq!(received(&built), [1.5, 7.0, 3.0, 11.0, 4.0, 5.0]);
    assert_eq!(received(&Behind::real("echo", "{}", &[6])), [1.5, 2.5, 0.0, 11.0, 6.0]);
    let refusal =
        open("echo").build(r#"{"third":"7"}"#, r#"{"shape":[1],"target":{"classes":3}}"#, 0).err().unwrap().to_string();
    assert_eq!(refusal, "model echo has no option \"third\" (known: first, second)");
}

#[test]
fn a_layout_has_kinds_and_places() {
    let statistic = Tensor { name: "statistic".into(), shape: vec![1], kind: Kind::Buffer, place: Place::Local };
    assert_eq!(echo().layout.tensors, [Tensor::param("received", &[8, 2]), statistic]);
}

#[test]
fn weights_go_in_and_come_out() {
    let mut echo = echo();
    let weights: Vec<f32> = (0..=RECEIVED).map(|i| i as f32).collect();
    echo.set_weights(&weights).unwrap();
    assert_eq!(echo.weights(), weights);
    assert_eq!(echo.set_weights(&weights[1..]).unwrap_err(), "got 16 weights for the model, expected 17");
}

/// One step over a whole batch, whose momentum v becomes v / 2 + g.
#[test]
fn a_momentum_goes_in_and_comes_out() {
    assert!(open("mlp").describe().unwrap().keeps_momentum && !open("echo").describe().unwrap().keeps_momentum);
    let mut mlp = Behind::new("mlp", r#"{"hidden":""}"#, &[2]);
    let examples = bytes(&[255, 0], 2, &[0], &[0]);
    let epoch = AbiEpoch { optimiser: RStr::from(r#"{"name":"sgd","momentum":0.5,"keep":true}"#), ..plain(0.25) };
    let mut trained = |momentum: f32| {
        let count = mlp.weights().len();
        mlp.set_weights(&vec![0.0; count]).unwrap();
        mlp.set_momentum(&vec![momentum; count]).unwrap();
        assert!(mlp.train(examples, epoch).unwrap().accumulation.is_nan());
        (mlp.weights(), mlp.momentum().unwrap())
    };
    let (fresh, kept) = (trained(0.0), trained(4.0));
    for (fresh, kept) in fresh.1.iter().zip(&kept.1) {
        assert!((kept - fresh - 2.0).abs() < 1e-6, "{kept} for {fresh} + 2");
    }
    for (fresh, kept) in fresh.0.iter().zip(&kept.0) {
        assert!((kept - fresh + 0.5).abs() < 1e-6, "{kept} for {fresh} - 0.5");
    }
    assert_eq!(mlp.set_momentum(&[0.0]).unwrap_err(), "got 1 values of the momentum for the model, expected 9");
    assert_eq!(echo().set_momentum(&[0.0; RECEIVED + 1]).unwrap_err(), "this model keeps no momentum");
    assert_eq!(echo().momentum().unwrap_err(), "got 0 values of the momentum from the model, expected 17");
}

#[test]
fn the_rules_of_an_epoch_arrive_in_their_places() {
    let (anchor, linear) = ([0.5; RECEIVED + 1], [-0.25; RECEIVED + 1]);
    let mut epoch = plain(0.125);
    (epoch.seed, epoch.round, epoch.client, epoch.epoch) = (21, 22, 23, 24);
    (epoch.batch_size, epoch.step_limit, epoch.optimiser) = (25, 26, RStr::from("as it is"));
    epoch.trainable = RSlice::from_slice(&[1, 0]);
    (epoch.proximal, epoch.anchor) = (0.75, RSlice::from_slice(&anchor));
    epoch.linear = RSlice::from_slice(&linear);
    let mut echo = echo();
    let report = echo.train(bytes(&[0; 8], 2, &[0; 4], &[3, 0, 1]), epoch).unwrap();
    let rules = [21.0, 22.0, 23.0, 24.0, 0.125, 25.0, 8.0, 26.0, 16.0, 0.75, 8.5, -4.25, 3.0];
    assert_eq!(received(&echo), rules);
    assert_eq!((report.steps, report.accumulation), (7, 2.5));
    assert_eq!((report.sums.loss_sum, report.sums.correct, report.sums.examples), (3.5, 4, 5));
}

#[test]
fn an_epoch_without_terms_has_none() {
    let mut echo = echo();
    echo.train(bytes(&[0; 8], 2, &[0; 4], &[0]), plain(0.125)).unwrap();
    assert_eq!(received(&echo)[7..], [-1.0, 0.0, 0.0, 0.0, 0.0, 1.0], "no limit, nothing frozen, no terms");
}

#[test]
fn examples_arrive_in_order_as_bytes_or_floats() {
    let (mut echo, labels) = (echo(), [7, 8, 9]);
    let sums = echo.evaluate(bytes(&[1, 2, 3, 4, 5, 255], 2, &labels, &[2, 0, 2])).unwrap();
    assert_eq!(received(&echo), [5.0, 255.0, 1.0, 2.0, 5.0, 255.0, 9.0, 7.0, 9.0]);
    assert_eq!((sums.loss_sum, sums.correct, sums.examples), (4.5, 5, 6));
    echo.evaluate(floats(&[0.5, -1.5, 2.5, 3.5, 4.5, 5.5], 2, &labels, &[1, 0])).unwrap();
    assert_eq!(received(&echo), [2.5, 3.5, 0.5, -1.5, 8.0, 7.0]);
    assert!(sums.regression.is_none());
}

#[test]
fn real_targets_arrive_in_order_and_their_sums_come_back() {
    let (mut echo, values, targets) = (Behind::real("echo", "{}", &[1, 2]), [0.5, -1.5, 2.5, 3.5], [0.25, -8.0]);
    let sums = echo.evaluate(real(&values, 2, &targets, &[1, 0])).unwrap();
    assert_eq!(received(&echo), [2.5, 3.5, 0.5, -1.5, -8.0, 0.25]);
    let report = echo.train(real(&values, 2, &targets, &[1, 0]), plain(0.125)).unwrap();
    for sums in [sums, report.sums] {
        let regression = sums.regression.into_option().unwrap();
        assert_eq!((regression.squared_error, regression.absolute_error), (0.5, 1.5));
        assert_eq!((regression.target_sum, regression.target_square_sum), (-2.5, 3.5));
    }
}

#[test]
fn targets_of_the_other_kind_are_refused() {
    let (values, targets, labels) = ([0.5, -1.5], [0.25], [2]);
    let both = AbiExamples { labels: RSlice::from_slice(&labels), ..real(&values, 2, &targets, &[0]) };
    assert_eq!(echo().evaluate(both).err().unwrap(), "got 1 real targets for classes, expected 0");
    let mut real = Behind::real("echo", "{}", &[2]);
    assert_eq!(real.evaluate(both).err().unwrap(), "got 1 labels for a real target, expected 0");
}

#[test]
fn a_model_refuses_the_task_that_it_does_not_do() {
    let refusal = |model, target: &str| {
        open(model).build("{}", &format!(r#"{{"shape":[2],"target":{target}}}"#), 0).err().unwrap().to_string()
    };
    assert!(refusal("logreg", r#""real""#).ends_with("such as linreg or mlp"));
    assert!(refusal("linreg", r#"{"classes":3}"#).ends_with("such as logreg or mlp"));
}

#[test]
fn a_buffer_of_another_length_is_refused_with_both_lengths() {
    let (mut echo, mut mlp) = (echo(), Behind::new("mlp", "{}", &[2]));
    let examples = bytes(&[0; 8], 2, &[0; 4], &[0, 1]);
    let wide = bytes(&[0; 12], 3, &[0; 4], &[0]);
    let mut refusal = |epoch| echo.train(examples, epoch).err().unwrap();
    let (linear, trainable) = (RSlice::from_slice(&[0.0; 3]), RSlice::from_slice(&[1; 3]));
    for (epoch, expected) in [
        (AbiEpoch { linear, ..plain(0.1) }, "got 3 values of the linear term, expected 17"),
        (AbiEpoch { anchor: linear, ..plain(0.1) }, "got 3 values of the anchor, expected 17"),
        (AbiEpoch { proximal: 0.5, ..plain(0.1) }, "got 0 values of the anchor, expected 17"),
        (AbiEpoch { trainable, ..plain(0.1) }, "got 3 flags of trainable tensors, expected 2"),
    ] {
        assert_eq!(refusal(epoch), expected);
    }
    let width = "got 3 values an example, expected 2";
    assert_eq!(echo.train(wide, plain(0.1)).err().unwrap(), width);
    assert_eq!(echo.evaluate(wide).err().unwrap(), width);
    assert_eq!(mlp.predict(wide, &mut [0.0; 3]).unwrap_err(), width);
    assert_eq!(mlp.predict(examples, &mut [0.0; 7]).unwrap_err(), "got 7 scores to fill, expected 6");
}

#[test]
fn a_model_that_changes_a_frozen_tensor_is_refused_by_name() {
    let (mut echo, examples) = (echo(), bytes(&[0; 8], 2, &[0; 4], &[0]));
    let frozen = |trainable| AbiEpoch { trainable: RSlice::from_slice(trainable), ..plain(0.1) };
    let refusal = echo.train(examples, frozen(&[0, 1])).err().unwrap();
    let expected = "the model changed the tensor \"received\", which is frozen; pass epoch.frozen to the step of its \
        optimiser";
    assert_eq!(refusal, expected);
    echo.train(examples, frozen(&[1, 0])).unwrap();
}

#[test]
fn a_model_predicts_or_says_that_it_does_not() {
    let (inputs, labels) = ([1.0, 2.0, 0.5, -1.0, 9.0, 9.0], [1, 0, 2]);
    let examples = floats(&inputs, 2, &labels, &[1, 0]);
    let refusal = echo().predict(examples, &mut [0.0; 6]).unwrap_err();
    assert_eq!(refusal, "this model does not predict");
    // Without a hidden layer the scores are x · weight + bias.
    let (mut mlp, mut scores) = (Behind::new("mlp", r#"{"hidden":""}"#, &[2]), [f32::NAN; 6]);
    mlp.set_weights(&[1.0, 2.0, 4.0, -1.0, 0.5, 8.0, 0.25, 0.0, -0.5]).unwrap();
    mlp.predict(examples, &mut scores).unwrap();
    assert_eq!(scores, [1.75, 0.5, -6.5, -0.75, 3.0, 19.5]);
    assert_eq!(mlp.evaluate(examples).unwrap().correct, 1);
}

#[test]
fn a_prediction_of_a_real_target_is_one_number() {
    let (inputs, targets) = ([1.0, 2.0, 0.5, -1.0], [3.0, 0.5]);
    let examples = real(&inputs, 2, &targets, &[1, 0]);
    let (mut mlp, mut scores) = (Behind::real("mlp", r#"{"hidden":""}"#, &[2]), [f32::NAN; 2]);
    // x · weight + bias
    mlp.set_weights(&[2.0, -1.0, 0.25]).unwrap();
    mlp.predict(examples, &mut scores).unwrap();
    assert_eq!(scores, [2.25, 0.25]);
    let regression = mlp.evaluate(examples).unwrap().regression.into_option().unwrap();
    assert_eq!((regression.squared_error, regression.absolute_error), (1.75 * 1.75 + 2.75 * 2.75, 4.5));
    assert_eq!(mlp.predict(examples, &mut [0.0; 4]).unwrap_err(), "got 4 scores to fill, expected 2");
}
