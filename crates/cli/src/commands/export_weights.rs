//! `fedpipe export`: writes the final weights of a run as a file of its own.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use fedpipe_data::DatasetTarget;
use fedpipe_host::{Error, Result, TrainedRun};
use fedpipe_record::{file::write_whole, names, weights::with_metadata};

use crate::{
    args::result_args::ExportArgs,
    screen::output::{print_error, print_result},
};

/// Writes the weights with the facts that another program needs of them.
pub(crate) fn export_weights(args: &ExportArgs) -> Result<ExitCode> {
    let run = TrainedRun::open(&args.run)?;
    let out = args.file.clone().unwrap_or_else(|| default_name(args));
    if out.symlink_metadata().is_ok() {
        return Err(Error::Usage(format!("{} exists already; give another file", out.display())));
    }
    let file = with_metadata(run.weights_file(), facts(&run)).map_err(Error::System)?;
    write_whole(&out, &file).map_err(|error| Error::Output(format!("cannot write {}: {error}", out.display())))?;
    let local = &run.summary.local_tensors;
    if !local.is_empty() {
        print_error(format_args!(
            "warning: each client has its own {}, in {}, and the file has their initial values, which are untrained",
            local.join(", "),
            args.run.join(names::STATE).display()
        ));
    }
    print_result(format_args!("the weights are in {}", out.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn default_name(args: &ExportArgs) -> PathBuf {
    let run = args.run.canonicalize().unwrap_or_else(|_| args.run.clone());
    let name = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
    PathBuf::from(format!("{name}.safetensors"))
}

fn facts(run: &TrainedRun) -> BTreeMap<String, String> {
    let shape: Vec<String> = run.dataset.shape.iter().map(usize::to_string).collect();
    let classes = match &run.dataset.target {
        DatasetTarget::Classes { class_names, .. } => class_names.join("\n"),
        DatasetTarget::Real { .. } => String::new(),
    };
    let facts = [
        ("model", run.summary.model.clone()),
        ("dataset", run.dataset.name.clone()),
        ("shape", shape.join("x")),
        ("classes", classes),
        ("local_tensors", run.summary.local_tensors.join("\n")),
        ("weights_sha256", run.summary.weights_sha256.clone()),
        // The mark by which libraries of PyTorch's world take a file.
        ("format", "pt".to_owned()),
    ];
    facts.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.to_owned(), value)).collect()
}
