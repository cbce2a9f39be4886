//! Downloads a gzip file over HTTP. Plain HTTP is sufficient, since the content is checked by its known SHA-256.

use std::io::{self, Read};
use std::time::Duration;

use flate2::read::MultiGzDecoder;

use super::Origins;
use super::forward::ForwardConnector;
use super::known_file::{FetchFailure, KnownFile, Scratch, install};
use super::resolver::FallbackResolver;
use crate::data_step::DataStep;

/// The time limit for the name and the connection. Then the next place is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit for one read. A slow connection is thus no failure, but a silent one is.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// The number of bytes between two reported steps.
const STEP: u64 = 1 << 16;

pub(super) fn download(
    origins: &Origins,
    file: &KnownFile,
    scratch: &Scratch,
    progress: &mut dyn FnMut(DataStep),
) -> Result<(), FetchFailure> {
    let name = format!("{}.gz", file.name);
    let config = ureq::Agent::config_builder()
        .proxy(origins.proxy.clone())
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(READ_TIMEOUT))
        .timeout_per_read(Some(READ_TIMEOUT))
        .build();
    let agent = ureq::Agent::with_parts(config, ForwardConnector::default(), FallbackResolver::default());
    let response = match agent.get(format!("{}/{name}", origins.publisher)).call() {
        Ok(response) => response,
        Err(ureq::Error::StatusCode(code)) => return Err(FetchFailure::File(format!("{name}: HTTP status {code}"))),
        Err(error) => return Err(FetchFailure::Origin(error.to_string())),
    };
    let body = response.into_body();
    let total = body.content_length();
    let counted = CountingReader { inner: body.into_reader(), name: &name, done: 0, reported: 0, total, progress };
    let result = install(&mut MultiGzDecoder::new(io::BufReader::with_capacity(STEP as usize, counted)), file, scratch);
    if let Err(FetchFailure::File(reason)) = &result {
        progress(DataStep::Refused { file: name.into(), reason: reason.clone() });
    }
    result
}

/// A reader that reports the number of bytes read.
struct CountingReader<'a, R> {
    inner: R,
    name: &'a str,
    done: u64,
    reported: u64,
    total: Option<u64>,
    progress: &'a mut dyn FnMut(DataStep),
}

impl<R: Read> Read for CountingReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.done += n as u64;
        if self.done >= self.reported + STEP || (n == 0 && self.done > self.reported) {
            self.reported = self.done;
            let file = self.name.to_owned();
            (self.progress)(DataStep::Downloading { file, done: self.done, total: self.total });
        }
        Ok(n)
    }
}
