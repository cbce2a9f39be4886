//! The hosts that are reached without a proxy: `NO_PROXY` or `no_proxy`, as curl reads it.
//!
//! ureq takes an entry for the whole name of a host; elsewhere an entry names its subdomains, too.

use std::env;

/// Returns `true` if the environment excludes `host` from the proxy.
pub(super) fn names(host: &str) -> bool {
    ["no_proxy", "NO_PROXY"].iter().filter_map(|name| env::var(name).ok()).any(|list| contains(&list, host))
}

/// Returns `true` if an entry of the list is `*`, the host, or a domain that the host is in; a port is ignored.
fn contains(list: &str, host: &str) -> bool {
    let entries = list.split([',', ' ']).map(|entry| entry.split_once(':').map_or(entry, |(name, _)| name));
    entries.filter(|entry| !entry.is_empty()).any(|entry| {
        let domain = entry.trim_start_matches('*').trim_start_matches('.');
        let before = host.strip_suffix(domain);
        entry == "*" || (!domain.is_empty() && before.is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_names_a_host_and_its_subdomains() {
        let host = "fashion-mnist.example.com";
        for list in
            ["*", "com", "example.com", ".example.com", "*.example.com", "localhost,127.0.0.1, example.com:80", host]
        {
            assert!(contains(list, host), "{list}");
        }
        for list in ["", ",", "ample.com", "example.org", "mnist.example.com", "x.fashion-mnist.example.com"] {
            assert!(!contains(list, host), "{list}");
        }
    }
}
