//! Asks endpoints what they serve: when they are connected, from time to time, and when there is reason to.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::iter;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::census::{Census, Taken, Told};
use super::station::Surveyed;
use super::{Inner, now};
use crate::balance::endpoint::{Asking, Connectivity, Endpoint};
use crate::wire::proto::inference as proto;
use crate::wire::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Surveys out of turn are not closer together than this, whatever calls find out.
const LEAST_PAUSE: Duration = Duration::from_millis(500);
/// Endpoints, or names of one endpoint, that are asked about at one time.
pub(super) const AT_ONCE: usize = 16;

/// After a survey that failed the next one is not further away than this: a backend that is starting is known soon.
const SOONER: Duration = Duration::from_secs(1);

/// After which time an endpoint is asked again that has models which it does not serve, or none: it is likely to be
/// loading them. Each time that it is still so, after twice as long.
const UNREADY: Duration = Duration::from_millis(50);

/// What came of asking.
enum Found {
    /// All that it has is served.
    Ready,
    /// Not all of it.
    Unready,
    /// No answer.
    Nothing,
}

/// A client that asks one endpoint.
pub(super) fn client(endpoint: &Arc<Endpoint>) -> GrpcInferenceServiceClient<Asking> {
    GrpcInferenceServiceClient::new(Asking::unasked(endpoint.clone()))
}

/// Surveys an endpoint for as long as somebody keeps it.
pub(super) async fn keep(roster: Weak<Inner>, of: Surveyed) {
    let Surveyed { endpoint, mut connectivity, soon } = of;
    let (mut is_new, mut unready, mut is_ours) = (true, UNREADY, None);
    loop {
        if connectivity.wait_for(|now| *now == Connectivity::Connected).await.is_err() {
            return;
        }
        let (Some(inner), Some(asked)) = (roster.upgrade(), endpoint.upgrade()) else { return };
        if std::mem::take(&mut is_new) {
            inner.connected(&asked);
            // What is there now may be another server.
            is_ours = None;
        }
        let usual = inner.rules.survey.mul_f64(0.8 + 0.4 * fastrand::f64());
        let pause = match survey(inner, asked, &mut is_ours).await {
            Found::Ready => usual,
            Found::Unready => {
                let pause = usual.min(unready);
                unready = pause * 2;
                pause
            }
            Found::Nothing => usual.min(SOONER),
        };
        let least = LEAST_PAUSE.min(pause);
        sleep(least).await;
        tokio::select! {
            () = soon.notified() => {}
            () = sleep(pause - least) => {}
            // Also where it was lost and is back already.
            changed = connectivity.changed() => {
                let (Ok(()), Some(inner)) = (changed, roster.upgrade()) else { return };
                (is_new, unready) = (true, UNREADY);
                inner.dirty.notify_one();
            }
        }
    }
}

/// Asks it once; whether it is a server of ours only until that is known.
async fn survey(inner: Arc<Inner>, endpoint: Arc<Endpoint>, is_ours: &mut Option<bool>) -> Found {
    let (asked, known, was_ours) = (now(), inner.told_by_name(), *is_ours);
    let origin = async {
        match was_ours {
            Some(known) => Some(known),
            None => self::is_ours(&endpoint).await,
        }
    };
    let (taken, origin) = tokio::join!(inner.take(&endpoint, known), origin);
    *is_ours = origin;
    endpoint.set_takes_pings(origin == Some(true));
    let taken = match taken {
        Ok(taken) => taken,
        Err(status) => {
            tracing::debug!(backend = %endpoint.name(), code = ?status.code(), reason = status.message(), "backend does not say what it serves");
            return Found::Nothing;
        }
    };
    let found =
        if matches!(&taken, Taken::Index(census) if census.is_unready()) { Found::Unready } else { Found::Ready };
    inner.surveyed(&endpoint, taken, asked);
    found
}

/// Whether an endpoint is a server of ours; nothing where it did not say.
async fn is_ours(endpoint: &Arc<Endpoint>) -> Option<bool> {
    let mut client = client(endpoint);
    let asked = client.server_metadata(proto::ServerMetadataRequest {});
    match timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => Some(answer.get_ref().name == env!("CARGO_PKG_NAME")),
        Ok(Err(status)) if !matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => Some(false),
        _ => None,
    }
}

