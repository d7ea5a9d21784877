//! What a gateway knows of models: what its backends told of themselves, and what they say when they are asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::iter;
use http::HeaderMap;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::sums::Add;
use crate::accept::{Description, Directory, For};
use crate::balance::{Asking, Endpoint, Roster, Told};
use crate::error::{Error, Kind, Result};
use crate::infer::{ModelName, Target, Version, VersionChoice};
use crate::models::{IndexEntry, VersionState};
use crate::observe::trace::{Errand, Question};
use crate::tensor::{DType, Dim, Signature, TensorSpec};
use crate::wire::proto::inference as proto;
use crate::wire::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::wire::status::{code_name, failure};
use crate::wire::trace;

/// How long a question may take, and a load.
const PATIENCE: Duration = Duration::from_secs(5);
const LOADING: Duration = Duration::from_secs(300);
/// Backends that are asked at one time.
const AT_ONCE: usize = 16;
/// Answers to questions may be as long as a large repository makes them.
const LARGEST: usize = 16 << 20;

type Client = GrpcInferenceServiceClient<Asking>;

/// The RPCs that backends are asked by.
const METADATA: &str = "inference.GRPCInferenceService/ModelMetadata";
const CONFIG: &str = "inference.GRPCInferenceService/ModelConfig";
const STATISTICS: &str = "inference.GRPCInferenceService/ModelStatistics";
const LOAD: &str = "inference.GRPCInferenceService/RepositoryModelLoad";
const UNLOAD: &str = "inference.GRPCInferenceService/RepositoryModelUnload";

/// By which RPC backends are asked, and for which question.
type Order<'a> = (&'static str, For<'a>);

/// The roster as a directory.
#[derive(Clone)]
pub(super) struct RosterDirectory {
    roster: Roster,
}

impl RosterDirectory {
    pub(super) fn new(roster: Roster) -> RosterDirectory {
        RosterDirectory { roster }
    }

    /// Backends that serve `target` now.
    async fn serving(&self, target: &Target) -> Result<Vec<Arc<Endpoint>>> {
        let pool = self.roster.look_up(target).await?;
        let members = pool.members();
        let reachable: Vec<Arc<Endpoint>> =
            members.iter().map(|member| member.endpoint.clone()).filter(|endpoint| endpoint.is_reachable()).collect();
        if reachable.is_empty() {
            return Err(Error::new(Kind::NoBackend, format!("no backend that serves model {target} is connected")));
        }
        Ok(reachable)
    }

