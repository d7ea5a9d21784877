//! grpc.health.v1: the whole server, each service, each model (`model/NAME`) and each version (`model/NAME/VERSION`).

use std::collections::HashMap;
use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream::unfold;
use tonic::{Request, Response, Status};

use super::{Directory, Readiness};
use crate::accept::generated::health::health_server::Health;
use crate::accept::phase::Phase;
use crate::error::{Error, Kind};
use crate::infer::Target;
use crate::models::VersionState;
use crate::wire::proto::health::health_check_response::ServingStatus;
use crate::wire::proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};

/// The server and its services, TensorFlow Serving's also by the bare names that it registers itself.
const SERVICES: [&str; 6] = [
    "",
    "inference.GRPCInferenceService",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "PredictionService",
    "ModelService",
];

/// The prefix of a model's name.
const MODEL: &str = "model/";

/// More statuses than this are not listed.
const MAX_LISTED: usize = 1000;

/// Answers questions about health.
pub struct HealthService<D: Directory> {
    readiness: Readiness<D>,
}

impl<D: Directory> HealthService<D> {
    /// The health that `readiness` and its directory tell.
    pub fn new(readiness: Readiness<D>) -> Self {
        HealthService { readiness }
    }
}

impl<D: Directory> Readiness<D> {
    /// The status under a name; `None` for a name that nobody has.
    fn status(&self, service: &str) -> Option<ServingStatus> {
        let serving = if SERVICES.contains(&service) { self.is_ready() } else { self.model_status(service)? };
        Some(if serving { ServingStatus::Serving } else { ServingStatus::NotServing })
    }

    fn model_status(&self, service: &str) -> Option<bool> {
        let model = service.strip_prefix(MODEL)?;
        let (name, version) = model.split_once('/').unwrap_or((model, ""));
        let target = Target::parse(name.into(), version).ok()?;
        match self.directory.serves(&target) {
            Ok(()) => Some(self.is_staying()),
            Err(error) if error.kind() == Kind::UnknownModel => None,
            Err(_) => Some(false),
        }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl<D: Directory> Health for HealthService<D> {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match self.readiness.status(&service) {
            Some(status) => Ok(Response::new(answer(status))),
            None => Err(Status::not_found("no such service or model")),
        }
    }

    async fn list(&self, _request: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let mut statuses: HashMap<String, HealthCheckResponse> = HashMap::new();
        for service in SERVICES {
            statuses.extend(self.readiness.status(service).map(|status| (service.to_owned(), answer(status))));
        }
        let staying = self.readiness.is_staying();
        for entry in self.readiness.directory.index().await? {
            let serving = staying && entry.state == VersionState::Ready;
            let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
            let name = format!("{MODEL}{}", entry.name);
            if let Some(version) = entry.version {
                statuses.insert(format!("{name}/{version}"), answer(status));
            }
            // A model serves where any of its versions does.
            let model = statuses.entry(name).or_insert(answer(status));
            if serving {
                *model = answer(status);
            }
        }
        if statuses.len() > MAX_LISTED {
            let error = Error::new(Kind::Overloaded, format!("more than {MAX_LISTED} statuses"));
            return Err(error.after(std::time::Duration::ZERO).into());
        }
        Ok(Response::new(HealthListResponse { statuses }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let readiness = self.readiness.clone();
        let (changes, phase) = (readiness.directory.changes(), readiness.phases.watch());
        let watching = Watching { service: request.into_inner().service, readiness, changes, phase, told: None };
        Ok(Response::new(Box::pin(unfold(watching, Watching::next))))
    }
}

/// One caller that wants to know of changes.
struct Watching<D: Directory> {
    service: String,
    readiness: Readiness<D>,
    changes: tokio::sync::watch::Receiver<u64>,
    phase: crate::accept::phase::PhaseWatch,
    told: Option<ServingStatus>,
}

impl<D: Directory> Watching<D> {
    /// Waits until the status is another than was told. The watch ends when the process leaves.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        loop {
            self.changes.borrow_and_update();
            let phase = self.readiness.phases.now();
            let status = self.readiness.status(&self.service).unwrap_or(ServingStatus::ServiceUnknown);
            if self.told != Some(status) {
                self.told = Some(status);
                return Some((Ok(answer(status)), self));
            }
            let next_phase = match phase {
                Phase::Starting => Phase::Serving,
                Phase::Serving => Phase::Announcing,
                Phase::Announcing | Phase::Leaving | Phase::Cut => Phase::Leaving,
            };
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                () = self.phase.reached(next_phase) => if next_phase == Phase::Leaving { return None },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::StreamExt;
    use tokio::time::timeout;

    use super::*;
    use crate::accept::control::fixture::Hearsay;
    use crate::accept::phase::Phases;

    struct Fixture {
        directory: Hearsay,
        phases: Phases,
        health: HealthService<Hearsay>,
    }

    impl Fixture {
        fn new() -> Fixture {
            let (directory, phases) = (Hearsay::default(), Phases::default());
            let health = HealthService::new(Readiness { directory: directory.clone(), phases: phases.clone() });
            Fixture { directory, phases, health }
        }

        async fn watch(&self, service: &str) -> <HealthService<Hearsay> as Health>::WatchStream {
            let request = HealthCheckRequest { service: service.to_owned() };
            self.health.watch(Request::new(request)).await.unwrap().into_inner()
        }
    }

    /// What a watch that waits already tells when `change` happens; `None` at its end.
    async fn next(
        watch: &mut <HealthService<Hearsay> as Health>::WatchStream,
        change: impl FnOnce(),
    ) -> Option<ServingStatus> {
        let told = timeout(Duration::from_secs(1), watch.next());
        let (told, ()) = tokio::join!(biased; told, async { change() });
        told.expect("the watch tells nothing").map(|told| told.unwrap().status())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_does_not_serve_before_its_directory_is_ready_and_a_watch_tells_that_it_is() {
        let fixture = Fixture::new();
        fixture.phases.advance(Phase::Serving);
        assert_eq!(fixture.health.readiness.status(""), Some(ServingStatus::NotServing));
        let mut watch = fixture.watch("").await;
        assert_eq!(next(&mut watch, || ()).await, Some(ServingStatus::NotServing));
        assert_eq!(next(&mut watch, || fixture.directory.meet()).await, Some(ServingStatus::Serving));
        assert_eq!(fixture.health.readiness.status(""), Some(ServingStatus::Serving));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_of_the_server_tells_each_part_of_its_life() {
        let fixture = Fixture::new();
        fixture.directory.meet();
        let mut watch = fixture.watch("").await;
        assert_eq!(next(&mut watch, || ()).await, Some(ServingStatus::NotServing));
        for (phase, expected) in [
            (Phase::Serving, Some(ServingStatus::Serving)),
            (Phase::Announcing, Some(ServingStatus::NotServing)),
            (Phase::Leaving, None),
        ] {
            assert_eq!(next(&mut watch, || fixture.phases.advance(phase)).await, expected, "{phase:?}");
        }
    }

    #[test]
    fn a_model_serves_where_the_directory_says_so_until_the_server_stops() {
        let fixture = Fixture::new();
        let status = |service| fixture.health.readiness.status(service);
        assert_eq!(status("model/plain"), Some(ServingStatus::Serving));
        assert_eq!(status("model/numbered/2"), Some(ServingStatus::NotServing));
        assert_eq!(status("model/numbered/4"), None);
        fixture.phases.advance(Phase::Announcing);
        assert_eq!(status("model/plain"), Some(ServingStatus::NotServing));
    }
}
