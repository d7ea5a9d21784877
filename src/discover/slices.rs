//! EndpointSlices of one Service to backends: the pure step. It is told what the API server says and keeps what the last
//! complete list and the changes since then add up to; how one asks is in `watch`, when in `following`.
//!
//! * A backend is an address. Slices are rearranged while pods come and go, so that one address may be in several; the
//!   best of its conditions counts, since a pod that takes over an address is listed beside the one that had it.
//! * A pod with addresses of both families is one backend: what is listed for the same object (`targetRef.uid`) and port
//!   under IPv4 and IPv6 is dialled by IPv4. IPv6 is used where a pod has nothing else.
//! * What cannot be used is skipped and counted, and never an error: one bad object must not hide the others.

pub mod cluster;
pub mod following;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use bytestring::ByteString;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};

use super::{Backend, Backends, Condition, PortRef};

/// The name of a port that is taken where there are several and none was named.
const DEFAULT_PORT: &str = "grpc";

/// All slices of one Service, as far as they matter.
#[derive(Debug)]
pub struct Slices {
    port: Option<PortRef>,
    by_name: BTreeMap<String, Sightings>,
}

/// What one slice says.
#[derive(Debug, Default)]
struct Sightings {
    seen: Vec<Sighting>,
    skipped: Skipped,
}

/// A backend in one slice.
#[derive(Debug)]
struct Sighting {
    backend: Backend,
    /// Of the object behind the address.
    uid: Option<String>,
}

/// What could not be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many slices or endpoints.
    pub count: usize,
    /// Why, for the first of them.
    pub why: Option<String>,
}

impl Slices {
    /// None is known yet. Takes this port of theirs.
    pub fn new(port: Option<PortRef>) -> Slices {
        Slices { port, by_name: BTreeMap::new() }
    }

    /// A slice is new or different.
    pub fn apply(&mut self, slice: &EndpointSlice) {
        let name = slice.metadata.name.clone().unwrap_or_default();
        let sightings = read(slice, &name, self.port.as_ref());
        self.by_name.insert(name, sightings);
    }

    /// A slice is gone.
    pub fn delete(&mut self, slice: &EndpointSlice) {
        self.by_name.remove(slice.metadata.name.as_deref().unwrap_or_default());
    }

    /// These are all slices that exist.
    pub fn replace<'a>(&mut self, slices: impl IntoIterator<Item = &'a EndpointSlice>) {
        self.by_name.clear();
        slices.into_iter().for_each(|slice| self.apply(slice));
    }

    /// The backends in all of them.
    pub fn backends(&self) -> Backends {
        let all = || self.by_name.values().flat_map(|slice| &slice.seen);
        let with_ipv4: BTreeSet<_> =
            all().filter(|seen| seen.backend.address.is_ipv4()).filter_map(Sighting::of).collect();
        let is_extra = |seen: &Sighting| {
            seen.backend.address.is_ipv6() && seen.of().is_some_and(|object| with_ipv4.contains(&object))
        };
        let mut best: BTreeMap<SocketAddr, &Backend> = BTreeMap::new();
        for Sighting { backend, .. } in all().filter(|seen| !is_extra(seen)) {
            let known = best.entry(backend.address).or_insert(backend);
            if backend.condition < known.condition {
                *known = backend;
            }
        }
        best.into_values().cloned().collect()
    }

    /// What of them could not be used.
    pub fn skipped(&self) -> Skipped {
        let all = self.by_name.values().map(|slice| &slice.skipped);
        Skipped {
            count: all.clone().map(|skipped| skipped.count).sum(),
            why: all.clone().find_map(|one| one.why.clone()),
        }
    }
}

impl Sighting {
    /// The object that is listed, and its port.
    fn of(&self) -> Option<(&str, u16)> {
        Some((self.uid.as_deref()?, self.backend.address.port()))
    }
}

impl Skipped {
    fn one(why: String) -> Skipped {
        Skipped { count: 1, why: Some(why) }
    }

    fn add(&mut self, why: String) {
        self.count += 1;
        self.why.get_or_insert(why);
    }
}

