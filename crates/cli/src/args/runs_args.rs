//! The arguments of `fedpipe runs` and `fedpipe compare`, which read runs.

use std::path::PathBuf;

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use fedpipe_record::{
    measure::{CurveAxis, Measure},
    target::TargetScore,
};
use strum::VariantNames;

use crate::inputs::condition::{Condition, field};

/// The arguments of `fedpipe runs`.
#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// A folder of runs and sweeps
    #[arg(default_value = "runs")]
    pub(crate) directory: PathBuf,
    /// Only runs with this value, such as lr=0.1, strategy=fedprox, state=failed or 'accuracy>0.8'; may be repeated
    #[arg(long = "where", value_name = "CONDITION", value_parser = Condition::parse)]
    pub(crate) conditions: Vec<Condition>,
    /// Sort by a column or a key of the experiment
    #[arg(long, value_name = "KEY", default_value = "when", value_parser = field)]
    pub(crate) sort: String,
    /// Sort from the greatest to the least
    #[arg(long)]
    pub(crate) reverse: bool,
    /// More columns: keys of the experiment, such as lr,seed
    #[arg(long, value_name = "KEYS", value_delimiter = ',', value_parser = field)]
    pub(crate) columns: Vec<String>,
    /// Print JSON, with the whole experiment of each run
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print a table with commas, with the keys in which the experiments differ
    #[arg(long)]
    pub(crate) csv: bool,
}

/// The arguments of `fedpipe compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Runs and sweeps; the first is the base of the tests. Runs that differ in their seeds alone are one group
    #[arg(required = true, value_name = "DIR")]
    pub(crate) directories: Vec<PathBuf>,
    /// Only runs with this value, as for `fedpipe runs`; may be repeated
    #[arg(long = "where", value_name = "CONDITION", value_parser = Condition::parse)]
    pub(crate) conditions: Vec<Condition>,
    /// The result that is compared [default: accuracy, or rmse of a real target; personal where a run has neither]
    #[arg(long, value_name = "MEASURE", value_parser = measure())]
    pub(crate) measure: Option<Measure>,
    /// The target whose time is compared, such as accuracy=0.8, in the place of the runs' own --until
    #[arg(long, value_name = "TARGET")]
    pub(crate) until: Option<TargetScore>,
    /// The axis of the picture [default: virtual-seconds if every run has a clock, else round]
    #[arg(long, value_name = "AXIS", value_parser = axis())]
    pub(crate) by: Option<CurveAxis>,
    /// The picture
    #[arg(long, value_name = "FILE", default_value = "compare.png")]
    pub(crate) picture: PathBuf,
}

fn measure() -> impl TypedValueParser<Value = Measure> {
    PossibleValuesParser::new(Measure::VARIANTS).try_map(|measure| measure.parse::<Measure>())
}

fn axis() -> impl TypedValueParser<Value = CurveAxis> {
    PossibleValuesParser::new(CurveAxis::VARIANTS).try_map(|axis| axis.parse::<CurveAxis>())
}
