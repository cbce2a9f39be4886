//! The strategies by name: each is a composition of rows.

use std::{fmt, str::FromStr, sync::Arc};

use fedpipe_spec::table::{Named, Parameter, TableRow, Tabled, Value, Values};

use crate::{
    aggregator::{mixed_chain::Aggregation, q_fair},
    attack::Attack,
    sampler::Sampler,
    schedule::{Schedule, asynchronous, buffered, staleness},
    server::{ServerOptimiser, adagrad, adam, extrapolation, momentum, yogi},
    term::{ClientTerm, control_variate, dynamic, head, head_first, local_norm, personal_model, proximal},
    transform::chain::Transforms,
    weighting::Weighting,
};

/// The rows of a strategy, one of each table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Composition {
    /// The clients of a round.
    pub sampler: Named<dyn Sampler>,
    /// The term that a client adds to its loss.
    pub term: Named<dyn ClientTerm>,
    /// The transforms of an update.
    pub transforms: Transforms,
    /// The attack of dishonest clients.
    pub attack: Named<dyn Attack>,
    /// The weight of an update.
    pub weighting: Named<dyn Weighting>,
    /// The aggregate of the updates.
    pub aggregator: Aggregation,
    /// The step of the global weights.
    pub server: Named<dyn ServerOptimiser>,
    /// The updates that make new global weights.
    pub schedule: Named<dyn Schedule>,
}

/// The preset by which one client trains on all rows; [`Strategy::is_centralised`] names it.
///
/// [`Strategy::is_centralised`]: crate::strategy::Strategy::is_centralised
pub(crate) const CENTRALISED: &str = "centralised";

