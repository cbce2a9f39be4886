//! Resolves the name of a server within a time limit, even if the system refuses a thread.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::Builder;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{NextTimeout, time::Duration};

/// A resolver for ureq. If the system refuses the thread for the time limit, it resolves without a limit; ureq's own
/// resolver panics.
#[derive(Debug, Default)]
pub(super) struct FallbackResolver {
    /// The size of the thread's stack in bytes; `None` for the default.
    stack: Option<usize>,
}

#[expect(clippy::result_large_err, reason = "the error is ureq's")]
impl Resolver for FallbackResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let NextTimeout { after, reason, .. } = timeout;
        let unlimited = NextTimeout { after: Duration::NotHappening, ..timeout };
        let look_up = {
            let (uri, config) = (uri.clone(), config.clone());
            move || DefaultResolver::default().resolve(&uri, &config, unlimited)
        };
        if after.is_not_happening() {
            return look_up();
        }
        let builder = self.stack.map_or_else(Builder::new, |stack| Builder::new().stack_size(stack));
        let (found, finding) = sync_channel(1);
        let in_place = look_up.clone();
        if builder.spawn(move || found.send(look_up())).is_err() {
            return in_place();
        }
        match finding.recv_timeout(*after) {
            Ok(found) => found,
            Err(RecvTimeoutError::Timeout) => Err(ureq::Error::Timeout(reason)),
            Err(RecvTimeoutError::Disconnected) => Err(ureq::Error::HostNotFound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(resolver: &FallbackResolver, after: Duration) -> Result<Vec<String>, String> {
        let timeout = NextTimeout { after, ..NextTimeout::default() };
        let found = resolver.resolve(&"http://127.0.0.1:7/x".parse().unwrap(), &Config::default(), timeout);
        found.map(|found| found.iter().map(ToString::to_string).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_is_resolved_with_a_thread_and_without_one() {
        let minute = Duration::from(std::time::Duration::from_secs(60));
        for (stack, after) in [(None, minute), (Some(1 << 60), minute), (None, Duration::NotHappening)] {
            let found = resolved(&FallbackResolver { stack }, after);
            assert_eq!(found, Ok(vec!["127.0.0.1:7".to_owned()]), "{stack:?} {after:?}");
        }
    }
}
