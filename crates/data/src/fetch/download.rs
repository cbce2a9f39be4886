//! Downloads one gzip file over HTTP. Plain HTTP will do, since every byte is checked against a known SHA-256.

use std::io::{self, Read};
use std::time::Duration;

use flate2::read::MultiGzDecoder;

use super::Places;
use super::files::{Failure, Scratch, Wanted, install};
use super::forward::ForwardConnector;
use super::resolver::SteadyResolver;
use crate::Progress;

/// A host that cannot be reached must not keep anyone waiting: the next place is tried.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection over which nothing comes for so long is given up; a slow one may take as long as it needs.
const SILENCE: Duration = Duration::from_secs(20);
/// How many bytes come between two reports.
const STEP: u64 = 1 << 16;

pub(super) fn download(
    places: &Places,
    file: &Wanted,
    scratch: &Scratch,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Failure> {
    let name = format!("{}.gz", file.name);
    let config = ureq::Agent::config_builder()
        .proxy(places.proxy.clone())
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .build();
    let agent = ureq::Agent::with_parts(config, ForwardConnector::default(), SteadyResolver::default());
    let response = match agent.get(format!("{}/{name}", places.publisher)).call() {
        Ok(response) => response,
        Err(ureq::Error::StatusCode(code)) => return Err(Failure::File(format!("{name}: HTTP status {code}"))),
        Err(error) => return Err(Failure::Place(error.to_string())),
    };
    let body = response.into_body();
    let total = body.content_length();
    let counted = Counted { inner: body.into_reader(), name: &name, done: 0, told: 0, total, progress };
    let result = install(&mut MultiGzDecoder::new(io::BufReader::with_capacity(STEP as usize, counted)), file, scratch);
    if let Err(Failure::File(reason)) = &result {
        progress(Progress::Refused { file: name.into(), reason: reason.clone() });
    }
    result
}

/// Tells how many bytes came through.
struct Counted<'a, R> {
    inner: R,
    name: &'a str,
    done: u64,
    told: u64,
    total: Option<u64>,
    progress: &'a mut dyn FnMut(Progress),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.done += n as u64;
        if self.done >= self.told + STEP || (n == 0 && self.done > self.told) {
            self.told = self.done;
            let file = self.name.to_owned();
            (self.progress)(Progress::Downloading { file, done: self.done, total: self.total });
        }
        Ok(n)
    }
}