fn read(slice: &EndpointSlice, name: &str, wanted: Option<&PortRef>) -> Sightings {
    if !matches!(&*slice.address_type, "IPv4" | "IPv6") {
        let why = format!("slice {name} has addresses of type {}, allowed are IPv4 and IPv6", slice.address_type);
        return Sightings { seen: Vec::new(), skipped: Skipped::one(why) };
    }
    let port = match port(slice.ports.as_deref().unwrap_or_default(), wanted) {
        Ok(port) => port,
        Err(why) => return Sightings { seen: Vec::new(), skipped: Skipped::one(format!("slice {name} {why}")) },
    };
    let mut sightings = Sightings::default();
    for endpoint in &slice.endpoints {
        match address(endpoint) {
            Ok(address) => sightings.seen.push(sighting(endpoint, SocketAddr::new(address, port))),
            Err(why) => sightings.skipped.add(format!("slice {name} {why}")),
        }
    }
    sightings
}

fn sighting(endpoint: &Endpoint, address: SocketAddr) -> Sighting {
    let object = endpoint.target_ref.as_ref();
    let name = object.and_then(|object| object.name.as_deref()).or(endpoint.hostname.as_deref());
    let plain = Backend::at(address);
    let backend = Backend {
        name: name.map_or(plain.name, ByteString::from),
        zone: endpoint.zone.as_deref().filter(|zone| !zone.is_empty()).map(ByteString::from),
        condition: condition(endpoint.conditions.as_ref()),
        ..plain
    };
    Sighting { backend, uid: object.and_then(|object| object.uid.clone()) }
}

/// Missing conditions are stored as missing, so that the defaults are ours: ready unless it says otherwise, serving as it
/// is ready, not terminating. A terminating endpoint may still say that it is ready (`publishNotReadyAddresses`).
fn condition(conditions: Option<&EndpointConditions>) -> Condition {
    let of = |one: fn(&EndpointConditions) -> Option<bool>| conditions.and_then(one);
    let ready = of(|conditions| conditions.ready).unwrap_or(true);
    let serving = of(|conditions| conditions.serving).unwrap_or(ready);
    let terminating = of(|conditions| conditions.terminating).unwrap_or(false);
    match (terminating, ready, serving) {
        (true, _, true) => Condition::Leaving,
        (false, true, _) => Condition::Ready,
        _ => Condition::Unready,
    }
}

/// The first address; the others have no meaning.
fn address(endpoint: &Endpoint) -> Result<IpAddr, String> {
    let text = endpoint.addresses.first().ok_or("has an endpoint without an address")?;
    let address: IpAddr = text.parse().map_err(|_| format!("has an endpoint at \"{text}\", which is no address"))?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(format!("has an endpoint at {address}, where nobody can be"));
    }
    Ok(address)
}

/// The number of the port that is wanted, among those that a slice has.
fn port(ports: &[EndpointPort], wanted: Option<&PortRef>) -> Result<u16, String> {
    let tcp: Vec<&EndpointPort> =
        ports.iter().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP").collect();
    let found = match wanted {
        // A port without a number stands for any.
        Some(PortRef::Number(number)) => {
            let is_it = |port: &&EndpointPort| port.port.is_none_or(|port| port == i32::from(*number));
            return tcp.iter().any(is_it).then_some(*number).ok_or_else(|| missing(&number.to_string(), &tcp));
        }
        Some(PortRef::Name(name)) => named(&tcp, name).ok_or_else(|| missing(name, &tcp))?,
        None if tcp.len() == 1 => tcp[0],
        None => named(&tcp, DEFAULT_PORT).ok_or_else(|| missing(DEFAULT_PORT, &tcp))?,
    };
    let number = found.port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    number.ok_or_else(|| format!("has a port without a number from 1 to 65535: {}", listed(&[found])))
}

fn named<'a>(ports: &[&'a EndpointPort], name: &str) -> Option<&'a EndpointPort> {
    ports.iter().copied().find(|port| port.name.as_deref() == Some(name))
}

fn missing(wanted: &str, found: &[&EndpointPort]) -> String {
    format!("has no port {wanted} for TCP, it has {}", listed(found))
}

fn listed(ports: &[&EndpointPort]) -> String {
    let one = |port: &&EndpointPort| {
        let number = port.port.map_or_else(|| "any".to_owned(), |number| number.to_string());
        format!("{} {number}", port.name.as_deref().unwrap_or_default()).trim().to_owned()
    };
    if ports.is_empty() { "none".to_owned() } else { ports.iter().map(one).collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests;
