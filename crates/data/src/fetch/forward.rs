//! Sends a plain-HTTP request through a proxy as RFC 9112 has it (3.2.2): `GET http://host/path`, to the proxy itself.
//!
//! ureq asks every proxy for a tunnel (CONNECT), which a proxy such as Squid refuses to port 80.

use base64::{Engine, prelude::BASE64_STANDARD};
use ureq::http::Uri;
use ureq::http::uri::Scheme;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, TcpConnector, Transport,
};
use ureq::{Error, Proxy, ProxyProtocol};

/// Connects to the proxy for an address that it forwards, and as ureq does for any other.
#[derive(Debug, Default)]
pub(super) struct ForwardConnector {
    usual: DefaultConnector,
    tcp: TcpConnector,
}

impl Connector for ForwardConnector {
    type Out = Box<dyn Transport>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<()>) -> Result<Option<Self::Out>, Error> {
        let Some(proxy) = details.config.proxy().filter(|proxy| forwards(proxy, details.uri)) else {
            return self.usual.connect(details, chained);
        };
        let to_proxy = ConnectionDetails {
            uri: proxy.uri(),
            addrs: details.resolver.resolve(proxy.uri(), details.config, details.timeout)?,
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let Some(inner) = self.tcp.connect(&to_proxy, chained)? else { return Ok(None) };
        let origin = format!("http://{}", details.uri.authority().map_or("", |authority| authority.as_str()));
        let forwarded = Forwarded { inner: Box::new(inner), origin, authorization: authorization(proxy) };
        Ok(Some(Box::new(forwarded)))
    }
}

fn forwards(proxy: &Proxy, uri: &Uri) -> bool {
    let is_plain = proxy.protocol() == ProxyProtocol::Http && uri.scheme() == Some(&Scheme::HTTP);
    is_plain && !proxy.is_no_proxy(uri)
}

/// The header with the name and password in the proxy's address; empty where it has none.
fn authorization(proxy: &Proxy) -> String {
    if proxy.username().is_none() && proxy.password().is_none() {
        return String::new();
    }
    let (name, password) = (proxy.username().unwrap_or_default(), proxy.password().unwrap_or_default());
    format!("Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode(format!("{name}:{password}")))
}

/// A connection to a proxy, which is told the whole address of what it is to get.
#[derive(Debug)]
struct Forwarded {
    inner: Box<dyn Transport>,
    origin: String,
    authorization: String,
}

impl Transport for Forwarded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = &self.inner.buffers().output()[..amount];
        let Some(head) = forwarded(output, &self.origin, &self.authorization) else {
            return self.inner.transmit_output(amount, timeout);
        };
        let mut rest = head.as_slice();
        while !rest.is_empty() {
            let output = self.inner.buffers().output();
            let (now, later) = rest.split_at(rest.len().min(output.len()));
            output[..now.len()].copy_from_slice(now);
            self.inner.transmit_output(now.len(), timeout)?;
            rest = later;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// Returns the start of a request, with `origin` before its path and `authorization` before its headers. Returns `None`
/// if `output` is no start of a request.
fn forwarded(output: &[u8], origin: &str, authorization: &str) -> Option<Vec<u8>> {
    const METHOD: &[u8] = b"GET ";
    let rest = output.strip_prefix(METHOD).filter(|rest| rest.starts_with(b"/"))?;
    let headers = rest.iter().position(|&byte| byte == b'\n')? + 1;
    Some([METHOD, origin.as_bytes(), &rest[..headers], authorization.as_bytes(), &rest[headers..]].concat())
}
