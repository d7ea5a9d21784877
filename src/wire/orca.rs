//! How busy a server is, as balancers read it: an Open Request Cost Aggregation report
//! (`xds.data.orca.v3.OrcaLoadReport`, gRFC A51).

use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

use super::binary;
use super::protobuf::{Fields, Value};
use crate::infer::LoadReport;

/// The trailer that carries a report with an answer.
pub const TRAILER: &str = "endpoint-load-metrics-bin";

/// The report as the value of [`TRAILER`] for a caller that is a gateway.
///
/// `application_utilization` is the part of the instances that run. `named_metrics`, all with the prefix `infergate.`:
/// `waiting` (rows along the batch axis of the calls that wait), `running` and `free_slots` (instances), and in seconds
/// `wait` (what a call that comes now is predicted to wait), `execution` (of this batch), `run` and `row` (what a run and
/// each row in it are predicted to take); `gateways` (that have lately called the model here). Those that are 0 are left
/// out, but `free_slots`: a report comes with every answer, and what is in it is paid for by each of them.
pub fn trailer(load: &LoadReport) -> String {
    let mut message = Text::new();
    named(&mut message, "infergate.free_slots", f64::from(load.free_slots));
    for (name, value) in [
        ("infergate.waiting", f64::from(load.waiting)),
        ("infergate.running", f64::from(load.running)),
        ("infergate.wait", load.wait.as_secs_f64()),
        ("infergate.execution", load.execution.as_secs_f64()),
        ("infergate.run", load.run.as_secs_f64()),
        ("infergate.row", load.row.as_secs_f64()),
        ("infergate.gateways", f64::from(load.gateways)),
    ] {
        if value != 0.0 {
            named(&mut message, name, value);
        }
    }
    utilization(&mut message, load);
    binary::encode(&message)
}

/// The report for any other caller: only what weighted round robin (gRFC A58) reads of it, `application_utilization`.
pub fn short_trailer(load: &LoadReport) -> String {
    let mut message = Text::new();
    utilization(&mut message, load);
    binary::encode(&message)
}

/// A message in the making; the longest report finds room in it.
type Text = SmallVec<[u8; 256]>;

fn utilization(out: &mut Text, load: &LoadReport) {
    let instances = f64::from(load.running) + f64::from(load.free_slots);
    double(out, 9, if instances > 0.0 { f64::from(load.running) / instances } else { 0.0 });
}

/// Predictions are cut to this, so that whoever adds them to a time of day need not fear for it.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The report in a value of [`TRAILER`]; metrics of others are passed over. `None` where it is malformed, or says
/// nothing that a [`LoadReport`] has: a server without such metrics is not one that is idle.
pub fn read(trailer: &str) -> Option<LoadReport> {
    let mut report = None;
    let mut fields = Fields::new(binary::decode(trailer.as_bytes())?);
    while let Some((number, value)) = fields.next().ok()? {
        if number == 8 {
            let (name, value) = metric(value.bytes().ok()?)?;
            if let Some(own) = name.strip_prefix("infergate.") {
                take(report.get_or_insert_default(), own, value)?;
            }
        }
    }
    report
}

/// An entry of `map<string, double> named_metrics = 8`.
fn metric(entry: Bytes) -> Option<(ByteString, f64)> {
    let (mut name, mut metric) = (ByteString::new(), 0.0);
    let mut fields = Fields::new(entry);
    while let Some((number, value)) = fields.next().ok()? {
        match (number, value) {
            (1, value) => name = value.text().ok()?,
            (2, Value::Fixed64(bits)) => metric = f64::from_bits(bits),
            (2, _) => return None,
            _ => {}
        }
    }
    Some((name, metric))
}

/// One of our own metrics by the name that [`trailer`] gives it.
fn take(report: &mut LoadReport, name: &str, value: f64) -> Option<()> {
    match name {
        "waiting" => report.waiting = count(value)?,
        "running" => report.running = count(value)?,
        "free_slots" => report.free_slots = count(value)?,
        "wait" => report.wait = seconds(value)?,
        "execution" => report.execution = seconds(value)?,
        "run" => report.run = seconds(value)?,
        "row" => report.row = seconds(value)?,
        "gateways" => report.gateways = count(value)?,
        // A newer server may say more.
        _ => {}
    }
    Some(())
}

