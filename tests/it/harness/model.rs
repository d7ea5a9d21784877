//! Models of a test: their folder in the repository, their signature, and what their engines do.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytestring::ByteString;
use infergate::compute::plan::ThreadPlan;
use infergate::compute::{Engine, Loaded};
use infergate::error::{Error, Kind, Result};
use infergate::models::LoadPlan;
use infergate::observe::{Arena, ArenaBytes};
use infergate::role::Engines;
use infergate::tensor::{DType, Dim, Signature, Tensor, TensorSpec};

use super::gate::Gate;
use super::script::{Act, Log, Run, Scripted};

/// A dimension that each call may choose.
pub const FREE: i64 = -1;

/// A dimension as tests write them: its size, or [`FREE`].
fn dim(size: i64) -> Dim {
    if size == FREE { Dim::Free(None) } else { Dim::Fixed(size) }
}

type Loading = Arc<dyn Fn(&LoadPlan, u32) -> Result<()> + Send + Sync>;

/// A model: by default one version, whose engines answer what they are asked.
#[derive(Clone)]
pub struct Model {
    name: String,
    versions: Vec<u64>,
    settings: String,
    files: Vec<(String, String)>,
    signature: Signature,
    act: Act,
    loading: Loading,
    log: Log,
    loads: Arc<AtomicU32>,
}

impl Model {
    /// A model that takes and gives nothing yet.
    pub fn new(name: &str) -> Model {
        Model {
            name: name.to_owned(),
            versions: vec![1],
            settings: String::new(),
            files: Vec::new(),
            signature: Signature::default(),
            act: Arc::new(|run| run.identity()),
            loading: Arc::new(|_, _| Ok(())),
            log: Log::default(),
            loads: Arc::default(),
        }
    }

    /// Takes `x` and gives it back as `y`.
    pub fn identity(name: &str, dtype: DType, dims: &[i64]) -> Model {
        Model::new(name).input("x", dtype, dims).output("y", dtype, dims)
    }

    /// The model of most tests: `x` of any number of floats comes back as `y`.
    pub fn echo() -> Model {
        Model::identity("echo", DType::Fp32, &[FREE])
    }

    pub fn input(mut self, name: &str, dtype: DType, dims: &[i64]) -> Model {
        self.signature.inputs.push(spec(name, dtype, dims));
        self
    }

    pub fn output(mut self, name: &str, dtype: DType, dims: &[i64]) -> Model {
        self.signature.outputs.push(spec(name, dtype, dims));
        self
    }

    /// An input whose dimensions are written as a model says them: a size, or a symbol.
    pub fn takes(mut self, name: &str, dtype: DType, dims: &[&'static str]) -> Model {
        self.signature.inputs.push(said(name, dtype, dims));
        self
    }

    /// An output, likewise.
    pub fn gives(mut self, name: &str, dtype: DType, dims: &[&'static str]) -> Model {
        self.signature.outputs.push(said(name, dtype, dims));
        self
    }

    /// The versions that it has on disk.
    pub fn versions(mut self, versions: &[u64]) -> Model {
        self.versions = versions.to_vec();
        self
    }

    /// Lines of its `model.toml`.
    pub fn settings(mut self, lines: &str) -> Model {
        self.settings.push_str(lines);
        self.settings.push('\n');
        self
    }

    /// Another file in its folder.
    pub fn file(mut self, name: &str, text: &str) -> Model {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// What its engines do.
    pub fn acting(self, act: impl Fn(&Run<'_>) -> Result<Vec<Tensor>> + Send + Sync + 'static) -> Model {
        Model { act: Arc::new(act), ..self }
    }

    /// Its engines come to a gate with each call, and answer once they may pass, whoever left meanwhile.
    pub fn behind(self, gate: &Gate) -> Model {
        let passage = gate.passage();
        self.acting(move |run| {
            passage.pass(run.first());
            run.identity()
        })
    }

    /// The same, but they stop when nobody waits for them any more.
    pub fn behind_while_waited_for(self, gate: &Gate) -> Model {
        let passage = gate.passage();
        self.acting(move |run| match passage.pass_while_waited_for(run.first(), run.interest) {
            true => run.identity(),
            false => Err(Error::new(Kind::Engine, "stopped")),
        })
    }

    /// What happens when a version is loaded, given how often the model was loaded before, from 1.
    pub fn loading(self, loading: impl Fn(&LoadPlan, u32) -> Result<()> + Send + Sync + 'static) -> Model {
        Model { loading: Arc::new(loading), ..self }
    }

    /// What its engines saw.
    pub fn log(&self) -> Log {
        self.log.clone()
    }

    /// Puts its files into the repository at `root`.
    pub fn write(&self, root: &Path) {
        let folder = root.join(&self.name);
        for version in &self.versions {
            let version = folder.join(version.to_string());
            fs::create_dir_all(&version).unwrap();
            fs::write(version.join("model.onnx"), "scripted").unwrap();
        }
        let settings = (!self.settings.is_empty()).then_some(("model.toml", &*self.settings));
        for (name, text) in self.files.iter().map(|(name, text)| (&**name, &**text)).chain(settings) {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), text).unwrap();
        }
    }

    fn load(&self, plan: &LoadPlan, threads: ThreadPlan) -> Result<Loaded> {
        let load = self.loads.fetch_add(1, Ordering::Relaxed) + 1;
        (self.loading)(plan, load)?;
        let signature = Arc::new(self.signature.clone());
        let engine = |_| {
            let (act, log, signature) = (self.act.clone(), self.log.clone(), signature.clone());
            let engine = Scripted { act, log, signature, load };
            Box::new(engine) as Box<dyn Engine>
        };
        let engines = (0..threads.instances).map(engine).collect();
        Ok(Loaded {
            signature: self.signature.clone(),
            device: "cpu".into(),
            engines,
            arenas: vec![Arc::new(ScriptedArena)],
        })
    }
}

/// What each scripted model keeps.
struct ScriptedArena;

impl Arena for ScriptedArena {
    fn device(&self) -> &str {
        "cpu"
    }

    fn bytes(&self) -> Option<ArenaBytes> {
        Some(ArenaBytes { used: 3, held: 4096 })
    }
}

fn spec(name: &str, dtype: DType, dims: &[i64]) -> TensorSpec {
    let dims = dims.iter().copied().map(dim).collect();
    TensorSpec { name: ByteString::from(name), dtype, dims, optional: false }
}

fn said(name: &str, dtype: DType, dims: &[&'static str]) -> TensorSpec {
    let dim = |text: &&'static str| text.parse().map_or(Dim::Free(Some(ByteString::from_static(text))), Dim::Fixed);
    TensorSpec { name: ByteString::from(name), dtype, dims: dims.iter().map(dim).collect(), optional: false }
}

/// The engines of these models.
pub fn engines(models: Vec<Model>) -> Engines {
    let models: HashMap<String, Model> = models.into_iter().map(|model| (model.name.clone(), model)).collect();
    Arc::new(move |plan, threads| match models.get(plan.name.as_str()) {
        Some(model) => model.load(plan, threads),
        None => Err(Error::new(Kind::Unloadable, "there is no script for it")),
    })
}
