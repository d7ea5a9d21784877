//! The table over stations that are never connected: who is in which pool hangs on what was told, not on that.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use futures_util::FutureExt;
use tokio::io::DuplexStream;

use super::*;
use crate::discover::{Backend, Condition};
use crate::error::Error;
use crate::infer::VersionChoice;

fn rules(zone: Option<&str>) -> RosterRules {
    RosterRules {
        endpoint: Rules {
            connect_timeout: Duration::from_secs(1),
            silence: Duration::from_millis(250),
            ping_timeout: Duration::from_millis(600),
            connections: 1,
            windows: (1 << 16, 1 << 16),
            message_size: 1 << 20,
        },
        dial: Dial::through(|_| std::future::pending::<std::io::Result<DuplexStream>>()),
        zone: zone.map(ByteString::from),
        survey: Duration::from_secs(5),
        policy: Arc::new(|_| Policy::default()),
        origin: crate::wire::origin::origin(1),
        late: Arc::new(|_| None),
        traits: Arc::new(|_, told| told.unwrap_or_default()),
    }
}

fn told(name: &str, version: Option<u64>, ready: bool, reason: &str) -> Told {
    let version = version.and_then(crate::infer::Version::new);
    Told { name: name.parse().unwrap(), version, ready, reason: reason.into(), nature: None, said: None }
}

/// The same, with the number of its nature and what was said of that.
fn saying(told: &Told, nature: u64, said: Option<Said>) -> Told {
    Told { nature: NonZeroU64::new(nature), said: said.map(Arc::new), ..told.clone() }
}

/// Stations by port, each with its condition, its zone and what it told.
struct Fleet(BTreeMap<SocketAddr, Station>, RosterRules, Alike);

fn address(port: u16) -> SocketAddr {
    ([10, 0, 0, 1], port).into()
}

impl Fleet {
    fn new(zone: Option<&str>) -> Fleet {
        Fleet(BTreeMap::new(), rules(zone), Alike::default())
    }

    fn with(mut self, port: u16, condition: Condition, zone: Option<&str>, models: &[Told]) -> Fleet {
        let address = address(port);
        let backend = Backend { condition, zone: zone.map(ByteString::from), ..Backend::at(address) };
        let mut station = Station::start(backend, &self.1, now());
        let mut census = Census { taken: true, ..Census::default() };
        models.iter().cloned().for_each(|told| census.add(told));
        station.census = self.2.shared(census);
        self.0.insert(address, station);
        self
    }

    /// It says another thing of a model.
    fn tell(&mut self, port: u16, told: Told) {
        let station = self.0.get_mut(&address(port)).unwrap();
        let mut census = Census::clone(&station.census);
        census.add(told);
        station.census = self.2.shared(census);
    }

    fn table(&self, before: &Table) -> Table {
        let next = self.next(before).now_or_never().expect("a small table is made in one step");
        next.take_effect(before);
        next
    }

    async fn next(&self, before: &Table) -> Table {
        before.next(self.heard(), &self.1, now()).await
    }

    fn heard(&self) -> Heard {
        let said = |station: &Station| (station.seen.clone(), station.census.clone());
        Heard { endpoints: self.0.values().map(said).collect() }
    }
}

fn target(name: &str, version: Option<&str>) -> Target {
    Target::parse(name.into(), version.unwrap_or_default()).unwrap()
}

fn ports(members: &[Arc<Member>]) -> Vec<u16> {
    members.iter().map(|member| member.endpoint.address().port()).collect()
}

fn kind(table: &Table, target: &Target) -> Kind {
    table.resolve(target).map(drop).unwrap_err().kind()
}

