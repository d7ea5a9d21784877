//! The check of a model's files before ONNX Runtime opens them: whatever the model says, its tensor data comes out of
//! plain files beneath its own folder. The model file itself may be a link, as those of a mounted volume are. What
//! changes between this check and the loading is not seen: nobody but the operator may write to a served folder.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::walk::{self, ExternalData, WalkError};
use crate::error::{Error, Kind, Result};

/// ONNX Runtime reads these locations as addresses in memory.
const RESERVED: &str = "*/";

/// Checks the model file and every file that it keeps tensor data in.
///
/// # Errors
/// `Unloadable`, naming the model file or the location, and the rule that it breaks.
pub(super) fn check(model: &Path) -> Result<()> {
    let name = file_name(model);
    let file = open_model(model).map_err(|reason| unloadable(format!("{name} {reason}")))?;
    let length = file.metadata().map_err(|error| unloadable(format!("{name} cannot be read: {}", error.kind())))?.len();
    let found = walk::external_data(file, length).map_err(|error| match error {
        WalkError::Malformed { .. } => unloadable(format!("{name} is not an ONNX model: {error}")),
        WalkError::Io(error) => unloadable(format!("{name} cannot be read: {}", error.kind())),
    })?;
    if found.is_empty() {
        return Ok(());
    }
    let folder = open_folder(model).map_err(|error| unloadable(format!("the folder of {name}: {}", error.kind())))?;
    found.iter().try_for_each(|data| {
        check_data(&folder, data).map_err(|reason| match &data.location {
            Some(location) => unloadable(format!("{name} keeps tensor data in {location:?}, which {reason}")),
            None => unloadable(format!("{name} keeps tensor data outside of itself without saying where")),
        })
    })
}

/// A file's name, which is all that a message may say of where it lies.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn unloadable(message: String) -> Error {
    Error::new(Kind::Unloadable, message)
}

fn open_model(model: &Path) -> Result<File, String> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        kind => format!("cannot be read: {kind}"),
    };
    // Asked before it is opened: opening a pipe would wait for a writer.
    if !model.metadata().map_err(cannot)?.is_file() {
        return Err("is not a regular file".into());
    }
    File::open(model).map_err(cannot)
}

fn open_folder(model: &Path) -> io::Result<OwnedFd> {
    let folder = model.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Checks one tensor's place; the error is the end of a sentence about it.
fn check_data(folder: &OwnedFd, data: &ExternalData) -> Result<(), String> {
    let location = data.location.as_deref().unwrap_or_default();
    check_location(location)?;
    let file = open_beneath(folder, Path::new(location)).map_err(why_not_opened)?;
    let status = fs::fstat(&file).map_err(|errno| format!("cannot be read: {}", io::Error::from(errno).kind()))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err("is not a regular file".into());
    }
    if status.st_nlink != 1 {
        return Err("has another name elsewhere (a hard link)".into());
    }
    check_range(data, status.st_size as u64)
}

fn check_location(location: &str) -> Result<(), String> {
    if location.is_empty() || location.contains('\0') || location.starts_with(RESERVED) {
        return Err("is not the name of a file".into());
    }
    for component in Path::new(location).components() {
        match component {
            Component::Normal(_) | Component::CurDir => {}
            Component::ParentDir => return Err("leads out of the model's folder".into()),
            Component::RootDir | Component::Prefix(_) => return Err("is not relative to the model's folder".into()),
        }
    }
    Ok(())
}

fn check_range(data: &ExternalData, size: u64) -> Result<(), String> {
    let offset = number("offset", &data.offset)?.unwrap_or(0);
    let length = number("length", &data.length)?;
    let end = offset.checked_add(length.unwrap_or(0));
    match end {
        Some(end) if end <= size => Ok(()),
        _ => {
            let length = length.map_or_else(|| "data".to_owned(), |length| format!("{length} bytes"));
            Err(format!("has {size} bytes, too few for {length} from byte {offset} on"))
        }
    }
}

