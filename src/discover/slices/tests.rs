//! Tests of the pure step, alone and against a naive model.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::prelude::*;

use super::*;

fn port(name: &str, number: i32) -> EndpointPort {
    EndpointPort { name: Some(name.to_owned()), port: Some(number), ..EndpointPort::default() }
}

fn slice(name: &str, endpoints: impl IntoIterator<Item = Endpoint>) -> EndpointSlice {
    EndpointSlice {
        address_type: "IPv4".to_owned(),
        endpoints: endpoints.into_iter().collect(),
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        ports: Some(vec![port("grpc", 8001)]),
    }
}

fn ipv6(name: &str, endpoints: impl IntoIterator<Item = Endpoint>) -> EndpointSlice {
    EndpointSlice { address_type: "IPv6".to_owned(), ..slice(name, endpoints) }
}

fn endpoint(address: &str) -> Endpoint {
    Endpoint { addresses: vec![address.to_owned()], ..Endpoint::default() }
}

fn pod(address: &str, uid: &str) -> Endpoint {
    let object =
        ObjectReference { uid: Some(uid.to_owned()), name: Some(format!("pod-{uid}")), ..ObjectReference::default() };
    Endpoint { target_ref: Some(object), ..endpoint(address) }
}

fn conditions(ready: Option<bool>, serving: Option<bool>, terminating: Option<bool>) -> EndpointConditions {
    EndpointConditions { ready, serving, terminating }
}

fn is(endpoint: Endpoint, conditions: EndpointConditions) -> Endpoint {
    Endpoint { conditions: Some(conditions), ..endpoint }
}

fn unready(endpoint: Endpoint) -> Endpoint {
    is(endpoint, conditions(Some(false), Some(false), None))
}

fn of(slices: &[EndpointSlice]) -> Slices {
    with_port(None, slices)
}

fn with_port(port: Option<PortRef>, slices: &[EndpointSlice]) -> Slices {
    let mut known = Slices::new(port);
    known.replace(slices);
    known
}

fn addresses(slices: &Slices) -> Vec<String> {
    slices.backends().iter().map(|backend| backend.address.to_string()).collect()
}

#[test]
fn missing_conditions_mean_ready_and_serving_and_not_terminating() {
    let cases = [
        (None, None, None, Condition::Ready),
        (Some(true), None, None, Condition::Ready),
        (Some(false), None, None, Condition::Unready),
        (Some(false), Some(true), None, Condition::Unready),
        (None, None, Some(true), Condition::Leaving),
        (Some(false), Some(true), Some(true), Condition::Leaving),
        (Some(false), Some(false), Some(true), Condition::Unready),
        (Some(false), None, Some(true), Condition::Unready),
        // With publishNotReadyAddresses an endpoint is ready to its end.
        (Some(true), Some(true), Some(true), Condition::Leaving),
        (Some(true), Some(false), Some(true), Condition::Unready),
        (Some(true), Some(false), Some(false), Condition::Ready),
    ];
    for (ready, serving, terminating, expected) in cases {
        let conditions = conditions(ready, serving, terminating);
        assert_eq!(condition(Some(&conditions)), expected, "{conditions:?}");
    }
    assert_eq!(condition(None), Condition::Ready);
}

#[test]
fn a_backend_has_the_name_of_its_pod_and_the_zone_of_its_endpoint() {
    let pod = Endpoint { zone: Some("b".to_owned()), ..pod("10.0.0.1", "x") };
    let backends = of(&[slice("a", [pod, endpoint("10.0.0.2")])]).backends();
    let described: Vec<_> = backends.iter().map(|backend| (&*backend.name, backend.zone.as_deref())).collect();
    assert_eq!(described, [("pod-x", Some("b")), ("10.0.0.2:8001", None)]);
}

