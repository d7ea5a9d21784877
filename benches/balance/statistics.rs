//! Figures over seeds, with how sure they are.

use fastrand::Rng;

use crate::world::Figures;

const RESAMPLES: usize = 2000;

/// What one run came to, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Summary {
    pub mean: f64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    /// Part of the calls that failed.
    pub failed: f64,
    /// Rows by run.
    pub batch: f64,
}

impl Summary {
    pub fn of(figures: &Figures) -> Summary {
        let count = figures.latencies.len();
        let at = |part: f64| {
            let index = (count.saturating_sub(1) as f64 * part) as usize;
            figures.latencies.get(index).map_or(0.0, |nanos| *nanos as f64 / 1e6)
        };
        let sum: f64 = figures.latencies.iter().map(|nanos| *nanos as f64 / 1e6).sum();
        Summary {
            mean: sum / count.max(1) as f64,
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            failed: figures.failed as f64 / (count + figures.failed).max(1) as f64,
            batch: figures.batch,
        }
    }
}

/// The mean of one figure over seeds.
pub fn mean(runs: &[Summary], figure: fn(&Summary) -> f64) -> f64 {
    runs.iter().map(figure).sum::<f64>() / runs.len().max(1) as f64
}

/// A ratio of two rules over the same arrivals.
#[derive(Debug, Clone, Copy)]
pub struct Ratio {
    /// Geometric mean over seeds.
    pub mean: f64,
    /// Its 95 % interval, by resampling the seeds.
    pub low: f64,
    pub high: f64,
}

impl Ratio {
    pub fn of(runs: &[Summary], base: &[Summary], figure: fn(&Summary) -> f64) -> Ratio {
        let logs: Vec<f64> = runs.iter().zip(base).map(|(run, base)| (figure(run) / figure(base)).ln()).collect();
        let count = logs.len();
        let mut rng = Rng::with_seed(1);
        let mut resample = || (0..count).map(|_| logs[rng.usize(..count)]).sum::<f64>() / count as f64;
        let mut means: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
        means.sort_by(f64::total_cmp);
        Ratio {
            mean: (logs.iter().sum::<f64>() / count as f64).exp(),
            low: means[RESAMPLES / 40].exp(),
            high: means[RESAMPLES - 1 - RESAMPLES / 40].exp(),
        }
    }
}
