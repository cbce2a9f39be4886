//! `fedpipe data fetch`: puts a dataset into the cache.

use std::process::ExitCode;

use fedpipe_data::Cache;
use fedpipe_host::Result;

use crate::screen::{data_progress::DataProgress, output::print_result};

/// Fetches Fashion-MNIST into the cache, as the first run does.
pub(crate) fn fetch_fashion_mnist() -> Result<ExitCode> {
    let mut progress = DataProgress::new(false);
    let path = fedpipe_data::fetch_fashion_mnist(&Cache::user()?, &mut |step| progress.show(&step))?;
    progress.clear();
    print_result(format_args!("fashion-mnist is in {}", path.display()))?;
    Ok(ExitCode::SUCCESS)
}
