//! `infergate check`: everything that `serve` would find wrong, without serving.

use std::fmt::Write as _;

use clap::Args;

use super::failure::{Failure, print};
use super::{ConfigArgs, asynchronous};
use tokio::sync::watch;

use crate::compute::plan;
use crate::compute::session::Runtime;
use crate::config::{Config, Overrides};
use crate::infer::ModelName;
use crate::models::{Catalog, Found, IndexEntry, Repository, VersionState};
use crate::role::{ModelService, StartError, loader, onnx_runtime};

/// Flags of `infergate check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Look at folders and settings only: models are not loaded, and ONNX Runtime is not needed
    #[arg(long)]
    files_only: bool,
}

impl CheckArgs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let config = self.config.load(Overrides::default())?.config;
        let mut out = std::io::stdout();
        print(&mut out, "configuration: no mistakes\n")?;
        let models = config.models.as_deref().ok_or_else(|| Failure::wrong_use(StartError::NoModels))?;
        let repository = Repository::open(models).map_err(Failure::failed)?;
        let (report, broken) = match self.files_only {
            true => files(&repository)?,
            false => loads(&config, repository)?,
        };
        print(&mut out, &report)?;
        match broken {
            0 => Ok(()),
            1 => Err(Failure::failed("1 model is broken")),
            count => Err(Failure::failed(format_args!("{count} models are broken"))),
        }
    }
}

/// A line for each model as its files are, and how many are broken.
fn files(repository: &Repository) -> Result<(String, usize), Failure> {
    let scan = repository.scan().map_err(Failure::failed)?;
    let mut report = String::new();
    for (folder, why) in &scan.skipped {
        let _ = writeln!(report, "skipped  {folder}: {why}");
    }
    for Found { name, contents, .. } in &scan.models {
        let _ = match contents {
            Ok(contents) => write!(report, "found    {name}\n{}", advice(name, &contents.advice)),
            Err(why) => writeln!(report, "broken   {name}: {why}"),
        };
    }
    Ok((report, scan.models.iter().filter(|found| found.contents.is_err()).count()))
}

/// A line for each thing that somebody should know of a model's settings.
fn advice(name: &ModelName, advice: &[String]) -> String {
    advice.iter().map(|advice| format!("note     {name}: {advice}\n")).collect()
}

/// A line for each version as it loads and warms up, and how many models are broken.
fn loads(config: &Config, repository: Repository) -> Result<(String, usize), Failure> {
    let runtime = Runtime::load().map_err(Failure::failed)?;
    let loader = loader(config, onnx_runtime(runtime), Default::default(), watch::channel(false).1);
    let cpus = config.compute.cpus.unwrap_or_else(plan::cpus);
    let scan = repository.scan().map_err(Failure::failed)?;
    let notes = |found: &Found| Some(advice(&found.name, &found.contents.as_ref().ok()?.advice));
    let mut notes: Vec<String> = scan.models.iter().filter_map(notes).collect();
    asynchronous(cpus)?.block_on(async {
        let catalog: Catalog<ModelService> = Catalog::new(repository, loader, config.compute.load_concurrency);
        let summary = catalog.load_all().await.map_err(Failure::failed)?;
        let served = catalog.served();
        notes.extend(served.iter().map(|served| {
            let beside = served.declared.beside(&served.signature);
            advice(&served.name, &beside)
        }));
        // Versions of one model have the same to say.
        notes.dedup();
        let report: String = catalog.index().iter().map(line).chain(notes).collect();
        Ok((report, summary.broken.len()))
    })
}

fn line(entry: &IndexEntry) -> String {
    let IndexEntry { name, version, state, reason, .. } = entry;
    let version = version.map(|version| format!(" version {version}")).unwrap_or_default();
    match state {
        VersionState::Ready if reason.is_empty() => format!("ready    {name}{version}\n"),
        VersionState::Ready => format!("ready    {name}{version}, but {reason}\n"),
        VersionState::Loading | VersionState::Unavailable => format!("broken   {name}{version}: {reason}\n"),
    }
}
