//! `fedpipe data`.

use std::process::ExitCode;

use fedpipe_data::{Cache, fetch_fashion_mnist as fetch};
use fedpipe_host::Result;

use crate::{output::print_result, show::DataProgress};

/// Fetches Fashion-MNIST into the cache, as the first run does.
pub(crate) fn fetch_fashion_mnist() -> Result<ExitCode> {
    let mut shown = DataProgress::new(false);
    let path = fetch(&Cache::user()?, &mut |step| shown.show(&step))?;
    shown.clear();
    print_result(format_args!("fashion-mnist is in {}", path.display()))?;
    Ok(ExitCode::SUCCESS)
}
