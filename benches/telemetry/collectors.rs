//! Gateways with collectors of each kind.

use std::time::Duration;

use crate::rig::collector;
use crate::rig::cores::Cores;
use crate::rig::load::{Target, together};
use crate::rig::process::Process;
use crate::rig::{Ratio, median};
use crate::{Effort, message};

const IN_FLIGHT: usize = 8;

/// Telemetry of a gateway.
enum Telemetry {
    Off,
    /// Metrics, and one call of a hundred traced, to a collector that is so.
    To(&'static str),
}

const SIDES: [(&str, Telemetry); 6] = [
    ("off", Telemetry::Off),
    ("off again", Telemetry::Off),
    ("a collector that takes all", Telemetry::To("collector")),
    ("one that takes a second for each", Telemetry::To("slow-collector")),
    ("one that accepts and never reads", Telemetry::To("dead-collector")),
    ("none at that address", Telemetry::To("nobody")),
];

struct Side {
    name: &'static str,
    gateway: Process,
    target: Target,
    _collector: Option<Process>,
}

pub async fn compare(cores: Cores, effort: Effort) {
    let worker = Process::myself_on(cores.behind, "stub").await;
    let mut sides = Vec::new();
    for (name, telemetry) in SIDES {
        sides.push(Side::start(name, telemetry, cores, &worker).await);
    }
    let mut p99 = vec![Vec::new(); sides.len()];
    for number in 0..effort.rounds {
        for side in (0..sides.len()).map(|side| (side + number) % sides.len()) {
            p99[side].push(at_99(together(&sides[side].target, IN_FLIGHT, effort.time).await));
        }
    }
    println!("p99 with {IN_FLIGHT} calls in flight, metrics and 1 % of the calls traced, by that with all of it off:");
    // Two that are the same differ by chance, and by so much anything may.
    let chance = Ratio::of(&p99[1], &p99[0]);
    for (side, times) in sides.iter().zip(&p99) {
        let Ratio { median: ratio, least, most } = Ratio::of(times, &p99[0]);
        let within = (chance.least..=chance.most).contains(&ratio);
        let verdict = if within { "within what chance does" } else { "BEYOND what chance does" };
        println!(
            "  {:<34} {:>7.1} us  ratio {ratio:.3} ({least:.3} to {most:.3}), {verdict}{}",
            side.name,
            median(&mut times.clone()) * 1e6,
            side.traced()
        );
    }
}

impl Side {
    async fn start(name: &'static str, telemetry: Telemetry, cores: Cores, worker: &Process) -> Side {
        let port = worker.address.rsplit(':').next().expect("a port");
        let backend = format!("127.0.0.1:{port}");
        let collector = match telemetry {
            Telemetry::Off | Telemetry::To("nobody") => None,
            Telemetry::To(kind) => Some(Process::myself_on(cores.behind, kind).await),
        };
        let endpoint = match (&telemetry, &collector) {
            (Telemetry::Off, _) => "metrics.calls=false".to_owned(),
            (_, Some(collector)) => format!("tracing.endpoint=http://{}", collector.address),
            // The port of the system's own that nobody listens at.
            (_, None) => "tracing.endpoint=http://127.0.0.1:1".to_owned(),
        };
        let arguments = ["gateway", "--backend", &backend, "--set", &endpoint, "--set", "log.level=error"];
        let gateway = Process::infergate_on(cores.measured, &arguments).await;
        let target = Target::model_infer(&gateway, message(0)).await;
        target.until_it_answers().await;
        Side { name, gateway, target, _collector: collector }
    }

    /// What became of the calls that were traced.
    fn traced(&self) -> String {
        let [kept, exported, dropped] =
            ["kept", "exported", "dropped"].map(|end| self.gateway.metric(&format!("tracing_calls_{end}_total")));
        if kept == 0.0 {
            return String::new();
        }
        format!("; {kept:.0} calls kept, {exported:.0} exported and {dropped:.0} dropped so far")
    }
}

fn at_99(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[(times.len() * 99 / 100).min(times.len() - 1)]
}

/// Is a collector of that kind until it is killed.
pub async fn serve(kind: &str) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("listening grpc={}", listener.local_addr().expect("its address"));
    if kind == "dead-collector" {
        let mut held = Vec::new();
        while let Ok(accepted) = listener.accept().await {
            held.push(accepted);
        }
    }
    let delay = if kind == "slow-collector" { Duration::from_secs(1) } else { Duration::ZERO };
    collector::take(listener, delay).await;
}
