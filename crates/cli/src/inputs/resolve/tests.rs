//! Tests of the experiment that a command line describes.

use fedpipe_strategy::local_work::LocalWork;

use crate::args::{self, Command};

use super::*;

fn resolved(line: &str) -> Result<Experiment> {
    let arguments: Vec<_> = ["fedpipe", "run"].into_iter().chain(line.split(' ')).map(Into::into).collect();
    match args::parse(&arguments).unwrap() {
        Command::Run(args) => resolve(&args),
        command => panic!("{command:?}"),
    }
}

#[test]
fn each_flag_reaches_its_key() {
    let words = "mlp --clients 7 --rounds 8 --seed 18446744073709551615 --data sample --target real --label y --client-column who --test-data t.csv \
         --test-split 0.2 --image-size 8x8x3 --standardise --partition shards:2 \
         --strategy fedadam:rate=0.02 --fraction 0.5 --epochs 9 --batch-size 10 --lr 0.3 --optimiser adam \
         --lr-schedule cosine --model-option hidden=3 --on-failure drop --min-clients 2 --client-timeout 11 --processes 3 --jobs 4 \
         --isolation off --memory-limit 2G --cpu-limit 12 --checkpoint-every 13 --data-seed 1 --init-seed 2 \
         --sample-seed 3 --sample uniform --term proximal:0.5 --transform clip:2+int8 --weighting equal \
         --aggregate median --server sgd:rate=0.5 --holdout 0.2 --holdout-clients 0.25 --evaluate-clients 3 \
         --evaluate-every 4 --by-class --until accuracy=0.5,stop=false --attack sign-flip:fraction=0.2 --uneven uniform \
         --schedule synchronous:over-commit=1.5 --clock constant:slowness=2 --step-time 0.25 --deadline 9 --fine-tune 3";
    let expected = "format = 2\nmodel = 'mlp'\nmodel-options = { hidden = '3' }\nrounds = 8\n\
         until-converged = false\nuntil = 'accuracy=0.5,stop=false'\nmax-rounds = 200\ntolerance = 0.02\nseed = '18446744073709551615'\n\
         data-seed = 1\ninit-seed = 2\nsample-seed = 3\n\
         data = { source = 'sample', target = 'real', label = 'y', client-column = 'who', test-data = 't.csv', \
         test-split = 0.2, image-size = '8x8x3', standardise = true, partition = 'shards:per-client=2', \
         holdout = 0.2, holdout-clients = 0.25 }\n\
         clients = { count = 7, fraction = 0.5, on-failure = 'drop', min-clients = 2 }\n\
         local = { epochs = 9, batch-size = 10, lr = 0.3, lr-schedule = 'cosine', optimiser = 'adam', uneven = 'uniform' }\n\
         strategy = { name = 'fedadam:rate=0.02', sample = 'uniform', term = 'proximal:0.5', transform = 'clip:2+int8', \
         weighting = 'equal', aggregate = 'median', server = 'sgd:rate=0.5', attack = 'sign-flip:fraction=0.2', \
         schedule = 'synchronous:over-commit=1.5' }\n\
         time = { clock = 'constant:slowness=2', step-time = 0.25, deadline = 9.0 }\n\
         evaluation = { clients = 3, every = 4, by-class = true, fine-tune = 3 }\n\
         execution = { client-timeout = 11.0, processes = 3, jobs = 4, isolation = 'off', memory-limit = '2G', \
         cpu-limit = 12, checkpoint-every = 13 }";
    let expected = Experiment::deserialize_from(expected.parse().unwrap()).unwrap();
    assert_eq!(resolved(words).unwrap(), expected);
    let without = [
        "client",
        "init-from",
        "availability",
        "until-converged",
        "max-rounds",
        "tolerance",
        "strategy-program",
        "local-steps",
    ];
    let flags = Experiment::keys();
    let flags = flags.iter().filter_map(ExperimentKey::long).filter(|flag| !without.contains(flag));
    let absent: Vec<_> = flags.filter(|flag| !words.contains(&format!("--{flag} "))).collect();
    assert_eq!(absent, [""; 0]);

    let other = resolved(
        "--client true --until-converged --max-rounds 3 --tolerance 0.5 --strategy-program cat \
                           --local-steps 7",
    );
    let mut expected = Experiment {
        client: Some("true".into()),
        until_converged: true,
        max_rounds: 3,
        tolerance: 0.5,
        ..Experiment::default()
    };
    expected.strategy.program = Some("cat".into());
    expected.local.local_steps = Some(7);
    assert_eq!(other.unwrap(), expected);
}

