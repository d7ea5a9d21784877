//! Names that are looked up again and again.

use std::time::Duration;

use infergate::discover::{Settings, Source};

use super::Found;
use crate::cluster::name_server::NameServer;
use crate::harness::eventually;

fn by_name(server: &NameServer, name: &str) -> Found {
    let (name_servers, dns_interval) = (vec![server.address], Duration::from_secs(1));
    Found::by(Source::Dns(name.parse().unwrap()), Settings { name_servers, dns_interval, ..Settings::default() })
}

async fn asked(server: &NameServer, more: usize) {
    let before = server.questions();
    eventually("asked", async || server.questions() >= before + more).await;
}

#[tokio::test]
async fn a_name_is_looked_up_again_when_its_records_have_aged() {
    let server = NameServer::start().await;
    server.hosts("workers.ml.test.", &["10.0.0.1", "10.0.0.2"]);
    let found = by_name(&server, "workers.ml.test:8001");
    found.becomes(&["10.0.0.1:8001 ready", "10.0.0.2:8001 ready"]).await;
    let host = found.discovery.backends.borrow().iter().next().unwrap().host.clone();
    assert_eq!(host.as_deref(), Some("workers.ml.test"));
    server.hosts("workers.ml.test.", &["10.0.0.2", "10.0.0.3"]);
    found.becomes(&["10.0.0.2:8001 ready", "10.0.0.3:8001 ready"]).await;
}

#[tokio::test]
async fn a_look_up_that_fails_or_finds_nobody_keeps_the_last_set() {
    let server = NameServer::start().await;
    server.hosts("workers.ml.test.", &["10.0.0.1"]);
    let found = by_name(&server, "workers.ml.test:8001");
    found.becomes(&["10.0.0.1:8001 ready"]).await;
    server.fail(true);
    asked(&server, 3).await;
    server.hosts("workers.ml.test.", &[]);
    server.fail(false);
    asked(&server, 3).await;
    found.is_stale(Duration::from_secs(1)).await;
    server.hosts("workers.ml.test.", &["10.0.0.1", "10.0.0.2"]);
    found.becomes(&["10.0.0.1:8001 ready", "10.0.0.2:8001 ready"]).await;
    found.never_lost(&["10.0.0.1:8001 ready"]);
}

#[tokio::test]
async fn ipv6_is_used_where_a_name_has_nothing_else() {
    let server = NameServer::start().await;
    server.hosts("six.test.", &["fd00::1"]);
    server.hosts("both.test.", &["fd00::1", "10.0.0.1"]);
    by_name(&server, "six.test:8001").becomes(&["[fd00::1]:8001 ready"]).await;
    by_name(&server, "both.test:8001").becomes(&["10.0.0.1:8001 ready"]).await;
}

#[tokio::test]
async fn services_say_their_ports_and_those_of_lower_rank_are_left_out() {
    let server = NameServer::start().await;
    let targets = [(1, 8001, "a.test."), (1, 9001, "b.test."), (2, 7001, "spare.test."), (1, 6001, "gone.test.")];
    server.services("_grpc._tcp.workers.test.", &targets);
    server.hosts("a.test.", &["10.0.0.1"]);
    server.hosts("b.test.", &["10.0.0.2"]);
    server.hosts("spare.test.", &["10.0.0.3"]);
    let found = by_name(&server, "_grpc._tcp.workers.test");
    found.becomes(&["10.0.0.1:8001 ready", "10.0.0.2:9001 ready"]).await;
    let hosts: Vec<_> = found.discovery.backends.borrow().iter().map(|one| one.host.clone().unwrap()).collect();
    assert_eq!(hosts, ["a.test", "b.test"]);
    server.hosts("a.test.", &[]);
    server.hosts("b.test.", &[]);
    found.is_stale(Duration::from_secs(2)).await;
    found.never_lost(&["10.0.0.1:8001 ready", "10.0.0.2:9001 ready"]);
}

#[tokio::test]
async fn names_in_a_list_are_looked_up_and_addresses_are_not() {
    let server = NameServer::start().await;
    server.hosts("worker.test.", &["10.0.0.2"]);
    let list = ["10.0.0.1:8001", "worker.test:8002"].map(|text| text.parse().unwrap());
    let settings = Settings { name_servers: vec![server.address], ..Settings::default() };
    let found = Found::by(Source::Fixed(list.to_vec()), settings);
    found.becomes(&["10.0.0.1:8001 ready", "10.0.0.2:8002 ready"]).await;
}
