//! What a model's server counted during a run: the difference of its ModelStatistics after and before.

use crate::wire::proto::inference::{InferStatistics, ModelStatistics, StatisticDuration};

/// How often something happened, and how long that took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// How often.
    pub count: u64,
    /// How long in sum.
    pub ns: u64,
}

impl Spent {
    fn of(duration: Option<&StatisticDuration>) -> Spent {
        duration.map_or(Spent::default(), |duration| Spent { count: duration.count, ns: duration.ns })
    }

    fn since(self, before: Spent) -> Spent {
        Spent { count: self.count.saturating_sub(before.count), ns: self.ns.saturating_sub(before.ns) }
    }

    fn add(&mut self, other: Spent) {
        self.count += other.count;
        self.ns += other.ns;
    }

    /// Microseconds of one, in the mean; nothing where there was none.
    pub fn mean_us(self) -> Option<f64> {
        (self.count > 0).then(|| self.ns as f64 / self.count as f64 / 1e3)
    }
}

/// Batches of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batches {
    /// The rows of each.
    pub size: u64,
    /// Their runs.
    pub runs: Spent,
}

/// What was counted, over all versions that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Rows that were answered.
    pub rows: u64,
    /// Runs of the model.
    pub runs: u64,
    /// Calls that were answered, from arrival to answer.
    pub answered: Spent,
    /// Calls that failed.
    pub failed: Spent,
    /// Calls' waiting for a place in a batch.
    pub queue: Spent,
    /// Calls' share of laying out inputs.
    pub input: Spent,
    /// Calls' share of runs.
    pub execute: Spent,
    /// Calls' share of taking out outputs.
    pub output: Spent,
    /// Runs by the size of the batch, smallest first.
    pub batches: Vec<Batches>,
}

impl Statistics {
    /// What the server says.
    pub fn of(versions: &[ModelStatistics]) -> Statistics {
        let mut all = Statistics::default();
        versions.iter().for_each(|version| all.add(&Statistics::of_one(version)));
        all
    }

    fn of_one(version: &ModelStatistics) -> Statistics {
        let none = InferStatistics::default();
        let stats = version.inference_stats.as_ref().unwrap_or(&none);
        let batch = |size, runs| Batches { size, runs: Spent::of(runs) };
        let mut batches: Vec<Batches> =
            version.batch_stats.iter().map(|stats| batch(stats.batch_size, stats.compute_infer.as_ref())).collect();
        batches.sort_by_key(|batches| batches.size);
        Statistics {
            rows: version.inference_count,
            runs: version.execution_count,
            answered: Spent::of(stats.success.as_ref()),
            failed: Spent::of(stats.fail.as_ref()),
            queue: Spent::of(stats.queue.as_ref()),
            input: Spent::of(stats.compute_input.as_ref()),
            execute: Spent::of(stats.compute_infer.as_ref()),
            output: Spent::of(stats.compute_output.as_ref()),
            batches,
        }
    }

    /// What came since. A server that began to count anew in between is taken as it is now.
    pub fn since(&self, before: &Statistics) -> Statistics {
        if self.runs < before.runs || self.answered.count < before.answered.count {
            return self.clone();
        }
        let earlier = |size| before.batches.iter().find(|batches| batches.size == size);
        let batches = self.batches.iter().map(|now| {
            let runs = earlier(now.size).map_or(now.runs, |before| now.runs.since(before.runs));
            Batches { size: now.size, runs }
        });
        Statistics {
            rows: self.rows.saturating_sub(before.rows),
            runs: self.runs.saturating_sub(before.runs),
            answered: self.answered.since(before.answered),
            failed: self.failed.since(before.failed),
            queue: self.queue.since(before.queue),
            input: self.input.since(before.input),
            execute: self.execute.since(before.execute),
            output: self.output.since(before.output),
            batches: batches.filter(|batches| batches.runs.count > 0).collect(),
        }
    }

    /// Adds what was counted elsewhere or at another time.
    pub fn add(&mut self, other: &Statistics) {
        self.rows += other.rows;
        self.runs += other.runs;
        let own = [
            &mut self.answered,
            &mut self.failed,
            &mut self.queue,
            &mut self.input,
            &mut self.execute,
            &mut self.output,
        ];
        let others = [other.answered, other.failed, other.queue, other.input, other.execute, other.output];
        own.into_iter().zip(others).for_each(|(own, other)| own.add(other));
        for batches in &other.batches {
            match self.batches.binary_search_by_key(&batches.size, |own| own.size) {
                Ok(at) => self.batches[at].runs.add(batches.runs),
                Err(at) => self.batches.insert(at, *batches),
            }
        }
    }

    /// Rows of a run in the mean; nothing where there was no run.
    pub fn mean_batch(&self) -> Option<f64> {
        (self.runs > 0).then(|| self.rows as f64 / self.runs as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proto::inference::InferBatchStatistics;

    fn told(rows: u64, runs: u64, batches: &[(u64, u64)]) -> ModelStatistics {
        let duration = |count| Some(StatisticDuration { count, ns: 1000 * count });
        let batch = |(size, count): &(u64, u64)| InferBatchStatistics {
            batch_size: *size,
            compute_infer: duration(*count),
            ..Default::default()
        };
        ModelStatistics {
            inference_count: rows,
            execution_count: runs,
            inference_stats: Some(InferStatistics { success: duration(rows), ..Default::default() }),
            batch_stats: batches.iter().map(batch).collect(),
            ..Default::default()
        }
    }

    fn sizes(statistics: &Statistics) -> Vec<(u64, u64)> {
        statistics.batches.iter().map(|batches| (batches.size, batches.runs.count)).collect()
    }

    #[test]
    fn a_run_is_what_came_between_two_looks() {
        let before = Statistics::of(&[told(10, 6, &[(2, 4), (1, 2)])]);
        let after = Statistics::of(&[told(30, 13, &[(4, 3), (2, 8), (1, 2)])]);
        let run = after.since(&before);
        assert_eq!((run.rows, run.runs, run.answered), (20, 7, Spent { count: 20, ns: 20_000 }));
        assert_eq!(sizes(&run), [(2, 4), (4, 3)]);
        assert_eq!(run.mean_batch(), Some(20.0 / 7.0));
        assert_eq!(run.answered.mean_us(), Some(1.0));
    }

    #[test]
    fn versions_add_up() {
        let both = Statistics::of(&[told(1, 1, &[(1, 1)]), told(5, 2, &[(1, 1), (4, 1)])]);
        assert_eq!((both.rows, both.runs, sizes(&both)), (6, 3, vec![(1, 2), (4, 1)]));
    }

    #[test]
    fn counters_that_began_anew_are_taken_as_they_are() {
        let before = Statistics::of(&[told(100, 100, &[(1, 100)])]);
        let after = Statistics::of(&[told(3, 3, &[(1, 3)])]);
        assert_eq!(after.since(&before), after);
    }

    #[test]
    fn nothing_has_no_mean() {
        assert_eq!((Statistics::default().mean_batch(), Spent::default().mean_us()), (None, None));
    }
}
