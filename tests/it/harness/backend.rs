//! A backend that is no server of ours: HTTP/2 by hand, which answers as its script says, and can freeze, say goodbye and
//! die. It speaks over any stream, so that the network may be a simulated one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use infergate::wire::proto::inference as proto;
use proto::model_infer_response::InferOutputTensor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::Code;

use super::message::{framed, unframed};

const INDEX: &str = "/inference.GRPCInferenceService/RepositoryIndex";
const CONFIG: &str = "/inference.GRPCInferenceService/ModelConfig";
const READY: &str = "/inference.GRPCInferenceService/ModelReady";
const SERVER: &str = "/inference.GRPCInferenceService/ServerMetadata";
const SERVER_READY: &str = "/inference.GRPCInferenceService/ServerReady";
const QUESTIONS: [&str; 5] = [INDEX, CONFIG, READY, SERVER, SERVER_READY];

/// A call as it came.
#[derive(Debug, Clone)]
pub struct Taken {
    pub headers: HeaderMap,
    /// The message with its prefix.
    pub body: Bytes,
}

impl Taken {
    pub fn request(&self) -> proto::ModelInferRequest {
        unframed(self.body.clone()).remove(0)
    }

    /// The call's time, as it was told.
    pub fn timeout(&self) -> Duration {
        let text = self.headers["grpc-timeout"].to_str().unwrap();
        let (number, unit) = text.split_at(text.len() - 1);
        let unit = match unit {
            "n" => Duration::from_nanos(1),
            "u" => Duration::from_micros(1),
            "m" => Duration::from_millis(1),
            "S" => Duration::from_secs(1),
            other => panic!("{other:?} is no unit that is expected here"),
        };
        unit * number.parse().unwrap()
    }

    /// What `echo` answers.
    pub fn echo(&self) -> Bytes {
        let request = self.request();
        let output = |input: &proto::model_infer_request::InferInputTensor| InferOutputTensor {
            name: "y".to_owned(),
            datatype: input.datatype.clone(),
            shape: input.shape.clone(),
            ..Default::default()
        };
        framed(&proto::ModelInferResponse {
            model_name: request.model_name.clone(),
            model_version: "1".to_owned(),
            id: request.id.clone(),
            outputs: request.inputs.iter().map(output).collect(),
            raw_output_contents: request.raw_input_contents.clone(),
            ..Default::default()
        })
    }
}

/// What is done with a call.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Answered well with these bytes, prefix included.
    Answer(Bytes),
    /// Answered with a status and nothing else.
    Fail(Code, &'static str),
    /// The stream is reset.
    Reset(Reason),
    /// The connection is cut.
    Cut,
    /// These bytes are sent, then the connection is cut.
    HalfAndCut(Bytes),
    /// Nothing.
    Never,
    /// After a while.
    After(Duration, Box<Deed>),
}

type Script = Arc<dyn Fn(&Taken) -> Deed + Send + Sync>;

/// What a backend plays, on all of its connections.
#[derive(Clone)]
pub struct Part(Arc<Shared>);

struct Shared {
    models: &'static [&'static str],
    /// Whether it says by itself what it serves.
    lists: bool,
    state: Mutex<State>,
    is_frozen: watch::Sender<bool>,
    goodbye: watch::Sender<u32>,
}

struct State {
    script: Script,
    /// Whether it says of its models that they are pure; with `None` it does not know the question.
    pure: Option<bool>,
    /// The number that it gives to that; 0 for none.
    nature: u64,
    taken: Vec<Taken>,
    cancelled: usize,
    connections: usize,
    /// The questions that came, by their paths.
    asked: Vec<String>,
}

impl Part {
    /// Serves `echo`, and does with its calls what the script says.
    pub fn of(pure: bool, script: impl Fn(&Taken) -> Deed + Send + Sync + 'static) -> Part {
        Part::with(&["echo"], Some(pure), true, script)
    }

    /// An `echo` that is well.
    pub fn echo() -> Part {
        Part::of(true, |taken| Deed::Answer(taken.echo()))
    }

