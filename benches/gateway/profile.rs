//! Where the CPU time of a call goes in each proxy, by `perf`: first by library, then by function.

use std::time::Duration;

use tokio::process::Command;

use crate::rig::load::together;
use crate::rig::process::Process;
use crate::sides::{Side, Sides};

const IN_FLIGHT: usize = 128;
const TIME: Duration = Duration::from_secs(3);
/// Functions that are shown.
const MOST: usize = 25;

pub async fn show(sides: &Sides, size: usize) {
    for side in &sides.all {
        if let Some(proxy) = &side.proxy
            && let Err(why) = profile(side, proxy, size).await
        {
            println!("no profile of {}: {why}", side.name);
        }
    }
}

async fn profile(side: &Side, proxy: &Process, size: usize) -> Result<(), String> {
    let target = side.target(crate::message(size)).await;
    let folder = tempfile::TempDir::new().map_err(|error| error.to_string())?;
    let data = folder.path().join("perf.data");
    let (id, seconds) = (proxy.id().to_string(), TIME.as_secs().to_string());
    let mut record = Command::new("perf");
    record.args(["record", "-q", "-F", "2000", "-p", &id, "-o"]).arg(&data).args(["--", "sleep", &seconds]);
    let mut recording = record.kill_on_drop(true).spawn().map_err(|error| format!("perf: {error}"))?;
    let before = proxy.cpu();
    let calls = together(&target, IN_FLIGHT, TIME).await.len() as f64;
    let per_call = (proxy.cpu() - before).as_secs_f64() * 1e6 / calls;
    let ended = recording.wait().await.map_err(|error| error.to_string())?;
    if !ended.success() {
        return Err(format!("perf ended with {ended}"));
    }
    println!("{}: {per_call:.1} us of CPU per call of {size} B at {IN_FLIGHT}, of which", side.name);
    for (by, most) in [("dso", 6), ("dso,symbol", MOST)] {
        let mut report = Command::new("perf");
        report.args(["report", "--stdio", "-q", "--no-children", "-s", by, "-i"]).arg(&data);
        let told = report.output().await.map_err(|error| error.to_string())?;
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        for line in told.lines().filter(|line| !line.trim().is_empty()).take(most) {
            let share = line.trim().split('%').next().and_then(|share| share.trim().parse::<f64>().ok());
            println!("  {:>6.2} us {}", share.unwrap_or_default() / 100.0 * per_call, line.trim_end());
        }
    }
    Ok(())
}
