//! What a session's allocators say of the memory that they keep: asked of ONNX Runtime 1.23 and newer, as older ones have
//! no way to say it.

use std::ffi::{CStr, c_char, c_int};
use std::mem::offset_of;
use std::sync::Arc;

use ort::sys;

use super::device::Device;
use super::handle::{Fault, Handle, api, text};
use super::library::{Runtime, is_of_level};
use super::open::OpenSession;
use crate::observe::{self, ArenaBytes};

/// The level from which on the table of functions has that of statistics.
const LEVEL: u32 = 23;

/// ONNX Runtime's table of functions at that level. `ort` declares it up to the level that this crate is built for; tables
/// only ever grow at their end, and the header says with each level where its last function stands.
#[repr(C)]
pub(super) struct Level23 {
    level_20: sys::OrtApi,
    _before_pairs: [usize; 12],
    get_key_value: unsafe extern "system" fn(*const sys::OrtKeyValuePairs, *const c_char) -> *const c_char,
    _before_release: [usize; 2],
    release_key_value_pairs: unsafe extern "system" fn(*mut sys::OrtKeyValuePairs),
    _before_statistics: [usize; 18],
    allocator_get_stats:
        unsafe extern "system" fn(*const sys::OrtAllocator, *mut *mut sys::OrtKeyValuePairs) -> sys::OrtStatusPtr,
}

/// What `onnxruntime_c_api.cc` asserts: 284 is the last of level 20, 317 the last of level 22, which stands two in front of
/// `AllocatorGetStats`.
const _: () = assert!(size_of::<sys::OrtApi>() == 285 * size_of::<usize>());
const _: () = assert!(offset_of!(Level23, allocator_get_stats) == 319 * size_of::<usize>());

/// An allocator of a session.
struct SessionArena {
    device: String,
    /// Released before its session.
    allocator: Handle<sys::OrtAllocator>,
    _session: Arc<OpenSession>,
    functions: &'static Level23,
}

// SAFETY: statistics are asked for from any thread: an arena takes its own lock to tell them, as it does to give memory.
#[allow(unsafe_code)]
unsafe impl Sync for SessionArena {}

/// The arenas of a session on that device: of the processor's memory, and of the device's own. None where ONNX Runtime is
/// too old to say anything of them.
pub(super) fn of(runtime: &Runtime, session: &Arc<OpenSession>, device: Device) -> Vec<Arc<dyn observe::Arena>> {
    let Some(functions) = runtime.level_23() else { return Vec::new() };
    let devices = [Some(Device::Cpu), (device != Device::Cpu).then_some(device)];
    let arenas = devices.into_iter().flatten().filter_map(|device| SessionArena::of(functions, session, device).ok());
    arenas.map(|arena| Arc::new(arena) as Arc<dyn observe::Arena>).collect()
}

impl SessionArena {
    fn of(functions: &'static Level23, session: &Arc<OpenSession>, device: Device) -> Result<SessionArena, Fault> {
        let memory = memory(device)?;
        let allocator = Handle::make(functions.level_20.ReleaseAllocator, |out| {
            // SAFETY: session and description live for the length of the call; the session outlives its allocator.
            #[allow(unsafe_code)]
            unsafe {
                (functions.level_20.CreateAllocator)(session.as_ptr(), memory.as_ptr(), out)
            }
        })?;
        let device = match device {
            Device::TensorRt(number) => Device::Cuda(number),
            device => device,
        };
        Ok(SessionArena { device: device.to_string(), allocator, _session: session.clone(), functions })
    }
}

/// Which memory.
fn memory(device: Device) -> Result<Handle<sys::OrtMemoryInfo>, Fault> {
    let (kind, of) = (sys::OrtAllocatorType::OrtArenaAllocator, sys::OrtMemType::OrtMemTypeDefault);
    Handle::make(api().ReleaseMemoryInfo, |out| {
        // SAFETY: the name ends in NUL, and the object is stored where there is room for it.
        #[allow(unsafe_code)]
        unsafe {
            match device {
                Device::Cpu => (api().CreateCpuMemoryInfo)(kind, of, out),
                Device::Cuda(number) | Device::TensorRt(number) => {
                    (api().CreateMemoryInfo)(c"Cuda".as_ptr(), kind, number as c_int, of, out)
                }
            }
        }
    })
}

impl observe::Arena for SessionArena {
    fn device(&self) -> &str {
        &self.device
    }

    fn bytes(&self) -> Option<ArenaBytes> {
        let pairs = Handle::make(self.functions.release_key_value_pairs, |out| {
            // SAFETY: the allocator lives as long as this does, and the object is stored where there is room for it.
            #[allow(unsafe_code)]
            unsafe {
                (self.functions.allocator_get_stats)(self.allocator.as_ptr(), out)
            }
        });
        let pairs = pairs.ok()?;
        let number = |name: &CStr| {
            // SAFETY: the value, where there is one, ends in NUL and stays as long as the pairs.
            #[allow(unsafe_code)]
            let value = unsafe { text((self.functions.get_key_value)(pairs.as_ptr(), name.as_ptr())) };
            value.parse().ok()
        };
        Some(ArenaBytes { used: number(c"InUse")?, held: number(c"TotalAllocated")? })
    }
}

/// The table at that level, where the library has it.
///
/// # Safety
/// `base` is what the library gave, which is never closed.
#[allow(unsafe_code)]
pub(super) unsafe fn level_23(base: &sys::OrtApiBase, version: &str) -> Option<&'static Level23> {
    if !is_of_level(version, LEVEL) {
        return None;
    }
    // SAFETY: the function may be asked for any level, and gives a null pointer for one that it does not have; what it gives
    // is as long as that level's table, and stays.
    unsafe { (base.GetApi)(LEVEL).cast::<Level23>().as_ref() }
}
