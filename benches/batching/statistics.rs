//! What a server tells of its runs.

use http::uri::PathAndQuery;
use infergate::wire::proto::inference::{ModelStatisticsRequest, ModelStatisticsResponse};
use prost::Message;

use crate::rig::load::Target;

/// Runs and the rows in them so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Runs {
    pub runs: u64,
    pub rows: u64,
}

impl Runs {
    pub async fn of(target: &Target, model: &str) -> Runs {
        let path = PathAndQuery::from_static("/inference.GRPCInferenceService/ModelStatistics");
        let request = ModelStatisticsRequest { name: model.into(), version: String::new() };
        let answer = target.send(0, path, request.encode_to_vec().into(), None).await.expect("statistics");
        let told = ModelStatisticsResponse::decode(answer).expect("statistics");
        let batches = told.model_stats.iter().flat_map(|model| &model.batch_stats);
        batches.fold(Runs::default(), |sum, batch| {
            let runs = batch.compute_infer.map_or(0, |infer| infer.count);
            Runs { runs: sum.runs + runs, rows: sum.rows + runs * batch.batch_size }
        })
    }

    pub fn since(self, before: Runs) -> Runs {
        Runs { runs: self.runs - before.runs, rows: self.rows - before.rows }
    }

    pub fn mean(self) -> f64 {
        self.rows as f64 / self.runs.max(1) as f64
    }
}
