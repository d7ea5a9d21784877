//! Repositories as people lay them out, right and wrong.

use super::*;
use crate::models::fixture::Disk;

impl Disk {
    fn scan(&self) -> Scan {
        Repository::open(self.root()).unwrap().scan().unwrap()
    }

    /// Of the only model: its versions and what is wrong with them, or what is wrong with it.
    fn only(&self) -> Result<Vec<(i64, Option<String>)>, String> {
        let mut scan = self.scan();
        assert_eq!(scan.models.len(), 1, "{scan:?}");
        let contents = scan.models.pop().unwrap().contents?;
        Ok(contents.versions.into_iter().map(|(version, file)| (version.number(), file.err())).collect())
    }
}

fn names(scan: &Scan) -> Vec<&str> {
    scan.models.iter().map(|found| found.name.as_str()).collect()
}

#[test]
fn models_and_versions_are_found_and_the_rest_is_left_alone() {
    let disk = Disk::new(&[
        "digits/1/model.onnx",
        "digits/10/model.onnx",
        "digits/1.tmp/model.onnx",
        "digits/01/model.onnx",
        "digits/labels.txt",
        "penguins/3/model.onnx",
        ".git/1/model.onnx",
        "lost+found/1/model.onnx",
        "README.md",
    ]);
    let scan = disk.scan();
    assert_eq!(names(&scan), ["digits", "penguins"]);
    assert!(scan.skipped.is_empty(), "{:?}", scan.skipped);
    let versions: Vec<i64> = scan.models[0].contents.as_ref().unwrap().versions.keys().map(|v| v.number()).collect();
    assert_eq!(versions, [1, 10]);
}

#[test]
fn a_folder_that_cannot_be_a_model_is_reported_and_hides_no_other() {
    let scan = Disk::new(&["my model/1/model.onnx", "digits/1/model.onnx"]).scan();
    assert_eq!(names(&scan), ["digits"]);
    assert_eq!(scan.skipped[0].0, "my model");
    assert!(scan.skipped[0].1.contains("is not a letter or digit followed by"), "{:?}", scan.skipped);
}

#[test]
fn a_model_without_versions_is_broken_with_a_cure() {
    assert_eq!(
        Disk::new(&["digits/labels.txt"]).only(),
        Err("it has no folder of a version; lay the model down as 1/model.onnx".into())
    );
    assert_eq!(
        Disk::new(&["digits/digits.onnx"]).only(),
        Err("it has no folder of a version; move digits.onnx to 1/model.onnx".into())
    );
}

#[test]
fn a_version_without_its_file_is_broken_by_itself() {
    let disk = Disk::new(&["digits/1/model.onnx", "digits/2/net.onnx", "digits/3/weights.bin"]);
    assert_eq!(
        disk.only(),
        Ok(vec![
            (1, None),
            (2, Some("2/model.onnx is missing; rename 2/net.onnx".into())),
            (3, Some("3/model.onnx is missing".into())),
        ])
    );
}

#[test]
fn broken_settings_break_their_model_and_no_other() {
    let disk = Disk::new(&["digits/1/model.onnx", "penguins/1/model.onnx"]);
    disk.write("digits/model.toml", "instance = 2");
    let scan = disk.scan();
    let reason = scan.models[0].contents.as_ref().unwrap_err();
    assert!(reason.starts_with("model.toml: instance: unknown key, did you mean instances?"), "{reason}");
    assert!(scan.models[1].contents.is_ok());
}

#[test]
fn settings_of_triton_are_read_and_what_is_ignored_is_pointed_out() {
    let disk = Disk::new(&["digits/1/net.onnx", "digits/2/model.onnx", "digits/config.pbtxt"]);
    let contents = || disk.scan().models.remove(0).contents;
    assert_eq!(contents().unwrap().advice, [""; 0]);
    disk.write("digits/config.pbtxt", "default_model_filename: 'net.onnx' version_policy { all {} } model_metrics {}");
    let found = contents().unwrap();
    assert_eq!(found.advice, ["config.pbtxt: model_metrics is ignored: metrics have their own buckets"]);
    assert_eq!(found.settings.versions, crate::models::Policy::All);
    assert!(found.versions[&first_version()].as_ref().unwrap().path.ends_with("1/net.onnx"));
    let second = Version::new(2).unwrap();
    assert_eq!(found.versions[&second], Err("2/net.onnx is missing; rename 2/model.onnx".into()));
    disk.write("digits/config.pbtxt", "max_batch: 3");
    let told = "config.pbtxt: line 1: field 'max_batch' not found for message 'inference.ModelConfig'";
    assert_eq!(contents().unwrap_err(), told);
}