#[tokio::test]
async fn a_call_is_led_to_who_has_the_version_and_one_without_a_version_to_any_who_is_ready() {
    let fleet = Fleet::new(None)
        .with(1, Condition::Ready, None, &[told("m", Some(1), true, "")])
        .with(2, Condition::Ready, None, &[told("m", Some(1), true, ""), told("m", Some(2), true, "")])
        .with(3, Condition::Ready, None, &[told("m", Some(2), false, "loading"), told("n", None, true, "")]);
    let table = fleet.table(&Table::default());
    let members =
        |name: &str, version: Option<&str>| ports(&table.resolve(&target(name, version)).unwrap().pool.members().near);
    assert_eq!(members("m", None), [1, 2]);
    assert_eq!(members("m", Some("1")), [1, 2]);
    assert_eq!(members("m", Some("2")), [2]);
    assert_eq!(members("n", None), [3]);
}

#[tokio::test]
async fn what_nobody_has_is_unknown_and_what_is_not_ready_says_why() {
    let empty = Table::default();
    assert_eq!(kind(&empty, &target("m", None)), Kind::NoBackend);
    let fleet = Fleet::new(None).with(1, Condition::Ready, None, &[told("m", Some(3), false, "out of memory")]);
    let table = fleet.table(&empty);
    assert_eq!(kind(&table, &target("x", None)), Kind::UnknownModel);
    assert_eq!(kind(&table, &target("m", Some("4"))), Kind::UnknownModel);
    let error = table.resolve(&target("m", Some("3"))).map(drop).unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::NotReady, "model \"m\" version 3 is not ready: out of memory"));
    let labelled = Target { name: "m".parse().unwrap(), version: VersionChoice::Label("stable".into()) };
    assert_eq!(kind(&table, &labelled), Kind::Unsupported);
}

#[tokio::test]
async fn who_is_leaving_is_called_only_where_nobody_else_is_and_who_is_not_ready_never() {
    let m = [told("m", Some(1), true, "")];
    let fleet = Fleet::new(None).with(1, Condition::Leaving, None, &m).with(2, Condition::Ready, None, &m).with(
        3,
        Condition::Unready,
        None,
        &m,
    );
    let table = fleet.table(&Table::default());
    assert_eq!(ports(&table.resolve(&target("m", None)).unwrap().pool.members().near), [2]);
    let fleet = Fleet::new(None).with(1, Condition::Leaving, None, &m).with(3, Condition::Unready, None, &m);
    let table = fleet.table(&Table::default());
    assert_eq!(ports(&table.resolve(&target("m", None)).unwrap().pool.members().near), [1]);
    let fleet = Fleet::new(None).with(3, Condition::Unready, None, &m);
    assert_eq!(kind(&fleet.table(&Table::default()), &target("m", None)), Kind::NotReady);
}

#[tokio::test]
async fn those_of_another_zone_are_far_and_those_of_none_are_near() {
    let m = [told("m", Some(1), true, "")];
    let fleet = |zone| {
        Fleet::new(zone).with(1, Condition::Ready, Some("a"), &m).with(2, Condition::Ready, Some("b"), &m).with(
            3,
            Condition::Ready,
            None,
            &m,
        )
    };
    let table = fleet(Some("a")).table(&Table::default());
    let members = table.resolve(&target("m", None)).unwrap().pool.members();
    assert_eq!((ports(&members.near), ports(&members.far)), (vec![1, 3], vec![2]));
    let table = fleet(None).table(&Table::default());
    assert!(table.resolve(&target("m", None)).unwrap().pool.members().far.is_empty());
}

#[tokio::test]
async fn what_is_known_of_an_endpoint_outlives_the_table_and_is_forgotten_with_the_endpoint() {
    let m = [told("m", Some(1), true, "")];
    let fleet = Fleet::new(None).with(1, Condition::Ready, None, &m);
    let first = fleet.table(&Table::default());
    let second = fleet.table(&first);
    let member = |table: &Table| table.resolve(&target("m", None)).unwrap().pool.members().near[0].clone();
    assert!(Arc::ptr_eq(&member(&first), &member(&second)));
    let known = member(&second);
    let replaced = Fleet::new(None).with(1, Condition::Ready, None, &m).table(&second);
    assert!(!Arc::ptr_eq(&known, &member(&replaced)), "another backend at the same address");
}