/// A number of things; `None` where it cannot be one. More than there are numbers for are as many as there are.
fn count(value: f64) -> Option<u32> {
    (value.is_finite() && value >= 0.0).then_some(value as u32)
}

fn seconds(value: f64) -> Option<Duration> {
    (value.is_finite() && value >= 0.0).then(|| Duration::from_secs_f64(value.min(LONGEST.as_secs_f64())))
}

/// Writes an entry of `map<string, double> named_metrics = 8`. Names are short, so that each length is one byte.
fn named(out: &mut Text, name: &str, value: f64) {
    let name_len = name.len() as u8;
    out.extend_from_slice(&[8 << 3 | 2, name_len + 11, 1 << 3 | 2, name_len]);
    out.extend_from_slice(name.as_bytes());
    double(out, 2, value);
}

/// A double is written also where it is 0, which reads the same.
fn double(out: &mut Text, number: u8, value: f64) {
    out.push(number << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
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
        let read = OrcaLoadReport::decode(binary::decode(trailer(&load).as_bytes()).unwrap()).unwrap();
        assert_eq!(read.application_utilization, 0.75);
        assert_eq!(read.named_metrics["infergate.waiting"], 7.0);
        assert_eq!(read.named_metrics["infergate.wait"], 0.02);
        assert_eq!(read.named_metrics["infergate.row"], 0.00005);
        assert_eq!(read.named_metrics.len(), 5, "what is 0 is left out");
        let short = OrcaLoadReport::decode(binary::decode(short_trailer(&load).as_bytes()).unwrap()).unwrap();
        assert_eq!((short.application_utilization, short.named_metrics.len()), (0.75, 0));
    }

    fn duration() -> impl Strategy<Value = Duration> {
        (0..LONGEST.as_nanos() as u64).prop_map(Duration::from_nanos)
    }

    proptest! {
        #[test]
        fn a_report_is_read_as_it_was_written(
            (waiting, running, free_slots, gateways) in any::<(u32, u32, u32, u32)>(),
            (execution, wait, run, row) in (duration(), duration(), duration(), duration()),
        ) {
            let load = LoadReport { waiting, running, free_slots, execution, wait, run, row, gateways };
            prop_assert_eq!(read(&trailer(&load)), Some(load));
        }

        #[test]
        fn any_report_is_read_without_a_panic(
            text in "\\PC{0,40}",
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            value: f64,
            name in prop::sample::select(vec!["waiting", "wait", "row", "other"]),
        ) {
            _ = read(&text);
            _ = read(&binary::encode(&bytes));
            _ = of(&[(&format!("infergate.{name}"), value)]);
        }
    }

    /// What is read of a report with these metrics, padded as some servers do.
    fn of(metrics: &[(&str, f64)]) -> Option<LoadReport> {
        let named_metrics = metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let report = OrcaLoadReport { named_metrics, application_utilization: 0.5 };
        let mut text = binary::encode(&report.encode_to_vec());
        text.extend(std::iter::repeat_n('=', text.len().next_multiple_of(4) - text.len()));
        read(&text)
    }

    #[test]
    fn metrics_of_others_are_passed_over() {
        let load = of(&[("infergate.waiting", 3.0), ("infergate.newer", -1.0), ("kv_cache", f64::NAN)]).unwrap();
        assert_eq!(load, LoadReport { waiting: 3, ..LoadReport::default() });
        assert_eq!(of(&[("kv_cache", 0.3)]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn what_cannot_be_a_count_or_a_time_makes_a_report_malformed_and_what_is_too_much_is_cut() {
        for value in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(of(&[("infergate.waiting", value)]), None);
            assert_eq!(of(&[("infergate.wait", value)]), None);
        }
        let load = of(&[("infergate.running", 1e300), ("infergate.run", 1e300)]).unwrap();
        assert_eq!((load.running, load.run), (u32::MAX, LONGEST));
    }

    #[test]
    fn junk_is_no_report() {
        for junk in ["", "====", "not base64!", &"A".repeat(100_000), &binary::encode(&[0x42, 9, 1])] {
            assert_eq!(read(junk), None, "{junk:.20}");
        }
    }
}
