//! What must hold of values that are each right by themselves: ranges, and relations between keys.

use figment::Figment;

use super::layer::DEFAULT;
use super::{ByteSize, Config, Period, Problem};

/// HTTP/2: a window is 31 bits wide (RFC 9113, 6.9.1), and a connection's starts at 65535 and cannot be shrunk.
const WINDOW: (ByteSize, ByteSize) = (ByteSize::bytes(65_535), ByteSize::bytes((1 << 31) - 1));
/// HTTP/2: sizes of frames that may be announced (RFC 9113, 6.5.2).
const FRAME: (ByteSize, ByteSize) = (ByteSize::kib(16), ByteSize::bytes((1 << 24) - 1));
/// Room for the headers that every gRPC call has, and no more than a connection may buffer.
const HEADERS: (ByteSize, ByteSize) = (ByteSize::kib(1), ByteSize::mib(1));
/// More than any machine can count to in time, and few enough for every semaphore.
const MOST: usize = 1_000_000_000;
/// More memory than any machine has.
const MOST_BYTES: ByteSize = ByteSize::gib(1 << 20);
/// No Protobuf message is larger.
const LARGEST_MESSAGE: ByteSize = ByteSize::bytes((1 << 31) - 1);

/// The rules that `config` breaks, each with the source of the value to blame, which `figment` knows.
pub(super) fn broken(config: &Config, figment: &Figment) -> Vec<Problem> {
    let effective = serde_json::to_value(config).expect("settings are texts, numbers and truth values");
    let mut rules = Rules { figment, effective, broken: Vec::new() };
    rules.limits(config);
    rules.http2(config);
    rules.gateway(config);
    rules.tracing(config);
    rules.metrics(config);
    rules.whole(config);
    rules.broken
}

struct Rules<'a> {
    figment: &'a Figment,
    effective: serde_json::Value,
    broken: Vec<Problem>,
}