#[test]
fn a_folder_in_the_files_place_holds_the_model_and_its_data() {
    let disk = Disk::new(&["digits/1/model.onnx/model.onnx", "digits/1/model.onnx/w.bin", "digits/2/model.onnx/x"]);
    disk.link("../../outside", "digits/3");
    let mut versions = disk.scan().models.remove(0).contents.unwrap().versions;
    let file = versions.remove(&first_version()).unwrap().unwrap();
    assert!(file.path.ends_with("1/model.onnx/model.onnx"));
    disk.write("digits/1/model.onnx/w.bin", "other");
    let later = disk.scan().models.remove(0).contents.unwrap().versions.remove(&first_version()).unwrap().unwrap();
    assert_ne!(file.fingerprint, later.fingerprint);
    assert_eq!(versions[&Version::new(2).unwrap()], Err("2/model.onnx/model.onnx is missing".into()));
}

#[test]
fn links_as_kubernetes_and_git_sync_make_them_are_followed() {
    let disk = Disk::new(&["rev-a/..2024/digits/1/model.onnx"]);
    disk.link("rev-a", "current");
    disk.link("..2024", "rev-a/..data");
    disk.link("..data/digits", "rev-a/digits");
    let scan = Repository::open(&disk.path("current")).unwrap().scan().unwrap();
    assert_eq!(names(&scan), ["digits"]);
    let file = scan.models[0].contents.as_ref().unwrap().versions[&first_version()].as_ref().unwrap();
    assert_eq!(file.path, disk.path("rev-a/..2024/digits/1/model.onnx").canonicalize().unwrap());
}

#[test]
fn a_link_that_leads_out_of_the_repository_or_of_the_model_is_refused() {
    let disk = Disk::new(&["secret/1/model.onnx", "models/digits/1/model.onnx", "models/penguins/2/weights.bin"]);
    disk.link("../secret", "models/escape");
    disk.link("../../secret/1", "models/digits/2");
    disk.link("../../../secret/1/model.onnx", "models/penguins/2/model.onnx");
    let scan = Repository::open(&disk.path("models")).unwrap().scan().unwrap();
    let reasons: Vec<String> = scan
        .models
        .into_iter()
        .flat_map(|found| match found.contents {
            Err(reason) => vec![reason],
            Ok(contents) => contents.versions.into_values().filter_map(Result::err).collect(),
        })
        .collect();
    assert_eq!(reasons, ["2: leads outside", "its folder: leads outside", "2/model.onnx: leads outside"]);
}

#[test]
fn one_file_is_one_model_named_after_it() {
    let disk = Disk::new(&["files/resnet-50.onnx", "files/other.onnx"]);
    let repository = Repository::open(&disk.path("files/resnet-50.onnx")).unwrap();
    let scan = repository.scan().unwrap();
    assert_eq!(names(&scan), ["resnet-50"]);
    assert!(repository.find(&"resnet-50".parse().unwrap()).unwrap().is_some());
    assert!(repository.find(&"other".parse().unwrap()).unwrap().is_none());
}

#[test]
fn what_is_no_repository_is_refused_with_what_to_do() {
    let disk = Disk::new(&["my model.onnx", "model.pt", "digits/1/model.onnx", "digits/model.toml"]);
    for (path, told) in [
        ("none", "No such file or directory"),
        ("model.pt", "neither a folder nor an .onnx file"),
        ("my model.onnx", "rename it, or lay it down as DIR/NAME/1/model.onnx and name DIR"),
        ("digits", "this is the folder of one model; name the folder that it lies in"),
    ] {
        let error = Repository::open(&disk.path(path)).unwrap_err().to_string();
        assert!(error.contains(told) && error.contains(path), "{error}");
    }
}

#[test]
fn a_model_is_found_by_its_name_only() {
    let disk = Disk::new(&["digits/1/model.onnx", "notes.txt"]);
    let repository = Repository::open(disk.root()).unwrap();
    assert!(repository.find(&"digits".parse().unwrap()).unwrap().is_some());
    for name in ["notes.txt", "penguins"] {
        assert!(repository.find(&name.parse().unwrap()).unwrap().is_none(), "{name}");
    }
}
