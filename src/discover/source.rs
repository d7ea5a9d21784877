//! Where backends come from, as somebody writes it in a flag: parsed here, and written the same way again.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use bytestring::ByteString;

/// Where backends come from. Its text is that of the flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A list that is written down: `--backend HOST:PORT`. Names in it are looked up like those of `Dns`.
    Fixed(Vec<HostPort>),
    /// Whatever a name stands for: `--dns NAME:PORT`, or SRV records with `--dns NAME`.
    Dns(DnsName),
    /// The EndpointSlices of a Service: `--kubernetes NAMESPACE/SERVICE[:PORT]`.
    Kubernetes(KubernetesService),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// An address or a name.
    pub host: Host,
    /// Never 0.
    pub port: u16,
}

/// An address or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name that must be looked up.
    Name(ByteString),
}

/// A name to be looked up again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName {
    /// Without a port in it.
    pub name: ByteString,
    /// The port of every address behind the name; without one, SRV records say it.
    pub port: Option<u16>,
}

/// A Service of Kubernetes, and which of its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesService {
    /// Its namespace.
    pub namespace: ByteString,
    /// Its name.
    pub service: ByteString,
    /// Which port of its slices; without one, the only port or the one that is called `grpc`.
    pub port: Option<PortRef>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortRef {
    /// The port that the endpoints listen on (a Service's `targetPort`).
    Number(u16),
    /// The port's name in the Service.
    Name(ByteString),
}

/// Why a text is no source; says what was found and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(String);

/// `HOST:PORT`, `ADDRESS:PORT`, `[ADDRESS]:PORT`.
impl FromStr for HostPort {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<HostPort, SourceError> {
        let allowed = |what: &str| SourceError(format!("backend \"{text}\" {what}, it is written HOST:PORT"));
        if let Ok(address) = text.parse::<SocketAddr>() {
            let port = some_port(address.port()).ok_or_else(|| allowed("has port 0"))?;
            return Ok(HostPort { host: Host::Address(address.ip()), port });
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| allowed("has no port"))?;
        let port = port.parse().ok().and_then(some_port).ok_or_else(|| allowed("has no port from 1 to 65535"))?;
        if !is_host_name(host) {
            return Err(allowed("has no host name or address"));
        }
        Ok(HostPort { host: Host::Name(host.into()), port })
    }
}

/// `NAME:PORT`, `NAME`, `_SERVICE._tcp.NAME`.
impl FromStr for DnsName {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<DnsName, SourceError> {
        let allowed = |what: &str| {
            SourceError(format!(
                "name \"{text}\" {what}, it is written NAME:PORT, or NAME where SRV records say the port"
            ))
        };
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => {
                let port = port.parse().ok().and_then(some_port);
                (name, Some(port.ok_or_else(|| allowed("has no port from 1 to 65535"))?))
            }
            None => (text, None),
        };
        if name.parse::<IpAddr>().is_ok() {
            return Err(SourceError(format!(
                "name \"{text}\" is an address, which is a backend and no name to look up"
            )));
        }
        if !is_host_name(name) {
            return Err(allowed("is no host name"));
        }
        Ok(DnsName { name: name.into(), port })
    }
}

/// `NAMESPACE/SERVICE`, `NAMESPACE/SERVICE:PORT`.
impl FromStr for KubernetesService {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<KubernetesService, SourceError> {
        let allowed = |what: &str| {
            SourceError(format!("service \"{text}\" {what}, it is written NAMESPACE/SERVICE or NAMESPACE/SERVICE:PORT"))
        };
        let (namespace, rest) = text.split_once('/').ok_or_else(|| allowed("has no namespace"))?;
        let (service, port) = match rest.split_once(':') {
            Some((service, port)) => {
                let port = PortRef::read(port);
                (service, Some(port.ok_or_else(|| allowed("has a port that is neither a number nor a port's name"))?))
            }
            None => (rest, None),
        };
        if !is_label(namespace) {
            return Err(allowed("has a namespace that is none"));
        }
        if !is_label(service) {
            return Err(allowed("has a name that no Service has"));
        }
        Ok(KubernetesService { namespace: namespace.into(), service: service.into(), port })
    }
}

