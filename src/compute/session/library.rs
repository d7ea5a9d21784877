//! The ONNX Runtime library: where it is looked for, whether it can be used, and its one environment. A library that
//! is missing, wrong or too old is an error of one line, never a panic.

use std::env;
use std::ffi::{CStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use libloading::Library;
use ort::environment::Environment;
use ort::sys;

use super::arena::{self, Level23};
use super::log;

/// The environment variable that names the library.
const VARIABLE: &str = "ORT_DYLIB_PATH";
/// The library's name without a version.
const NAME: &str = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };
/// Where the project's fetch script puts it, below the project.
const FETCHED: &str = ".runtime/onnxruntime";

/// Why there is no ONNX Runtime to run models with.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The environment variable names no file.
    #[error("{VARIABLE} names {}, where there is no file", .0.display())]
    NamedMissing(PathBuf),
    /// It is in none of the usual places.
    #[error(
        "no ONNX Runtime found: run `make onnxruntime`, or set {VARIABLE} to {NAME} of version 1.{oldest} or newer",
        oldest = sys::ORT_API_VERSION
    )]
    Missing,
    /// The file is no shared library for this machine.
    #[error("cannot load ONNX Runtime from {}: {reason}", path.display())]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What the dynamic loader says.
        reason: String,
    },
    /// The file is some other library, or broken.
    #[error("{} is not an ONNX Runtime library: {reason}", path.display())]
    NotOnnxRuntime {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The library is older than this program.
    #[error(
        "ONNX Runtime {version} at {} is too old: version 1.{oldest} or newer is needed",
        path.display(),
        oldest = sys::ORT_API_VERSION
    )]
    TooOld {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// The library was loaded and then failed to start.
    #[error("ONNX Runtime did not start: {0}")]
    NotStarted(String),
}

/// Finds the library: where the environment variable says, else beside the executable, else where the project's fetch
/// script puts it, in the nearest folder above the current one or above the executable.
///
/// # Errors
/// [`LibraryError::NamedMissing`] and [`LibraryError::Missing`], which say what to do.
pub fn find() -> Result<PathBuf, LibraryError> {
    choose(env::var_os(VARIABLE), candidates(env::current_exe().ok(), env::current_dir().ok()))
}

fn choose(named: Option<OsString>, candidates: Vec<PathBuf>) -> Result<PathBuf, LibraryError> {
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        return if named.is_file() { Ok(named) } else { Err(LibraryError::NamedMissing(named)) };
    }
    candidates.into_iter().find(|candidate| candidate.is_file()).ok_or(LibraryError::Missing)
}

fn candidates(executable: Option<PathBuf>, current: Option<PathBuf>) -> Vec<PathBuf> {
    let beside = executable.as_deref().and_then(Path::parent);
    let above = [current.as_deref(), beside].into_iter().flatten().flat_map(Path::ancestors);
    let fetched = above.map(|folder| folder.join(FETCHED).join(NAME));
    beside.map(|folder| folder.join(NAME)).into_iter().chain(fetched).collect()
}

/// ONNX Runtime, loaded and started. Clones share it.
#[derive(Clone)]
pub struct Runtime(Arc<Started>);

struct Started {
    environment: Environment,
    version: String,
    path: PathBuf,
    /// Its functions up to that level, where it has them.
    level_23: Option<&'static Level23>,
    /// Keeps what was checked the same as what `ort` opened: both are the one copy in memory.
    _library: Library,
}

/// What this process has started. Global, against our rule, because `ort` lets a process build one environment only
/// and has no way to ask for it again, not even once it was dropped: two loads (every second test) would fail.
static STARTED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Finds and starts ONNX Runtime. A process that has started one gets the same again, wherever it now would be
    /// found.
    ///
    /// # Errors
    /// One line that says which library was found, what is wrong with it, or what to do where there is none.
    pub fn load() -> Result<Runtime, LibraryError> {
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*started {
            return Ok(runtime.clone());
        }
        let runtime = Runtime::start(find()?)?;
        Ok(started.insert(runtime).clone())
    }

    fn start(path: PathBuf) -> Result<Runtime, LibraryError> {
        // An absolute path, as a relative one would be looked for in other places first.
        let path = std::path::absolute(&path).unwrap_or(path);
        let (library, version, level_23) = open(&path)?;
        let not_started = |reason: &dyn fmt::Display| LibraryError::NotStarted(reason.to_string());
        let builder = ort::init_from(&path).map_err(|error| not_started(&error))?;
        let builder = builder.with_name("infergate").with_telemetry(false).with_logger(Arc::new(log::forward));
        let environment = builder.build().map_err(|error| not_started(&error))?;
        environment.set_log_level(log::threshold());
        Ok(Runtime(Arc::new(Started { environment, version, path, level_23, _library: library })))
    }

    /// The library's version, such as `1.31.1`.
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// The library's file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    pub(super) fn level_23(&self) -> Option<&'static Level23> {
        self.0.level_23
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.0.environment
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("version", &self.version()).field("path", &self.path()).finish_non_exhaustive()
    }
}

