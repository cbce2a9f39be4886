//! A client process behind a Unix socket, as of `fedpipe serve`.

pub(crate) mod serve;
mod socket;