#[tokio::test]
async fn who_has_a_model_again_begins_anew_and_who_keeps_it_stays_who_it_was() {
    let model = |ready| told("a", Some(1), ready, "unloaded");
    let mut fleet = Fleet::new(None).with(1, Condition::Ready, None, &[model(true)]);
    let member = |table: &Table| table.members_at(address(1)).next().unwrap().1.clone();
    let first = fleet.table(&Table::default());
    let same = fleet.table(&first);
    assert!(Arc::ptr_eq(&member(&first), &member(&same)));
    fleet.tell(1, model(false));
    let without = fleet.table(&same);
    fleet.tell(1, model(true));
    assert!(!Arc::ptr_eq(&member(&first), &member(&fleet.table(&without))));
}

#[tokio::test]
async fn a_model_is_looked_after_from_a_call_on_until_nothing_is_out_of_order() {
    let fleet = Fleet::new(None).with(1, Condition::Ready, None, &[told("a", Some(1), true, "")]);
    let table = fleet.table(&Table::default());
    let pool = table.resolve(&target("a", None)).unwrap().pool;
    let is_astir = || pool.tactics().astir.load(std::sync::atomic::Ordering::Relaxed);
    assert!(!is_astir());
    pool.tactics().stir();
    table.watch().await;
    assert!(!is_astir(), "it is at rest");
    let member = pool.members().near[0].clone();
    for _ in 0..crate::balance::breaker::CONSECUTIVE {
        member.breaker.enter(now()).unwrap().failed(&Error::new(Kind::Engine, "it failed"), now());
    }
    pool.tactics().stir();
    table.watch().await;
    assert!(is_astir(), "it is ejected");
}

/// So many endpoints, each with many models: more than is looked at in one step.
fn large(endpoints: u16) -> Fleet {
    let models: Vec<Told> = (0..20).map(|number| told(&format!("m{number}"), Some(1), true, "")).collect();
    (1..=endpoints).fold(Fleet::new(None), |fleet, port| fleet.with(port, Condition::Ready, None, &models))
}

/// The pool of any version of a model.
fn pool(table: &Table, name: &str) -> Arc<Pool> {
    table.resolve(&target(name, None)).unwrap().pool
}

#[tokio::test]
async fn a_table_that_takes_steps_changes_nothing_for_calls_before_its_end_and_is_then_whole() {
    let mut fleet = large(150);
    let empty = Table::default();
    assert!(fleet.next(&empty).now_or_never().is_none(), "it lets others have their turn");
    let first = fleet.next(&empty).await;
    first.take_effect(&empty);
    fleet.tell(7, told("m3", Some(1), false, "unloaded"));
    fleet.0.remove(&address(8));
    assert!(fleet.next(&first).now_or_never().is_none());
    assert_eq!(pool(&first, "m3").members().len(), 150, "who gave up on it left no trace");
    let second = fleet.next(&first).await;
    assert_eq!(pool(&first, "m3").members().len(), 150);
    second.take_effect(&first);
    for number in 0..20 {
        let name = format!("m{number}");
        let expected: Vec<u16> = (1..=150).filter(|port| *port != 8 && (number != 3 || *port != 7)).collect();
        assert_eq!(ports(&pool(&second, &name).members().near), expected, "{name}");
        let numbered = second.resolve(&target(&name, Some("1"))).unwrap().pool;
        assert_eq!(ports(&numbered.members().near), expected, "{name}");
    }
    first.dismantle().await;
    assert_eq!(pool(&second, "m0").members().len(), 149);
}

