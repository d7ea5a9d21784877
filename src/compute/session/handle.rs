//! Objects and failures of ONNX Runtime's C interface: an object is released when its [`Handle`] is dropped, a status
//! becomes a [`Fault`]. Nothing here may be reached before a `Runtime` was loaded: `ort` would look for a library by
//! itself, and panic where it finds none.

use std::ffi::{CStr, c_char};
use std::ptr::{self, NonNull};

use ort::sys;

use crate::error::{Error, Kind};

/// How many characters are kept of what ONNX Runtime says, of its beginning and of its end: it begins with what failed
/// and ends with why, and between them quotes nodes, signatures and source files of any length.
const KEPT: (usize, usize) = (100, 200);

/// The C interface, at the API level that this crate is built for.
pub(super) fn api() -> &'static sys::OrtApi {
    ort::api()
}

/// A failed call of the C interface.
#[derive(Debug)]
pub(super) struct Fault {
    invalid: bool,
    message: String,
}

impl Fault {
    /// A failure that came without a status, such as a null pointer where an object was promised.
    pub(super) fn new(message: impl Into<String>) -> Fault {
        Fault { invalid: false, message: message.into() }
    }

    /// What was said, whole.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// As the end of a call: the caller's doing where ONNX Runtime says so.
    pub(super) fn of_run(self) -> Error {
        Error::new(if self.invalid { Kind::Invalid } else { Kind::Engine }, sentence(&self.message))
    }
}

impl<R> From<ort::Error<R>> for Fault {
    fn from(error: ort::Error<R>) -> Fault {
        let invalid = error.code() == ort::ErrorCode::InvalidArgument;
        Fault { invalid, message: error.message().to_owned() }
    }
}

/// One line of what ONNX Runtime said, cut to a length that a log and a status can carry.
pub(super) fn sentence(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let characters: Vec<char> = line.chars().collect();
    if characters.len() <= KEPT.0 + KEPT.1 {
        return line;
    }
    let (beginning, end) = (&characters[..KEPT.0], &characters[characters.len() - KEPT.1..]);
    beginning.iter().chain(&['…']).chain(end).collect()
}

/// Takes a status apart and releases it.
pub(super) fn check(status: sys::OrtStatusPtr) -> Result<(), Fault> {
    type Get<T> = unsafe extern "system" fn(*const sys::OrtStatus) -> T;
    let Some(status) = NonNull::new(status.0) else { return Ok(()) };
    // SAFETY: the function returns a C enum, an i32. Read as the enum that `ort` declares, a code that a newer library
    // added would be undefined behaviour; read as a number it is only unknown.
    #[allow(unsafe_code)]
    let get_code = unsafe { std::mem::transmute::<Get<sys::OrtErrorCode>, Get<i32>>(api().GetErrorCode) };
    // SAFETY: the status is not null and ours. Its message lives as long as it does and is copied before it is
    // released, once.
    #[allow(unsafe_code)]
    let (code, message) = unsafe {
        let said = (get_code(status.as_ptr()), text((api().GetErrorMessage)(status.as_ptr())));
        (api().ReleaseStatus)(status.as_ptr());
        said
    };
    Err(Fault { invalid: code == sys::OrtErrorCode::ORT_INVALID_ARGUMENT as i32, message })
}

/// Copies a C string; empty for a null pointer.
///
/// # Safety
/// A pointer that is not null leads to a string that ends in NUL and stays for the length of the call.
#[allow(unsafe_code)]
pub(super) unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

type Release<T> = unsafe extern "system" fn(*mut T);

/// An object of the C interface that is ours, released when dropped.
#[derive(Debug)]
pub(super) struct Handle<T> {
    object: NonNull<T>,
    release: Release<T>,
}

// SAFETY: no object that is held here (sessions, values, options, descriptions of types) belongs to a thread. Whoever
// shares one between threads has to say on its own why that is right, so this is not `Sync`.
#[allow(unsafe_code)]
unsafe impl<T> Send for Handle<T> {}

impl<T> Handle<T> {
    /// Makes an object: `make` stores it through the pointer it is given, or fails.
    pub(super) fn make(
        release: Release<T>,
        make: impl FnOnce(*mut *mut T) -> sys::OrtStatusPtr,
    ) -> Result<Handle<T>, Fault> {
        let mut object = ptr::null_mut();
        check(make(&mut object))?;
        // SAFETY: what the C interface makes is its caller's.
        #[allow(unsafe_code)]
        unsafe {
            Handle::own(release, object)
        }
    }

    /// Takes an object over.
    ///
    /// # Safety
    /// An object that is not null is nobody else's, and `release` is how it is given back.
    #[allow(unsafe_code)]
    pub(super) unsafe fn own(release: Release<T>, object: *mut T) -> Result<Handle<T>, Fault> {
        let object = NonNull::new(object).ok_or_else(|| Fault::new("ONNX Runtime gave nothing"))?;
        Ok(Handle { object, release })
    }

    /// Its address, for the C interface.
    pub(super) fn as_ptr(&self) -> *mut T {
        self.object.as_ptr()
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        // SAFETY: the object is ours, and a handle is dropped once.
        #[allow(unsafe_code)]
        unsafe {
            (self.release)(self.object.as_ptr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_many_lines_becomes_one_with_its_beginning_and_its_end() {
        assert_eq!(sentence(" a\n\tb  c\r\n"), "a b c");
        assert_eq!(sentence(&"é".repeat(300)), "é".repeat(300));
        let long = format!("a{}z", "é".repeat(1000));
        assert_eq!(sentence(&long), format!("a{}…{}z", "é".repeat(99), "é".repeat(199)));
    }
}
