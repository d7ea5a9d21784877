//! How often the way from the gateway to the worker is paid: once per call, or once per batch where the gateway makes
//! batches.

use std::time::Duration;

use crate::rig::load::together;
use crate::sides::Sides;

const IN_FLIGHT: usize = 32;

pub async fn show(sides: &Sides) {
    let target = sides.all[1].target(crate::message(256)).await;
    let before = sides.calls_at_the_worker().await;
    let calls = together(&target, IN_FLIGHT, Duration::from_millis(200)).await.len() as f64;
    let hops = (sides.calls_at_the_worker().await - before) as f64;
    println!("calls at the worker per call at the gateway, {IN_FLIGHT} in flight: {:.3}", hops / calls);
}
