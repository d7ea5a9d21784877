//! The roster over its backends, each on a thread of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use infergate::balance::pick::Policy;
use infergate::balance::{EndpointRules, Roster, RosterRules};
use infergate::discover::{Backend, Backends, Condition};
use infergate::infer::Target;
use infergate::wire::origin;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;

use crate::backends::{self, Served};

/// Far longer than any of it should take.
const PATIENCE: Duration = Duration::from_secs(120);

/// After how long endpoints are asked again that have not said what they serve.
const AGAIN: Duration = Duration::from_secs(6);

pub struct Fleet {
    roster: Roster,
    discovered: watch::Sender<Backends>,
    endpoints: usize,
    /// The number of the first endpoint: those before have gone.
    first: usize,
    models: usize,
    served: Arc<Served>,
    runtime: Runtime,
    _backends: Runtime,
}

impl Fleet {
    /// So many endpoints that serve nothing yet.
    pub fn of(endpoints: usize) -> Fleet {
        let single = |name: &str| {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(1).thread_name(name).enable_all().build().expect("a runtime")
        };
        let (runtime, behind) = (single("roster"), single("backends"));
        let served = Arc::new(Served::default());
        let roster = Roster::new(rules(served.clone(), behind.handle().clone()));
        let (discovered, told) = watch::channel(set(0, endpoints));
        let kept = roster.clone();
        runtime.spawn(async move { kept.keep(told, None).await });
        Fleet { roster, discovered, endpoints, first: 0, models: 0, served, runtime, _backends: behind }
    }

    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Where the roster runs.
    pub fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Has every endpoint serve the first so many models, and waits until the roster knows.
    pub fn serve(&mut self, models: usize) {
        self.served.serve(models);
        self.models = models;
        let last = target(models - 1);
        let known = |roster: &Roster| roster.resolve(&last).map_or(0, |pool| pool.members().len());
        let mut asked = None::<Instant>;
        self.until(|fleet| {
            // Again where it took some so long that they were given up.
            if asked.is_none_or(|asked| asked.elapsed() > AGAIN) {
                fleet.handle().block_on(fleet.roster.survey());
                asked = Some(Instant::now());
            }
            known(&fleet.roster) == fleet.endpoints
        });
        self.settle();
    }

    /// The first endpoint goes, and one comes behind the last.
    pub fn exchange_one(&mut self) {
        let gone = address(self.first);
        self.first += 1;
        self.discovered.send_replace(set(self.first, self.endpoints));
        let new = address(self.first + self.endpoints - 1);
        self.until(|fleet| !fleet.has(gone) && fleet.has(new));
    }

    /// One endpoint is leaving, or no longer.
    pub fn turn_one(&mut self) {
        let at = address(self.first + self.endpoints / 2);
        let leaves = self.has(at);
        let condition = if leaves { Condition::Leaving } else { Condition::Ready };
        let turned = |backend: Backend| if backend.address == at { Backend { condition, ..backend } } else { backend };
        self.discovered.send_modify(|backends| *backends = backends.iter().cloned().map(turned).collect());
        self.until(|fleet| fleet.has(at) != leaves);
    }

    /// Whether the model that is told last has a member at an address.
    fn has(&self, address: SocketAddr) -> bool {
        let Ok(pool) = self.roster.resolve(&target(self.models - 1)) else { return false };
        pool.members().iter().any(|member| member.endpoint.address() == address)
    }

    /// Waits until the roster has nothing left to do but what it does at rest.
    pub fn settle(&self) {
        let mut least = f64::INFINITY;
        for _ in 0..100 {
            let share = self.share(Duration::from_millis(250));
            if share > least * 0.9 && share < 0.5 {
                return;
            }
            least = least.min(share);
        }
    }

    /// The part of a core that the roster takes for so long.
    pub fn share(&self, time: Duration) -> f64 {
        let before = self.cpu();
        std::thread::sleep(time);
        (self.cpu() - before).as_secs_f64() / time.as_secs_f64()
    }

    fn until(&self, mut done: impl FnMut(&Fleet) -> bool) {
        let began = Instant::now();
        while !done(self) {
            assert!(began.elapsed() < PATIENCE, "the roster does not follow");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// CPU time of the roster's thread so far.
    fn cpu(&self) -> Duration {
        let threads = std::fs::read_dir("/proc/self/task").expect("threads");
        let of = |thread: &std::fs::DirEntry, file: &str| {
            std::fs::read_to_string(thread.path().join(file)).unwrap_or_default()
        };
        let ours = threads.flatten().filter(|thread| of(thread, "comm").trim() == "roster");
        let nanos = ours.filter_map(|thread| of(&thread, "schedstat").split(' ').next()?.parse::<u64>().ok());
        Duration::from_nanos(nanos.sum())
    }
}

pub fn target(number: usize) -> Target {
    Target::parse(backends::name(number).into(), "").expect("a name")
}

fn address(number: usize) -> SocketAddr {
    let [_, high, middle, low] = (number as u32).to_be_bytes();
    (Ipv4Addr::new(10, high, middle, low), 8001).into()
}

fn set(first: usize, endpoints: usize) -> Backends {
    (first..first + endpoints).map(|number| Backend::at(address(number))).collect()
}

fn rules(served: Arc<Served>, behind: Handle) -> RosterRules {
    let endpoint = EndpointRules {
        connect_timeout: Duration::from_secs(30),
        silence: Duration::from_secs(5),
        ping_timeout: Duration::from_secs(5),
        connections: 1,
        windows: (4 << 20, 16 << 20),
        message_size: 64 << 20,
    };
    RosterRules {
        endpoint,
        dial: backends::dial(served, behind),
        zone: None,
        survey: Duration::from_secs(3600),
        policy: Arc::new(|_| Policy::default()),
        origin: origin::origin(1),
        late: Arc::new(|_| None),
        traits: Arc::new(|_, told| told.unwrap_or_default()),
    }
}
