//! A list that is written down. Its addresses never change; its names are followed like any other name.

use std::net::SocketAddr;

use super::{Backend, Backends, DnsName, Host, HostPort, Source};

/// Each list apart into its addresses, which nobody need be asked for, and its names.
pub(super) fn split(sources: Vec<Source>) -> Vec<Source> {
    let mut split = Vec::new();
    for source in sources {
        let Source::Fixed(list) = source else {
            split.push(source);
            continue;
        };
        let (addresses, names): (Vec<_>, Vec<_>) =
            list.into_iter().partition(|entry| matches!(entry.host, Host::Address(_)));
        split.extend((!addresses.is_empty()).then_some(Source::Fixed(addresses)));
        split.extend(names.into_iter().filter_map(|HostPort { host, port }| match host {
            Host::Name(name) => Some(Source::Dns(DnsName { name, port: Some(port) })),
            Host::Address(_) => None,
        }));
    }
    split
}

/// The addresses of a list; `None` for any other source.
pub(super) fn addresses(source: &Source) -> Option<&[HostPort]> {
    match source {
        Source::Fixed(list) => Some(list),
        Source::Dns(_) | Source::Kubernetes(_) => None,
    }
}

/// Its addresses as backends.
pub(super) fn backends(list: &[HostPort]) -> Backends {
    let address = |entry: &HostPort| match entry.host {
        Host::Address(address) => Some(SocketAddr::new(address, entry.port)),
        Host::Name(_) => None,
    };
    list.iter().filter_map(address).map(Backend::at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_list_are_followed_and_addresses_are_not() {
        let list = ["10.0.0.1:80", "worker:81", "10.0.0.2:82"].map(|text| text.parse().unwrap());
        let split = split(vec![Source::Fixed(list.to_vec()), Source::Dns("workers:83".parse().unwrap())]);
        let texts: Vec<String> = split.iter().map(Source::to_string).collect();
        assert_eq!(texts, ["10.0.0.1:80,10.0.0.2:82", "worker:81", "workers:83"]);
        assert!(matches!(split[1], Source::Dns(_)));
        assert_eq!(addresses(&split[0]).map(<[HostPort]>::len), Some(2));
        assert_eq!(backends(addresses(&split[0]).unwrap()).len(), 2);
    }
}
