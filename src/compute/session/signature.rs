//! What a session takes and gives. It is read through the C interface: `ort`'s own reading panics on types that it
//! does not know, and leaves out the inputs that have a default.

use std::ffi::{CStr, c_char};

use bytestring::ByteString;
use ort::sys;

use super::elements;
use super::handle::{Fault, Handle, api, check};
use super::open::OpenSession;
use super::types::ValueType;
use crate::error::{Error, Kind, Result};
use crate::tensor::{Signature, TensorSpec};

/// Reads a session's signature: inputs in the model's order, then those that a call may leave out.
///
/// # Errors
/// `Unloadable` for what the protocols cannot carry, naming the input or output and the cure.
pub(super) fn read(session: &OpenSession) -> Result<Signature> {
    let mut inputs = INPUTS.read(session)?;
    inputs.extend(DEFAULTS.read(session)?);
    let outputs = OUTPUTS.read(session)?;
    check_names("input", &inputs)?;
    check_names("output", &outputs)?;
    Ok(Signature { inputs, outputs })
}

/// A call names each tensor, so that each must have a name of its own.
fn check_names(role: &str, specs: &[TensorSpec]) -> Result<()> {
    for (index, spec) in specs.iter().enumerate() {
        if spec.name.is_empty() {
            return Err(unloadable(format!("{role} number {} has no name: give it one in the model", index + 1)));
        }
        if specs[..index].iter().any(|earlier| earlier.name == spec.name) {
            return Err(unloadable(format!("{role} {:?} is there twice: rename one in the model", spec.name)));
        }
    }
    Ok(())
}

fn unloadable(message: String) -> Error {
    Error::new(Kind::Unloadable, message)
}

type Count = unsafe extern "system" fn(*const sys::OrtSession, *mut usize) -> sys::OrtStatusPtr;
type Name = unsafe extern "system" fn(
    *const sys::OrtSession,
    usize,
    *mut sys::OrtAllocator,
    *mut *mut c_char,
) -> sys::OrtStatusPtr;
type Type = unsafe extern "system" fn(*const sys::OrtSession, usize, *mut *mut sys::OrtTypeInfo) -> sys::OrtStatusPtr;

/// One of a session's lists, and the functions that tell it.
struct List {
    role: &'static str,
    optional: bool,
    functions: fn(&sys::OrtApi) -> (Count, Name, Type),
}

const INPUTS: List = List {
    role: "input",
    optional: false,
    functions: |api| (api.SessionGetInputCount, api.SessionGetInputName, api.SessionGetInputTypeInfo),
};

/// Initializers that are inputs, too.
const DEFAULTS: List = List {
    role: "input",
    optional: true,
    functions: |api| {
        (
            api.SessionGetOverridableInitializerCount,
            api.SessionGetOverridableInitializerName,
            api.SessionGetOverridableInitializerTypeInfo,
        )
    },
};

const OUTPUTS: List = List {
    role: "output",
    optional: false,
    functions: |api| (api.SessionGetOutputCount, api.SessionGetOutputName, api.SessionGetOutputTypeInfo),
};

impl List {
    fn read(&self, session: &OpenSession) -> Result<Vec<TensorSpec>> {
        let mut length = 0;
        // SAFETY: the session lives, and the count is stored where there is room for it.
        #[allow(unsafe_code)]
        let status = unsafe { (self.functions)(api()).0(session.as_ptr(), &mut length) };
        check(status).map_err(|fault| self.unreadable(fault))?;
        (0..length).map(|index| self.spec(session, index)).collect()
    }

    fn spec(&self, session: &OpenSession, index: usize) -> Result<TensorSpec> {
        let name = self.name(session, index).map_err(|fault| self.unreadable(fault))?;
        let role = self.role;
        match self.value_type(session, index).map_err(|fault| self.unreadable(fault))? {
            ValueType::Tensor { element, dims } => {
                let dtype = elements::dtype(element).ok_or_else(|| {
                    let (element, cure) = elements::foreign(element);
                    let what = format!("has elements of type {element}");
                    unloadable(format!("{role} {name:?} {what}, which the protocols cannot carry: {cure}"))
                })?;
                Ok(TensorSpec { name, dtype, dims, optional: self.optional })
            }
            ValueType::Other { what, cure } => {
                Err(unloadable(format!("{role} {name:?} is {what}, which the protocols cannot carry: {cure}")))
            }
        }
    }

    fn name(&self, session: &OpenSession, index: usize) -> Result<ByteString, Fault> {
        let allocator = default_allocator()?;
        let mut name = std::ptr::null_mut();
        // SAFETY: the session lives and the index is below its count. The name that is stored is a C string, ours to
        // give back to the allocator it came from, once, after it was copied.
        #[allow(unsafe_code)]
        unsafe {
            check((self.functions)(api()).1(session.as_ptr(), index, allocator, &mut name))?;
            if name.is_null() {
                return Err(Fault::new("a null pointer instead of a name"));
            }
            let copy = ByteString::try_from(CStr::from_ptr(name).to_bytes());
            check((api().AllocatorFree)(allocator, name.cast()))?;
            copy.map_err(|_| Fault::new("a name that is not UTF-8"))
        }
    }

    fn value_type(&self, session: &OpenSession, index: usize) -> Result<ValueType, Fault> {
        let info = Handle::make(api().ReleaseTypeInfo, |out| {
            // SAFETY: the session lives and the index is below its count.
            #[allow(unsafe_code)]
            unsafe {
                (self.functions)(api()).2(session.as_ptr(), index, out)
            }
        })?;
        ValueType::of(&info)
    }

    fn unreadable(&self, fault: Fault) -> Error {
        unloadable(format!("the model's {}s cannot be read: {}", self.role, super::handle::sentence(fault.message())))
    }
}

/// The allocator of names and of strings, which is never released.
pub(super) fn default_allocator() -> Result<*mut sys::OrtAllocator, Fault> {
    let mut allocator = std::ptr::null_mut();
    // SAFETY: the allocator is stored where there is room for it.
    #[allow(unsafe_code)]
    check(unsafe { (api().GetAllocatorWithDefaultOptions)(&mut allocator) })?;
    Ok(allocator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    #[test]
    fn names_that_are_empty_or_repeated_are_refused() {
        let spec = |name: &str| TensorSpec { name: name.into(), dtype: DType::Fp32, dims: vec![], optional: false };
        let refusal = |names: &[&str]| {
            let specs: Vec<TensorSpec> = names.iter().map(|name| spec(name)).collect();
            check_names("output", &specs).map_err(|error| error.to_string())
        };
        assert_eq!(refusal(&["a", "b"]), Ok(()));
        assert_eq!(refusal(&["a", ""]).unwrap_err(), "output number 2 has no name: give it one in the model");
        assert_eq!(refusal(&["a", "b", "a"]).unwrap_err(), "output \"a\" is there twice: rename one in the model");
    }
}
