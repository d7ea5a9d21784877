//! For tests: a directory of hearsay, like that of a process which serves nothing itself.

use std::sync::{Arc, Mutex};

use bytestring::ByteString;
use tokio::sync::watch;

use super::{Description, Directory, For};
use crate::error::{Error, Kind, Result};
use crate::infer::{ModelName, Target, Version, VersionChoice};
use crate::models::{IndexEntry, VersionState};
use crate::tensor::{DType, Dim, Signature, TensorSpec};
use crate::wire::proto::inference as proto;

/// Knows two models once it knows anybody at all: `plain`, whose versions nobody numbers, and `numbered`, of which 1,
/// called `stable`, and 3 serve and 2 does not.
#[derive(Clone, Default)]
pub(crate) struct Hearsay {
    known: watch::Sender<u64>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hearsay {
    /// From now on somebody is known.
    pub(crate) fn meet(&self) {
        self.known.send_modify(|known| *known += 1);
    }

    /// The loads and unloads that it was asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn ask(&self, what: &str, name: &ModelName) {
        self.asked.lock().unwrap().push(format!("{what} {name}"));
    }
}

pub(crate) fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn version_of(target: &Target) -> Result<Option<Version>> {
    let unknown = || Err(Error::new(Kind::UnknownModel, format!("model {target} is not known")));
    match (target.name.as_str(), &target.version) {
        ("plain", VersionChoice::Latest) => Ok(None),
        ("numbered", VersionChoice::Latest) => Ok(Some(version(3))),
        ("numbered", VersionChoice::Label(label)) if **label == *"stable" => Ok(Some(version(1))),
        ("numbered", VersionChoice::Exact(exact)) if [1, 3].contains(&exact.number()) => Ok(Some(*exact)),
        ("numbered", VersionChoice::Exact(exact)) if exact.number() == 2 => {
            Err(Error::new(Kind::NotReady, format!("model {target} is not ready: broken")))
        }
        _ => unknown(),
    }
}

fn spec(name: &'static str) -> TensorSpec {
    let dims = vec![Dim::Free(None), Dim::Fixed(2)];
    TensorSpec { name: ByteString::from_static(name), dtype: DType::Fp32, dims, optional: false }
}

impl Directory for Hearsay {
    fn ready(&self) -> Result<()> {
        match *self.known.borrow() {
            0 => Err(Error::new(Kind::NoBackend, "nobody is known yet")),
            _ => Ok(()),
        }
    }

    fn serves(&self, target: &Target) -> Result<()> {
        version_of(target).map(drop)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.known.subscribe()
    }

    async fn index(&self) -> Result<Vec<IndexEntry>> {
        let entry = |name: &str, version, state, reason: &str| IndexEntry {
            name: name.parse().unwrap(),
            version,
            state,
            reason: reason.into(),
            nature: None,
        };
        Ok(vec![
            entry("numbered", Some(version(1)), VersionState::Ready, ""),
            entry("numbered", Some(version(2)), VersionState::Unavailable, "broken"),
            entry("numbered", Some(version(3)), VersionState::Ready, ""),
            entry("plain", None, VersionState::Ready, ""),
        ])
    }

    async fn describe(&self, target: &Target, _by: For<'_>) -> Result<Description> {
        let means = version_of(target)?;
        Ok(Description {
            name: target.name.clone(),
            version: means,
            versions: means.map_or(vec![], |_| vec![version(1), version(3)]),
            platform: "hearsay".to_owned(),
            signature: Arc::new(Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] }),
        })
    }

    async fn config(&self, target: &Target, _by: For<'_>) -> Result<proto::ModelConfig> {
        version_of(target)?;
        Ok(proto::ModelConfig { name: target.name.to_string(), ..Default::default() })
    }

    async fn statistics(&self, of: Option<&Target>, _by: For<'_>) -> Result<Vec<proto::ModelStatistics>> {
        let name = of.map_or("all".to_owned(), Target::to_string);
        Ok(vec![proto::ModelStatistics { name, ..Default::default() }])
    }

    /// Nobody can load `numbered`.
    async fn load(&self, name: &ModelName, _by: For<'_>) -> Result<()> {
        self.ask("load", name);
        match name.as_str() {
            "numbered" => Err(Error::new(Kind::Unloadable, "east: version 2: broken; west: no room")),
            _ => Ok(()),
        }
    }

    async fn unload(&self, name: &ModelName, _by: For<'_>) -> Result<()> {
        self.ask("unload", name);
        Ok(())
    }
}