/// Opens a library and checks what `ort` would only assert.
fn open(path: &Path) -> Result<(Library, String, Option<&'static Level23>), LibraryError> {
    type GetBase = unsafe extern "C" fn() -> *const sys::OrtApiBase;
    let wrong = |reason| LibraryError::NotOnnxRuntime { path: path.to_owned(), reason };
    // SAFETY: opening a library runs its initialisers. The file is the one that the operator named or fetched, and
    // running its code is what it is there for.
    #[allow(unsafe_code)]
    let library = unsafe { Library::new(path) }
        .map_err(|error| LibraryError::NotALibrary { path: path.to_owned(), reason: innermost(&error) })?;
    // SAFETY: a library with this symbol gives it this type, the one fixed point of ONNX Runtime's interface.
    #[allow(unsafe_code)]
    let base = unsafe {
        let get_base = library.get::<GetBase>(b"OrtGetApiBase").map_err(|_| wrong("it has no OrtGetApiBase"))?;
        get_base().as_ref().ok_or_else(|| wrong("its OrtGetApiBase gives nothing"))?
    };
    // SAFETY: the version is a string that ends in NUL and is never released.
    #[allow(unsafe_code)]
    let version = unsafe { (base.GetVersionString)().as_ref().map(|start| CStr::from_ptr(start)) };
    let version = version.ok_or_else(|| wrong("it has no version"))?.to_string_lossy().into_owned();
    if !is_of_level(&version, sys::ORT_API_VERSION) {
        return Err(LibraryError::TooOld { path: path.to_owned(), version });
    }
    // SAFETY: the function may be asked for any level, and gives a null pointer for one that it does not have.
    #[allow(unsafe_code)]
    let api = unsafe { (base.GetApi)(sys::ORT_API_VERSION) };
    if api.is_null() {
        return Err(wrong("it lacks the API level of its version"));
    }
    // SAFETY: it is what the library gave, and that is kept for as long as the process runs.
    #[allow(unsafe_code)]
    let level_23 = unsafe { arena::level_23(base, &version) };
    Ok((library, version, level_23))
}

/// Asked before the API itself is, because an older library complains to standard error.
pub(super) fn is_of_level(version: &str, level: u32) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(1), Some(level))
}

/// What the dynamic loader says, which `libloading` keeps out of its own message.
fn innermost(error: &dyn std::error::Error) -> String {
    super::handle::sentence(&error.source().map_or_else(|| error.to_string(), |source| source.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_variable_comes_first_and_must_name_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (named, other) = (folder.path().join("named.so"), folder.path().join(NAME));
        fs::write(&other, "").unwrap();
        let error = choose(Some(named.clone().into()), vec![other.clone()]).unwrap_err().to_string();
        assert_eq!(error, format!("ORT_DYLIB_PATH names {}, where there is no file", named.display()));
        fs::write(&named, "").unwrap();
        assert_eq!(choose(Some(named.clone().into()), vec![other.clone()]).unwrap(), named);
        assert_eq!(choose(Some("".into()), vec![other.clone()]).unwrap(), other);
    }

    #[test]
    fn beside_the_executable_comes_before_the_folders_above() {
        let found = candidates(Some("/opt/bin/infergate".into()), Some("/home/me".into()));
        let expected = ["/opt/bin", "/home/me/F", "/home/F", "/F", "/opt/bin/F", "/opt/F", "/F"];
        assert_eq!(found, expected.map(|folder| Path::new(&folder.replace('F', FETCHED)).join(NAME)));
        assert_eq!(candidates(None, None), Vec::<PathBuf>::new());
    }

    #[test]
    fn nothing_found_says_what_to_do() {
        let error = choose(None, vec!["/nonexistent/lib.so".into()]).unwrap_err().to_string();
        assert!(
            error.starts_with("no ONNX Runtime found: run `make onnxruntime`, or set ORT_DYLIB_PATH to "),
            "{error}"
        );
        assert!(error.ends_with("of version 1.20 or newer"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_library_is_one_readable_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, "not a library").unwrap();
        let error = open(&path).map(drop).unwrap_err();
        assert!(matches!(error, LibraryError::NotALibrary { .. }), "{error:?}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }

    #[test]
    fn versions_before_the_api_level_are_too_old() {
        for version in ["1.20.0", "1.31.1", "1.20", "2.0.0", "1.32.0-dev"] {
            assert!(is_of_level(version, sys::ORT_API_VERSION), "{version}");
        }
        for version in ["1.19.2", "0.99.0", "1", "", "nonsense"] {
            assert!(!is_of_level(version, sys::ORT_API_VERSION), "{version}");
        }
    }
}