impl PortRef {
    /// A number from 1 to 65535, or the name of a port: a label with a letter in it.
    fn read(text: &str) -> Option<PortRef> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().and_then(some_port).map(PortRef::Number);
        }
        is_label(text).then(|| PortRef::Name(text.into()))
    }
}

fn some_port(port: u16) -> Option<u16> {
    (port != 0).then_some(port)
}

/// A label as Kubernetes wants it in names of objects (RFC 1123), which also keeps anything else out of a request's path.
fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

/// A name that may be asked for: labels of letters, digits, `-` and `_`, 253 bytes at most.
fn is_host_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    let name = text.strip_suffix('.').unwrap_or(text);
    name.len() <= 253 && name.split('.').all(label)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Fixed(list) => {
                let texts: Vec<String> = list.iter().map(HostPort::to_string).collect();
                f.write_str(&texts.join(","))
            }
            Source::Dns(name) => name.fmt(f),
            Source::Kubernetes(service) => service.fmt(f),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl fmt::Display for KubernetesService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service)?;
        match &self.port {
            Some(PortRef::Number(port)) => write!(f, ":{port}"),
            Some(PortRef::Name(name)) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read is written the same way.
    fn again<T: FromStr<Err = SourceError> + fmt::Display>(text: &str) -> String {
        text.parse::<T>().map_or_else(|error| error.to_string(), |read| read.to_string())
    }

    #[test]
    fn what_is_allowed_is_read_and_written_the_same_way() {
        for text in ["10.0.0.1:8001", "[fd00::1]:8001", "worker-0.workers.ml.svc:8001", "localhost:1", "a.b.:65535"] {
            assert_eq!(again::<HostPort>(text), text);
        }
        for text in ["workers.ml.svc.cluster.local:8001", "workers", "_grpc._tcp.workers.ml.svc", "workers."] {
            assert_eq!(again::<DnsName>(text), text);
        }
        for text in ["ml/workers", "ml/workers:8001", "ml/workers:grpc", "ml/workers:8001-x"] {
            assert_eq!(again::<KubernetesService>(text), text);
        }
    }

    #[test]
    fn an_error_names_what_was_written_and_says_what_is_allowed() {
        let written = |text: &str, what: &str| format!("backend \"{text}\" {what}, it is written HOST:PORT");
        assert_eq!(again::<HostPort>("worker"), written("worker", "has no port"));
        assert_eq!(again::<HostPort>("worker:0"), written("worker:0", "has no port from 1 to 65535"));
        assert_eq!(again::<HostPort>("10.0.0.1:0"), written("10.0.0.1:0", "has port 0"));
        assert_eq!(again::<HostPort>("http://worker:80"), written("http://worker:80", "has no host name or address"));
        assert_eq!(again::<HostPort>("fd00::1:8001"), written("fd00::1:8001", "has no host name or address"));
        assert!(again::<DnsName>("workers:http").contains("has no port from 1 to 65535"));
        assert!(again::<DnsName>("").contains("is no host name"));
        assert!(again::<DnsName>("10.0.0.1:80").contains("is an address"));
        assert!(again::<KubernetesService>("workers").contains("has no namespace"));
        assert!(again::<KubernetesService>("ml/workers:").contains("a port that is neither"));
        assert!(again::<KubernetesService>("ml/workers:0").contains("a port that is neither"));
        assert!(again::<KubernetesService>("ml/workers:70000").contains("a port that is neither"));
        assert!(again::<KubernetesService>("ml/../x").contains("has a name that no Service has"));
        assert!(again::<KubernetesService>("ML/x").contains("has a namespace that is none"));
    }
}
