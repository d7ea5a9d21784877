//! Side stream: what is served. The repository on disk says what there is, settings say what of it is wanted, and the
//! catalog holds what is loaded: one immutable table that calls read without a lock.
//!
//! Nothing here runs a model or knows how one is loaded: the catalog is handed a loader. No name reaches the file system
//! before it is a [`ModelName`](crate::infer::ModelName), and no file outside a model's folder is opened.

mod catalog;
mod classify;
#[cfg(test)]
mod fixture;
mod folder;
mod labels;
mod policy;
mod repository;
mod reshape;
mod served;
mod settings;
mod state;
mod table;
mod triton;
mod turns;
mod work;

pub use catalog::{Catalog, Loader, Summary};
pub use classify::Classified;
pub use folder::Fingerprint;
pub use labels::Labels;
pub use policy::{Policy, VersionLabels};
pub use repository::{Contents, Found, ModelFile, Repository, RepositoryError, Scan};
pub use reshape::{Reshaped, Reshapes};
pub use served::{LoadPlan, Merging, Ready, Served};
pub use settings::{
    BatchSettings, CallerTimeout, DimSettings, OnTimeout, Oversized, QueueSettings, SETTINGS_FILE, Settings,
};
pub use table::{IndexEntry, VersionState};
pub use triton::Declared;