fn number(key: &str, text: &Option<String>) -> Result<Option<u64>, String> {
    let Some(text) = text else { return Ok(None) };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.map(Some).ok_or_else(|| format!("has the {key} {text:?}, which is not a number of bytes"))
}

fn why_not_opened(errno: Errno) -> String {
    match errno {
        Errno::LOOP => "is a symbolic link or lies behind one".into(),
        Errno::XDEV => "leads out of the model's folder".into(),
        Errno::NOENT => "does not exist".into(),
        Errno::NOTDIR => "does not lie in plain folders".into(),
        errno => format!("cannot be read: {}", io::Error::from(errno).kind()),
    }
}

/// Without waiting for the other end of what turns out to be a pipe.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens a file beneath a folder, following no link on the way.
fn open_beneath(folder: &OwnedFd, location: &Path) -> Result<OwnedFd, Errno> {
    #[cfg(target_os = "linux")]
    {
        let resolve = fs::ResolveFlags::BENEATH | fs::ResolveFlags::NO_SYMLINKS;
        match fs::openat2(folder, location, READ, Mode::empty(), resolve) {
            // No such call: an old kernel, or a sandbox that does not know it.
            Err(Errno::NOSYS | Errno::PERM) => {}
            result => return result,
        }
    }
    open_step_by_step(folder, location)
}

