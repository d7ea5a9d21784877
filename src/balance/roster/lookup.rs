//! Models of endpoints that do not list what they serve: those are asked when a call names one, and what nobody has is
//! remembered for a while, so that a client that probes names does not make the fleet answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::census::Told;
use super::survey::client;
use super::{Inner, now};
use crate::balance::endpoint::Endpoint;
use crate::infer::{ModelName, Target, Version, VersionChoice};
use crate::wire::proto::inference as proto;

/// How long nobody is asked again for a model that nobody has.
const FORGET: Duration = Duration::from_secs(5);
/// Names that are remembered so. With as many, no other is asked for until some are forgotten.
const MOST: usize = 1024;
/// Endpoints that are asked for one name. Of a fleet that is one deployment, each knows.
const ASKED: usize = 16;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Names that were asked for of late.
#[derive(Default)]
pub(super) struct LookUps {
    asked: Mutex<HashMap<ModelName, Instant>>,
}

impl LookUps {
    /// Whether this one is to be asked for now; then nobody else asks for a while.
    fn begin(&self, name: &ModelName, now: Instant) -> bool {
        let mut asked = self.asked.lock().expect("nothing panics while it holds the names");
        asked.retain(|_, at| now.saturating_duration_since(*at) < FORGET);
        if asked.contains_key(name) || asked.len() >= MOST {
            return false;
        }
        asked.insert(name.clone(), now);
        true
    }
}

impl Inner {
    /// Asks for a model that no list has. Whether anybody has it.
    pub(super) async fn look_up(&self, target: &Target) -> bool {
        let silent: Vec<Arc<Endpoint>> = {
            let stations = self.stations();
            let by_name = stations.values().filter(|station| station.census.by_name);
            by_name.take(ASKED).map(|station| station.endpoint().clone()).collect()
        };
        if silent.is_empty() || !self.look_ups.begin(&target.name, now()) {
            return false;
        }
        let answers =
            join_all(silent.iter().map(|endpoint| is_ready(endpoint, &target.name, version_of(target)))).await;
        let having: Vec<_> = silent.iter().zip(answers).filter(|(_, ready)| *ready).collect();
        for (endpoint, _) in &having {
            if let Some(station) = self.stations().get_mut(&endpoint.address()) {
                station.census.add(told(target));
            }
        }
        if !having.is_empty() {
            self.rebuild();
        }
        !having.is_empty()
    }
}

fn told(target: &Target) -> Told {
    Told { name: target.name.clone(), version: version_of(target), ready: true, reason: String::new() }
}

fn version_of(target: &Target) -> Option<Version> {
    match &target.version {
        VersionChoice::Exact(version) => Some(*version),
        _ => None,
    }
}

/// Whether an endpoint has a model ready, in any version where none is named.
pub(super) async fn is_ready(endpoint: &Arc<Endpoint>, name: &ModelName, version: Option<Version>) -> bool {
    let version = version.map(|version| version.to_string()).unwrap_or_default();
    let request = proto::ModelReadyRequest { name: name.to_string(), version };
    match timeout(PATIENCE, client(endpoint).model_ready(request)).await {
        Ok(Ok(answer)) => answer.into_inner().ready,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_once_in_a_while_and_only_so_many_are() {
        let (look_ups, now) = (LookUps::default(), Instant::now());
        let name = |number: usize| ModelName::new(format!("m{number}").into()).unwrap();
        assert!(look_ups.begin(&name(0), now));
        assert!(!look_ups.begin(&name(0), now));
        assert_eq!((1..2 * MOST).filter(|number| look_ups.begin(&name(*number), now)).count(), MOST - 1);
        assert!(look_ups.begin(&name(0), now + FORGET));
    }
}
