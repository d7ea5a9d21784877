//! Networks of IP addresses, such as `10.0.0.0/8`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{List, Setting};

/// Addresses with the same first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

/// Any of several networks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// This machine, and what no router of the internet leads to: loopback, the private ranges and the unique local ones.
    pub fn private() -> Networks {
        let all = ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
        Networks(all.iter().map(|network| network.parse().expect("it is written as networks are")).collect())
    }

    /// Whether it is in one of them. An IPv4 address that came over IPv6 is what it is.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }
}

impl Network {
    fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.leading_zeros() >= self.bits.into()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.leading_zeros() >= self.bits.into()
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Network, ()> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| ()))?;
        if bits <= most { Ok(Network { address, bits }) } else { Err(()) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Setting for Networks {
    const ALLOWED: &'static str =
        "a list of networks, such as [\"10.0.0.0/8\", \"fc00::/7\"], or in a variable with commas";
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Networks, D::Error> {
        let list = List::deserialize(deserializer)?;
        let parsed = |text: &str| text.trim().parse().map_err(|()| D::Error::custom(format!("{text:?} is no network")));
        list.iter().map(parsed).collect::<Result<_, _>>().map(Networks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        serde_json::from_value(serde_json::json!(texts)).unwrap()
    }

    #[test]
    fn an_address_is_in_a_network_with_its_first_bits() {
        let own = networks(&["10.1.0.0/16", "2001:db8::/33", "192.0.2.7"]);
        for (address, is_in) in [
            ("10.1.255.3", true),
            ("10.2.0.0", false),
            ("::ffff:10.1.2.3", true),
            ("2001:db8:7fff::1", true),
            ("2001:db8:8000::1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
        ] {
            assert_eq!(own.contain(address.parse().unwrap()), is_in, "{address}");
        }
        assert!(networks(&["0.0.0.0/0"]).contain("203.0.113.9".parse().unwrap()));
        assert!(!networks(&[]).contain("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn this_machine_and_private_ones_are_told_from_the_others() {
        let private = Networks::private();
        for inside in ["127.0.0.1", "::1", "10.9.8.7", "172.31.0.1", "192.168.1.1", "fd00::1"] {
            assert!(private.contain(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["172.32.0.1", "203.0.113.9", "2001:db8::1", "fe80::1"] {
            assert!(!private.contain(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in ["10.0.0.0/33", "::/129", "10.0.0/8", "a", "", "10.0.0.0/"] {
            assert!(serde_json::from_value::<Networks>(serde_json::json!([wrong])).is_err(), "{wrong:?}");
        }
    }
}
