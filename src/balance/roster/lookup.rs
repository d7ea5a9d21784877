//! Models of endpoints that do not list what they serve: those are asked when a call names one, and what nobody has is
//! remembered for a while, so that a client that probes names does not make the fleet answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::iter;
use tokio::sync::OnceCell;

use super::Inner;
use super::census::{Census, Told};
use super::survey::is_ready;
use crate::balance::endpoint::Endpoint;
use crate::balance::now;
use crate::infer::{ModelName, Target, Version, VersionChoice};

/// How long nobody is asked again for a model that nobody has.
const FORGET: Duration = Duration::from_secs(5);
/// Names that are remembered so. With as many, no other is asked for until some are forgotten.
const MOST: usize = 1024;
/// Endpoints that are asked for one name at first, and at one time. Of a fleet that is one deployment, each knows.
const ASKED: usize = 16;

/// Whether anybody has a model; whoever comes while that is asked waits for the answer.
type Answer = Arc<OnceCell<bool>>;

/// A model, and which of its versions, where one was named.
type Name = (ModelName, Option<Version>);

/// Names that were asked for of late.
#[derive(Default)]
pub(super) struct LookUps {
    asked: Mutex<HashMap<Name, (Instant, Answer)>>,
}

impl LookUps {
    /// The answer of late, or a place for one; nothing where too much is asked for.
    fn answer(&self, wanted: &Told, now: Instant) -> Option<Answer> {
        let mut asked = self.asked.lock().expect("nothing panics while it holds the names");
        asked.retain(|_, (at, _)| now.saturating_duration_since(*at) < FORGET);
        let key = (wanted.name.clone(), wanted.version);
        if !asked.contains_key(&key) && asked.len() >= MOST {
            return None;
        }
        Some(asked.entry(key).or_insert_with(|| (now, Answer::default())).1.clone())
    }
}

impl Inner {
    /// Asks for a model that no list has. Whether anybody has it.
    pub(super) async fn look_up(&self, target: &Target) -> bool {
        let mut silent: Vec<Arc<Endpoint>> = {
            let stations = self.stations();
            let by_name = stations.values().filter(|station| station.census.by_name);
            by_name.map(|station| station.endpoint().clone()).collect()
        };
        if silent.is_empty() {
            return false;
        }
        fastrand::shuffle(&mut silent);
        let wanted = wanted(target);
        let Some(answer) = self.look_ups.answer(&wanted, now()) else { return false };
        *answer.get_or_init(|| self.ask_for(&wanted, &silent)).await
    }

    /// Asks some of the endpoints, and the others only where one of those has the model.
    async fn ask_for(&self, wanted: &Told, endpoints: &[Arc<Endpoint>]) -> bool {
        let (some, others) = endpoints.split_at(ASKED.min(endpoints.len()));
        let mut having = self.having(wanted, some).await;
        if !having.is_empty() {
            having.extend(self.having(wanted, others).await);
        }
        for endpoint in &having {
            if let Some(station) = self.stations().get_mut(&endpoint.address()) {
                let mut census = Census::clone(&station.census);
                census.add(wanted.clone());
                station.census = self.alike.shared(census);
            }
        }
        if !having.is_empty() {
            self.rebuild().await;
        }
        !having.is_empty()
    }

    async fn having(&self, wanted: &Told, endpoints: &[Arc<Endpoint>]) -> Vec<Arc<Endpoint>> {
        let asking = endpoints.iter().cloned().map(|endpoint| async move {
            let has = is_ready(&endpoint, wanted).await == Some(true);
            has.then_some(endpoint)
        });
        iter(asking).buffer_unordered(ASKED).filter_map(std::future::ready).collect().await
    }
}

/// What an endpoint would tell that has it.
fn wanted(target: &Target) -> Told {
    let version = match &target.version {
        VersionChoice::Exact(version) => Some(*version),
        _ => None,
    };
    Told { name: target.name.clone(), version, ready: true, reason: String::new(), nature: None, said: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(number: usize) -> Told {
        Told {
            name: ModelName::new(format!("m{number}").into()).unwrap(),
            version: None,
            ready: true,
            reason: "".into(),
            nature: None,
            said: None,
        }
    }

    #[test]
    fn a_name_is_asked_for_once_in_a_while_and_only_so_many_are() {
        let (look_ups, now) = (LookUps::default(), Instant::now());
        let first = look_ups.answer(&model(0), now).unwrap();
        first.set(false).unwrap();
        assert_eq!(look_ups.answer(&model(0), now).unwrap().get(), Some(&false));
        assert_eq!((1..2 * MOST).filter(|number| look_ups.answer(&model(*number), now).is_some()).count(), MOST - 1);
        assert!(look_ups.answer(&model(0), now).is_some(), "what is remembered is told, however much that is");
        assert_eq!(look_ups.answer(&model(0), now + FORGET).unwrap().get(), None);
    }

    #[test]
    fn each_version_is_asked_for_by_itself() {
        let (look_ups, now) = (LookUps::default(), Instant::now());
        look_ups.answer(&model(0), now).unwrap().set(false).unwrap();
        let versioned = Told { version: Version::new(2), ..model(0) };
        assert_eq!(look_ups.answer(&versioned, now).unwrap().get(), None);
    }
}
