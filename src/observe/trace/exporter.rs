//! The exporter of spans: OTLP over gRPC or HTTP. Whatever is not said here the library takes from the environment: headers,
//! time-outs, compression, attributes of the resource.

use std::path::PathBuf;

use opentelemetry::KeyValue;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;

use super::environment::Protocol;

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// Its address; without one, what the environment says.
    pub endpoint: Option<String>,
    /// Whether that is `https`, or says nothing of it, which stands for the same.
    pub is_encrypted: bool,
    /// The authorities that its certificate must come from, a PEM file; without one, those of the system.
    pub ca: Option<PathBuf>,
    /// How they are sent.
    pub protocol: Protocol,
    /// What this process is called among others; without a name, what the environment says.
    pub service: Option<&'static str>,
}

/// Makes the exporter, which connects when there is something to send. Runs on the runtime that it is called in.
///
/// # Errors
/// What is wrong with its settings or with those in the environment.
pub(super) fn exporter(collector: &Collector) -> Result<SpanExporter, String> {
    let wrong = |error: ExporterBuildError| error.to_string();
    if collector.is_encrypted && collector.protocol == Protocol::Http {
        return Err("by \"http/protobuf\" only addresses are served that begin with http://".to_owned());
    }
    let builder = SpanExporter::builder();
    let mut exporter = match collector.protocol {
        Protocol::Grpc => {
            let mut builder = builder.with_tonic();
            if collector.is_encrypted {
                builder = builder.with_tls_config(tls(collector)?);
            }
            match &collector.endpoint {
                Some(endpoint) => builder.with_endpoint(endpoint.clone()).build(),
                None => builder.build(),
            }
        }
        Protocol::Http => {
            let builder = builder.with_http().with_protocol(opentelemetry_otlp::Protocol::HttpBinary);
            match &collector.endpoint {
                Some(endpoint) => builder.with_endpoint(with_path(endpoint)).build(),
                None => builder.build(),
            }
        }
    }
    .map_err(wrong)?;
    exporter.set_resource(&resource(collector));
    Ok(exporter)
}

fn tls(collector: &Collector) -> Result<ClientTlsConfig, String> {
    let tls = ClientTlsConfig::new();
    match &collector.ca {
        None => Ok(tls.with_enabled_roots()),
        Some(path) => {
            let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(tls.ca_certificate(Certificate::from_pem(pem)))
        }
    }
}

/// Where the address has no path, the one that the specification gives.
fn with_path(endpoint: &str) -> String {
    let after_scheme = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    match after_scheme.split_once('/') {
        None => format!("{endpoint}/v1/traces"),
        Some((_, "")) => format!("{endpoint}v1/traces"),
        Some(_) => endpoint.to_owned(),
    }
}

fn resource(collector: &Collector) -> Resource {
    // Reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
    let mut builder = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", format!("{:016x}", fastrand::u64(..))),
    ]);
    if let Some(service) = collector.service {
        builder = builder.with_service_name(service);
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_gets_that_of_traces() {
        for (given, full) in [
            ("http://a:4318", "http://a:4318/v1/traces"),
            ("http://a:4318/", "http://a:4318/v1/traces"),
            ("https://a/otlp/v1/traces", "https://a/otlp/v1/traces"),
        ] {
            assert_eq!(with_path(given), full);
        }
    }
}
