//! The process as the system sees it, by the names that every Prometheus client gives these, and its log.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Unit;
use rustix::param::{clock_ticks_per_second, page_size};

use super::log::lost_lines;

/// Tells of this process what the system says of it, which is nothing where there is no `/proc`, and what its log has lost.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let none: Option<&Exemplar<[(String, String); 0], f64>> = None;
        let help = "Lines of the log that were dropped as nobody read those before";
        let lost = encoder.encode_descriptor("log_lines_dropped", help, None, MetricType::Counter);
        lost?.encode_counter(&(lost_lines() as u64), none)?;
        let Some(usage) = Usage::now() else { return Ok(()) };
        let help = "CPU time that the process has used, in user and system mode";
        let cpu = encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter);
        cpu?.encode_counter(&usage.cpu, none)?;
        for (name, unit, help, value) in [
            ("process_resident_memory", Some(Unit::Bytes), "Memory that is resident", usage.resident),
            ("process_open_fds", None, "Files and sockets that are open", usage.open_files),
            ("process_start_time", Some(Unit::Seconds), "When the process began, since 1970", usage.started),
        ] {
            encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?.encode_gauge(&value)?;
        }
        Ok(())
    }
}

/// What the system says, in seconds, bytes and numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Usage {
    cpu: f64,
    resident: f64,
    open_files: f64,
    started: f64,
}

impl Usage {
    fn now() -> Option<Usage> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let system = fs::read_to_string("/proc/stat").ok()?;
        let boot = system.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
        let usage = Usage::of(&stat, boot, clock_ticks_per_second() as f64, page_size() as f64)?;
        // One of them is the folder that is read here.
        let open_files = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64;
        Some(Usage { open_files, ..usage })
    }

    /// Reads a line of `/proc/PID/stat` (proc(5)) on a machine that was booted then.
    fn of(stat: &str, boot: f64, ticks: f64, page: f64) -> Option<Usage> {
        // The name of the program is in brackets and may have anything in it; after it comes field 3.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let cpu = (field(14)? + field(15)?) / ticks;
        Some(Usage { cpu, resident: field(24)? * page, open_files: 0.0, started: boot + field(22)? / ticks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_behind_the_name_of_the_program() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 17 18 400 20 3 22";
        let usage = Usage::of(stat, 1000.0, 100.0, 4096.0).unwrap();
        assert_eq!(usage, Usage { cpu: 3.0, resident: 12288.0, open_files: 0.0, started: 1004.0 });
        assert_eq!(Usage::of("7 (short) S 1", 0.0, 1.0, 1.0), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_files_and_began_before_now() {
        let usage = Usage::now().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(usage.resident > 100_000.0 && usage.open_files >= 3.0 && usage.started < now + 1.0, "{usage:?}");
        assert!(now - usage.started < 24.0 * 3600.0, "{usage:?}");
    }
}
