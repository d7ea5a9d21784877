//! The configuration of the process: one typed value, read once, from a TOML file, the environment and flags, the later
//! outweighing the earlier. It never guesses: a wrong key, type or value is an error that says where it stands, what
//! was found and what is allowed, and every mistake is reported at once.

mod effective;
mod example;
pub(crate) mod keys;
mod layer;
mod list;
mod log;
mod model;
mod networks;
pub(crate) mod problem;
mod rules;
mod tracing;
mod units;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::Serialized;
use serde::Serialize;

pub use effective::{Effective, Now, Told, told};
pub use keys::{Key, Section, Setting};
pub use layer::Overrides;
pub use list::List;
pub use log::{AccessLog, LogFilter, LogFormat};
pub use model::{Binding, ModelRules, ModelTable, PickBy};
pub use networks::Networks;
pub use problem::{ConfigError, Problem};
pub use tracing::ExportProtocol;
pub use units::{ByteSize, Period};

use keys::settings;

settings! {
    /// Everything that can be set. A variable is named after the path of its key: `INFERGATE_LIMITS_IN_FLIGHT` sets
    /// `limits.in_flight`.
    pub struct Config {
        /// Where calls are taken. Port 0 takes a free one.
        listen: SocketAddr = local(8001),
        /// Where metrics, probes and diagnostics are served.
        admin: SocketAddr = local(8002),
        /// The models: a folder DIR with DIR/MODEL/VERSION/model.onnx in it, or one .onnx file.
        models: Option<PathBuf> = None => "\"models\"",
        /// Whether clients may load and unload models (RepositoryModelLoad, RepositoryModelUnload), and change what is logged and traced (LogSettings, TraceSetting).
        allow_model_control: bool = true,
        /// Whether good unary answers end with a report of how busy their model is, for balancers (ORCA).
        load_report: bool = false,
        /// Whether answers tell callers where their time went, which version has answered and where it ran: in the trailer `server-timing`, or where a call's `infergate-timing` says.
        server_timing: bool = true,
        /// What a gateway is told of single models, by their names; it goes before what backends say. `--set model.resnet.pure=true` sets one of it.
        model: Option<ModelTable> = None => "{ resnet = { pure = true, policy = \"least-request\", hedge = false } }",
    }
    tables {
        /// Where a gateway looks for its backends.
        discovery: Discovery,
        /// How a gateway spreads calls over its backends.
        balance: Balance,
        /// How a gateway is connected to its backends.
        backend: Backend,
        /// Encryption towards backends. It is on where there is an authority.
        backend_tls: BackendTls,
        /// How much is taken on at one time. What is over a limit is refused at once.
        limits: Limits,
        /// What a connection may do.
        http2: Http2,
        /// How the process stops.
        drain: Drain,
        /// Encryption of the calls' listener.
        tls: Tls,
        /// The machine's share for running models.
        compute: Compute,
        /// The log, on standard error.
        log: Log,
        /// What is told at /metrics, and pushed where there is a collector for it.
        metrics: Metrics,
        /// Distributed traces. They are on where there is a collector.
        tracing: Tracing,
        /// gRPC reflection.
        reflection: Reflection,
    }
}

settings! {
    /// Where a gateway looks for its backends.
    pub struct Discovery {
        /// A fixed list of them.
        backends: List = List::default(),
        /// Names to look up: NAME:PORT for addresses, NAME alone for SRV records.
        dns: List = List::default(),
        /// Services whose EndpointSlices are followed: NAMESPACE/SERVICE or NAMESPACE/SERVICE:PORT, a number or a name.
        kubernetes: List = List::default(),
        /// Where the cluster is and who we are. Without it, what KUBECONFIG names, ~/.kube/config, the pod's account.
        kubeconfig: Option<PathBuf> = None => "\"/etc/infergate/kubeconfig\"",
        /// Where the last-known backends are kept over a restart. Without it, they are not.
        state_file: Option<PathBuf> = None => "\"/var/lib/infergate/endpoints.json\"",
        /// The longest time between two look-ups of a name.
        dns_interval: Period = Period::seconds(30),
        /// The gateway's own zone: backends in it go first as long as they are not slower.
        zone: Option<String> = None => "\"eu-west-1a\"",
    }
}

settings! {
    /// How a gateway spreads calls over its backends.
    pub struct Balance {
        /// By which rule a call's backend is picked: "expected-completion", "peak-ewma", "least-request" or "round-robin".
        policy: PickBy = PickBy::ExpectedCompletion,
        /// How often backends are asked what they serve.
        survey_interval: Period = Period::seconds(5),
    }
}

settings! {
    /// How a gateway is connected to its backends.
    pub struct Backend {
        /// How long a connection may take to come up.
        connect_timeout: Period = Period::seconds(1),
        /// The least time without a byte from a backend that owes answers until it is asked whether it lives. Where its answers take longer, three times as long as those.
        silence: Period = Period::millis(250),
        /// How long it may take to answer that. Then its connection is given up.
        ping_timeout: Period = Period::millis(600),
        /// Connections to one backend. More than one only where the calls of one are all that it takes.
        connections: usize = 4,
    }
}

