//! `fedpipe data show`: deals a dataset, and shows the partitions as a table and as a picture.

use std::{path::Path, process::ExitCode};

use fedpipe_data::{Cache, Dealt, Source, counted, deal};
use fedpipe_host::{Error, Result};
use fedpipe_record::{
    experiment::Experiment, file::write_whole, names::PARTITION_PICTURE, partition_table::PartitionTable,
};
use fedpipe_report::partition_picture;

use crate::{
    args::show_args::ShowArgs,
    inputs::resolve::resolve_deal,
    screen::{
        data_progress::DataProgress,
        dataset_text::dealt_lines,
        output::{print_error, print_result},
        partition_text::{csv_lines, summary_lines, table_lines},
    },
};

/// Shows the partitions that a run with the same arguments would have.
pub(crate) fn show_partitions(args: &ShowArgs) -> Result<ExitCode> {
    let experiment = resolve_deal(&args.deal.args)?;
    if experiment.data.partition.is_own() {
        return Err(Error::Usage("the partitions of --partition own are the clients' own; give another".to_owned()));
    }
    let dealt = dealt(&experiment, args.csv)?;
    let sizes: Vec<u64> = dealt.partitions.iter().map(|partition| partition.examples).collect();
    let table = PartitionTable::new(&dealt.dataset, &sizes, &dealt.label_counts());
    let lines = if args.csv {
        csv_lines(&table)
    } else {
        let held_out: Vec<u64> = dealt.partitions.iter().map(|partition| partition.held_out).collect();
        let is_own = matches!(experiment.deal().source, Source::Path(_));
        let about = dealt_lines(&dealt.dataset, is_own, &sizes, &held_out);
        [about, experiment.hints(), table_lines(&table), summary_lines(&table)].concat()
    };
    let is_read = print_result(lines.join("\n"))?;
    let default = (!args.csv).then_some(Path::new(PARTITION_PICTURE));
    if let Some(path) = args.picture.as_deref().or(default) {
        draw(path, &table, &experiment)?;
        if !args.csv && is_read {
            print_result(format_args!("the picture is in {}", path.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Deals into the cache, where a run finds the partitions.
fn dealt(experiment: &Experiment, quiet: bool) -> Result<Dealt> {
    let mut progress = DataProgress::new(quiet);
    let dealt = deal(&experiment.deal(), &Cache::user()?, &mut |step| progress.show(&step));
    progress.clear();
    let dealt = dealt?;
    let warnings = dealt.dataset.warnings().into_iter().chain(dealt.left_out());
    warnings.for_each(|warning| print_error(format_args!("warning: {warning}")));
    Ok(dealt)
}

fn draw(path: &Path, table: &PartitionTable, experiment: &Experiment) -> Result<()> {
    let picture = partition_picture::partitions(table, &title(table, experiment)).map_err(Error::System)?;
    write_whole(path, &picture).map_err(|error| Error::Output(format!("cannot write {}: {error}", path.display())))
}

/// Returns the title of the picture of an experiment's partitions.
pub(crate) fn title(table: &PartitionTable, experiment: &Experiment) -> String {
    let clients = counted(table.sizes.len(), "client");
    format!("{}, {}, {clients}", table.dataset, experiment.data.partition)
}
