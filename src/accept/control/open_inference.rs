//! The Open Inference Protocol's questions and Triton's extensions to them.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::settings::{log_settings, set_log, set_trace, trace_settings};
use super::{Directory, For, Readiness, RuntimeSettings, description};
use crate::accept::generated::inference::grpc_inference_service_server::GrpcInferenceService;
use crate::accept::questions::question;
use crate::error::{Error, Kind};
use crate::infer::{ModelName, Target, Version, VersionChoice};
use crate::models::{IndexEntry, VersionState};
use crate::observe::trace::Question;
use crate::wire::proto::inference as proto;

/// The extensions that are served, and no others: clients decide from this list what to ask for.
const EXTENSIONS: [&str; 6] =
    ["classification", "model_repository", "model_configuration", "statistics", "trace", "logging"];

/// Answers everything of the protocol but the calls themselves.
pub struct OpenInferenceControl<D: Directory> {
    /// What is known of models, and whether the process can be called.
    pub readiness: Readiness<D>,
    /// Whether clients may load and unload models, and change settings.
    pub allow_model_control: bool,
    /// What can be set while the process runs.
    pub settings: RuntimeSettings,
}

impl<D: Directory> OpenInferenceControl<D> {
    fn directory(&self) -> &D {
        &self.readiness.directory
    }

    fn may_control(&self) -> Result<(), Status> {
        self.allowed("loading and unloading")
    }

    fn allowed(&self, what: &str) -> Result<(), Status> {
        if self.allow_model_control {
            return Ok(());
        }
        Err(Error::new(Kind::Forbidden, format!("{what} is switched off (allow_model_control)")).into())
    }
}

fn index_entry(entry: IndexEntry) -> proto::repository_index_response::ModelIndex {
    let state = match entry.state {
        VersionState::Loading => "LOADING",
        VersionState::Ready => "READY",
        VersionState::Unavailable => "UNAVAILABLE",
    };
    proto::repository_index_response::ModelIndex {
        name: entry.name.to_string(),
        version: entry.version.map(|version| version.to_string()).unwrap_or_default(),
        state: state.to_owned(),
        reason: entry.reason.to_string(),
        infergate_nature: entry.nature.map_or(0, NonZeroU64::get),
    }
}

/// A question that turns out to be about this model.
fn about<'a>(question: &'a Option<Arc<Question>>, model: &ModelName) -> For<'a> {
    let question = question.as_deref()?;
    question.is_about(model);
    Some(question)
}

fn only_repository(name: &str) -> Result<(), Status> {
    if name.is_empty() {
        return Ok(());
    }
    Err(Error::invalid("there is one repository, and it has no name").into())
}

type Parameters = HashMap<String, proto::ModelRepositoryParameter>;

fn no_parameters_but(known: &[&str], parameters: &Parameters) -> Result<(), Status> {
    match parameters.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let shown: String = name.chars().take(40).collect();
            Err(Error::unsupported(format!("parameter {shown:?} is not served: change the model's folder")).into())
        }
    }
}