/// Asks an endpoint what it serves; one that does not say by itself, about what others like it serve.
async fn take(endpoint: &Arc<Endpoint>, known: Vec<Told>) -> Result<Taken, Status> {
    let mut client = client(endpoint).max_decoding_message_size(16 << 20);
    let asked = client.repository_index(proto::RepositoryIndexRequest::default());
    match timeout(PATIENCE, asked).await {
        Ok(Ok(index)) => {
            let census = Census::of_index(index.into_inner().models);
            // Who is starting has no models yet, and that is not to say that it will have none.
            if census.models.is_empty() && is_starting(endpoint).await {
                return Err(Status::unavailable("it is starting"));
            }
            Ok(Taken::Index(census))
        }
        Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(Taken::ByName(by_name(endpoint, known).await)),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("no answer")),
    }
}

async fn by_name(endpoint: &Arc<Endpoint>, known: Vec<Told>) -> Vec<(Told, bool)> {
    let asking = known.into_iter().map(|told| async move {
        let is_ready = is_ready(endpoint, &told).await?;
        Some((told, is_ready))
    });
    iter(asking).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
}

/// Whether an endpoint serves a version of a model; nothing where it did not say.
pub(super) async fn is_ready(endpoint: &Arc<Endpoint>, told: &Told) -> Option<bool> {
    let version = told.version.map(|version| version.to_string()).unwrap_or_default();
    let request = proto::ModelReadyRequest { name: told.name.to_string(), version };
    match timeout(PATIENCE, client(endpoint).model_ready(request)).await {
        Ok(Ok(answer)) => Some(answer.into_inner().ready),
        // Servers differ in what they say of a model that they do not have.
        Ok(Err(status)) if !matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => Some(false),
        _ => None,
    }
}

/// Whether an endpoint says of itself that it is not ready.
async fn is_starting(endpoint: &Arc<Endpoint>) -> bool {
    let answer = timeout(PATIENCE, client(endpoint).server_ready(proto::ServerReadyRequest {})).await;
    answer.is_ok_and(|answer| answer.is_ok_and(|answer| !answer.into_inner().ready))
}

impl Inner {
    /// Asks an endpoint what it serves, and of what nature that is.
    async fn take(&self, endpoint: &Arc<Endpoint>, known: Vec<Told>) -> Result<Taken, Status> {
        let mut taken = take(endpoint, known).await?;
        let is_merged = |name: &_| (self.rules.late)(name).is_some();
        let ready: Vec<&mut Told> = match &mut taken {
            Taken::Index(census) => census.models.values_mut().flatten().filter(|told| told.ready).collect(),
            // Where that decides over nothing they are spared the question.
            Taken::ByName(answers) => {
                let ready = answers.iter_mut().filter(|(told, ready)| *ready && is_merged(&told.name));
                ready.map(|(told, _)| told).collect()
            }
        };
        self.natures.note(endpoint, ready, is_merged, self.rules.survey).await;
        Ok(taken)
    }

    /// Asks every endpoint that is connected, and exchanges the table.
    pub(super) async fn survey(&self) {
        let connected = |endpoint: &Arc<Endpoint>| *endpoint.connectivity().borrow() == Connectivity::Connected;
        let endpoints: Vec<Arc<Endpoint>> =
            self.stations().values().map(|station| station.endpoint().clone()).filter(connected).collect();
        let known = self.told_by_name();
        let asking = endpoints.into_iter().map(|endpoint| {
            let known = known.clone();
            async move {
                let asked = now();
                if let Ok(taken) = self.take(&endpoint, known).await {
                    self.surveyed(&endpoint, taken, asked);
                }
            }
        });
        iter(asking).buffer_unordered(AT_ONCE).collect::<()>().await;
        self.rebuild().await;
    }

    /// What endpoints serve that must be asked by name.
    fn told_by_name(&self) -> Vec<Told> {
        let stations = self.stations();
        let by_name = stations.values().filter(|station| station.census.by_name);
        let all = by_name.flat_map(|station| station.census.models.values().flatten());
        let distinct: BTreeMap<_, &Told> = all.map(|told| ((&told.name, told.version), told)).collect();
        distinct.into_values().cloned().collect()
    }
}
