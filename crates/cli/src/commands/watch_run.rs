//! `fedpipe watch`: follows a run in another process from its directory alone.

use std::{path::Path, process::ExitCode, thread::sleep, time::Duration};

use fedpipe_host::{Error, Result, is_at_work};
use fedpipe_record::run_folder::check_holds_run;

use crate::{args::result_args::WatchArgs, screen::watch_screen::WatchScreen};

/// The time between two looks at the files.
const PAUSE: Duration = Duration::from_millis(100);

/// Shows the rounds of a run until it ends.
pub(crate) fn watch_run(args: &WatchArgs) -> Result<ExitCode> {
    let directory = args.run.as_path();
    check_holds_run(directory)?;
    let mut screen = WatchScreen::open(directory)
        .map_err(|error| Error::Output(format!("cannot watch {}: {error}; is this a run?", directory.display())))?;
    loop {
        // Looked at first: what the host wrote before its end is read after it.
        let is_alive = is_at_work(directory);
        if screen.refresh() {
            return Ok(ExitCode::SUCCESS);
        }
        if !is_alive {
            return Err(Error::Output(ended(directory)));
        }
        sleep(PAUSE);
    }
}

fn ended(directory: &Path) -> String {
    let shown = directory.display();
    format!("the host of {shown} has ended without a result; `fedpipe run --resume {shown}` continues the run")
}
