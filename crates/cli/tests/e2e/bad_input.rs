//! Bad input: one sentence, a documented exit code, no new files and none removed.

use std::{
    fs,
    process::{Command, Output},
};

use crate::{
    common::{Place, check_all, dylib, stderr, stdout},
    idx,
};

/// Arguments, the exit code, and words that the sentence must have: the value, the reason, the remedy.
type Case = (&'static str, i32, &'static [&'static str]);

/// The greatest length of a sentence that a user reads.
const LONGEST: usize = 400;

const ARGUMENTS: &[Case] = &[
    ("run", 2, &["<MODEL>"]),
    ("run mlp --clients 0", 2, &["--clients is 0", "at least 1"]),
    ("run mlp --clients -1", 2, &["-1", "--clients", "give a whole number, at least 1"]),
    ("run mlp --clients 5000000000", 2, &["5000000000", "--clients", "give at most 4294967295"]),
    ("run mlp --fine-tune -1", 2, &["-1", "--fine-tune", "give a whole number from 0"]),
    ("run mlp --lr 1e300", 2, &["1e300", "--lr", "give at most 3.4028235e38"]),
    ("run mlp --epochs 1e300", 2, &["--epochs is 1e300", "at most 1e15"]),
    ("run mlp --client-timeout 1e10", 2, &["--client-timeout is 10000000000", "0.001 to 1e9 seconds"]),
    ("run mlp --clients many", 2, &["many", "--clients"]),
    ("run mlp --rounds 0", 2, &["--rounds is 0", "at least 1"]),
    ("run mlp --epochs 0", 2, &["--epochs is 0", "above 0"]),
    ("run mlp --epochs half", 2, &["half", "--epochs"]),
    ("run mlp --local-steps 0", 2, &["--local-steps is 0", "at least 1"]),
    ("run mlp --local-steps 1.5", 2, &["1.5", "--local-steps"]),
    ("run mlp --local-steps 3 --epochs 2", 2, &["--local-steps", "--epochs", "cannot be used"]),
    ("run mlp --lr-schedule linear", 2, &["linear", "known are constant, step, cosine, exponential"]),
    ("run mlp --lr-schedule step:every=0,factor=0.5", 2, &["every=0", "whole number from 1"]),
    ("run mlp --lr-schedule exponential:1.5", 2, &["factor=1.5", "above 0 and at most 1"]),
    ("run mlp --lr-schedule constant:warmup=0.5", 2, &["warmup=0.5", "whole number from 0"]),
    ("run mlp --until-converged --lr-schedule cosine", 2, &["cosine", "--until-converged", "give --rounds"]),
    ("run mlp --batch-size 0", 2, &["--batch-size is 0"]),
    ("run mlp --processes 0", 2, &["--processes is 0"]),
    ("run mlp --jobs 0", 2, &["--jobs is 0"]),
    ("run mlp --lr -1", 2, &["--lr is -1", "above 0"]),
    ("run mlp --lr nan", 2, &["--lr is NaN"]),
    ("run mlp --fraction 1.5", 2, &["--fraction is 1.5", "at most 1"]),
    ("run mlp --min-clients 5", 2, &["--min-clients 5", "4 of 4"]),
    ("run mlp --seed -1", 2, &["-1", "--seed"]),
    ("run mlp --rounds 3 --until-converged", 2, &["--rounds", "--until-converged", "cannot be used"]),
    ("run mlp --optimiser sgd:momentum=1.5", 2, &["momentum=1.5", "below 1"]),
    ("run mlp --optimiser sgd:momentum=nan", 2, &["momentum=nan", "below 1"]),
    ("run mlp --optimiser adam:epsilon=0", 2, &["epsilon=0", "above 0"]),
    ("run mlp --set local.optimiser=sgd:weight-decay=-1", 2, &["weight-decay=-1", "at least 0"]),
    ("run mlp --seed 18446744073709551616", 2, &["18446744073709551616", "--seed"]),
    ("run mlp --set seed=-1", 2, &["seed", "from 0 to 18446744073709551615"]),
    ("run mlp --partition own --over s --clients 4294967295", 2, &["4294967295 client processes", "fewer --clients"]),
    ("run mlp --max-rounds 3", 2, &["--max-rounds has no effect", "leave it out"]),
    ("run mlp --tolerance 0.1", 2, &["--tolerance has no effect", "--rounds"]),
    ("run mlp --set tolerance=0.1", 2, &["--tolerance has no effect"]),
    ("run mlp --rounds 3 --set until-converged=true", 2, &["--rounds has no effect", "--until-converged"]),
    ("run mlp --over s --memory-limit 1G", 2, &["--memory-limit has no effect", "--over"]),
    ("run mlp --over s --cpu-limit 9", 2, &["--cpu-limit has no effect", "fedpipe serve"]),
    ("run mlp --min-clients 0", 2, &["--min-clients is 0", "at least 1"]),
    ("run mlp --bogus 3", 2, &["--bogus"]),
    ("run mlp extra", 2, &["extra"]),
    ("fly", 2, &["fly"]),
    ("data fetch mnist", 2, &["mnist", "fashion-mnist"]),
    ("run mlp --strategy fedfoo", 2, &["fedfoo", "known are fedavg, fedavgm, fedadagrad, fedadam"]),
    ("run mlp --strategy fedavgm:speed=1", 2, &["speed", "known are rate, beta, nesterov"]),
    ("run mlp --strategy fedadam:rate=fast", 2, &["rate=fast", "a number"]),
    ("run mlp --transform zip", 2, &["zip", "known are clip, int8, topk"]),
    ("run mlp --transform topk", 2, &["topk", "needs the key `fraction`"]),
    ("run mlp --transform topk:1.5", 2, &["fraction=1.5", "above 0 and at most 1"]),
    ("run mlp --transform clip:0", 2, &["norm=0", "above 0"]),
    ("run mlp --transform int8+clip:1", 2, &["int8:bucket=512,l2=false", "before clip:norm=1", "write it last"]),
    ("run mlp --transform int8+topk:0.1", 2, &["int8", "before topk", "leave one of them out"]),
    ("run mlp --partition random", 2, &["random", "known are iid, dirichlet, dirichlet-client, shards"]),
    ("run mlp --partition dirichlet", 2, &["dirichlet", "alpha"]),
    ("run mlp --partition dirichlet:alpha=-1", 2, &["-1", "above 0"]),
    ("run mlp --partition shards:each=3", 2, &["each", "known are per-client"]),
    ("run mlp --optimiser lion", 2, &["lion", "known are sgd, adam, adamw, own"]),
    ("run mlp --optimiser sgd:beta1=1", 2, &["beta1", "momentum"]),
    ("run mlp --on-failure shrug", 2, &["shrug", "retry", "drop", "abort"]),
    ("run mlp --isolation maybe", 2, &["maybe", "require", "auto", "off"]),
    ("run mlp --set execution.isolation=maybe", 2, &["maybe", "require", "auto", "off"]),
    ("run mlp --memory-limit 512", 2, &["\"512\"", "--memory-limit", "at least 1M", "none"]),
    ("run mlp --memory-limit lots", 2, &["\"lots\"", "--memory-limit", "512M"]),
    ("run mlp --set execution.memory-limit=-1", 2, &["\"-1\"", "at least 1M"]),
    ("run mlp --cpu-limit 0", 2, &["--cpu-limit is 0", "at least 1"]),
    ("run mlp --cpu-limit 1.5", 2, &["1.5", "--cpu-limit"]),
    ("run mlp --model-option hidden", 2, &["hidden", "KEY=VALUE"]),
    ("run mlp --set zzz=red", 2, &["no key `zzz`", "fedpipe config", "clients"]),
    ("run mlp --set roundz=3", 2, &["no key `roundz`", "did you mean rounds?"]),
    ("run mlp --set clients.count=many", 2, &["--clients is many", "a whole number, at least 1"]),
    ("run mlp --set strategy.name=fedfoo", 2, &["fedfoo", "known are fedavg"]),
    ("run mlp --set clients.lr=0.2", 2, &["no key `clients.lr`", "write local.lr"]),
    ("run mlp --set execution.zzz=2", 2, &["no key `execution.zzz`", "has client-timeout, processes, jobs, isolation"]),
    ("sweep", 2, &["<FILE>"]),
    ("sweep absent.toml --set seed=0..4", 2, &["absent.toml", "No such file"]),
    ("sweep no-model.toml --set seed=0..4", 2, &["the run seed=0", "no model is named"]),
    ("sweep e.toml --set seed=0..=4", 2, &["0..=4", "write 0..4", "has its end"]),
    ("sweep e.toml --set lr=0.1,fast", 2, &["local.lr", "fast", "give a finite number above 0"]),
    ("sweep e.toml --set zzz=1", 2, &["no key `zzz`"]),
    ("sweep e.toml --set lr=0.1,-1", 2, &["the run local.lr=-1", "--lr is -1", "above 0"]),
    (
        "sweep e.toml --set strategy=fedavg,scaffold --set aggregate=median",
        2,
        &["strategy.name=scaffold", "do not combine"],
    ),
    ("sweep e.toml --set model=mlp,nonesuch", 3, &["the run model=nonesuch", "fedpipe models"]),
    ("sweep e.toml --out folder", 5, &["folder", "continue the sweep in it with --resume", "--out"]),
    ("sweep --resume folder", 5, &["folder/sweep.json", "is this a sweep?"]),
    ("sweep --resume sweep-of-format-2", 5, &["format 2", "reads format 1", "begin another sweep"]),
    ("sweep --resume sweep-of-seeds --set lr=0.1", 2, &["no key local.lr", "extend seed", "begin another sweep"]),
    ("baselines", 2, &["<FILE>"]),
    ("baselines e.toml --seeds x", 2, &["--seeds", "\"x\"", "is refused"]),
    ("baselines --resume sweep-of-seeds", 2, &["sweep-of-seeds has no baselines", "fedpipe sweep --resume"]),
    ("run mlp --strategy local --server adam", 2, &["alone", "adam", "do not combine", "leave the rule out"]),
    ("run mlp --strategy local --by-class", 2, &["--by-class", "each client has its own", "leave it out"]),
    ("run mlp --availability text", 2, &["text: the header is", "give `client,first,last`"]),
    ("run mlp --availability absent.csv", 2, &["cannot read --availability absent.csv", "No such file"]),
    ("run mlp --sample power-of-choice:9", 2, &["candidates=9", "the clients 4", "give 4 to 4"]),
    ("runs absent", 5, &["no folder absent", "give the folder"]),
    ("runs folder --where lr", 2, &["\"lr\"", "write KEY=VALUE"]),
    ("runs folder --where zzz=1", 2, &["no key `zzz`", "results are name, when, state"]),
    ("compare absent", 5, &["no folder absent"]),
    ("compare folder", 2, &["no finished run", "give run directories"]),
    ("init e.toml", 5, &["e.toml", "give another file"]),
    ("config --explain zzz", 2, &["no key `zzz`"]),
    ("run mlp --server fast", 2, &["fast", "--server", "known are sgd, momentum, adagrad, adam"]),
    ("run mlp --term proximal", 2, &["--term", "proximal:mu=…"]),
    ("run mlp --aggregate median --weighting examples", 2, &["median", "weighting examples", "do not combine"]),
    (
        "run mlp --clients 10 --aggregate krum:4",
        2,
        &["krum:f=4 needs 11 updates (n ≥ 2f + 3)", "a round of 10 clients", "--min-clients 11"],
    ),
    ("run mlp --aggregate trimmed-mean:beta=0.5", 2, &["beta=0.5", "at least 0 and below 0.5"]),
    ("run mlp --aggregate nnm+median", 2, &["nnm:f=rule cannot stand before median", "f=2"]),
    ("run mlp --clients 10 --attack alie:0.2", 2, &["z = 0.00", "no supporters", "z=1.5"]),
    ("run mlp --aggregate centred-clipping", 2, &["needs the key `tau`", "or median"]),
    ("run mlp --epochs 0.5 --uneven uniform", 2, &["uniform:least=1", "whole --epochs"]),
    ("run mlp --strategy fedbuff", 2, &["buffered:size=10", "virtual time", "give --clock"]),
    ("run mlp --schedule synchronous:over-commit=1.3", 2, &["over-commit=1.3", "give --clock"]),
    ("run mlp --schedule synchronous:over-commit=0.5", 2, &["over-commit=0.5", "at least 1"]),
    ("run mlp --deadline 5", 2, &["--deadline 5", "--clock", "--client-timeout"]),
    ("run mlp --step-time 5", 2, &["--step-time has no effect on a run without --clock"]),
    ("run mlp --clock constant --step-time 0", 2, &["--step-time is 0", "1e-9 to 1e9 virtual seconds"]),
    ("run mlp --clock constant --step-time 1e300", 2, &["--step-time is 1e300", "1e-9 to 1e9 virtual seconds"]),
    ("run mlp --clock constant:slowness=1e13", 2, &["slowness 1e13", "from 1e-12 to 1e12"]),
    ("run mlp --clock file:", 2, &["needs the key `path`", "write `file:path=…`"]),
    ("run mlp --clock file:path=text,sha256=0a", 2, &["sha256=0a", "64 hexadecimal digits"]),
    ("run mlp --partition file:path=text,sha256=0a", 2, &["sha256=0a", "64 hexadecimal digits"]),
    ("run mlp --init-from path=text,sha256=0a", 2, &["sha256=0a", "64 hexadecimal digits"]),
    ("run mlp --strategy ditto:lambda=1e300", 2, &["lambda=1e300", "(at most 3.4028235e38)"]),
    ("run mlp --strategy ditto:lambda=1e-300", 2, &["lambda=1e-300", "(apart from 0 at least 1.1754944e-38)"]),
    ("run mlp --aggregate bucketing:5000000000+median", 2, &["s=5000000000", "(at most 4294967295)"]),
    ("run mlp --clock constant --strategy fedasync --aggregate median", 2, &["median", "each update comes alone"]),
    ("run mlp --clock constant --strategy fedasync --weighting steps", 2, &["weighting steps", "leave it out"]),
    (
        "run mlp --sample poisson:0.1 --fraction 0.5",
        2,
        &["--fraction has no effect", "poisson:rate=0.1", "leave it out"],
    ),
    ("run mlp --strategy centralised --clock constant", 2, &["--clock has no effect", "centralised", "leave it out"]),
    ("run --config idle.toml", 2, &["idle.toml", "--fine-tune has no effect", "without --holdout"]),
    ("run --config bad-value.toml", 2, &["bad-value.toml", "line 4, column 1", "--lr is fast", "above 0"]),
    ("verify sweep-of-seeds/000", 5, &["no folder sweep-of-seeds/000", "give the directory of a run"]),
    ("verify absent", 5, &["no folder absent", "give the directory of a run"]),
    ("run --resume absent", 5, &["no folder absent", "give the directory of a run"]),
    ("run --resume sweep-of-seeds", 5, &["sweep-of-seeds is a sweep", "sweep-of-seeds/000"]),
    ("evaluate sweep-of-seeds", 5, &["sweep-of-seeds is a sweep", "sweep-of-seeds/000"]),
    ("reload absent", 5, &["no folder absent"]),
    ("watch folder", 5, &["folder holds no run", "give the directory of a run"]),
    ("run mlp --clock constant --strategy fedbuff --deadline 5", 2, &["--deadline 5", "waits for none"]),
    ("run mlp --clock constant --strategy fedbuff --min-clients 2", 2, &["--min-clients", "waits for its buffer"]),
    ("run mlp --clock constant --strategy fedasync --uneven stragglers:0.5", 2, &["stragglers", "take uniform"]),
    ("run mlp --clock constant --strategy fedbuff --sample cyclic", 2, &["cyclic", "buffered", "do not combine"]),
    ("run mlp --clock constant --strategy fedbuff --term dynamic:0.1", 2, &["dynamic", "buffered", "do not combine"]),
    (
        "run mlp --clock constant --schedule synchronous:over-commit=2 --sample poisson:0.5",
        2,
        &["poisson", "over-commit=2", "do not combine"],
    ),
    ("run mlp --clock constant --strategy-program cat", 2, &["the clock constant", "a program", "do not combine"]),
    (
        "run mlp --clock constant --clients 10 --strategy fedbuff:size=4 --aggregate krum:1",
        2,
        &["krum:f=1 needs 5 updates", "a round of 4 clients"],
    ),
    ("run mlp --clock file:absent.csv", 2, &["file:path=absent.csv", "No such file"]),
    ("run mlp --clock file:text", 2, &["text does not begin with the header `client,slowness,bandwidth`", "add it"]),
    ("run mlp --clock lognormal:sigma=1e9", 2, &["lognormal:sigma=1000000000", "give a smaller sigma"]),
    ("run mlp --strategy scaffold --aggregate median", 2, &["control-variate", "median", "do not combine"]),
    ("run mlp --strategy-program cat --server adam", 2, &["the server optimiser adam", "leave one out"]),
    (
        "run mlp --aggregate trimmed-mean --min-clients 4",
        2,
        &["trimmed-mean:beta=0.1", "needs 10 updates", "with 4", "--min-clients 10"],
    ),
    ("run mlp --strategy fednova --term proximal:20", 2, &["normalised", "proximal:mu=20", "--lr 0.1", "below 2"]),
    (
        "run mlp --strategy scaffold --optimiser sgd:momentum=0.5,keep=true",
        2,
        &["control-variate", "keep=true", "keep=false"],
    ),
    ("run mlp --strategy fednova --optimiser own", 2, &["normalised", "the optimiser own", "take sgd"]),
    ("run mlp --init-seed -1", 2, &["-1", "--init-seed"]),
    ("run mlp --rounds 9223372036854775808", 2, &["--rounds", "at most 9223372036854775807"]),
    ("run mlp --config format-1.toml", 2, &["format-1.toml", "format 1", "format 2", "begin it anew"]),
    ("run --resume run-before", 5, &["run-before/experiment.toml", "format 1", "format 2"]),
    ("verify run-of-format-1", 5, &["run-of-format-1/ledger.jsonl", "format 1", "format 2"]),
    ("strategies extra", 2, &["extra"]),
    ("run mlp --config absent.toml", 2, &["absent.toml", "No such file"]),
    ("run mlp --config text", 2, &["cannot use text"]),
    ("run --config no-model.toml", 2, &["no model is named"]),
    (
        "run mlp --config unknown-key.toml",
        2,
        &["unknown-key.toml", "line 2, column 1", "no key `modle`", "mean model?"],
    ),
];

const MODELS: &[Case] = &[
    ("run nonesuch", 3, &["\"nonesuch\"", "libnonesuch.so is not in", "fedpipe models"]),
    ("run mlp.so", 3, &["\"mlp.so\"", "a path has a `/` in it"]),
    ("run ./nonesuch.so", 3, &["./nonesuch.so", "build the model"]),
    ("run ./folder", 3, &["./folder"]),
    ("run ./text", 3, &["text", "no shared library"]),
    ("run ./empty.so", 3, &["empty.so", "no shared library"]),
    ("run ./truncated.so", 3, &["truncated.so", "truncated at byte 20000", "build it again"]),
    ("run ./beheaded.so", 3, &["beheaded.so", "truncated at byte 40"]),
    ("run not-a-model", 3, &["no fedpipe model", "export_model!"]),
    ("run other-abi", 3, &["another version of fedpipe-model", "rebuild"]),
    ("run other-version", 3, &["another version of fedpipe-model", "0.1.0", "0.2.0", "rebuild"]),
    ("run ./other-abi-stable.so", 3, &["another version of fedpipe-model", "abi_stable is another"]),
    (
        "run mlp --model-option depth=3",
        3,
        &["model mlp has no option \"depth\" (known: hidden, dropout, norm, norm-place)"],
    ),
    ("run logreg --model-option depth=3", 3, &["model logreg has no option \"depth\" (it has none)"]),
    ("run mlp --optimiser own", 3, &["mlp lacks the feature \"own-optimiser\"", "--optimiser needs"]),
    ("run mlp --model-option hidden=12,x", 3, &["hidden", "\"x\""]),
    ("run mlp --model-option hidden=0", 3, &["hidden", "0"]),
    ("run misbehaving --model-option fault=error --model-option at=build", 3, &["as it was told", "an error"]),
    ("run misbehaving --model-option fault=panic --model-option at=build", 3, &["the model panicked: as it was told"]),
    ("run misbehaving --model-option fault=panic --model-option at=layout", 3, &["the model panicked: as it was told"]),
    (
        "run misbehaving --model-option fault=panic --model-option at=weights",
        3,
        &["the model panicked: as it was told"],
    ),
];

const DATA: &[Case] = &[
    ("run mlp --clients 2001", 4, &["2001 clients", "2000 training examples", "at most 2000"]),
    ("run mlp --data nowhere", 4, &["no file or directory nowhere", "fashion-mnist"]),
    ("run mlp --data text", 4, &["text is no dataset that a reader recognises"]),
    (
        "run mlp --data folder",
        4,
        &["folder is no dataset that a reader recognises", "give files as `fedpipe data list`"],
    ),
    ("run mlp --data sound --clients 61", 4, &["61 clients", "60 training examples"]),
    ("run mlp --data counts", 4, &["60 examples", "59 labels", "give two files that belong together"]),
    ("run mlp --data test-counts", 4, &["9 examples", "8 labels", "give two files that belong together"]),
    ("run mlp --data truncated", 4, &["train-images-idx3-ubyte is truncated", "376", "300"]),
    ("run mlp --data headless", 4, &["t10k-labels-idx1-ubyte is truncated"]),
    ("run mlp --data longer", 4, &["train-labels-idx1-ubyte continues after"]),
    ("run mlp --data swapped", 4, &["train-images-idx3-ubyte is not an IDX file of images"]),
    ("run mlp --data label", 4, &["t10k-labels-idx1-ubyte has the label 9 at row 3", "0 to 2"]),
    ("run mlp --data shape", 4, &["[3, 2]", "[2, 3]"]),
    ("run mlp --data huge", 4, &["train-images-idx3-ubyte"]),
    ("run mlp --data gzip", 4, &["train-images-idx3-ubyte.gz"]),
    ("run mlp --partition shards:per-client=600", 4, &["600", "shards"]),
    ("run mlp --partition labels:11", 4, &["11 labels of the 10 that have an example", "lower `k`"]),
    ("run mlp --partition exponential --clients 20", 4, &["`exponential` client 0 of 20", "give at most"]),
    ("run mlp --partition natural", 4, &["no natural clients", "another partition scheme"]),
    ("run mlp --partition file:absent.csv", 4, &["absent.csv cannot be read", "check that it exists"]),
    ("data show --data sample --partition own", 2, &["--partition own", "give another"]),
    ("data show --data sample --clients 0", 2, &["--clients is 0", "at least 1"]),
];

const OUTPUT: &[Case] = &[
    ("run mlp --out text/run", 5, &["text/run", "Not a directory", "--out"]),
    ("run mlp --out text", 5, &["text", "--out"]),
    ("run mlp --out /proc/run", 5, &["/proc/run", "--out"]),
    ("run mlp --out run-before", 5, &["run-before already holds a run", "--out"]),
    ("run mlp --out sound", 5, &["sound is not empty", "--out"]),
];

#[test]
fn bad_arguments_are_one_sentence() {
    check(ARGUMENTS);
}

#[test]
fn a_model_that_is_none_is_one_sentence() {
    check(MODELS);
}

#[test]
fn bad_data_are_one_sentence() {
    check(DATA);
}

#[test]
fn a_folder_that_cannot_be_used_is_one_sentence() {
    check(OUTPUT);
}

/// A model that fails in every client ends the run in its first round. The failure of each client is printed before.
#[test]
fn a_model_that_fails_in_training_ends_the_run() {
    let cases = [
        ("fault=error", "as it was told, the model returns an error"),
        ("fault=panic", "the model panicked: as it was told, the model panics"),
        ("fault=too-few", "got 9 weights from the model, expected 10"),
        ("fault=too-many", "got 11 weights from the model, expected 10"),
        ("fault=nan", "its update was refused: weight 1 is NaN"),
        ("fault=exit-3", "it exited with code 3"),
        ("fault=segfault", "killed by SIGSEGV"),
    ];
    check_all(cases, |(fault, says)| {
        let place = Place::new();
        let (output, run) = place.try_run(&format!("misbehaving --clients 2 --on-failure drop --model-option {fault}"));
        let errors = stderr(&output);
        let last = errors.lines().last().unwrap_or_default();
        let begins = "error: round 1 failed: 0 of 2 clients returned an update (quorum 1): ";
        let fits = last.starts_with(begins) && last.contains(says) && last.len() < LONGEST;
        let left = run.ledger("round").is_empty() && run.summary()["rounds"] == 0;
        match output.status.code() {
            Some(6) if fits && left => Ok(()),
            _ => Err(format!("{} {errors}", output.status)),
        }
    });
}

/// The host finds the panic above its backtrace. It announces no results, since there are none.
#[test]
fn the_last_words_of_a_panic_have_its_message_with_file_and_line() {
    check_all(["0", "1", "full"], |backtrace| {
        let place = Place::new();
        let (mut command, run) = place.command("misbehaving --clients 1 --on-failure drop --model-option fault=panic");
        let output = command.env("RUST_BACKTRACE", backtrace).output().unwrap();
        let crashes = run.ledger("client_crashed");
        let words = crashes[0]["last_words"].as_array().unwrap();
        let (said, errors) = (stdout(&output), stderr(&output));
        let first = words[0].as_str().unwrap();
        let has_place = first.starts_with("panicked at crates/cli/fixtures/misbehaving/src/faults.rs:");
        let has_message = first.ends_with(": as it was told, the model panics") && words.len() == 1;
        let is_told = errors.contains(&format!("\n  | {first}\n"))
            && errors.contains(" failed: 0 of 1 client returned an update");
        let has_no_result = said.contains("no round was completed  (1 client, ") && !said.contains("results");
        if has_place && has_message && is_told && has_no_result {
            Ok(())
        } else {
            Err(format!("{words:?}\n{said}\n{errors}"))
        }
    });
}

#[test]
fn what_a_failed_run_was_to_be_called_can_be_used_again() {
    let place = Place::new();
    let (output, _) = place.try_run("mlp --clients 2001");
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    place.run("logreg --rounds 1");
}

#[test]
fn a_runs_folder_that_takes_nothing_is_no_endless_search_for_a_number() {
    let place = Place::new();
    // Not even root can create a file in this folder.
    std::os::unix::fs::symlink("/proc/self", place.path("runs")).unwrap();
    let output = place.fedpipe("run logreg --data sample").output().unwrap();
    assert!(output.status.code() == Some(5) && stderr(&output).contains("runs/logreg-1"), "{}", stderr(&output));
}

#[test]
fn help_and_version_are_no_errors() {
    let place = Place::new();
    for arguments in ["--help", "--version", "run --help", "data --help"] {
        let output = place.fedpipe(arguments).output().unwrap();
        assert!(output.status.success() && stderr(&output).is_empty(), "{arguments}: {}", stderr(&output));
        assert!(!stdout(&output).is_empty(), "{arguments}");
    }
    let help = stdout(&place.fedpipe("--help").output().unwrap());
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 ", "128+n"] {
        assert!(help.contains(&format!("\n  {code}")), "--help does not document exit code {code}");
    }
}

fn check(cases: &[Case]) {
    let place = Place::new();
    prepare(&place);
    let before = place.contents();
    check_all(cases, |(arguments, code, says)| {
        let output = start(&place, arguments);
        one_sentence(&output, *code, says)?;
        let after = place.contents();
        let new = after.iter().find(|entry| !before.contains(entry)).or(before.iter().find(|e| !after.contains(e)));
        new.map_or(Ok(()), |changed| Err(format!("it left or changed {}", changed.0.display())))
    });
}

/// Starts a run with `--quiet`, so that it prints an error alone, and on the sample unless other data are named.
fn start(place: &Place, arguments: &str) -> Output {
    let mut command: Command = place.fedpipe(arguments);
    if arguments.starts_with("run ") {
        command.arg("--quiet");
        let given = |name: &str| arguments.contains(name);
        command.args(["--data", "sample"].iter().filter(|_| !given("--data")));
    }
    command.output().unwrap()
}

fn one_sentence(output: &Output, code: i32, says: &[&str]) -> Result<(), String> {
    let errors = stderr(output);
    let fail = |why: String| Err(format!("{why}: {}{errors}", stdout(output)));
    if output.status.code() != Some(code) {
        return fail(format!("{} instead of {code}", output.status));
    }
    if !errors.starts_with("error: ") || !errors.ends_with('\n') || errors.lines().count() != 1 {
        return fail("not one line that begins with `error: `".into());
    }
    if errors.len() > LONGEST || !stdout(output).is_empty() {
        return fail(format!("{} characters, or something on standard output", errors.len()));
    }
    match says.iter().find(|words| !errors.contains(**words)) {
        Some(words) => fail(format!("it does not say {words:?}")),
        None => Ok(()),
    }
}

/// Creates the files and folders that the cases name.
fn prepare(place: &Place) {
    fs::write(place.path("text"), "this is no shared library, no TOML and no image").unwrap();
    fs::write(place.path("empty.so"), "").unwrap();
    fs::write(place.path("no-model.toml"), "format = 2\nclients.count = 3\n").unwrap();
    fs::write(place.path("unknown-key.toml"), "format = 2\nmodle = 'mlp'\n").unwrap();
    fs::write(place.path("idle.toml"), "format = 2\nmodel = 'mlp'\nevaluation.fine-tune = 3\n").unwrap();
    fs::write(place.path("bad-value.toml"), "format = 2\nmodel = 'mlp'\n[local]\nlr = 'fast'\n").unwrap();
    fs::write(place.path("format-1.toml"), "model = 'mlp'\nclients = 3\n").unwrap();
    fs::write(place.path("e.toml"), "format = 2\nmodel = 'mlp'\ndata.source = 'sample'\n").unwrap();
    for folder in ["folder", "run-before", "run-of-format-1", "sweep-of-format-2"] {
        fs::create_dir(place.path(folder)).unwrap();
    }
    fs::create_dir(place.path("sweep-of-seeds")).unwrap();
    let sweep = r#"{"format": 1, "axes": [{"key": "seed", "values": ["0"]}], "runs": [{"name": "000", "values": {"seed": "0"}}]}"#;
    fs::write(place.path("sweep-of-seeds/sweep.json"), sweep).unwrap();
    fs::write(place.path("sweep-of-format-2/sweep.json"), "{\"format\": 2}").unwrap();
    for (file, contents) in [("experiment.toml", "model = 'mlp'\n"), ("summary.json", "{}"), ("ledger.jsonl", "{}\n")] {
        fs::write(place.path("run-before").join(file), contents).unwrap();
    }
    let ledger = "{\"event\":\"started\",\"fedpipe\":\"0.1.0\",\"experiment\":{\"model\":\"mlp\",\"clients\":3}}\n";
    fs::write(place.path("run-of-format-1/ledger.jsonl"), ledger).unwrap();
    fs::write(place.path("run-of-format-1/experiment.toml"), "model = 'mlp'\n").unwrap();
    prepare_dylibs(place);
    prepare_data(place);
}

fn prepare_dylibs(place: &Place) {
    let mut bytes = fs::read(dylib("other-abi")).unwrap();
    fs::write(place.path("truncated.so"), &bytes[..20_000]).unwrap();
    fs::write(place.path("beheaded.so"), &bytes[..40]).unwrap();
    // The header is that of an abi_stable that does not exist yet.
    let magic = b"abi stable library for Rust";
    let at = bytes.windows(magic.len()).position(|part| part == magic).unwrap();
    bytes[at] = b'A';
    fs::write(place.path("other-abi-stable.so"), bytes).unwrap();
}

fn prepare_data(place: &Place) {
    let set = |name: &str, file: usize, contents: Vec<u8>| {
        idx::write(&place.path(name));
        fs::write(place.path(name).join(idx::FILES[file]), contents).unwrap();
    };
    let with = |mut bytes: Vec<u8>, at: usize, values: &[u8]| {
        bytes[at..at + values.len()].copy_from_slice(values);
        bytes
    };
    idx::write(&place.path("sound"));
    set("counts", 1, idx::labels(59));
    set("test-counts", 3, idx::labels(8));
    set("truncated", 0, idx::images(60)[..300].to_vec());
    set("headless", 3, vec![0, 0, 8]);
    set("longer", 1, [idx::labels(60), vec![1]].concat());
    set("swapped", 0, idx::labels(60));
    set("label", 3, with(idx::labels(9), 8 + 3, &[9]));
    // The header of the test images has the shape 3×2.
    set("shape", 2, with(idx::images(9), 8, &[0, 0, 0, 3, 0, 0, 0, 2]));
    set("huge", 0, with(idx::images(60), 4, &[255; 12]));
    set("gzip", 0, Vec::new());
    fs::remove_file(place.path("gzip").join(idx::FILES[0])).unwrap();
    fs::write(place.path("gzip").join(idx::FILES[0]).with_extension("gz"), "this is not gzip").unwrap();
}
