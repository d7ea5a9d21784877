//! The seam between the questions and what is known: which models there are, what they take, and who loads them. The
//! services in front of it speak the protocols; what is behind it knows nothing of them but their words for a model's
//! configuration and its numbers.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use crate::error::Result;
use crate::infer::{ModelName, Target, Version};
use crate::models::IndexEntry;
use crate::observe::trace::Question;
use crate::tensor::Signature;
use crate::wire::proto::inference as proto;

/// What there is to say about models, and who loads them. Clones are handles to the same.
///
/// What is not asynchronous is answered from what is known, without waiting. The rest may ask others: it ends in bounded
/// time by itself, since nobody in front of it does that, and is abandoned when its future is dropped; only a load goes
/// on then.
///
/// A target that is not served fails with `UnknownModel` where nobody knows it, and with `NotReady` and the reason where
/// it is known.
///
/// Whoever asks others tells them for which question, where that has a place in a trace.
pub trait Directory: Clone + Send + Sync + 'static {
    /// Whether the process as a whole could answer calls, apart from where it is in its life. A broken model does not
    /// keep the others from being served.
    ///
    /// # Errors
    /// Why not, such as that no backend is known yet.
    fn ready(&self) -> Result<()>;

    /// Whether a call for `target` would be served now.
    ///
    /// # Errors
    /// Why not: `UnknownModel`, `NotReady`.
    fn serves(&self, target: &Target) -> Result<()>;

    /// A number that rises with each change of what [`ready`](Directory::ready) and [`serves`](Directory::serves)
    /// answer. It may rise without one.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Every version of every model that is known, by name and version, also those that do not serve.
    ///
    /// # Errors
    /// Where nobody could be asked.
    fn index(&self) -> impl Future<Output = Result<Vec<IndexEntry>>> + Send;

    /// What `target` takes and gives.
    ///
    /// # Errors
    /// Where it is not served, or nobody could be asked.
    fn describe(&self, target: &Target, by: For<'_>) -> impl Future<Output = Result<Description>> + Send;

    /// How `target` was set up.
    ///
    /// # Errors
    /// Where it is not served, or nobody could be asked.
    fn config(&self, target: &Target, by: For<'_>) -> impl Future<Output = Result<proto::ModelConfig>> + Send;

    /// The numbers of each version that serves, by name and version: of one version, of all versions of a model where
    /// the target leaves the choice, of everything where there is no target.
    ///
    /// # Errors
    /// Where the target is not served, or nobody could be asked.
    fn statistics(
        &self,
        target: Option<&Target>,
        by: For<'_>,
    ) -> impl Future<Output = Result<Vec<proto::ModelStatistics>>> + Send;

    /// Looks at a model again and serves what it now asks for.
    ///
    /// # Errors
    /// `UnknownModel`, `Unloadable` with the reason. Where several load it, the sentence names each that failed.
    fn load(&self, name: &ModelName, by: For<'_>) -> impl Future<Output = Result<()>> + Send;

    /// Takes a model out of service. It can be loaded again.
    ///
    /// # Errors
    /// `UnknownModel`. Where several serve it, the sentence names each that failed.
    fn unload(&self, name: &ModelName, by: For<'_>) -> impl Future<Output = Result<()>> + Send;
}

/// For which question something is asked.
pub type For<'a> = Option<&'a Question>;

/// What a target is and what it takes and gives, in terms that every protocol can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The model.
    pub name: ModelName,
    /// The version that the target means; `None` where those who serve it do not number their versions.
    pub version: Option<Version>,
    /// The model's versions that serve, in rising order.
    pub versions: Vec<Version>,
    /// What runs it, in the Open Inference Protocol's words, such as `onnxruntime_onnx`.
    pub platform: String,
    /// What it takes and gives. Names of free dimensions may be missing.
    pub signature: Arc<Signature>,
}
