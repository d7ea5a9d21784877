//! EndpointSlices as an API server stores them.

use serde_json::{Value, json};

/// A slice of the Service `ml/workers`, with port `grpc`.
pub struct Slice {
    pub name: String,
    port: u16,
    kind: &'static str,
    endpoints: Vec<Value>,
}

impl Slice {
    /// Without endpoints, on port 8001.
    pub fn new(name: &str) -> Slice {
        Slice { name: name.to_owned(), port: 8001, kind: "IPv4", endpoints: Vec::new() }
    }

    /// With another port.
    pub fn on(self, port: u16) -> Slice {
        Slice { port, ..self }
    }

    /// With an endpoint in these conditions.
    pub fn with(self, address: &str, conditions: Value) -> Slice {
        self.of_pod(&format!("pod-{address}"), address, "a", conditions)
    }

    /// With an endpoint that is a pod in a zone.
    pub fn of_pod(mut self, name: &str, address: &str, zone: &str, conditions: Value) -> Slice {
        let target = json!({ "kind": "Pod", "namespace": "ml", "name": name, "uid": name });
        self.endpoints
            .push(json!({ "addresses": [address], "conditions": conditions, "targetRef": target, "zone": zone }));
        self
    }

    /// With endpoints that are ready.
    pub fn ready(self, addresses: &[&str]) -> Slice {
        addresses.iter().fold(self, |slice, address| slice.with(address, ready()))
    }

    /// With one that has names instead of addresses.
    pub fn of_names(self) -> Slice {
        Slice { kind: "FQDN", ..self }
    }

    pub fn object(&self, revision: u64) -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": self.kind,
            "metadata": {
                "name": self.name, "namespace": "ml", "resourceVersion": revision.to_string(),
                "labels": { "kubernetes.io/service-name": "workers" },
            },
            "endpoints": self.endpoints,
            "ports": [{ "name": "grpc", "port": self.port, "protocol": "TCP" }],
        })
    }
}

pub fn ready() -> Value {
    json!({ "ready": true, "serving": true, "terminating": false })
}

pub fn terminating(serving: bool) -> Value {
    json!({ "ready": false, "serving": serving, "terminating": true })
}
