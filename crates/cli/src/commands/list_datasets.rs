//! `fedpipe data list`: the datasets by name, and the files that the readers take.

use std::process::ExitCode;

use fedpipe_data::{generators, readers};
use fedpipe_host::Result;

use crate::{commands::list_rows::row_text, screen::output::print_result};

/// The datasets that have a name.
const KNOWN: [(&str, &str); 2] = [
    ("fashion-mnist", "60,000 training and 10,000 test images of 28×28 in 10 classes; fetched once"),
    ("sample", "2,000 and 500 of these images, inside the binary"),
];

/// Prints the values of `--data`: names, rules that make a dataset, and for each reader its files and its flags.
pub(crate) fn list_datasets() -> Result<ExitCode> {
    let known = KNOWN.iter().map(|(name, about)| format!("{name}\n  {about}"));
    let of_readers = readers().iter().map(|reader| {
        let flags = [&["--target", "--standardise"], reader.takes].concat().join(" ");
        format!("PATH ({})\n  {}\n  {flags}", reader.name, reader.files)
    });
    for text in known.chain(generators().into_iter().map(row_text)).chain(of_readers) {
        if !print_result(text)? {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}