#[test]
fn a_short_name_reaches_its_key_and_text_in_quotes_stays_text() {
    let line = "mlp --set lr=0.25 --set clients=9 --set strategy=fedprox:0.5 --set model-option.hidden=\"256,64\"";
    let experiment = resolved(line).unwrap();
    assert_eq!((experiment.local.lr, experiment.clients.count), (0.25, 9));
    assert_eq!(experiment.strategy_name(), "fedprox:mu=0.5");
    assert_eq!(experiment.model_options["hidden"], "256,64");
}

#[test]
fn each_key_is_reached_by_its_path() {
    let default = Table::try_from(Experiment::default()).unwrap();
    for key in Experiment::keys() {
        let text = match (key.name.as_str(), key.find(&default)) {
            (
                "model" | "client" | "init-from" | "availability" | "program" | "label" | "client-column" | "test-data",
                _,
            ) => "some".to_owned(),
            ("model-options", _) => "{ a = 'b' }".to_owned(),
            ("memory-limit", _) => "2G".to_owned(),
            ("clock", _) => "constant".to_owned(),
            ("until", _) => "loss=0.5".to_owned(),
            ("test-split", _) => "0.5".to_owned(),
            ("image-size", _) => "8x8".to_owned(),
            (_, Some(value)) => value.to_string(),
            (_, None) => "7".to_owned(),
        };
        let mut table = default.clone();
        set(&mut table, &key.path(), &text);
        assert!(key.find(&table).is_some(), "{}", key.path());
        Experiment::deserialize_from(table).unwrap_or_else(|error| panic!("{}: {error}", key.path()));
    }
}

#[test]
fn the_weighting_of_a_file_follows_another_aggregator_unless_one_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("experiment.toml");
    let weighting = |written: &str, more: &str| {
        std::fs::write(&file, resolved(written).unwrap().to_toml().unwrap()).unwrap();
        let resolved = resolved(&format!("--config {} {more}", file.display())).unwrap();
        resolved.strategy.weighting.to_string()
    };
    assert_eq!(weighting("mlp", "--aggregate median"), "equal");
    assert_eq!(weighting("mlp --aggregate median", "--aggregate mean"), "examples");
    assert_eq!(weighting("mlp --aggregate median", "--aggregate mean --weighting steps"), "steps");
    assert_eq!(weighting("mlp --weighting steps", "--aggregate normalised"), "steps");
    assert_eq!(weighting("mlp", "--set strategy.aggregate=median"), "equal");
}

#[test]
fn a_preset_replaces_the_rows_of_a_file_and_a_row_that_of_the_preset() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("experiment.toml");
    let before = resolved("mlp --strategy fedprox:0.1 --server adam").unwrap();
    std::fs::write(&file, before.to_toml().unwrap()).unwrap();
    let resolved = |more: &str| resolved(&format!("--config {} {more}", file.display())).unwrap().strategy;
    assert_eq!(resolved("--seed 1"), before.strategy);
    assert_eq!(resolved("--strategy fedavg"), "fedavg".parse().unwrap());
    assert_eq!(resolved("--set strategy.name=fedavg"), "fedavg".parse().unwrap());
    assert_eq!(resolved("--strategy-program cat").program.as_deref(), Some("cat"));
    assert_eq!(resolved("--server sgd"), "fedprox:0.1".parse().unwrap());
    assert_eq!(
        resolved("--strategy fedavg --aggregate median").rules.to_string(),
        "fedavg with the weighting equal, the aggregator median"
    );
}

#[test]
fn a_split_by_hand_decides_the_clients_unless_the_user_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("split.csv"), "row,client\n0,0\n1,1\n2,2\n").unwrap();
    let partition = format!("--partition file:{}", path("split.csv").display());
    let clients = |more: &str| resolved(&format!("mlp {more}")).unwrap().clients.count;
    assert_eq!([clients(&partition), clients(&format!("{partition} --clients 2"))], [3, 2]);
    assert_eq!(clients(&format!("{partition} --set clients.count=5")), 5);
    // The number of a file belongs to the partition in it.
    std::fs::write(path("experiment.toml"), resolved("mlp --clients 9").unwrap().to_toml().unwrap()).unwrap();
    let config = format!("--config {}", path("experiment.toml").display());
    assert_eq!([clients(&config), clients(&format!("{config} {partition}"))], [9, 3]);
    // The experiment names the content, and reads no file again.
    let written = resolved(&format!("mlp {partition}")).unwrap();
    assert!(written.data.partition.split_file().unwrap().sha256.len() == 64);
    std::fs::write(path("experiment.toml"), written.to_toml().unwrap()).unwrap();
    std::fs::remove_file(path("split.csv")).unwrap();
    assert_eq!(resolved(&format!("mlp {config}")).unwrap(), written);
}