#[test]
fn an_address_in_several_slices_is_one_backend_in_its_best_condition() {
    let slices = [slice("a", [unready(pod("10.0.0.1", "old"))]), slice("b", [pod("10.0.0.1", "new")])];
    let mut known = of(&slices);
    let backends = known.backends();
    assert_eq!(backends.len(), 1);
    assert_eq!(backends.iter().next().unwrap().condition, Condition::Ready);
    known.delete(&slices[1]);
    assert_eq!(known.backends().iter().next().unwrap().condition, Condition::Unready, "the other slice still names it");
    known.delete(&slices[0]);
    assert!(known.backends().is_empty());
}

#[test]
fn a_pod_of_two_families_is_one_backend_by_ipv4() {
    let known = of(&[
        slice("four", [pod("10.0.0.1", "both")]),
        ipv6("six", [pod("fd00::1", "both"), pod("fd00::2", "six-only"), endpoint("fd00::3")]),
    ]);
    assert_eq!(addresses(&known), ["10.0.0.1:8001", "[fd00::2]:8001", "[fd00::3]:8001"]);
}

#[test]
fn a_port_is_chosen_by_number_or_by_name_or_because_there_is_no_other() {
    let ports =
        |ports: Vec<EndpointPort>| vec![EndpointSlice { ports: Some(ports), ..slice("a", [endpoint("10.0.0.1")]) }];
    let both = ports(vec![port("grpc", 8001), port("http", 8000)]);
    let number = |number| Some(PortRef::Number(number));
    let name = |name: &'static str| Some(PortRef::Name(name.into()));
    assert_eq!(addresses(&with_port(number(8000), &both)), ["10.0.0.1:8000"]);
    assert_eq!(addresses(&with_port(name("http"), &both)), ["10.0.0.1:8000"]);
    assert_eq!(addresses(&with_port(None, &both)), ["10.0.0.1:8001"], "the one that is called grpc");
    assert_eq!(addresses(&with_port(None, &ports(vec![port("web", 80)]))), ["10.0.0.1:80"]);
    let any = EndpointPort { port: None, ..port("", 0) };
    assert_eq!(addresses(&with_port(number(9), &ports(vec![any]))), ["10.0.0.1:9"]);
}

#[test]
fn a_slice_without_the_port_is_skipped_and_says_what_it_has() {
    let udp = EndpointPort { protocol: Some("UDP".to_owned()), ..port("grpc", 53) };
    let cases = [
        (
            Some(vec![port("web", 80), port("", 81)]),
            Some(PortRef::Number(9)),
            "has no port 9 for TCP, it has web 80, 81",
        ),
        (Some(vec![port("web", 80)]), Some(PortRef::Name("grpc".into())), "has no port grpc for TCP, it has web 80"),
        (Some(vec![port("a", 80), port("b", 81)]), None, "has no port grpc for TCP, it has a 80, b 81"),
        (Some(vec![udp]), None, "has no port grpc for TCP, it has none"),
        (Some(vec![port("grpc", 70000)]), None, "has a port without a number from 1 to 65535: grpc 70000"),
        (None, None, "has no port grpc for TCP, it has none"),
    ];
    for (ports, wanted, expected) in cases {
        let good = EndpointSlice { ports: Some(vec![port("grpc", 9)]), ..slice("good", [endpoint("10.0.0.2")]) };
        let known = with_port(wanted, &[EndpointSlice { ports, ..slice("bad", [endpoint("10.0.0.1")]) }, good]);
        assert_eq!(known.skipped(), Skipped::one(format!("slice bad {expected}")));
        assert_eq!(addresses(&known), ["10.0.0.2:9"], "the others stay");
    }
}

