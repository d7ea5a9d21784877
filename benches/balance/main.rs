#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
mod others; mod ours; mod scenario; mod worker; mod world;
use scenario::*; use world::*;
const UNEQUAL: [f64; 10] = [1.,1.,1.,1.,1.,1.,2.,2.,2.,4.];
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let seeds: u64 = args.iter().find_map(|a| a.parse().ok()).unwrap_or(3);
    let filter = args.iter().find_map(|a| a.strip_prefix("f=")).unwrap_or("");
    let rule = args.iter().find_map(|a| a.strip_prefix("r=")).unwrap_or("");
    let mut all = vec![];
    for load in [0.5,0.7,0.85,0.95] { for g in [1,4,16] { all.push(Scenario::new(format!("S1 {load} g{g}"), &UNEQUAL, load, g)); } }
    all.push(Scenario { fault: Fault::Slow(20.0), seconds: 20.0, ..Scenario::new("S2", &UNEQUAL, 0.6, 4) });
    all.push(Scenario { fault: Fault::Fails, ..Scenario::new("S3", &UNEQUAL, 0.5, 4) });
    all.push(Scenario { fault: Fault::Joins, seconds: 20.0, ..Scenario::new("S4", &UNEQUAL, 0.7, 4) });
    all.push(Scenario { fault: Fault::Bursts, seconds: 20.0, ..Scenario::new("S5", &UNEQUAL, 0.25, 4) });
    all.push(Scenario { mixed: true, seconds: 60.0, ..Scenario::new("S6", &UNEQUAL, 0.6, 4) });
    for (n, r) in [("50%", Reports::Lost(0.5)), ("100%", Reports::Lost(1.0)), ("late", Reports::Late(SECOND))] {
        all.push(Scenario { reports: r, ..Scenario::new(format!("S8 {n}"), &UNEQUAL, 0.85, 4) });
    }
    for n in [2usize,3,5,40,200] { let f: Vec<f64> = (0..n).map(|i| UNEQUAL[(i * 3) % 10]).collect(); all.push(Scenario::new(format!("S9 n{n}"), &f, 0.85, 4)); }
    for g in [1, 4] { all.push(Scenario::new(format!("S10 g{g}"), &[1.0; 10], 0.85, g)); }
    for s in all.iter().filter(|s| s.name.contains(filter)) {
        println!("## {}", s.name);
        let mut base = [0.0; 2];
        for r in Rule::ALL { if !r.name().contains(rule) && r != Rule::TowerPeakEwma { continue }
            let (mut mean, mut q) = (0.0, [0.0; 3]); let (mut err, mut b) = (0.0, 0.0);
            let t = std::time::Instant::now();
            for seed in 1..=seeds { let f = World::new(s, r, seed).run(); let n = f.latencies.len();
                mean += f.latencies.iter().map(|x| *x as f64).sum::<f64>() / n as f64 / 1e6;
                for (i, p) in [0.5, 0.99, 0.999].into_iter().enumerate() { q[i] += f.latencies[((n - 1) as f64 * p) as usize] as f64 / 1e6; }
                err += f.failed as f64 / (n + f.failed) as f64 * 100.0; b += f.batch; }
            let k = seeds as f64; if r == Rule::TowerPeakEwma { base = [q[1], q[2]]; }
            println!("{:24} mean {:8.2} p50 {:7.2} p99 {:8.2} p99.9 {:8.2}  ratio {:.2} {:.2}  err {:.1}% batch {:.1}  {:.1}s", r.name(), mean/k, q[0]/k, q[1]/k, q[2]/k, q[1]/base[0], q[2]/base[1], err/k, b/k, t.elapsed().as_secs_f64());
        }
    }
}
