//! What a process knows that serves its models itself: everything is in its own catalog, and it asks nobody.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::description;
use super::directory::{Description, Directory, For};
use crate::error::Result;
use crate::infer::{Infer, ModelName, Target, VersionChoice};
use crate::models::{Catalog, IndexEntry, Served};
use crate::observe::StatisticsTable;
use crate::wire::proto::inference as proto;

/// The catalog of this process and the numbers of its models.
#[derive(Clone)]
pub struct CatalogDirectory<S: Infer> {
    /// What is served.
    pub catalog: Catalog<S>,
    /// Numbers of each version.
    pub statistics: Arc<StatisticsTable>,
}

impl<S: Infer> CatalogDirectory<S> {
    /// How long calls of a version wait for one another now.
    fn delay(&self, served: &Served<S>) -> Duration {
        let statistics = self.statistics.get(&served.name, served.version);
        statistics.map_or(Duration::ZERO, |statistics| statistics.queue().delay_now())
    }

    fn statistics_of(&self, served: &Served<S>) -> Option<proto::ModelStatistics> {
        let totals = self.statistics.get(&served.name, served.version)?.totals();
        Some(description::statistics(served.name.as_str(), served.version.to_string(), &totals))
    }
}

impl<S: Infer> Directory for CatalogDirectory<S> {
    fn ready(&self) -> Result<()> {
        Ok(())
    }

    fn serves(&self, target: &Target) -> Result<()> {
        self.catalog.resolve(target).map(drop)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.catalog.changes()
    }

    async fn index(&self) -> Result<Vec<IndexEntry>> {
        Ok(self.catalog.index())
    }

    async fn describe(&self, target: &Target, _by: For<'_>) -> Result<Description> {
        let served = self.catalog.resolve(target)?;
        Ok(Description {
            name: served.name.clone(),
            version: Some(served.version),
            versions: self.catalog.versions(&served.name).unwrap_or_default(),
            platform: description::PLATFORM.to_owned(),
            signature: served.signature.clone(),
        })
    }

    async fn config(&self, target: &Target, _by: For<'_>) -> Result<proto::ModelConfig> {
        let served = self.catalog.resolve(target)?;
        Ok(description::model_config(&*served, self.delay(&served)))
    }

    async fn statistics(&self, of: Option<&Target>, _by: For<'_>) -> Result<Vec<proto::ModelStatistics>> {
        let wanted = of.map(|target| Ok((self.catalog.resolve(target)?, &target.version))).transpose()?;
        let of_wanted = self.catalog.served().into_iter().filter(|served| match &wanted {
            None => true,
            Some((wanted, VersionChoice::Latest)) => served.name == wanted.name,
            Some((wanted, _)) => served.name == wanted.name && served.version == wanted.version,
        });
        Ok(of_wanted.filter_map(|served| self.statistics_of(&served)).collect())
    }

    async fn load(&self, name: &ModelName, _by: For<'_>) -> Result<()> {
        self.catalog.load(name).await
    }

    async fn unload(&self, name: &ModelName, _by: For<'_>) -> Result<()> {
        self.catalog.unload(name).await
    }
}