#[test]
fn junk_is_skipped_and_counted_and_hides_nobody() {
    let names = EndpointSlice { address_type: "FQDN".to_owned(), ..slice("z", [endpoint("example.org")]) };
    let none = Endpoint { addresses: Vec::new(), ..Endpoint::default() };
    let junk = [endpoint("10.0.0.256"), none, endpoint("0.0.0.0"), endpoint("224.0.0.1"), endpoint("10.0.0.1")];
    let mut known = of(&[slice("a", junk), names]);
    assert_eq!(addresses(&known), ["10.0.0.1:8001"]);
    let skipped = known.skipped();
    assert_eq!(skipped.count, 5);
    assert_eq!(skipped.why.as_deref(), Some("slice a has an endpoint at \"10.0.0.256\", which is no address"));
    known.apply(&slice("a", [endpoint("10.0.0.1")]));
    assert_eq!(known.skipped().why.unwrap(), "slice z has addresses of type FQDN, allowed are IPv4 and IPv6");
}

/// What may happen, in no order that makes sense.
#[derive(Debug, Clone)]
enum Op {
    Apply(EndpointSlice),
    Delete(EndpointSlice),
    Relist,
}

fn some_endpoint() -> impl Strategy<Value = Endpoint> {
    let flag = || proptest::option::of(any::<bool>());
    let address = prop_oneof![
        (1u8..6).prop_map(|last| format!("10.0.0.{last}")),
        (1u8..4).prop_map(|last| format!("fd00::{last}")),
        Just("junk".to_owned()),
    ];
    (address, proptest::option::of(0u8..4), flag(), flag(), flag()).prop_map(|(address, uid, ready, serving, ends)| {
        let plain = uid.map_or_else(|| endpoint(&address), |uid| pod(&address, &uid.to_string()));
        is(plain, conditions(ready, serving, ends))
    })
}

fn some_slice() -> impl Strategy<Value = EndpointSlice> {
    (0u8..4, proptest::collection::vec(some_endpoint(), 0..5))
        .prop_map(|(name, endpoints)| slice(&format!("s{name}"), endpoints))
}

fn some_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => some_slice().prop_map(Op::Apply),
        2 => some_slice().prop_map(Op::Delete),
        1 => Just(Op::Relist),
    ]
}

/// Addresses with the best condition of each, straight from all endpoints of all slices.
fn naive(slices: &HashMap<String, EndpointSlice>) -> BTreeMap<SocketAddr, Condition> {
    let endpoints: Vec<(IpAddr, &Endpoint)> = slices
        .values()
        .flat_map(|slice| &slice.endpoints)
        .filter_map(|endpoint| Some((endpoint.addresses[0].parse().ok()?, endpoint)))
        .collect();
    let uid = |endpoint: &Endpoint| endpoint.target_ref.as_ref().and_then(|object| object.uid.clone());
    let mut expected = BTreeMap::new();
    for (address, endpoint) in &endpoints {
        let same_pod = |other: &Endpoint| uid(endpoint).is_some() && uid(other) == uid(endpoint);
        if address.is_ipv6() && endpoints.iter().any(|(other, pod)| other.is_ipv4() && same_pod(pod)) {
            continue;
        }
        let condition = condition(endpoint.conditions.as_ref());
        let best = expected.entry(SocketAddr::new(*address, 8001)).or_insert(condition);
        *best = condition.min(*best);
    }
    expected
}

proptest! {
    #[test]
    fn any_sequence_of_events_and_lists_gives_what_the_slices_say(ops in proptest::collection::vec(some_op(), 0..20)) {
        let (mut known, mut server) = (Slices::new(None), HashMap::new());
        let mut missed = Slices::new(None);
        for op in ops {
            match op {
                Op::Apply(slice) => {
                    known.apply(&slice);
                    server.insert(slice.metadata.name.clone().unwrap(), slice);
                }
                Op::Delete(slice) => {
                    known.delete(&slice);
                    server.remove(slice.metadata.name.as_ref().unwrap());
                }
                Op::Relist => missed.replace(server.values()),
            }
            let said: BTreeMap<_, _> =
                known.backends().iter().map(|backend| (backend.address, backend.condition)).collect();
            prop_assert_eq!(said, naive(&server));
        }
        // Whoever missed all events knows the same after a list, whatever they knew before.
        missed.replace(server.values());
        prop_assert_eq!(missed.backends(), known.backends());
    }
}