    /// Asks one of those that serve `target`, and another where it does not answer.
    async fn ask<T, F: Future<Output = Result<T, Status>>>(
        &self,
        target: &Target,
        order: Order<'_>,
        question: impl Fn(Client) -> F,
    ) -> Result<T> {
        let serving = self.serving(target).await?;
        let first = fastrand::usize(..serving.len());
        let mut last = Error::late("asking backends");
        for number in 0..serving.len().min(3) {
            let endpoint = &serving[(first + number) % serving.len()];
            match asked(endpoint, PATIENCE, order, &question).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks every backend; each answer with the backend's name. Of those that are not connected it is a refusal.
    async fn ask_all<T, F: Future<Output = Result<T, Status>>>(
        &self,
        patience: Duration,
        order: Order<'_>,
        question: impl Fn(Client) -> F,
    ) -> Vec<(String, Result<T>)> {
        let asking = self.roster.endpoints().into_iter().map(|endpoint| {
            let question = &question;
            async move { (endpoint.name().to_string(), asked(&endpoint, patience, order, question).await) }
        });
        iter(asking).buffer_unordered(AT_ONCE).collect().await
    }

    /// Has something done by every backend, and says who did not do it.
    async fn everywhere<T, F: Future<Output = Result<T, Status>>>(
        &self,
        (what, name): (&str, &ModelName),
        order: Order<'_>,
        question: impl Fn(Client) -> F,
    ) -> Result<()> {
        let answers = self.ask_all(LOADING, order, question).await;
        // Whoever loads a model and then calls it finds it.
        self.roster.survey().await;
        let all = answers.len();
        let mut failed: Vec<(String, Error)> =
            answers.into_iter().filter_map(|(backend, answer)| Some((backend, answer.err()?))).collect();
        failed.sort_by(|(one, _), (other, _)| one.cmp(other));
        let Some((_, first)) = failed.first() else {
            return if all > 0 { Ok(()) } else { Err(Error::new(Kind::NoBackend, "no backend is known yet")) };
        };
        let told: Vec<String> = failed.iter().map(|(backend, error)| format!("{backend}: {error}")).collect();
        let (kind, count) = (first.kind(), failed.len());
        let message =
            format!("{count} of {all} backends did not {what} model {:?}: {}", name.as_str(), told.join("; "));
        Err(Error::new(kind, message))
    }
}

async fn asked<T, F: Future<Output = Result<T, Status>>>(
    endpoint: &Arc<Endpoint>,
    patience: Duration,
    (method, by): Order<'_>,
    question: impl Fn(Client) -> F,
) -> Result<T> {
    let errand = |by: &Question| {
        let (endpoint, address, zone) = (endpoint.name().clone(), endpoint.address(), endpoint.zone().cloned());
        by.asks(Errand { method, endpoint, address, zone, began: Instant::now() })
    };
    let errand = by.map(|by| (by, errand(by)));
    let mut headers = HeaderMap::new();
    if let Some((by, span_id)) = errand {
        trace::write(&by.trace, span_id, &mut headers);
    }
    let asking = Asking::of(endpoint.clone(), headers);
    let client = GrpcInferenceServiceClient::new(asking).max_decoding_message_size(LARGEST);
    let (answer, code) = match timeout(patience, question(client)).await {
        Ok(Ok(answer)) => (Ok(answer), Code::Ok),
        Ok(Err(status)) => (Err(understood(&status)), status.code()),
        Err(_) => (Err(Error::late("asking a backend")), Code::DeadlineExceeded),
    };
    if let Some((by, span_id)) = errand {
        let failure = answer.as_ref().err().map(|error| (code_name(code), error.clone()));
        by.has_asked(span_id, Instant::now(), failure);
    }
    answer
}

/// A backend's refusal as ours.
fn understood(status: &Status) -> Error {
    let mut headers = http::HeaderMap::new();
    let written = status.add_header(&mut headers);
    match written.map(|()| failure(&headers)) {
        Ok(Err(error)) => error,
        _ => Error::new(Kind::Engine, status.message().to_owned()),
    }
}

impl Directory for RosterDirectory {
    fn ready(&self) -> Result<()> {
        self.roster.ready()
    }

    fn serves(&self, target: &Target) -> Result<()> {
        let pool = self.roster.resolve(target)?;
        if pool.is_ready() {
            return Ok(());
        }
        Err(Error::new(Kind::NotReady, format!("no backend that serves model {target} is ready")))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.roster.changes()
    }

    async fn index(&self) -> Result<Vec<IndexEntry>> {
        let entry = |told: Told| IndexEntry {
            name: told.name,
            version: told.version,
            state: if told.ready { VersionState::Ready } else { VersionState::Unavailable },
            reason: if told.ready { "".into() } else { told.reason.into() },
            nature: told.nature.filter(|_| told.ready),
        };
        Ok(self.roster.told().into_iter().map(entry).collect())
    }

    async fn describe(&self, target: &Target, by: For<'_>) -> Result<Description> {
        let request = proto::ModelMetadataRequest { name: target.name.to_string(), version: version_of(target) };
        let answer = self.ask(target, (METADATA, by), |mut client| {
            let request = request.clone();
            async move { Ok(client.model_metadata(request).await?.into_inner()) }
        });
        let metadata = answer.await?;
        let told = self.roster.told();
        let ready = told.iter().filter(|told| told.ready && told.name == target.name);
        let mut versions: Vec<Version> = ready.filter_map(|told| told.version).collect();
        if versions.is_empty() {
            // Those that are asked by name say so only here.
            versions = metadata.versions.iter().filter_map(|version| version.parse().ok()).collect();
        }
        versions.sort();
        let version = match &target.version {
            VersionChoice::Exact(version) => Some(*version),
            _ => versions.last().copied(),
        };
        Ok(Description {
            name: target.name.clone(),
            version,
            versions,
            platform: metadata.platform,
            signature: Arc::new(Signature { inputs: specs(&metadata.inputs)?, outputs: specs(&metadata.outputs)? }),
        })
    }

    async fn config(&self, target: &Target, by: For<'_>) -> Result<proto::ModelConfig> {
        let request = proto::ModelConfigRequest { name: target.name.to_string(), version: version_of(target) };
        let answer = self.ask(target, (CONFIG, by), |mut client| {
            let request = request.clone();
            async move { Ok(client.model_config(request).await?.into_inner().config.unwrap_or_default()) }
        });
        answer.await
    }

    async fn statistics(&self, of: Option<&Target>, by: For<'_>) -> Result<Vec<proto::ModelStatistics>> {
        if let Some(target) = of {
            self.roster.look_up(target).await?;
        }
        let request = proto::ModelStatisticsRequest {
            name: of.map(|target| target.name.to_string()).unwrap_or_default(),
            version: of.map(version_of).unwrap_or_default(),
        };
        let answers = self.ask_all(PATIENCE, (STATISTICS, by), |mut client| {
            let request = request.clone();
            async move { Ok(client.model_statistics(request).await?.into_inner().model_stats) }
        });
        let answers = answers.await;
        let mut sums: BTreeMap<(String, String), proto::ModelStatistics> = BTreeMap::new();
        for statistics in answers.into_iter().filter_map(|(_, answer)| answer.ok()).flatten() {
            let key = (statistics.name.clone(), statistics.version.clone());
            match sums.get_mut(&key) {
                Some(sum) => sum.add(statistics),
                None => _ = sums.insert(key, statistics),
            }
        }
        Ok(sums.into_values().collect())
    }

    async fn load(&self, name: &ModelName, by: For<'_>) -> Result<()> {
        let question = |mut client: Client| {
            let request = proto::RepositoryModelLoadRequest { model_name: name.to_string(), ..Default::default() };
            async move { client.repository_model_load(request).await }
        };
        self.everywhere(("load", name), (LOAD, by), question).await
    }

    async fn unload(&self, name: &ModelName, by: For<'_>) -> Result<()> {
        let question = |mut client: Client| {
            let request = proto::RepositoryModelUnloadRequest { model_name: name.to_string(), ..Default::default() };
            async move { client.repository_model_unload(request).await }
        };
        self.everywhere(("unload", name), (UNLOAD, by), question).await
    }
}

fn version_of(target: &Target) -> String {
    match &target.version {
        VersionChoice::Exact(version) => version.to_string(),
        VersionChoice::Latest | VersionChoice::Label(_) => String::new(),
    }
}

/// Tensors as a backend describes them.
fn specs(told: &[proto::model_metadata_response::TensorMetadata]) -> Result<Vec<TensorSpec>> {
    let spec = |told: &proto::model_metadata_response::TensorMetadata| {
        let dtype = DType::from_name(&told.datatype).ok_or_else(|| {
            let message = format!("the backend says that tensor {:?} has datatype {:?}", told.name, told.datatype);
            Error::new(Kind::Engine, message)
        })?;
        let dims = told.shape.iter().map(|dim| if *dim < 0 { Dim::Free(None) } else { Dim::Fixed(*dim) }).collect();
        Ok(TensorSpec { name: told.name.as_str().into(), dtype, dims, optional: false })
    };
    told.iter().map(spec).collect()
}