static ROWS: [TableRow<Composition>; 21] = [
    TableRow {
        name: "fedavg",
        summary: "the mean of the clients' weights by examples",
        parameters: &[],
        source: "McMahan 2017, Algorithm 1",
        build: |_| Arc::new(Composition::default()),
    },
    TableRow {
        name: "fedavgm",
        summary: "FedAvg with momentum at the server",
        parameters: &momentum::PARAMETERS,
        source: "Hsu 2019, section 4.1",
        build: |values| Arc::new(Composition { server: row("momentum", values), ..Composition::default() }),
    },
    TableRow {
        name: "fedadagrad",
        summary: "Adagrad at the server",
        parameters: &adagrad::PARAMETERS,
        source: "Reddi 2021, Algorithm 2",
        build: |values| Arc::new(Composition { server: row("adagrad", values), ..Composition::default() }),
    },
    TableRow {
        name: "fedadam",
        summary: "Adam at the server",
        parameters: &adam::PARAMETERS,
        source: "Reddi 2021, Algorithm 2",
        build: |values| Arc::new(Composition { server: row("adam", values), ..Composition::default() }),
    },
    TableRow {
        name: "fedyogi",
        summary: "Yogi at the server",
        parameters: &yogi::PARAMETERS,
        source: "Reddi 2021, Algorithm 2",
        build: |values| Arc::new(Composition { server: row("yogi", values), ..Composition::default() }),
    },
    TableRow {
        name: "fedexp",
        summary: "the step of the server grows with the spread of the changes, the equal mean",
        parameters: &extrapolation::PARAMETERS,
        source: "Jhunjhunwala 2023, Algorithm 1",
        build: |values| Arc::new(Composition { server: row("extrapolation", values), ..equal() }),
    },
    TableRow {
        name: "fedprox",
        summary: "a proximal term at the clients",
        parameters: &[proximal::MU],
        source: "Li 2020, Algorithm 2",
        build: |values| Arc::new(Composition { term: row("proximal", values), ..Composition::default() }),
    },
    TableRow {
        name: "scaffold",
        summary: "control variates at the clients, the equal mean",
        parameters: &[control_variate::OPTION],
        source: "Karimireddy 2020, Algorithm 1",
        build: |values| Arc::new(Composition { term: row("control-variate", values), ..equal() }),
    },
    TableRow {
        name: "fednova",
        summary: "changes normalised by the clients' accumulated steps",
        parameters: &[],
        source: "Wang 2020, equations 6 and 7",
        build: |values| Arc::new(Composition { aggregator: row("normalised", values), ..Composition::default() }),
    },
    TableRow {
        name: "q-fedavg",
        summary: "clients with a great loss count more; the loss is of the received weights on all training rows",
        parameters: &[q_fair::Q],
        source: "Li 2020 (q-FFL), Algorithm 2",
        build: |values| Arc::new(Composition { aggregator: row("q-fair", values), ..equal() }),
    },
    TableRow {
        name: "feddyn",
        summary: "dynamic regularisation, the equal mean",
        parameters: &[dynamic::ALPHA],
        source: "Acar 2021, Algorithm 1",
        build: |values| Arc::new(Composition { term: row("dynamic", values), ..equal() }),
    },
    TableRow {
        name: "fedbuff",
        summary: "a buffer of updates in virtual time, the equal mean; its server rate is that of --server sgd:rate=…",
        parameters: &buffered::PARAMETERS,
        source: "Nguyen 2022, Algorithm 1",
        build: |values| Arc::new(Composition { schedule: row("buffered", values), ..equal() }),
    },
    TableRow {
        name: "fedasync",
        summary: "a change after each update in virtual time, with a proximal term at the clients",
        parameters: &FEDASYNC,
        source: "Xie 2019, Algorithm 1",
        build: |values| {
            let (of_term, of_schedule): (Vec<_>, Vec<_>) = values.iter().partition(|(key, _)| *key == proximal::MU.key);
            let (term, schedule) = (row_of("proximal", of_term), row_of("asynchronous", of_schedule));
            Arc::new(Composition { term, schedule, ..equal() })
        },
    },
    TableRow {
        name: "local",
        summary: "each client trains alone, and nothing is aggregated; a baseline",
        parameters: &[],
        source: "Li 2021 (Ditto), section 4",
        build: |values| Arc::new(Composition { term: row("alone", values), ..equal() }),
    },
    TableRow {
        name: CENTRALISED,
        summary: "one client has all rows and the mini-batches of a whole round; a baseline",
        parameters: &[],
        source: "McMahan 2017, section 3",
        build: |_| Arc::new(Composition::default()),
    },
    TableRow {
        name: "ditto",
        summary: "a model of its own at each client besides the global one, the equal mean",
        parameters: &[personal_model::LAMBDA],
        source: "Li 2021 (Ditto), Algorithm 1",
        build: |values| Arc::new(Composition { term: row("personal-model", values), ..equal() }),
    },
    TableRow {
        name: "fedper",
        summary: "a head of its own at each client",
        parameters: &[head::HEAD],
        source: "Arivazhagan 2019, section 3",
        build: |values| Arc::new(Composition { term: row("local-head", values), ..Composition::default() }),
    },
    TableRow {
        name: "fedrep",
        summary: "a head of its own at each client, trained before the body; the equal mean",
        parameters: &head_first::PARAMETERS,
        source: "Collins 2021, Algorithm 1",
        build: |values| Arc::new(Composition { term: row("head-first", values), ..equal() }),
    },
    TableRow {
        name: "fedbn",
        summary: "normalisation layers of its own at each client, the equal mean",
        parameters: &[local_norm::NORM],
        source: "Li 2021 (FedBN), Algorithm 1",
        build: |values| Arc::new(Composition { term: row("local-norm", values), ..equal() }),
    },
    TableRow {
        name: "lg-fedavg",
        summary: "a body of its own at each client below a shared head",
        parameters: &[head::HEAD],
        source: "Liang 2020, Algorithm 1",
        build: |values| Arc::new(Composition { term: row("local-body", values), ..Composition::default() }),
    },
    TableRow {
        name: "fedbabu",
        summary: "a head that keeps its initial value, and is trained for a client's own score alone",
        parameters: &[head::HEAD],
        source: "Oh 2022, Algorithm 1",
        build: |values| Arc::new(Composition { term: row("frozen-head", values), ..Composition::default() }),
    },
];

/// The parameters of FedAsync: those of its schedule, and ρ of its proximal term.
const FEDASYNC: [Parameter; 5] = [
    asynchronous::ALPHA,
    staleness::FUNCTION,
    staleness::A,
    staleness::B,
    Parameter {
        key: proximal::MU.key,
        default: Some(Value::Number(0.005)),
        range: proximal::MU.range,
        help: "ρ, the strength of the pull to the received weights",
    },
];

impl Tabled for Composition {
    const WHAT: &'static str = "strategy";
    const LIST: &'static str = "strategies";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

/// Returns FedAvg with the equal mean.
fn equal() -> Composition {
    Composition { weighting: equal_weighting(), ..Composition::default() }
}

/// Returns the weighting by which all clients count the same.
pub(crate) fn equal_weighting() -> Named<dyn Weighting> {
    parsed("equal")
}

/// Returns the row `name` with the values of a preset, which has the same parameters.
fn row<T: FromStr<Err: fmt::Display>>(name: &str, values: &Values) -> T {
    row_of(name, values.iter())
}

/// Returns the row `name` with these values.
fn row_of<T: FromStr<Err: fmt::Display>>(name: &str, values: impl IntoIterator<Item = (&'static str, Value)>) -> T {
    let values: Vec<String> = values.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    parsed(&format!("{name}:{}", values.join(",")))
}

fn parsed<T: FromStr<Err: fmt::Display>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("a preset names {text}: {error}"))
}

