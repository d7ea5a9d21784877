//! What there is on disk: a folder `DIR/<model>/<version>/model.onnx`, the layout of Triton and TensorFlow Serving, or a
//! single model file. It only looks; what is wrong with one model is said of that model and hides no other.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::{Fingerprint, Folder};
use super::settings::Settings;
use super::triton::{self, Declared};
use crate::infer::{ModelName, Version};

/// The file of a version where nothing else is said.
pub(super) const MODEL_FILE: &str = "model.onnx";
/// The only folder with an illegal name that is expected: file systems make it.
const LOST_AND_FOUND: &str = "lost+found";

/// A repository that cannot be used at all, for whoever named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryError(String);

impl RepositoryError {
    /// Nobody looks any more.
    pub(super) fn stopping() -> RepositoryError {
        RepositoryError("the process is stopping".into())
    }
}

impl fmt::Display for RepositoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RepositoryError {}

/// Where models lie. It holds no file open: each look follows the path anew, so that a link that is swapped, as
/// Kubernetes and git-sync do it, is noticed.
#[derive(Debug, Clone)]
pub struct Repository {
    path: PathBuf,
    /// The name of the only model, where `path` is a model file.
    single: Option<ModelName>,
}

/// Every model of a repository.
#[derive(Debug)]
pub struct Scan {
    /// The models by name, the broken ones among them.
    pub models: Vec<Found>,
    /// Folders whose names are not names of models, each with the reason.
    pub skipped: Vec<(String, String)>,
}

/// One model as it lies on disk.
#[derive(Debug)]
pub struct Found {
    /// Its name.
    pub name: ModelName,
    /// What its folder holds, or why nothing of it can be served. The reason is for clients, too, and names no path
    /// outside of the model's folder.
    pub contents: Result<Contents, String>,
}

/// What a model's folder holds.
#[derive(Debug)]
pub struct Contents {
    /// The folder, without symbolic links.
    pub folder: PathBuf,
    /// Its settings.
    pub settings: Arc<Settings>,
    /// What a `config.pbtxt` says beyond those.
    pub declared: Arc<Declared>,
    /// Its versions, at least one; each with its file or the reason why it has none.
    pub versions: BTreeMap<Version, Result<ModelFile, String>>,
    /// What somebody should know of it.
    pub advice: Vec<String>,
}

/// The file of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Where it is, without symbolic links.
    pub path: PathBuf,
    /// The state of it and of the files beside it.
    pub fingerprint: Fingerprint,
}

impl Repository {
    /// Takes a folder of models or one `.onnx` file.
    ///
    /// # Errors
    /// Where there is neither, or the folder is a model's and not one of models; the message says what to do.
    pub fn open(path: &Path) -> Result<Repository, RepositoryError> {
        let shown = path.display();
        let metadata = path.metadata().map_err(|error| RepositoryError(format!("models {shown}: {error}")))?;
        let path = path.to_owned();
        if metadata.is_file() {
            let single = Some(name_of_file(&path)?);
            return Ok(Repository { path, single });
        }
        let folder = Folder::open(&path).map_err(|error| RepositoryError(format!("models {shown}: {error}")))?;
        if is_model(&folder) {
            return Err(RepositoryError(format!(
                "models {shown}: this is the folder of one model; name the folder that it lies in"
            )));
        }
        Ok(Repository { path, single: None })
    }

    /// Looks at every model.
    ///
    /// # Errors
    /// Where the repository itself cannot be read.
    pub fn scan(&self) -> Result<Scan, RepositoryError> {
        if let Some(name) = &self.single {
            return Ok(Scan { models: vec![self.single_model(name)], skipped: Vec::new() });
        }
        let failed = |error: io::Error| RepositoryError(format!("models {}: {error}", self.path.display()));
        let root = Folder::open(&self.path).map_err(failed)?;
        let mut scan = Scan { models: Vec::new(), skipped: Vec::new() };
        for entry in root.names().map_err(failed)? {
            if entry == LOST_AND_FOUND || !root.has_folder(Path::new(&entry)) {
                continue;
            }
            let entry = entry.to_string_lossy();
            match entry.parse::<ModelName>() {
                Ok(name) => scan.models.push(look(&root, name)),
                Err(error) => scan.skipped.push((entry.into_owned(), error.to_string())),
            }
        }
        Ok(scan)
    }

    /// Looks at one model; `None` where there is none of that name.
    ///
    /// # Errors
    /// Where the repository itself cannot be read.
    pub fn find(&self, name: &ModelName) -> Result<Option<Found>, RepositoryError> {
        if let Some(single) = &self.single {
            return Ok((single == name).then(|| self.single_model(name)));
        }
        let failed = |error| RepositoryError(format!("models {}: {error}", self.path.display()));
        let root = Folder::open(&self.path).map_err(failed)?;
        Ok(root.has_folder(Path::new(name.as_str())).then(|| look(&root, name.clone())))
    }