#[test]
fn later_sources_override_earlier_ones() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("experiment.toml");
    let text = "format = 2\nmodel = 'mlp'\nrounds = 7\nseed = 9\nclients.count = 8\n\
                [model-options]\nhidden = '3'\ndepth = '4'\n";
    std::fs::write(&file, text).unwrap();
    let line = format!(
        "logreg --config {} --clients 5 --seed 6 --set seed=2 --model-option hidden=1 --set model-options.depth=2",
        file.display()
    );
    let experiment = resolved(&line).unwrap();
    assert_eq!((experiment.model.as_str(), experiment.rounds), ("logreg", 7));
    assert_eq!((experiment.clients.count, experiment.seed.0), (5, 2));
    assert_eq!(experiment.model_options, [("depth", "2"), ("hidden", "1")].map(|(k, v)| (k.into(), v.into())).into());
    // A client replaces the model of the file.
    let experiment = resolved(&format!("--config {} --client true", file.display())).unwrap();
    assert_eq!((experiment.model.as_str(), experiment.client.as_deref()), ("", Some("true")));
    // Epochs replace the steps of a file, and the other way round.
    std::fs::write(&file, resolved("mlp --local-steps 7").unwrap().to_toml().unwrap()).unwrap();
    let work = |more: &str| resolved(&format!("--config {} {more}", file.display())).unwrap().local.work();
    assert_eq!([work("--epochs 2.5"), work("--seed 1")], [LocalWork::Epochs(2.5), LocalWork::Steps(7)]);
    // The rate depends on the optimiser, until one is given.
    assert_eq!(resolved("mlp --optimiser adam").unwrap().local.lr, 0.001);
    assert_eq!(resolved("mlp --optimiser adam --lr 0.1").unwrap().local.lr, 0.1);
}

/// Flags, `--set` and a file reach one check each.
#[test]
fn a_bad_value_has_the_same_refusal_whatever_gives_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("e.toml");
    let refusal = |line: &str| {
        let arguments: Vec<_> = ["fedpipe", "run"].into_iter().chain(line.split(' ')).map(Into::into).collect();
        let args = match args::parse(&arguments) {
            Ok(Command::Run(args)) => args,
            Ok(command) => panic!("{command:?}"),
            Err(error) => return args::argument_error::sentence(&error),
        };
        let checked = resolve(&args).and_then(|experiment| Ok(experiment.check()?));
        checked.map(|()| format!("{line} is not refused")).unwrap_or_else(|error| error.to_string())
    };
    let cases: [&[(&str, &str)]; 24] = [
        &[("lr", "fast")],
        &[("lr", "1e300")],
        &[("lr", "1e-60")],
        &[("lr", "-1")],
        &[("clients", "0")],
        &[("clients", "-1")],
        &[("clients", "5000000000")],
        &[("rounds", "1.5")],
        &[("seed", "-1")],
        &[("fine-tune", "3")],
        &[("fine-tune", "-1")],
        &[("evaluate-clients", "2")],
        &[("clock", "constant"), ("step-time", "1e300")],
        &[("step-time", "2")],
        &[("client-timeout", "0")],
        &[("sample", "poisson:0.1"), ("fraction", "0.5")],
        &[("strategy", "ditto:lambda=1e300")],
        &[("strategy", "fedasync"), ("clock", "constant"), ("aggregate", "median")],
        &[("clock", "file:path=t.csv,sha256=0a")],
        &[("partition", "file:path=t.csv,sha256=0a")],
        &[("init-from", "path=a,sha256=0a")],
        &[("availability", "rounds:0=5-2")],
        &[("availability", "rounds:0=1-9")],
        &[("memory-limit", "12")],
    ];
    for given in cases {
        let keys = given.iter().map(|(flag, value)| {
            let key = Experiment::keys().into_iter().find(|key| key.id() == *flag).unwrap();
            (flag, key.path(), value)
        });
        let keys: Vec<_> = keys.collect();
        let each = |form: &dyn Fn(&str, &str, &str) -> String| {
            keys.iter().map(|(flag, path, value)| form(flag, path, value)).collect::<String>()
        };
        let by_flag = refusal(&format!("mlp{}", each(&|flag, _, value| format!(" --{flag} {value}"))));
        // The command line names the flag and the value before the reason.
        let reason = by_flag.strip_prefix("invalid value ").and_then(|rest| rest.split_once(">': "));
        let reason = reason.map_or(by_flag.as_str(), |(_, reason)| reason);
        let by_set = refusal(&format!("mlp{}", each(&|_, path, value| format!(" --set {path}={value}"))));
        let lines = each(&|_, path, value| {
            let is_toml = format!("x = {value}").parse::<Table>().is_ok();
            if is_toml { format!("{path} = {value}\n") } else { format!("{path} = '{value}'\n") }
        });
        std::fs::write(&file, format!("format = 2\n{lines}")).unwrap();
        let by_file = refusal(&format!("mlp --config {}", file.display()));
        for other in [by_set, by_file] {
            assert!(other.ends_with(reason), "{given:?}: {other}\nand by flag: {by_flag}");
        }
    }
}

