//! The metrics of a gateway with many models and endpoints: how large they are, how long it takes to read them, and what
//! calls see of it meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use crate::rig::cores::Cores;
use crate::rig::load::{Target, together};
use crate::rig::median;
use crate::rig::process::{Process, page};
use crate::{Effort, MODELS, message};

const ENDPOINTS: usize = 100;

pub async fn measure(cores: Cores, effort: Effort) {
    let worker = Process::myself_on(cores.behind, "stub").await;
    let port = worker.address.rsplit(':').next().expect("a port");
    // Each is an address of this machine, behind all of which is the one worker.
    let backends: Vec<String> = (1..=ENDPOINTS).map(|number| format!("127.0.1.{number}:{port}")).collect();
    let mut arguments = vec!["gateway", "--set", "log.level=error"];
    backends.iter().for_each(|backend| arguments.extend(["--backend", backend]));
    let gateway = Process::infergate_on(cores.measured, &arguments).await;
    for model in 0..MODELS {
        Target::model_infer(&gateway, message(model)).await.until_it_answers().await;
    }
    let target = Target::model_infer(&gateway, message(0)).await;
    let (mut alone, mut beside, mut scrapes) = (Vec::new(), Vec::new(), Scrapes::default());
    for _ in 0..effort.rounds {
        alone.push(Times::of(together(&target, 1, effort.time).await));
        let reading = Reading::start(gateway.admin().to_owned());
        beside.push(Times::of(together(&target, 1, effort.time).await));
        scrapes.add(reading.end());
    }
    println!(
        "/metrics of {MODELS} models and {ENDPOINTS} endpoints: {:.2} MB, read in {:.1} ms",
        scrapes.bytes as f64 / 1e6,
        median(&mut scrapes.seconds) * 1e3
    );
    for (what, rounds) in [("nobody reads them", &alone), ("they are read again and again", &beside)] {
        let of = |figure: fn(&Times) -> f64| median(&mut rounds.iter().map(figure).collect::<Vec<_>>());
        println!(
            "  one call in flight while {what:<30} p50 {:>7.1} us, p99 {:>7.1} us, the longest of a round {:>8.1} us",
            of(|times| times.p50) * 1e6,
            of(|times| times.p99) * 1e6,
            of(|times| times.longest) * 1e6
        );
    }
}

/// Of the calls of a round, in seconds.
struct Times {
    p50: f64,
    p99: f64,
    longest: f64,
}

impl Times {
    fn of(mut times: Vec<f64>) -> Times {
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() as f64 * part) as usize).min(times.len() - 1)];
        Times { p50: at(0.5), p99: at(0.99), longest: at(1.0) }
    }
}

#[derive(Default)]
struct Scrapes {
    bytes: usize,
    seconds: Vec<f64>,
}

impl Scrapes {
    fn add(&mut self, other: Scrapes) {
        self.bytes = self.bytes.max(other.bytes);
        self.seconds.extend(other.seconds);
    }
}

/// Reads metrics all the time.
struct Reading {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Scrapes>,
}

impl Reading {
    fn start(admin: String) -> Reading {
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let thread = std::thread::spawn(move || {
            let mut scrapes = Scrapes::default();
            while !until.load(Relaxed) {
                let began = Instant::now();
                scrapes.bytes = page(&admin, "/metrics").len();
                scrapes.seconds.push(began.elapsed().as_secs_f64());
            }
            scrapes
        });
        Reading { over, thread }
    }

    fn end(self) -> Scrapes {
        self.over.store(true, Relaxed);
        self.thread.join().expect("it reads")
    }
}