    fn single_model(&self, name: &ModelName) -> Found {
        let file = self.path.canonicalize().and_then(|path| {
            let fingerprint = Fingerprint::of(&path)?;
            Ok(ModelFile { path, fingerprint })
        });
        let contents = file.map_err(|error| format!("{name}.onnx: {error}")).map(|file| Contents {
            folder: file.path.parent().unwrap_or(Path::new("/")).to_owned(),
            settings: Arc::default(),
            declared: Arc::default(),
            versions: BTreeMap::from([(first_version(), Ok(file))]),
            advice: Vec::new(),
        });
        Found { name: name.clone(), contents }
    }
}

fn first_version() -> Version {
    Version::new(1).expect("1 is a version")
}

fn name_of_file(path: &Path) -> Result<ModelName, RepositoryError> {
    let shown = path.display();
    if path.extension().is_none_or(|extension| extension != "onnx") {
        return Err(RepositoryError(format!("models {shown}: neither a folder nor an .onnx file")));
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.parse().map_err(|error| {
        RepositoryError(format!(
            "models {shown}: a model file gives the model its name, and {error}; rename it, or lay it down as \
             DIR/NAME/1/{MODEL_FILE} and name DIR"
        ))
    })
}

/// Whether a folder is laid out as one model instead of many: a version right in it has a model.
fn is_model(folder: &Folder) -> bool {
    let is_version = |name: &&str| name.parse::<Version>().is_ok();
    let names = folder.names().unwrap_or_default();
    let mut versions = names.iter().filter_map(|name| name.to_str()).filter(is_version);
    versions.any(|version| folder.path().join(version).join(MODEL_FILE).is_file())
}

/// Looks at one model's folder.
fn look(root: &Folder, name: ModelName) -> Found {
    let folder = root.folder(name.as_str()).map_err(|error| format!("its folder: {error}"));
    Found { contents: folder.and_then(|folder| contents(&folder, &name)), name }
}

fn contents(folder: &Folder, name: &ModelName) -> Result<Contents, String> {
    let names = folder.names().map_err(|error| format!("its folder cannot be read: {error}"))?;
    let names: Vec<&str> = names.iter().filter_map(|name| name.to_str()).collect();
    let triton = triton::read(folder, name).map_err(|error| error.to_string())?;
    let settings = Settings::read(folder, triton.settings).map_err(|error| error.to_string())?;
    let versions: BTreeMap<Version, _> = names
        .iter()
        .filter_map(|name| name.parse().ok())
        .filter(|version: &Version| folder.has_folder(Path::new(&version.to_string())))
        .map(|version| (version, model_file(folder, version, triton.declared.model_file())))
        .collect();
    if versions.is_empty() {
        return Err(without_versions(&names));
    }
    let (folder, settings, declared) = (folder.path().to_owned(), Arc::new(settings), Arc::new(triton.declared));
    Ok(Contents { folder, settings, declared, versions, advice: triton.advice })
}

/// The file of a version; a folder of that name holds `model.onnx` and its external data, as Triton has it.
fn model_file(folder: &Folder, version: Version, name: &str) -> Result<ModelFile, String> {
    let within = |error: io::Error| format!("{version}/{name}: {error}");
    let folder = folder.folder(&version.to_string()).map_err(|error| format!("{version}: {error}"))?;
    let inner = folder.has_folder(Path::new(name)).then(|| folder.folder(name)).transpose().map_err(within)?;
    let (folder, file, shown) = match inner {
        Some(inner) => (inner, MODEL_FILE, format!("{version}/{name}/{MODEL_FILE}")),
        None => (folder, name, format!("{version}/{name}")),
    };
    match folder.file(Path::new(file)) {
        Ok((path, _)) => Ok(ModelFile { path, fingerprint: folder.fingerprint().map_err(within)? }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let names = folder.names().unwrap_or_default();
            let there = names.iter().map(|name| name.to_string_lossy()).find(|name| name.ends_with(".onnx"));
            let cure = there.map(|there| format!("; rename {version}/{there}")).unwrap_or_default();
            Err(format!("{shown} is missing{cure}"))
        }
        Err(error) => Err(within(error)),
    }
}

fn without_versions(names: &[&str]) -> String {
    let cure = match names.iter().find(|name| name.ends_with(".onnx")) {
        Some(file) => format!("; move {file} to 1/{MODEL_FILE}"),
        None => format!("; lay the model down as 1/{MODEL_FILE}"),
    };
    format!("it has no folder of a version{cure}")
}

#[cfg(test)]
mod tests;
