//! Repositories made for one server each: a benchmark model with settings of its own.

use std::path::Path;

use tempfile::TempDir;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/models");

/// The file of a benchmark model.
pub fn file(model: &str) -> String {
    format!("{MODELS}/{model}/1/model.onnx")
}

/// A repository of one model with these settings.
pub fn of(model: &str, settings: &str) -> TempDir {
    let root = tempfile::tempdir().expect("a folder");
    let version = root.path().join(model).join("1");
    std::fs::create_dir_all(&version).expect("a folder");
    let from = file(model);
    match Path::new(&from).exists() {
        true => drop(std::fs::copy(from, version.join("model.onnx")).expect("a copy")),
        false => std::fs::write(version.join("model.onnx"), b"scripted").expect("a file"),
    }
    std::fs::write(root.path().join(model).join("model.toml"), settings).expect("a file");
    root
}
