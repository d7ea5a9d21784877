//! Names that are looked up again and again. A look-up that fails, or that finds nobody, keeps what was found last: a name
//! server that has just started says "no such name" for a while, and a backend that is really gone refuses connections.
//!
//! A name has one family of addresses: IPv4 where there are any, else IPv6, so that a machine with both is one backend.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use futures_util::{StreamExt, TryStreamExt, stream};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType, rdata::SRV};

use super::backoff::{Backoff, Pace};
use super::feed::{Feed, now};
use super::outage::Outage;
use super::{Backend, Backends, DnsName};

/// Records that may be kept for less are asked for once in this time all the same.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// A look-up with all its tries ends by then.
const LOOK_UP_ENDS: Duration = Duration::from_secs(15);

/// How many targets of SRV records are looked up at a time.
const TARGETS_AT_ONCE: usize = 8;

/// Follows a name for ever.
pub(super) async fn follow(name: DnsName, resolver: Resolver, interval: Duration, feed: Feed) {
    let interval = interval.max(SHORTEST_INTERVAL);
    let mut backoff = Backoff::new(Pace::doubling(SHORTEST_INTERVAL, interval), fastrand::Rng::new());
    let mut outage = Outage::of(name.to_string());
    let mut jitter = fastrand::Rng::new();
    loop {
        let pause = match resolver.look_up(&name).await {
            Ok(found) => {
                backoff.reset();
                feed.seen();
                outage.ended(now());
                feed.tell(found.backends).await;
                let fresh = found.until.saturating_duration_since(Instant::now());
                // A little earlier each time, so that gateways that started together do not ask together.
                fresh.min(interval).mul_f64(0.9 + jitter.f64() / 10.0).max(SHORTEST_INTERVAL)
            }
            Err(why) => {
                outage.failed(&why, now());
                backoff.wait()
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// What a look-up found, never nobody.
struct Found {
    backends: Backends,
    until: Instant,
}

/// Asks name servers. One for each name, so that forgetting answers concerns nobody else.
pub(super) struct Resolver(TokioResolver);

impl Resolver {
    /// Asks these servers, or without any those of the system.
    pub fn new(name_servers: &[SocketAddr]) -> Result<Resolver, String> {
        let builder = if name_servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|error| error.to_string())?
        } else {
            let servers = name_servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        builder.build().map(Resolver).map_err(|error| error.to_string())
    }

    async fn look_up(&self, name: &DnsName) -> Result<Found, String> {
        // We keep time ourselves, also for answers that say that there is nobody.
        self.0.clear_cache();
        let looked_up = async {
            match name.port {
                Some(port) => self.host(&name.name, port).await,
                None => self.services(&name.name).await,
            }
        };
        let found = tokio::time::timeout(LOOK_UP_ENDS, looked_up).await;
        let found = found.map_err(|_| format!("no answer within {} s", LOOK_UP_ENDS.as_secs()))?;
        match found.map_err(|error| error.to_string())? {
            found if found.backends.is_empty() => Err("the answer has no addresses".to_owned()),
            found => Ok(found),
        }
    }

    /// Everybody behind a name.
    async fn host(&self, name: &str, port: u16) -> Result<Found, NetError> {
        let answer = match self.0.lookup(name, RecordType::A).await {
            Err(error) if error.is_no_records_found() => self.0.lookup(name, RecordType::AAAA).await?,
            answer => answer?,
        };
        let host = ByteString::from(name.trim_end_matches('.'));
        let backend = |address| Backend {
            host: Some(host.clone()),
            // A name alone would be the same for all of them.
            name: format!("{host}/{address}").into(),
            ..Backend::at(SocketAddr::new(address, port))
        };
        let backends = addresses(&answer).map(backend).collect();
        Ok(Found { backends, until: answer.valid_until() })
    }

    /// Everybody behind the SRV records of a name. Targets that do not exist are nobody; any other failure is one of the
    /// whole look-up, since a part of the list is none.
    async fn services(&self, name: &str) -> Result<Found, NetError> {
        let answer = self.0.lookup(name, RecordType::SRV).await?;
        let targets = stream::iter(preferred(&answer)).map(|record| async move {
            match self.host(&record.target.to_utf8(), record.port).await {
                Err(error) if error.is_no_records_found() => Ok(None),
                found => found.map(Some),
            }
        });
        let found: Vec<Option<Found>> = targets.buffered(TARGETS_AT_ONCE).try_collect().await?;
        let found: Vec<Found> = found.into_iter().flatten().collect();
        let until = found.iter().map(|found| found.until).fold(answer.valid_until(), Instant::min);
        Ok(Found { backends: found.iter().flat_map(|found| &found.backends).cloned().collect(), until })
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

fn addresses(answer: &Lookup) -> impl Iterator<Item = IpAddr> {
    answer.answers().iter().filter_map(|record| record.data.ip_addr())
}

/// The SRV records of the lowest priority, those that are to be used while they answer (RFC 2782), without those that say
/// that there is no such service (a target of `.`) and without ports that cannot be.
fn preferred(answer: &Lookup) -> Vec<SRV> {
    let service = |data: &RData| match data {
        RData::SRV(record) if !record.target.is_root() && record.port != 0 => Some(record.clone()),
        _ => None,
    };
    let records: Vec<SRV> = answer.answers().iter().filter_map(|record| service(&record.data)).collect();
    let lowest = records.iter().map(|record| record.priority).min();
    records.into_iter().filter(|record| Some(record.priority) == lowest).collect()
}