settings! {
    /// Encryption towards backends. It is on where there is an authority.
    pub struct BackendTls {
        /// The authorities that a backend's certificate must come from, a PEM file.
        ca: Option<PathBuf> = None => "\"tls/backends.crt\"",
        /// The certificate chain that the gateway shows, a PEM file.
        cert: Option<PathBuf> = None => "\"tls/gateway.crt\"",
        /// Its private key, a PEM file.
        key: Option<PathBuf> = None => "\"tls/gateway.key\"",
    }
}

settings! {
    /// How much is taken on at one time. What is over a limit is refused at once.
    pub struct Limits {
        /// Calls in the whole process.
        in_flight: usize = 1024,
        /// Calls of one model, where it runs: a gateway bounds all its calls together.
        in_flight_per_model: usize = 512,
        /// Calls that wait for one model.
        queue_calls: usize = 1024,
        /// Bytes of the calls that wait for one model.
        queue_bytes: ByteSize = ByteSize::gib(1),
        /// The largest message, as it comes and when it is inflated.
        message_size: ByteSize = ByteSize::mib(64),
        /// Bytes of all messages in memory.
        message_bytes: ByteSize = ByteSize::gib(2),
        /// Calls on one ModelStreamInfer stream.
        stream_in_flight: usize = 64,
        /// Connections to the calls' listener.
        connections: usize = 4096,
        /// Connections to the calls' listener from one address.
        connections_per_ip: usize = 1024,
        /// The deadline of a call that brings none.
        default_deadline: Period = Period::seconds(60),
        /// The longest deadline; a longer one is cut to it.
        max_deadline: Period = Period::minutes(10),
    }
}

settings! {
    /// What a connection may do.
    pub struct Http2 {
        /// Calls on one connection at one time.
        max_concurrent_streams: u32 = 256,
        /// Bytes that may be under way in one call before they are read.
        stream_window: ByteSize = ByteSize::mib(4),
        /// Bytes that may be under way on one connection before they are read.
        connection_window: ByteSize = ByteSize::mib(16),
        /// The largest frame.
        max_frame_size: ByteSize = ByteSize::mib(1),
        /// The largest list of headers.
        max_header_list: ByteSize = ByteSize::kib(16),
        /// How often a connection is asked whether it still lives; "0s" for never.
        keepalive_interval: Period = Period::seconds(60),
        /// How long it may take to answer that.
        keepalive_timeout: Period = Period::seconds(20),
        /// How long a connection may be without a call; "0s" for ever.
        idle_timeout: Period = Period::minutes(5),
        /// How old a connection may grow before it is asked to go, so that clients spread anew; "0s" for any age.
        max_connection_age: Period = Period::ZERO,
        /// How long the TLS handshake may take, and as long again the HTTP/2 one.
        handshake_timeout: Period = Period::seconds(5),
        /// How long after its headers a call's first byte may take.
        first_byte_timeout: Period = Period::seconds(10),
        /// The slowest that a call's body may come in, in bytes per second; 0 for any speed.
        min_body_rate: ByteSize = ByteSize::kib(1),
    }
}

settings! {
    /// How the process stops.
    pub struct Drain {
        /// How long new calls are still taken after SIGTERM, while not being ready is noticed.
        announce: Period = Period::seconds(5),
        /// How long calls may take to finish after that, before they are cut off.
        grace: Period = Period::seconds(20),
    }
}

settings! {
    /// Encryption of the calls' listener. It is on where there is a certificate.
    pub struct Tls {
        /// The certificate chain, a PEM file.
        cert: Option<PathBuf> = None => "\"tls/tls.crt\"",
        /// Its private key, a PEM file.
        key: Option<PathBuf> = None => "\"tls/tls.key\"",
        /// The authorities that a client's certificate must come from, a PEM file. Without it no client needs one.
        client_ca: Option<PathBuf> = None => "\"tls/ca.crt\"",
    }
}

settings! {
    /// The machine's share for running models.
    pub struct Compute {
        /// How many CPUs to plan for. Without it, what the control group of the process grants.
        cpus: Option<usize> = None => "2",
        /// Models that are loaded at one time.
        load_concurrency: usize = 1,
    }
}

settings! {
    /// The log, on standard error.
    pub struct Log {
        /// Which events are logged.
        level: LogFilter = LogFilter::default(),
        /// How they are written.
        format: LogFormat = LogFormat::Text,
        /// Which calls have a line each, on level info of infergate::access: "off", "failed" or "all"; a thousand a second at most.
        access: AccessLog = AccessLog::Off,
        /// Which part of the calls that end well have one, where all do.
        access_sample: f64 = 1.0,
    }
}