/// The same, one component after another.
fn open_step_by_step(folder: &OwnedFd, location: &Path) -> Result<OwnedFd, Errno> {
    let names = |component| if let Component::Normal(name) = component { Some(name) } else { None };
    let mut steps = location.components().filter_map(names);
    let last: &OsStr = steps.next_back().ok_or(Errno::ISDIR)?;
    let mut reached: Option<OwnedFd> = None;
    for step in steps {
        let from = reached.as_ref().unwrap_or(folder).as_fd();
        reached = Some(fs::openat(from, step, READ | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?);
    }
    fs::openat(reached.as_ref().unwrap_or(folder), last, READ | OFlags::NOFOLLOW, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::super::walk::tests as handmade;
    use super::*;

    /// A folder with `models/model.onnx`, which keeps tensor data at `place`, beside `models/w.bin` of 64 bytes.
    fn model(place: &[(&str, &str)]) -> (TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("models");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("w.bin"), [0; 64]).unwrap();
        let path = folder.join("model.onnx");
        std::fs::write(&path, handmade::model(&[handmade::tensor(place)])).unwrap();
        (root, path)
    }

    fn refusal(place: &[(&str, &str)]) -> String {
        let (_root, path) = model(place);
        let error = check(&path).unwrap_err();
        assert_eq!(error.kind(), Kind::Unloadable);
        error.to_string()
    }

    #[test]
    fn data_in_a_plain_file_beneath_the_model_passes() {
        let (_root, path) = model(&[("location", "w.bin"), ("offset", "32"), ("length", "32")]);
        assert_eq!(check(&path), Ok(()));
        let (_root, path) = model(&[("location", "./weights/w.bin")]);
        let weights = path.with_file_name("weights");
        std::fs::create_dir(&weights).unwrap();
        std::fs::rename(path.with_file_name("w.bin"), weights.join("w.bin")).unwrap();
        assert_eq!(check(&path), Ok(()));
    }

    #[test]
    fn a_location_outside_the_folder_is_refused() {
        let start = "model.onnx keeps tensor data in ";
        let at = |location: &str| refusal(&[("location", location)]);
        assert_eq!(at("../w.bin"), format!("{start}\"../w.bin\", which leads out of the model's folder"));
        assert_eq!(at("a/../w.bin"), format!("{start}\"a/../w.bin\", which leads out of the model's folder"));
        assert_eq!(at("/etc/passwd"), format!("{start}\"/etc/passwd\", which is not relative to the model's folder"));
        assert_eq!(at("*/_ORT_MEM_ADDR_/*"), format!("{start}\"*/_ORT_MEM_ADDR_/*\", which is not the name of a file"));
        assert_eq!(at("none.bin"), format!("{start}\"none.bin\", which does not exist"));
        assert_eq!(at(""), format!("{start}\"\", which is not the name of a file"));
        assert_eq!(at("."), format!("{start}\".\", which is not a regular file"));
        assert_eq!(refusal(&[("offset", "0")]), "model.onnx keeps tensor data outside of itself without saying where");
    }

    #[test]
    fn a_range_past_the_end_is_refused_with_both_values() {
        let range = |offset: &str, length: &str| {
            let error = refusal(&[("location", "w.bin"), ("offset", offset), ("length", length)]);
            error.strip_prefix("model.onnx keeps tensor data in \"w.bin\", which ").unwrap().to_owned()
        };
        assert_eq!(range("32", "33"), "has 64 bytes, too few for 33 bytes from byte 32 on");
        let most = u64::MAX.to_string();
        assert_eq!(range("1", &most), format!("has 64 bytes, too few for {most} bytes from byte 1 on"));
        assert_eq!(range("-1", "4"), "has the offset \"-1\", which is not a number of bytes");
        assert_eq!(range("0", "4x"), "has the length \"4x\", which is not a number of bytes");
        let (_root, path) = model(&[("location", "w.bin"), ("offset", "65")]);
        let error = check(&path).unwrap_err().to_string();
        assert!(error.ends_with("has 64 bytes, too few for data from byte 65 on"), "{error}");
    }

    #[test]
    fn links_and_what_is_no_file_are_refused() {
        let (root, path) = model(&[("location", "d/w.bin")]);
        let folder = path.parent().unwrap();
        let refusal = || check(&path).unwrap_err().to_string();
        std::fs::write(root.path().join("w.bin"), "secret").unwrap();
        symlink(root.path(), folder.join("d")).unwrap();
        assert!(refusal().ends_with("which is a symbolic link or lies behind one"), "{}", refusal());
        std::fs::remove_file(folder.join("d")).unwrap();
        std::fs::create_dir(folder.join("d")).unwrap();
        symlink(root.path().join("w.bin"), folder.join("d/w.bin")).unwrap();
        assert!(refusal().ends_with("which is a symbolic link or lies behind one"), "{}", refusal());
        std::fs::remove_file(folder.join("d/w.bin")).unwrap();
        std::fs::hard_link(root.path().join("w.bin"), folder.join("d/w.bin")).unwrap();
        assert!(refusal().ends_with("which has another name elsewhere (a hard link)"), "{}", refusal());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_is_refused_without_waiting_for_its_other_end() {
        let (_root, path) = model(&[("location", "pipe")]);
        let pipe = path.with_file_name("pipe");
        fs::mkfifoat(fs::CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
        assert!(check(&path).unwrap_err().message().ends_with("which is not a regular file"));
        assert_eq!(check(&pipe).unwrap_err().message(), "pipe is not a regular file");
    }

    #[test]
    fn step_by_step_finds_the_same_as_the_kernel() {
        let (root, path) = model(&[]);
        let folder = open_folder(&path).unwrap();
        let open = |location: &str| open_step_by_step(&folder, Path::new(location)).map(drop);
        assert_eq!(open("w.bin"), Ok(()));
        assert_eq!(open("./w.bin"), Ok(()));
        assert_eq!(open("none.bin"), Err(Errno::NOENT));
        symlink(root.path(), path.with_file_name("d")).unwrap();
        assert!(open("d/models/w.bin").is_err());
        symlink("w.bin", path.with_file_name("link.bin")).unwrap();
        assert_eq!(open("link.bin"), Err(Errno::LOOP));
    }

    #[test]
    fn the_model_file_may_be_a_link_but_must_lead_to_a_file() {
        let (root, path) = model(&[("location", "w.bin")]);
        let link = path.with_file_name("link.onnx");
        symlink(&path, &link).unwrap();
        assert_eq!(check(&link), Ok(()));
        let refusal = |path: &Path| check(path).unwrap_err().to_string();
        assert_eq!(refusal(root.path().join("gone.onnx").as_path()), "gone.onnx does not exist");
        assert_eq!(refusal(path.parent().unwrap()), "models is not a regular file");
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(refusal(&path), "model.onnx is not an ONNX model: an unknown kind of field at byte 3");
    }
}
