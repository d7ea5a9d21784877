//! Asks endpoints what they serve: when they are connected, from time to time, and when there is reason to.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::census::Census;
use super::station::Surveyed;
use super::{Inner, Known, Told, Traits, lookup};
use crate::balance::endpoint::{Asking, Connectivity, Endpoint};
use crate::infer::ModelName;
use crate::wire::proto::inference as proto;
use crate::wire::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Surveys out of turn are not closer together than this, whatever calls find out.
const LEAST_PAUSE: Duration = Duration::from_millis(500);

/// After a survey that failed the next one is not further away than this: a backend that is starting is known soon.
const SOONER: Duration = Duration::from_secs(1);

/// A client that asks one endpoint.
pub(super) fn client(endpoint: &Arc<Endpoint>) -> GrpcInferenceServiceClient<Asking> {
    GrpcInferenceServiceClient::new(Asking::of(endpoint.clone()))
}

/// Surveys an endpoint for as long as somebody keeps it.
pub(super) async fn keep(roster: Weak<Inner>, of: Surveyed) {
    let Surveyed { endpoint, mut connectivity, soon } = of;
    let mut is_new = true;
    loop {
        if connectivity.wait_for(|now| *now == Connectivity::Connected).await.is_err() {
            return;
        }
        let (Some(inner), Some(asked)) = (roster.upgrade(), endpoint.upgrade()) else { return };
        if std::mem::take(&mut is_new) {
            inner.connected(&asked);
        }
        let pause = inner.rules.survey.mul_f64(0.8 + 0.4 * fastrand::f64());
        let pause = if survey(inner, asked).await { pause } else { pause.min(SOONER) };
        sleep(LEAST_PAUSE).await;
        tokio::select! {
            () = soon.notified() => {}
            () = sleep(pause.saturating_sub(LEAST_PAUSE)) => {}
            // Also where it was lost and is back already.
            changed = connectivity.changed() => {
                let (Ok(()), Some(inner)) = (changed, roster.upgrade()) else { return };
                is_new = true;
                inner.dirty.notify_one();
            }
        }
    }
}

/// Asks it once. Whether it answered.
async fn survey(inner: Arc<Inner>, endpoint: Arc<Endpoint>) -> bool {
    let mut census = match census(&endpoint).await {
        Ok(census) => census,
        Err(status) => {
            tracing::debug!(backend = %endpoint.name(), code = ?status.code(), reason = status.message(), "backend does not say what it serves");
            return false;
        }
    };
    if census.by_name {
        for told in inner.told_at(&endpoint) {
            let ready = lookup::is_ready(&endpoint, &told.name, told.version).await;
            census.add(Told { ready, ..told });
        }
    }
    let undescribed = inner.undescribed(&census);
    inner.surveyed(&endpoint, census);
    for name in undescribed {
        let known = describe(&endpoint, &name).await;
        inner.describe(name, known);
    }
    true
}

async fn census(endpoint: &Arc<Endpoint>) -> Result<Census, Status> {
    let mut client = client(endpoint).max_decoding_message_size(16 << 20);
    let asked = client.repository_index(proto::RepositoryIndexRequest::default());
    match timeout(PATIENCE, asked).await {
        Ok(Ok(index)) => {
            let census = Census::of_index(index.into_inner().models);
            // Who is starting has no models yet, and that is not to say that it will have none.
            if census.models.is_empty() && is_starting(endpoint).await {
                return Err(Status::unavailable("it is starting"));
            }
            Ok(census)
        }
        Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(Census::by_name()),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("no answer")),
    }
}

async fn is_starting(endpoint: &Arc<Endpoint>) -> bool {
    let answer = timeout(PATIENCE, client(endpoint).server_ready(proto::ServerReadyRequest {})).await;
    answer.is_ok_and(|answer| answer.is_ok_and(|answer| !answer.into_inner().ready))
}

/// What an endpoint says of a model's nature; nothing where it does not know the question.
async fn describe(endpoint: &Arc<Endpoint>, name: &ModelName) -> Known {
    let request = proto::ModelConfigRequest { name: name.to_string(), version: String::new() };
    let answer = timeout(PATIENCE, client(endpoint).model_config(request)).await;
    let Ok(Ok(config)) = answer else { return Known::default() };
    let config = config.into_inner().config.unwrap_or_default();
    let said = |key: &str| config.parameters.get(key).map(|parameter| parameter.string_value.as_str());
    let pure = said("infergate.pure").map(|said| said == "true");
    Known {
        traits: pure.map(|pure| Traits { pure, hedged: false }),
        largest: said("infergate.max_batch").and_then(|said| said.parse().ok()),
    }
}

impl Inner {
    /// Models of which nothing is known yet. Whoever asks takes it upon itself to find out.
    fn undescribed(&self, census: &Census) -> Vec<ModelName> {
        let mut known = self.known();
        let ready = census.models.iter().filter(|(_, told)| told.iter().any(|told| told.ready));
        let new: Vec<ModelName> =
            ready.map(|(name, _)| name).filter(|name| !known.contains_key(*name)).cloned().collect();
        known.extend(new.iter().map(|name| (name.clone(), Known::default())));
        new
    }

    fn describe(&self, name: ModelName, said: Known) {
        let mut known = self.known();
        if said == Known::default() {
            // The next endpoint may know.
            known.remove(&name);
        } else {
            known.insert(name, said);
            drop(known);
            self.dirty.notify_one();
        }
    }
}
