//! How busy a server is, as balancers read it: an Open Request Cost Aggregation report
//! (`xds.data.orca.v3.OrcaLoadReport`, gRFC A51).

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::{BufMut, BytesMut};

use super::protobuf::{put_bytes, put_head};
use crate::infer::LoadReport;

/// The trailer that carries a report with an answer.
pub const TRAILER: &str = "endpoint-load-metrics-bin";

/// The report as the value of [`TRAILER`].
///
/// `application_utilization` is the part of the instances that run. `named_metrics`, all with the prefix `infergate.`:
/// `waiting` and `running` (calls), `free_slots` (instances), and in seconds `wait` (what a call that comes now is
/// predicted to wait), `execution` (of this batch), `run` and `row` (what a run and each row in it are predicted to take).
pub fn trailer(load: &LoadReport) -> String {
    let mut message = BytesMut::new();
    for (name, value) in [
        ("infergate.waiting", f64::from(load.waiting)),
        ("infergate.running", f64::from(load.running)),
        ("infergate.free_slots", f64::from(load.free_slots)),
        ("infergate.wait", load.wait.as_secs_f64()),
        ("infergate.execution", load.execution.as_secs_f64()),
        ("infergate.run", load.run.as_secs_f64()),
        ("infergate.row", load.row.as_secs_f64()),
    ] {
        named(&mut message, name, value);
    }
    let instances = f64::from(load.running) + f64::from(load.free_slots);
    double(&mut message, 9, if instances > 0.0 { f64::from(load.running) / instances } else { 0.0 });
    BASE64_STANDARD_NO_PAD.encode(message)
}

/// An entry of `map<string, double> named_metrics = 8`.
fn named(out: &mut BytesMut, name: &str, value: f64) {
    let mut entry = BytesMut::new();
    put_bytes(&mut entry, 1, name.as_bytes());
    double(&mut entry, 2, value);
    put_head(out, 8, entry.len());
    out.extend_from_slice(&entry);
}

/// A double is written also where it is 0, which reads the same.
fn double(out: &mut BytesMut, number: u8, value: f64) {
    out.put_u8(number << 3 | 1);
    out.put_f64_le(value);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use prost::Message;

    use super::*;

    /// The fields of the public message that are used here.
    #[derive(Clone, PartialEq, Message)]
    struct OrcaLoadReport {
        #[prost(map = "string, double", tag = "8")]
        named_metrics: HashMap<String, f64>,
        #[prost(double, tag = "9")]
        application_utilization: f64,
    }

    #[test]
    fn a_report_is_read_by_its_public_form() {
        let load = LoadReport {
            waiting: 7,
            running: 3,
            free_slots: 1,
            wait: Duration::from_millis(20),
            row: Duration::from_micros(50),
            ..LoadReport::default()
        };
        let bytes = BASE64_STANDARD_NO_PAD.decode(trailer(&load)).unwrap();
        let read = OrcaLoadReport::decode(&*bytes).unwrap();
        assert_eq!(read.application_utilization, 0.75);
        assert_eq!(read.named_metrics["infergate.waiting"], 7.0);
        assert_eq!(read.named_metrics["infergate.wait"], 0.02);
        assert_eq!(read.named_metrics["infergate.row"], 0.00005);
        assert_eq!(read.named_metrics.len(), 7);
    }
}
