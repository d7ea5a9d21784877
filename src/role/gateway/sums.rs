//! Numbers of several backends together.

use crate::wire::proto::inference as proto;

/// Numbers that can be taken together with the same ones of another backend.
pub(super) trait Add {
    /// Takes the other's in.
    fn add(&mut self, other: Self);
}

impl Add for proto::ModelStatistics {
    fn add(&mut self, other: proto::ModelStatistics) {
        self.inference_count += other.inference_count;
        self.execution_count += other.execution_count;
        self.last_inference = self.last_inference.max(other.last_inference);
        match (&mut self.inference_stats, other.inference_stats) {
            (Some(sum), Some(other)) => sum.add(other),
            (sum, other) => *sum = sum.take().or(other),
        }
        for batch in other.batch_stats {
            match self.batch_stats.iter_mut().find(|known| known.batch_size == batch.batch_size) {
                Some(known) => {
                    known.compute_input.add(batch.compute_input);
                    known.compute_infer.add(batch.compute_infer);
                    known.compute_output.add(batch.compute_output);
                }
                None => self.batch_stats.push(batch),
            }
        }
        self.batch_stats.sort_by_key(|batch| batch.batch_size);
    }
}

impl Add for proto::InferStatistics {
    fn add(&mut self, other: proto::InferStatistics) {
        self.success.add(other.success);
        self.fail.add(other.fail);
        self.queue.add(other.queue);
        self.compute_input.add(other.compute_input);
        self.compute_infer.add(other.compute_infer);
        self.compute_output.add(other.compute_output);
        self.cache_hit.add(other.cache_hit);
        self.cache_miss.add(other.cache_miss);
    }
}

impl Add for Option<proto::StatisticDuration> {
    fn add(&mut self, other: Option<proto::StatisticDuration>) {
        let Some(other) = other else { return };
        let sum = self.get_or_insert_default();
        sum.count += other.count;
        sum.ns += other.ns;
    }
}