#[tokio::test]
async fn a_model_of_which_nothing_has_changed_is_not_made_anew() {
    let [a, b] = ["a", "b"].map(|name| told(name, Some(1), true, ""));
    let both = [a.clone(), b.clone()];
    let mut fleet = Fleet::new(None).with(1, Condition::Ready, None, &both).with(2, Condition::Ready, None, &both);
    let first = fleet.table(&Table::default());
    let is_same = |one: &Table, other: &Table, name: &str| Arc::ptr_eq(one.model(name), other.model(name));
    let same = fleet.table(&first);
    assert!(is_same(&first, &same, "a") && is_same(&first, &same, "b"));
    fleet.tell(2, told("b", Some(2), true, ""));
    let updated = fleet.table(&same);
    assert!(is_same(&same, &updated, "a") && !is_same(&same, &updated, "b"));
    assert_eq!(ports(&updated.resolve(&target("b", Some("2"))).unwrap().pool.members().near), [2]);
    let leaving = Backend { condition: Condition::Leaving, ..Backend::at(address(1)) };
    fleet.0.get_mut(&address(1)).unwrap().change(leaving);
    let left = fleet.table(&updated);
    assert!(!is_same(&updated, &left, "a"));
    assert_eq!(ports(&pool(&left, "a").members().near), [2]);
    fleet.tell(2, saying(&a, 7, Some(Said { largest: Some(8), ..Said::default() })));
    let described = fleet.table(&left);
    assert!(!is_same(&left, &described, "a") && is_same(&left, &described, "b"));
}

#[tokio::test]
async fn an_endpoint_that_left_and_came_back_is_another_member_and_those_beside_it_are_the_same() {
    let m = [told("m", Some(1), true, "")];
    let fleet = Fleet::new(None).with(1, Condition::Ready, None, &m).with(2, Condition::Ready, None, &m);
    let first = fleet.table(&Table::default());
    let before = pool(&first, "m").members();
    let mut fleet = fleet;
    fleet.0.remove(&address(1));
    let without = fleet.table(&first);
    assert_eq!(ports(&pool(&without, "m").members().near), [2]);
    let fleet = fleet.with(1, Condition::Ready, None, &m);
    let back = fleet.table(&without);
    let after = pool(&back, "m").members();
    assert_eq!(ports(&after.near), [1, 2]);
    assert!(!Arc::ptr_eq(&before.near[0], &after.near[0]) && Arc::ptr_eq(&before.near[1], &after.near[1]));
    assert!(Arc::ptr_eq(&pool(&first, "m"), &pool(&back, "m")), "calls that wait in front of it are not forgotten");
}

#[tokio::test]
async fn a_model_is_pure_only_where_all_say_so_and_what_a_number_stands_for_that_was_not_said_yet_is_not() {
    let m = told("m", Some(1), true, "");
    let pure = |pure| Some(Said { pure: Some(pure), ..Said::default() });
    let silent = || Fleet::new(None).with(1, Condition::Ready, None, std::slice::from_ref(&m));
    let is_pure = |told: &[Told]| {
        let all = told
            .iter()
            .zip(2..)
            .fold(silent(), |fleet, (told, port)| fleet.with(port, Condition::Ready, None, std::slice::from_ref(told)));
        pool(&all.table(&Table::default()), "m").tactics().traits.load().pure
    };
    assert!(!is_pure(&[]), "nobody said so");
    assert!(is_pure(&[saying(&m, 7, pure(true))]), "who gives no number is like those that do");
    assert!(!is_pure(&[saying(&m, 7, pure(true)), saying(&m, 8, pure(false))]));
    assert!(!is_pure(&[saying(&m, 7, pure(true)), saying(&m, 8, None)]));
    assert!(is_pure(&[saying(&m, 7, pure(true)), saying(&told("m", Some(1), false, "unloaded"), 8, pure(false))]));
}

#[tokio::test]
async fn a_model_has_a_nature_for_gateways_in_front_where_all_that_serve_it_say_the_same() {
    let m = told("m", Some(1), true, "");
    let nature = |one: u64, other: u64| {
        let [one, other] = [one, other].map(|number| saying(&m, number, None));
        let fleet = Fleet::new(None).with(1, Condition::Ready, None, &[one]).with(2, Condition::Ready, None, &[other]);
        fleet.table(&Table::default()).told()[0].nature
    };
    assert_eq!((nature(7, 7), nature(7, 8), nature(0, 7), nature(7, 0)), (NonZeroU64::new(7), None, None, None));
}
