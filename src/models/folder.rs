//! A folder as a boundary: what is opened beneath it lies beneath it, whatever symbolic links say.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// A pipe or a device in a file's place must not make us wait for its other end.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    /// Without symbolic links.
    path: PathBuf,
}

impl Folder {
    /// Opens a folder that an operator named; the path may lead through symbolic links.
    pub(super) fn open(path: &Path) -> io::Result<Folder> {
        let path = path.canonicalize()?;
        let fd = rustix::fs::open(&path, FOLDER, Mode::empty())?;
        Ok(Folder { fd, path })
    }

    /// Where it is, without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a folder in it.
    pub(super) fn folder(&self, name: &str) -> io::Result<Folder> {
        let path = self.resolve(Path::new(name))?;
        let fd = self.open_beneath(Path::new(name), &path, FOLDER)?;
        Ok(Folder { fd, path })
    }

    /// Opens a regular file in it.
    pub(super) fn file(&self, name: &Path) -> io::Result<(PathBuf, File)> {
        let path = self.resolve(name)?;
        let file = File::from(self.open_beneath(name, &path, FILE)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
        }
        Ok((path, file))
    }

    /// Reads a text in it, of at most `most` bytes.
    pub(super) fn read(&self, name: &Path, most: u64) -> io::Result<String> {
        let (_, file) = self.file(name)?;
        let mut text = String::new();
        // One more than allowed tells a file of the full length from a longer one.
        file.take(most + 1).read_to_string(&mut text)?;
        if text.len() as u64 > most {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("is larger than {most} bytes")));
        }
        Ok(text)
    }

    /// The names in it, sorted, without hidden ones.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in self.path.read_dir()? {
            let name = entry?.file_name();
            if !name.as_encoded_bytes().starts_with(b".") {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Whether there is a folder of that name, even one that leads elsewhere.
    pub(super) fn has_folder(&self, name: &Path) -> bool {
        self.path.join(name).is_dir()
    }

    /// The state of the files right in it, to notice when one of them is another.
    pub(super) fn fingerprint(&self) -> io::Result<Fingerprint> {
        let mut stamps = Vec::new();
        for name in self.names()? {
            let metadata = self.resolve(Path::new(&name)).and_then(std::fs::metadata);
            stamps.extend(metadata.ok().filter(Metadata::is_file).map(|metadata| Stamp::new(name, &metadata)));
        }
        Ok(Fingerprint(stamps))
    }

    /// Where a name in it leads, if that is beneath it.
    fn resolve(&self, name: &Path) -> io::Result<PathBuf> {
        let path = self.path.join(name).canonicalize()?;
        if path.starts_with(&self.path) { Ok(path) } else { Err(escapes()) }
    }

    /// Opens `name` where the kernel can hold it beneath the folder, else `path`, to which it was resolved.
    fn open_beneath(&self, name: &Path, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        match self.open_held(name, flags) {
            Some(opened) => opened,
            None => Ok(rustix::fs::open(path, flags | OFlags::NOFOLLOW, Mode::empty())?),
        }
    }

    /// `None` where the kernel, or a filter in front of it, does not know `openat2`.
    #[cfg(target_os = "linux")]
    fn open_held(&self, name: &Path, flags: OFlags) -> Option<io::Result<OwnedFd>> {
        use rustix::fs::{ResolveFlags, openat2};
        use rustix::io::Errno;

        // The kernel asks to try again when something was renamed meanwhile.
        const TRIES: usize = 16;
        let held = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..TRIES {
            match openat2(&self.fd, name, flags, Mode::empty(), held) {
                Err(Errno::AGAIN) => continue,
                Err(Errno::NOSYS | Errno::PERM) => return None,
                Err(Errno::XDEV) => return Some(Err(escapes())),
                opened => return Some(opened.map_err(io::Error::from)),
            }
        }
        Some(Err(Errno::AGAIN.into()))
    }

    #[cfg(not(target_os = "linux"))]
    fn open_held(&self, _name: &Path, _flags: OFlags) -> Option<io::Result<OwnedFd>> {
        None
    }
}

fn escapes() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "leads outside")
}

/// The state of a version's files: equal where nothing was exchanged, as far as names, sizes, times and inodes tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprint(Vec<Stamp>);

impl Fingerprint {
    /// Of one file.
    pub(super) fn of(file: &Path) -> io::Result<Fingerprint> {
        let name = file.file_name().unwrap_or_default().to_owned();
        Ok(Fingerprint(vec![Stamp::new(name, &std::fs::metadata(file)?)]))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    name: OsString,
    size: u64,
    modified: (i64, i64),
    inode: (u64, u64),
}

impl Stamp {
    fn new(name: OsString, metadata: &Metadata) -> Stamp {
        Stamp {
            name,
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("inside")).unwrap();
        fs::write(root.path().join("outside.txt"), "secret").unwrap();
        fs::write(root.path().join("inside/a.txt"), "hello").unwrap();
        let folder = Folder::open(&root.path().join("inside")).unwrap();
        (root, folder)
    }

    #[test]
    fn a_file_in_the_folder_is_read_also_through_a_link_that_stays_inside() {
        let (root, folder) = folder();
        symlink("a.txt", root.path().join("inside/link")).unwrap();
        assert_eq!(folder.read(Path::new("a.txt"), 5).unwrap(), "hello");
        assert_eq!(folder.read(Path::new("link"), 5).unwrap(), "hello");
    }

    #[test]
    fn nothing_outside_is_opened_by_link_by_dots_or_by_an_absolute_path() {
        let (root, folder) = folder();
        let outside = root.path().join("outside.txt");
        symlink("../outside.txt", root.path().join("inside/relative")).unwrap();
        symlink(&outside, root.path().join("inside/absolute")).unwrap();
        for name in ["relative", "absolute", "../outside.txt", outside.to_str().unwrap()] {
            let error = folder.read(Path::new(name), 100).unwrap_err();
            assert_eq!(error.to_string(), "leads outside", "{name}");
        }
    }

    #[test]
    fn the_kernel_itself_refuses_what_leads_outside() {
        let (root, folder) = folder();
        symlink("../outside.txt", root.path().join("inside/relative")).unwrap();
        for name in ["relative", "../outside.txt"] {
            if let Some(opened) = folder.open_held(Path::new(name), FILE) {
                assert_eq!(opened.unwrap_err().to_string(), "leads outside", "{name}");
            }
        }
    }

    #[test]
    fn a_file_over_the_limit_and_what_is_no_file_are_refused() {
        let (root, folder) = folder();
        rustix::fs::mkfifoat(rustix::fs::CWD, root.path().join("inside/pipe"), Mode::RUSR).unwrap();
        assert_eq!(folder.read(Path::new("a.txt"), 4).unwrap_err().to_string(), "is larger than 4 bytes");
        assert_eq!(folder.read(Path::new("pipe"), 4).unwrap_err().to_string(), "is not a regular file");
        assert!(folder.read(Path::new("."), 4).is_err());
    }

    #[test]
    fn a_fingerprint_changes_with_a_file_and_not_by_itself() {
        let (root, folder) = folder();
        let before = folder.fingerprint().unwrap();
        assert_eq!(folder.fingerprint().unwrap(), before);
        fs::write(root.path().join("inside/weights.bin"), "1").unwrap();
        let with_weights = folder.fingerprint().unwrap();
        assert_ne!(with_weights, before);
        fs::write(root.path().join("inside/new"), "2").unwrap();
        fs::rename(root.path().join("inside/new"), root.path().join("inside/weights.bin")).unwrap();
        assert_ne!(folder.fingerprint().unwrap(), with_weights);
    }
}