    pub fn with(
        models: &'static [&'static str],
        pure: Option<bool>,
        lists: bool,
        script: impl Fn(&Taken) -> Deed + Send + Sync + 'static,
    ) -> Part {
        let script: Script = Arc::new(script);
        let state = Mutex::new(State {
            script,
            pure,
            nature: 0,
            taken: Vec::new(),
            cancelled: 0,
            connections: 0,
            asked: Vec::new(),
        });
        let (is_frozen, goodbye) = (watch::Sender::new(false), watch::Sender::new(0));
        Part(Arc::new(Shared { models, lists, state, is_frozen, goodbye }))
    }

    /// From now on it does something else.
    pub fn plays(&self, script: impl Fn(&Taken) -> Deed + Send + Sync + 'static) {
        self.state().script = Arc::new(script);
    }

    /// From now on its models are of that nature, to which it gives this number.
    pub fn becomes(&self, pure: bool, nature: u64) {
        let mut state = self.state();
        (state.pure, state.nature) = (Some(pure), nature);
    }

    /// Calls that came.
    pub fn taken(&self) -> Vec<Taken> {
        self.state().taken.clone()
    }

    /// Calls whose callers left before the answer.
    pub fn cancelled(&self) -> usize {
        self.state().cancelled
    }

    /// How often it was asked that, which is no call.
    pub fn asked(&self, question: &str) -> usize {
        self.state().asked.iter().filter(|path| path.ends_with(question)).count()
    }

    /// Connections that were made so far.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// Stops reading and writing, or goes on with it.
    pub fn freeze(&self, frozen: bool) {
        self.0.is_frozen.send_replace(frozen);
    }

    /// Sends GOAWAY on every connection.
    pub fn say_goodbye(&self) {
        self.0.goodbye.send_modify(|times| *times += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plays on one connection to its end.
    pub async fn attend(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut frozen = self.0.is_frozen.subscribe();
        let mut goodbye = self.0.goodbye.subscribe();
        if frozen.wait_for(|frozen| !frozen).await.is_err() {
            return;
        }
        let Ok(mut connection) = server::handshake(stream).await else { return };
        self.state().connections += 1;
        let (cut, mut cuts) = mpsc::channel(1);
        let mut answering = JoinSet::new();
        loop {
            if frozen.wait_for(|frozen| !frozen).await.is_err() {
                return;
            }
            tokio::select! {
                next = connection.accept() => match next {
                    Some(Ok((request, respond))) => {
                        _ = answering.spawn(self.clone().answer(request, respond, cut.clone()));
                    }
                    _ => return,
                },
                _ = frozen.changed() => {}
                _ = goodbye.changed() => connection.graceful_shutdown(),
                Some(()) = cuts.recv() => return,
                Some(_) = answering.join_next() => {}
            }
        }
    }

    async fn answer(self, request: Request<RecvStream>, respond: SendResponse<Bytes>, cut: mpsc::Sender<()>) {
        let (head, mut incoming) = request.into_parts();
        let mut body = BytesMut::new();
        while let Some(part) = incoming.data().await {
            let Ok(part) = part else { return };
            let _ = incoming.flow_control().release_capacity(part.len());
            body.extend_from_slice(&part);
        }
        let body = body.freeze();
        let path = head.uri.path();
        if QUESTIONS.contains(&path) {
            self.state().asked.push(path.to_owned());
        }
        let deed = match path {
            INDEX if !self.0.lists => Deed::Fail(Code::Unimplemented, "no such thing"),
            INDEX => Deed::Answer(framed(&self.index())),
            READY => {
                let asked: proto::ModelReadyRequest = unframed(body).remove(0);
                Deed::Answer(framed(&proto::ModelReadyResponse { ready: self.0.models.contains(&&*asked.name) }))
            }
            CONFIG => self.config(),
            // As one of ours, which may be pinged at any time.
            SERVER => Deed::Answer(framed(&proto::ServerMetadataResponse {
                name: "infergate".to_owned(),
                ..Default::default()
            })),
            SERVER_READY => Deed::Answer(framed(&proto::ServerReadyResponse { ready: true })),
            _ => {
                let taken = Taken { headers: head.headers, body };
                let script = self.state().script.clone();
                self.state().taken.push(taken.clone());
                script(&taken)
            }
        };
        self.act(deed, respond, cut).await;
    }

    fn index(&self) -> proto::RepositoryIndexResponse {
        let infergate_nature = self.state().nature;
        let entry = |name: &&str| proto::repository_index_response::ModelIndex {
            infergate_nature,
            name: (*name).to_owned(),
            version: "1".to_owned(),
            state: "READY".to_owned(),
            ..Default::default()
        };
        proto::RepositoryIndexResponse { models: self.0.models.iter().map(entry).collect() }
    }

    fn config(&self) -> Deed {
        let (pure, nature) = {
            let state = self.state();
            (state.pure, state.nature)
        };
        let Some(pure) = pure else { return Deed::Fail(Code::Unimplemented, "no such thing") };
        let said =
            |key: &str, value: String| (format!("infergate.{key}"), proto::ModelParameter { string_value: value });
        let parameters = [said("pure", pure.to_string()), said("nature", nature.to_string())];
        let config = proto::ModelConfig { parameters: parameters.into(), ..Default::default() };
        Deed::Answer(framed(&proto::ModelConfigResponse { config: Some(config) }))
    }

    async fn act(&self, mut deed: Deed, mut respond: SendResponse<Bytes>, cut: mpsc::Sender<()>) {
        while let Deed::After(wait, then) = deed {
            tokio::select! {
                () = tokio::time::sleep_until(tokio::time::Instant::now() + wait) => deed = *then,
                _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => {
                    self.state().cancelled += 1;
                    return;
                }
            }
        }
        let head = |status: Option<Code>| {
            let mut response = Response::new(());
            let headers = response.headers_mut();
            headers.insert("content-type", HeaderValue::from_static("application/grpc"));
            if let Some(code) = status {
                headers.insert("grpc-status", (code as i32).into());
            }
            response
        };
        match deed {
            Deed::Answer(bytes) => {
                let Ok(mut stream) = respond.send_response(head(None), false) else { return };
                let _ = stream.send_data(bytes, false);
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                let _ = stream.send_trailers(trailers);
            }
            Deed::Fail(code, message) => {
                let mut response = head(Some(code));
                response.headers_mut().insert("grpc-message", HeaderValue::from_static(message));
                let _ = respond.send_response(response, true);
            }
            Deed::Reset(reason) => respond.send_reset(reason),
            Deed::Cut => _ = cut.send(()).await,
            Deed::HalfAndCut(bytes) => {
                let Ok(mut stream) = respond.send_response(head(None), false) else { return };
                let _ = stream.send_data(bytes, false);
                // The connection writes what it was given before it is looked at again.
                tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(20)).await;
                let _ = cut.send(()).await;
            }
            Deed::Never => {
                let _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                self.state().cancelled += 1;
            }
            Deed::After(..) => unreachable!("waited for above"),
        }
    }
}