#[tonic::async_trait]
impl<D: Directory> GrpcInferenceService for OpenInferenceControl<D> {
    async fn server_live(
        &self,
        _request: Request<proto::ServerLiveRequest>,
    ) -> Result<Response<proto::ServerLiveResponse>, Status> {
        Ok(Response::new(proto::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _request: Request<proto::ServerReadyRequest>,
    ) -> Result<Response<proto::ServerReadyResponse>, Status> {
        Ok(Response::new(proto::ServerReadyResponse { ready: self.readiness.is_ready() }))
    }

    async fn model_ready(
        &self,
        request: Request<proto::ModelReadyRequest>,
    ) -> Result<Response<proto::ModelReadyResponse>, Status> {
        let proto::ModelReadyRequest { name, version } = request.into_inner();
        let target = Target::parse(name.into(), &version)?;
        let ready = self.readiness.is_staying() && self.directory().serves(&target).is_ok();
        Ok(Response::new(proto::ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _request: Request<proto::ServerMetadataRequest>,
    ) -> Result<Response<proto::ServerMetadataResponse>, Status> {
        Ok(Response::new(proto::ServerMetadataResponse {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<proto::ModelMetadataRequest>,
    ) -> Result<Response<proto::ModelMetadataResponse>, Status> {
        let by = question(&request);
        let proto::ModelMetadataRequest { name, version } = request.into_inner();
        let target = Target::parse(name.into(), &version)?;
        let model = self.directory().describe(&target, about(&by, &target.name)).await?;
        let versions = match target.version {
            VersionChoice::Latest => model.versions,
            _ => model.version.into_iter().collect(),
        };
        Ok(Response::new(proto::ModelMetadataResponse {
            name: model.name.to_string(),
            versions: versions.iter().map(Version::to_string).collect(),
            platform: model.platform,
            inputs: description::tensor_metadata(&model.signature.inputs),
            outputs: description::tensor_metadata(&model.signature.outputs),
            properties: HashMap::new(),
        }))
    }

    async fn model_config(
        &self,
        request: Request<proto::ModelConfigRequest>,
    ) -> Result<Response<proto::ModelConfigResponse>, Status> {
        let by = question(&request);
        let proto::ModelConfigRequest { name, version } = request.into_inner();
        let target = Target::parse(name.into(), &version)?;
        let config = self.directory().config(&target, about(&by, &target.name)).await?;
        Ok(Response::new(proto::ModelConfigResponse { config: Some(config) }))
    }

    async fn model_statistics(
        &self,
        request: Request<proto::ModelStatisticsRequest>,
    ) -> Result<Response<proto::ModelStatisticsResponse>, Status> {
        let by = question(&request);
        let proto::ModelStatisticsRequest { name, version } = request.into_inner();
        let wanted = match name.as_str() {
            "" if version.is_empty() => None,
            _ => Some(Target::parse(name.into(), &version)?),
        };
        let by = match &wanted {
            Some(target) => about(&by, &target.name),
            None => by.as_deref(),
        };
        let model_stats = self.directory().statistics(wanted.as_ref(), by).await?;
        Ok(Response::new(proto::ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(
        &self,
        request: Request<proto::RepositoryIndexRequest>,
    ) -> Result<Response<proto::RepositoryIndexResponse>, Status> {
        let proto::RepositoryIndexRequest { repository_name, ready } = request.into_inner();
        only_repository(&repository_name)?;
        let index = self.directory().index().await?.into_iter();
        let wanted = index.filter(|entry| !ready || entry.state == VersionState::Ready);
        Ok(Response::new(proto::RepositoryIndexResponse { models: wanted.map(index_entry).collect() }))
    }

    async fn repository_model_load(
        &self,
        request: Request<proto::RepositoryModelLoadRequest>,
    ) -> Result<Response<proto::RepositoryModelLoadResponse>, Status> {
        self.may_control()?;
        let by = question(&request);
        let proto::RepositoryModelLoadRequest { repository_name, model_name, parameters } = request.into_inner();
        only_repository(&repository_name)?;
        let name = ModelName::new(model_name.into())?;
        no_parameters_but(&[], &parameters)?;
        self.directory().load(&name, about(&by, &name)).await?;
        Ok(Response::new(proto::RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<proto::RepositoryModelUnloadRequest>,
    ) -> Result<Response<proto::RepositoryModelUnloadResponse>, Status> {
        self.may_control()?;
        let by = question(&request);
        let proto::RepositoryModelUnloadRequest { repository_name, model_name, parameters } = request.into_inner();
        only_repository(&repository_name)?;
        let name = ModelName::new(model_name.into())?;
        // No model depends on another here, so that this one changes nothing.
        no_parameters_but(&["unload_dependents"], &parameters)?;
        self.directory().unload(&name, about(&by, &name)).await?;
        Ok(Response::new(proto::RepositoryModelUnloadResponse {}))
    }

    async fn log_settings(
        &self,
        request: Request<proto::LogSettingsRequest>,
    ) -> Result<Response<proto::LogSettingsResponse>, Status> {
        let proto::LogSettingsRequest { settings } = request.into_inner();
        let log = self.settings.log.as_ref();
        let log = log.ok_or_else(|| Error::unsupported("this process did not start its log itself"))?;
        if !settings.is_empty() {
            self.allowed("changing settings")?;
            set_log(log, &settings)?;
        }
        Ok(Response::new(log_settings(log)))
    }

    async fn trace_setting(
        &self,
        request: Request<proto::TraceSettingRequest>,
    ) -> Result<Response<proto::TraceSettingResponse>, Status> {
        let proto::TraceSettingRequest { settings, model_name } = request.into_inner();
        if !model_name.is_empty() {
            self.directory().serves(&Target::parse(model_name.into(), "")?)?;
            if !settings.is_empty() {
                return Err(
                    Error::unsupported("models have no trace settings of their own: leave the model out").into()
                );
            }
        }
        let tracer = &self.settings.tracer;
        if !settings.is_empty() {
            self.allowed("changing settings")?;
            set_trace(tracer, &settings)?;
        }
        Ok(Response::new(trace_settings(tracer)))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::accept::control::fixture::Hearsay;
    use crate::accept::phase::Phases;

    fn control(directory: &Hearsay, allow_model_control: bool) -> OpenInferenceControl<Hearsay> {
        let readiness = Readiness { directory: directory.clone(), phases: Phases::default() };
        OpenInferenceControl { readiness, allow_model_control, settings: RuntimeSettings::default() }
    }

    fn load(name: &str, parameters: &[&str]) -> Request<proto::RepositoryModelLoadRequest> {
        let parameters = parameters.iter().map(|name| (name.to_string(), Default::default())).collect();
        Request::new(proto::RepositoryModelLoadRequest {
            model_name: name.to_owned(),
            parameters,
            ..Default::default()
        })
    }

    #[tokio::test]
    async fn versions_are_all_that_serve_the_one_asked_for_or_none_where_nobody_numbers_them() {
        let control = control(&Hearsay::default(), false);
        for (name, version, expected) in
            [("numbered", "", &["1", "3"][..]), ("numbered", "1", &["1"]), ("plain", "", &[])]
        {
            let request = proto::ModelMetadataRequest { name: name.to_owned(), version: version.to_owned() };
            let told = control.model_metadata(Request::new(request)).await.unwrap().into_inner();
            assert_eq!(
                (&*told.name, &*told.platform, &*told.versions[..].join(" ")),
                (name, "hearsay", &*expected.join(" "))
            );
            assert_eq!((&*told.inputs[0].datatype, &told.inputs[0].shape[..]), ("FP32", &[-1, 2][..]));
        }
    }

    #[tokio::test]
    async fn statistics_are_asked_of_everything_of_a_model_or_of_a_version() {
        let control = control(&Hearsay::default(), false);
        for (name, version, expected) in [
            ("", "", Ok("all")),
            ("numbered", "", Ok("\"numbered\"")),
            ("numbered", "1", Ok("\"numbered\" version 1")),
            ("", "1", Err(Code::InvalidArgument)),
        ] {
            let request = proto::ModelStatisticsRequest { name: name.to_owned(), version: version.to_owned() };
            let told = control.model_statistics(Request::new(request)).await;
            let told = told.map(|told| told.into_inner().model_stats[0].name.clone()).map_err(|status| status.code());
            assert_eq!(told, expected.map(str::to_owned));
        }
    }

    #[tokio::test]
    async fn a_load_reaches_the_directory_only_where_it_is_allowed_and_well_asked_for() {
        let directory = Hearsay::default();
        let code = |told: Result<_, Status>| told.map(|_: Response<_>| ()).unwrap_err().code();
        let forbidden = control(&directory, false).repository_model_load(load("plain", &[])).await;
        assert_eq!(code(forbidden), Code::PermissionDenied);
        let control = control(&directory, true);
        assert_eq!(code(control.repository_model_load(load("plain", &["config"])).await), Code::Unimplemented);
        assert_eq!(code(control.repository_model_load(load("../plain", &[])).await), Code::InvalidArgument);
        assert_eq!(directory.asked(), [""; 0]);
        control.repository_model_load(load("plain", &[])).await.unwrap();
        assert_eq!(directory.asked(), ["load plain"]);
    }

    #[tokio::test]
    async fn settings_are_told_to_anybody_and_changed_only_where_that_is_allowed() {
        let (log, _, _subscriber) = crate::observe::log::tests::kept("info", false);
        let choice = proto::log_settings_request::setting_value::ParameterChoice::BoolParam(false);
        let value = proto::log_settings_request::SettingValue { parameter_choice: Some(choice) };
        for (allowed, expected, level) in [(false, Err(Code::PermissionDenied), "info"), (true, Ok(()), "warn")] {
            let mut control = control(&Hearsay::default(), allowed);
            control.settings.log = Some(log.clone());
            let told = control.log_settings(Request::new(proto::LogSettingsRequest::default())).await.unwrap();
            assert_eq!(told.get_ref().settings.len(), 6);
            let change = proto::LogSettingsRequest { settings: [("log_info".to_owned(), value.clone())].into() };
            let changed = control.log_settings(Request::new(change)).await;
            assert_eq!(changed.map(drop).map_err(|status| status.code()), expected);
            assert_eq!(log.filter(), level);
        }
    }

    #[tokio::test]
    async fn trace_settings_are_those_of_the_server_for_every_model_that_is_known() {
        let control = control(&Hearsay::default(), true);
        let ask = async |model: &str, names: &[&str]| {
            let settings = names.iter().map(|name| ((*name).to_owned(), Default::default())).collect();
            let request = proto::TraceSettingRequest { model_name: model.to_owned(), settings };
            let told = control.trace_setting(Request::new(request)).await;
            told.map(|told| told.into_inner().settings["trace_level"].value.clone()).map_err(|status| status.code())
        };
        assert_eq!(ask("", &[]).await, Ok(vec!["OFF".to_owned()]));
        assert_eq!(ask("plain", &[]).await, Ok(vec!["OFF".to_owned()]));
        assert_eq!(ask("nobody", &[]).await, Err(Code::NotFound));
        assert_eq!(ask("plain", &["trace_rate"]).await, Err(Code::Unimplemented));
        assert_eq!(ask("", &["trace_rate"]).await, Err(Code::Unimplemented), "without a collector");
    }

    #[tokio::test]
    async fn a_load_that_failed_says_what_the_directory_says() {
        let status = control(&Hearsay::default(), true).repository_model_load(load("numbered", &[])).await.unwrap_err();
        assert_eq!(status.message(), "east: version 2: broken; west: no room");
    }
}
