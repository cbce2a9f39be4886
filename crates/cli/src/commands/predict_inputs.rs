//! `fedpipe predict`: applies the final weights of a run to images, tables and arrays.

use std::process::ExitCode;

use fedpipe_data::{Cache, write_inputs};
use fedpipe_host::{Control, InferenceHost, Result, TrainedRun, temporary_folder};

use crate::{
    args::result_args::PredictArgs,
    inputs::client_commands::client_command,
    screen::{
        output::print_result,
        result_text::{Outputs, csv_head, csv_line, json_line, probabilities, text_line},
    },
    signals::stop_on_signal,
};

/// Prints the prediction for each example.
pub(crate) fn predict_inputs(args: &PredictArgs) -> Result<ExitCode> {
    let run = TrainedRun::open_whole(&args.run)?;
    let (cache, control) = (Cache::user()?, Control::default());
    stop_on_signal(control.handle())?;
    let data = &run.experiment.data;
    let ignored: Vec<&str> = data.label.iter().chain(&data.client_column).map(String::as_str).collect();
    let folder = temporary_folder("fedpipe-predict-")?;
    let out = folder.path().join("inputs.safetensors");
    let (names, file) = write_inputs(&args.files, &ignored, &run.dataset, &out)?;
    let host = InferenceHost { command: &client_command(), cache: &cache };
    let values = run.predict(&host, &file, &control)?;
    let classes = run.dataset.target.names();
    if args.csv && !print_result(csv_head(&classes))? {
        return Ok(ExitCode::SUCCESS);
    }
    for (name, values) in names.iter().zip(values.chunks(classes.len().max(1))) {
        let outputs = if classes.is_empty() {
            Outputs::Real(values[0])
        } else {
            Outputs::Classes(&classes, probabilities(values))
        };
        let line = match (args.json, args.csv) {
            (true, _) => json_line(name, &outputs),
            (_, true) => csv_line(name, &outputs),
            _ => text_line(name, &outputs, args.top as usize),
        };
        if !print_result(line)? {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}