#[cfg(test)]
pub(crate) mod testing {
    use fedpipe_spec::table::Range;

    use super::*;

    /// Returns every row of a table. A value that must be given is 0.5, or 1 if it must be whole.
    pub(crate) fn every_row<T: Tabled + ?Sized>() -> Vec<Named<T>> {
        let named = |row: &TableRow<T>| {
            let needed = row.parameters.iter().filter(|parameter| parameter.default.is_none());
            let value = |range| if matches!(range, Range::Count | Range::WholeNumber) { "1" } else { "0.5" };
            let given: Vec<String> = needed.map(|of| format!("{}={}", of.key, value(of.range))).collect();
            parsed(&format!("{}:{}", row.name, given.join(",")))
        };
        T::rows().iter().map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::every_row, *};
    use crate::strategy::{Strategy, StrategyRows};

    #[test]
    fn each_preset_sets_its_rows_alone_and_has_its_source() {
        let expected = [
            "fedavg",
            "fedavg with the server optimiser momentum:rate=1,beta=0.9,nesterov=false",
            "fedavg with the server optimiser adagrad:rate=0.1,beta1=0,tau=0.001,v0=tau^2",
            "fedavg with the server optimiser adam:rate=0.01,beta1=0.9,beta2=0.99,tau=0.001,v0=tau^2,bias-correction=false",
            "fedavg with the server optimiser yogi:rate=0.01,beta1=0.9,beta2=0.99,tau=0.001,v0=tau^2,bias-correction=false",
            "fedavg with the weighting equal, the server optimiser extrapolation:epsilon=0.001",
            "fedavg with the client term proximal:mu=0.5",
            "fedavg with the client term control-variate:option=II, the weighting equal",
            "fedavg with the aggregator normalised",
            "fedavg with the weighting equal, the aggregator q-fair:q=0.5",
            "fedavg with the client term dynamic:alpha=0.5, the weighting equal",
            "fedavg with the weighting equal, the schedule buffered:size=10,staleness=polynomial,a=paper,b=4",
            "fedavg with the client term proximal:mu=0.005, the weighting equal, the schedule asynchronous:alpha=0.6,staleness=polynomial,a=paper,b=4",
            "fedavg with the client term alone, the weighting equal",
            "fedavg",
            "fedavg with the client term personal-model:lambda=0.5, the weighting equal",
            "fedavg with the client term local-head:head=1",
            "fedavg with the client term head-first:head=1,head-epochs=1, the weighting equal",
            "fedavg with the client term local-norm:norm=auto, the weighting equal",
            "fedavg with the client term local-body:head=1",
            "fedavg with the client term frozen-head:head=1",
        ];
        let over_fedavg = |preset| StrategyRows { name: Named::default(), ..Strategy::from(preset).into() };
        let set = every_row::<Composition>().into_iter().map(|preset| Strategy::from(over_fedavg(preset)).to_string());
        assert_eq!(set.collect::<Vec<_>>(), expected);
        assert!(ROWS.iter().all(|row| row.source.contains(' ')));
    }

    #[test]
    fn the_values_of_a_preset_reach_its_rows() {
        let preset: Named<Composition> = "fedavgm:rate=0.5,nesterov=true".parse().unwrap();
        assert_eq!(preset.server.to_string(), "momentum:rate=0.5,beta=0.9,nesterov=true");
        let preset: Named<Composition> = "fedprox:0.1".parse().unwrap();
        assert_eq!((preset.term.to_string(), preset.weighting.name()), ("proximal:mu=0.1".into(), "examples"));
        let preset: Named<Composition> = "fedyogi:v0=0,bias-correction=true".parse().unwrap();
        let yogi = "yogi:rate=0.01,beta1=0.9,beta2=0.99,tau=0.001,v0=0,bias-correction=true";
        assert_eq!(preset.server.to_string(), yogi);
        let preset: Named<Composition> = "scaffold".parse().unwrap();
        assert_eq!((preset.term.name(), preset.weighting.name()), ("control-variate", "equal"));
    }
}