/// A key of a file that has its default is not given: `fedpipe init` writes all of them.
#[test]
fn a_file_with_defaults_alone_has_no_key_without_effect() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("e.toml");
    let resolved = |text: &str, more: &str| {
        std::fs::write(&file, text).unwrap();
        resolved(&format!("mlp --config {}{more}", file.display()))
    };
    let all = fedpipe_record::experiment_text::commented().unwrap();
    resolved(&all, "").unwrap();
    resolved(&all, " --until-converged --sample poisson:0.1").unwrap();
    let why = resolved("format = 2\nrounds = 7\nuntil-converged = true", "").unwrap_err().to_string();
    assert!(why.starts_with("cannot use ") && why.ends_with("or --until; give --max-rounds 7"), "{why}");
    // An app of Flower sets all keys.
    let defaults =
        " --set evaluation.clients=all --set evaluation.every=1 --set time.step-time=0.01 --set tolerance=0.02";
    resolved("format = 2", defaults).unwrap();
    resolved("format = 2", " --set evaluation.every=2").unwrap_err();
    // A flag replaces what a file says.
    assert!(resolved("format = 2\nrounds = 7", " --until-converged").unwrap().until_converged);
    resolved("format = 2\nclients.fraction = 0.5", " --sample poisson:0.1").unwrap();
    resolved("format = 2\nevaluation.fine-tune = 3", " --holdout 0.2").unwrap();
    let federated = "format = 2\nlocal.uneven = 'uniform:least=1'\nlocal.epochs = 2\ntime.clock = 'constant'";
    assert!(resolved(federated, " --strategy centralised").unwrap().time.clock.is_none());
}

#[test]
fn a_flag_without_effect_is_refused_by_name() {
    let cases = [
        ("mlp --max-rounds 3", "--max-rounds has no effect"),
        ("mlp --set tolerance=0.1", "--tolerance has no effect"),
        ("mlp --rounds 3 --set until-converged=true", "--rounds has no effect"),
        ("mlp --rounds 5 --until accuracy=0.9", "on a run with --until-converged or --until; give --max-rounds 5"),
        (
            "mlp --holdout-clients 0.5 --evaluate-clients 1",
            "--evaluate-clients has no effect on a run without --holdout;",
        ),
        (
            "mlp --sample poisson:0.1 --fraction 1",
            "--fraction has no effect on a run with --sample poisson:rate=0.1, which",
        ),
        ("mlp --sample poisson:0.1 --set fraction=0.5", "--fraction has no effect"),
        (
            "mlp --strategy centralised --min-clients 1",
            "--min-clients has no effect on a run with --strategy centralised",
        ),
        ("mlp --over s --memory-limit 1G", "--memory-limit has no effect"),
        ("mlp --over s --set execution.cpu-limit=9", "--cpu-limit has no effect"),
        ("mlp --set format=1", "format 1, and this fedpipe reads format 2"),
    ];
    for (line, expected) in cases {
        let error = resolved(line).map(|experiment| format!("{experiment:?}")).unwrap_err().to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
}