impl Rules<'_> {
    fn tracing(&mut self, config: &Config) {
        self.collector("tracing.endpoint", config.tracing.endpoint.as_deref());
        let ratio = config.tracing.ratio.unwrap_or_default();
        self.require((0.0..=1.0).contains(&ratio), "tracing.ratio", "from 0 to 1");
        self.require((0.0..=1.0).contains(&config.log.access_sample), "log.access_sample", "from 0 to 1");
        self.count("tracing.queue", config.tracing.queue);
        self.some_time("tracing.slow", config.tracing.slow);
    }

    fn collector(&mut self, key: &'static str, endpoint: Option<&str>) {
        let has_scheme = |endpoint: &str| endpoint.starts_with("http://") || endpoint.starts_with("https://");
        self.require(endpoint.is_none_or(has_scheme), key, "what begins with http:// or https://");
    }

    fn metrics(&mut self, config: &Config) {
        self.collector("metrics.endpoint", config.metrics.endpoint.as_deref());
        if let Some(interval) = config.metrics.interval {
            self.some_time("metrics.interval", interval);
        }
        let is_known = |name: &str| ["triton", "tensorflow-serving"].contains(&name);
        let all_known = config.metrics.compatible.iter().all(is_known);
        self.require(all_known, "metrics.compatible", "a list of \"triton\" and \"tensorflow-serving\"");
    }

    fn limits(&mut self, config: &Config) {
        let limits = &config.limits;
        for (key, count) in [
            ("limits.in_flight", limits.in_flight),
            ("limits.in_flight_per_model", limits.in_flight_per_model),
            ("limits.queue_calls", limits.queue_calls),
            ("limits.stream_in_flight", limits.stream_in_flight),
            ("limits.connections", limits.connections),
            ("limits.connections_per_ip", limits.connections_per_ip),
        ] {
            self.count(key, count);
        }
        let message = (ByteSize::bytes(1), LARGEST_MESSAGE);
        self.range("limits.message_size", limits.message_size, message);
        self.require(limits.message_bytes <= MOST_BYTES, "limits.message_bytes", format!("at most {MOST_BYTES}"));
        self.require(limits.queue_bytes <= MOST_BYTES, "limits.queue_bytes", format!("at most {MOST_BYTES}"));
        self.at_most(("limits.message_size", limits.message_size), ("limits.message_bytes", limits.message_bytes));
        self.at_most(("limits.message_size", limits.message_size), ("limits.queue_bytes", limits.queue_bytes));
        self.some_time("limits.default_deadline", limits.default_deadline);
        self.at_most(
            ("limits.default_deadline", limits.default_deadline),
            ("limits.max_deadline", limits.max_deadline),
        );
    }

    fn http2(&mut self, config: &Config) {
        let http2 = &config.http2;
        self.count("http2.max_concurrent_streams", http2.max_concurrent_streams as usize);
        self.range("http2.stream_window", http2.stream_window, WINDOW);
        self.range("http2.connection_window", http2.connection_window, WINDOW);
        self.range("http2.max_frame_size", http2.max_frame_size, FRAME);
        self.range("http2.max_header_list", http2.max_header_list, HEADERS);
        self.some_time("http2.keepalive_timeout", http2.keepalive_timeout);
        self.some_time("http2.handshake_timeout", http2.handshake_timeout);
        self.some_time("http2.first_byte_timeout", http2.first_byte_timeout);
    }

    fn gateway(&mut self, config: &Config) {
        let (backend, tls) = (&config.backend, &config.backend_tls);
        self.some_time("discovery.dns_interval", config.discovery.dns_interval);
        self.some_time("balance.survey_interval", config.balance.survey_interval);
        self.some_time("backend.connect_timeout", backend.connect_timeout);
        self.some_time("backend.silence", backend.silence);
        self.some_time("backend.ping_timeout", backend.ping_timeout);
        self.require((1..=64).contains(&backend.connections), "backend.connections", "1 to 64");
        self.require(
            tls.key.is_some() == tls.cert.is_some(),
            "backend_tls.key",
            "to be set together with backend_tls.cert",
        );
        self.require(
            tls.ca.is_some() || tls.cert.is_none(),
            "backend_tls.cert",
            "to be set only together with backend_tls.ca",
        );
    }

    fn whole(&mut self, config: &Config) {
        self.count("compute.cpus", config.compute.cpus.unwrap_or(1));
        self.count("compute.load_concurrency", config.compute.load_concurrency);
        if config.listen == config.admin && config.listen.port() != 0 {
            self.require(false, "admin", format!("another address than listen{}", self.value_of("listen")));
        }
        let tls = &config.tls;
        self.require(tls.key.is_some() || tls.cert.is_none(), "tls.cert", "to be set only together with tls.key");
        self.require(tls.cert.is_some() || tls.key.is_none(), "tls.key", "to be set only together with tls.cert");
        self.require(
            tls.cert.is_some() || tls.client_ca.is_none(),
            "tls.client_ca",
            "to be set only together with tls.cert and tls.key",
        );
        let paths = [
            ("models", &config.models),
            ("tls.cert", &tls.cert),
            ("tls.key", &tls.key),
            ("tls.client_ca", &tls.client_ca),
        ];
        for (key, path) in paths {
            self.require(
                path.as_ref().is_none_or(|path| !path.as_os_str().is_empty()),
                key,
                "a path that is not empty",
            );
        }
    }

    fn count(&mut self, key: &str, count: usize) {
        self.require((1..=MOST).contains(&count), key, format!("1 to {MOST}"));
    }

    fn some_time(&mut self, key: &str, period: Period) {
        self.require(period > Period::ZERO, key, "more than no time");
    }

    fn range(&mut self, key: &str, size: ByteSize, (least, most): (ByteSize, ByteSize)) {
        self.require((least..=most).contains(&size), key, format!("{least} to {most}"));
    }

    fn at_most<T: PartialOrd>(&mut self, (key, value): (&str, T), (bound, most): (&str, T)) {
        if value > most {
            self.require(false, key, format!("at most {bound}{}", self.value_of(bound)));
        }
    }

    fn require(&mut self, holds: bool, key: &str, allowed: impl Into<String>) {
        if !holds {
            let (found, allowed) = (self.found(key), allowed.into());
            let what = format!("found {found}, allowed is {allowed}");
            self.broken.push(Problem { source: self.source(key), key: key.to_owned(), what });
        }
    }

    /// Who set the value that counts.
    fn source(&self, key: &str) -> String {
        self.figment.find_metadata(key).map_or(DEFAULT.into(), |layer| layer.name.clone().into_owned())
    }

    fn found(&self, key: &str) -> String {
        let pointer = format!("/{}", key.replace('.', "/"));
        self.effective.pointer(&pointer).map(serde_json::Value::to_string).unwrap_or_default()
    }

    /// ` ("2GiB" from FILE)`, for the other value in a relation.
    fn value_of(&self, key: &str) -> String {
        format!(" ({} from {})", self.found(key), self.source(key))
    }
}