settings! {
    /// What is told at /metrics, and pushed where there is a collector for it.
    pub struct Metrics {
        /// Whether calls are counted by their ends, and timed by stage, for each model.
        calls: bool = true,
        /// Servers by whose names the same is told as well: "triton", "tensorflow-serving".
        compatible: List = List::default(),
        /// The collector of OTLP that they are pushed to. Without it, what OTEL_EXPORTER_OTLP_METRICS_ENDPOINT names, or with OTEL_METRICS_EXPORTER=otlp what OTEL_EXPORTER_OTLP_ENDPOINT does; without either, nothing is pushed.
        endpoint: Option<String> = None => "\"http://collector:4317\"",
        /// The authorities that the collector's certificate must come from, a PEM file. Without it, what OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE or OTEL_EXPORTER_OTLP_CERTIFICATE names, else those of the system.
        ca: Option<PathBuf> = None => "\"tls/collector.crt\"",
        /// How they are pushed: "grpc" or "http/protobuf". Without it, what OTEL_EXPORTER_OTLP_METRICS_PROTOCOL or OTEL_EXPORTER_OTLP_PROTOCOL says, else by gRPC.
        protocol: Option<ExportProtocol> = None => "\"grpc\"",
        /// The time between two pushes. Without it, what OTEL_METRIC_EXPORT_INTERVAL says, else a minute.
        interval: Option<Period> = None => "\"60s\"",
    }
}

settings! {
    /// Distributed traces. They are on where there is a collector.
    pub struct Tracing {
        /// The collector of OTLP. Without it, what OTEL_EXPORTER_OTLP_ENDPOINT names; without either, no spans are made.
        endpoint: Option<String> = None => "\"http://collector:4317\"",
        /// The authorities that the collector's certificate must come from, a PEM file. Without it, what OTEL_EXPORTER_OTLP_CERTIFICATE names, else those of the system.
        ca: Option<PathBuf> = None => "\"tls/collector.crt\"",
        /// How spans are sent: "grpc" or "http/protobuf". Without it, what OTEL_EXPORTER_OTLP_PROTOCOL says, else by gRPC.
        protocol: Option<ExportProtocol> = None => "\"grpc\"",
        /// Which part of the calls is recorded, as far as no trusted caller has decided. Without it, what OTEL_TRACES_SAMPLER says, else a hundredth.
        ratio: Option<f64> = None => "0.01",
        /// Calls that take as long are kept, as are those that fail by the server's doing, where that was not for a caller to decide; a hundred a second at most.
        slow: Period = Period::seconds(1),
        /// Callers who decide whether their calls are recorded, by their networks. Of others only the trace's id is taken over.
        trusted: Networks = Networks::private(),
        /// The forms in which traces are read and told on: "tracecontext", "baggage", "b3", "b3multi". Without it, what OTEL_PROPAGATORS says, else each is read, "tracecontext" is told on, and baggage is not.
        propagators: Option<List> = None => "[\"tracecontext\", \"baggage\"]",
        /// Calls that may wait to be exported. What is over is dropped and counted.
        queue: usize = 4096,
    }
}

settings! {
    /// gRPC reflection.
    pub struct Reflection {
        /// Whether clients may ask for the protocol's description.
        enabled: bool = true,
    }
}

impl Config {
    /// Puts the configuration together from `file`, the variables of `env` (those of other programs are left alone) and
    /// `flags`, in rising weight. Paths in it are relative to the working directory.
    ///
    /// # Errors
    /// Every mistake in any of them, also where a stronger source would hide it, else every broken rule between values.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        flags: Overrides,
    ) -> Result<Config, ConfigError> {
        Effective::load(file, env, flags).map(|effective| effective.config)
    }

    /// Every key in the order of [`Config::example`].
    pub fn keys() -> Vec<Key> {
        <Config as Section>::keys("")
    }

    /// A configuration file with every key at its default and its meaning above it.
    pub fn example() -> String {
        example::render(&Config::keys())
    }
}

/// Reads settings of another kind than [`Config`] out of the text of the file `source`; what it does not say is as in
/// `base`, key by key.
pub(crate) fn parse_over<T: Section + Serialize>(base: &T, source: &str, text: &str) -> Result<T, ConfigError> {
    let layer = layer::Layer::toml(source.to_owned(), text)?;
    ConfigError::unless_empty(layer.problems(&T::keys("")))?;
    let merged = Figment::from(Serialized::defaults(base)).merge(layer);
    Ok(merged.extract().expect("each value was checked by itself"))
}

/// The variables of this process that may be ours, for [`Config::load`].
pub fn variables() -> impl Iterator<Item = (String, String)> {
    variables_with(layer::PREFIX)
}

/// The variables of this process whose names begin so.
pub fn variables_with(prefix: &'static str) -> impl Iterator<Item = (String, String)> {
    let readable = move |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(prefix))?;
        // What is not Unicode stays wrong when it is checked, and its name is told.
        Some((name, value.to_string_lossy().into_owned()))
    };
    std::env::vars_os().filter_map(readable)
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

#[cfg(test)]
mod tests;
