//! Where a model runs, as settings write it.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A device: `cpu`, `cuda:0` or `tensorrt:0`, the number being the device's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU through CUDA.
    Cuda(u32),
    /// An NVIDIA GPU through TensorRT, which compiles what it can; CUDA runs the rest.
    TensorRt(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
            Device::TensorRt(number) => write!(f, "tensorrt:{number}"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Device> {
        let device = match text.split_once(':') {
            None if text == "cpu" => Some(Device::Cpu),
            Some(("cuda", digits)) => number(digits).map(Device::Cuda),
            Some(("tensorrt", digits)) => number(digits).map(Device::TensorRt),
            _ => None,
        };
        device.ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Error::invalid(format!(
                "device {shown:?} is none of \"cpu\", \"cuda:N\" and \"tensorrt:N\", such as \"cuda:0\""
            ))
        })
    }
}

/// A device's number: decimal digits alone, and few enough for the signed number that the providers take.
fn number(digits: &str) -> Option<u32> {
    let plain = digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_is_read_back_from_what_it_prints() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(7), Device::TensorRt(1)] {
            assert_eq!(device.to_string().parse::<Device>(), Ok(device));
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_allowed_forms() {
        for text in ["", "gpu", "CPU", "cpu:0", "cuda", "cuda:", "cuda:-1", "cuda:+1", "cuda:0x1", "tensorrt:99999"] {
            let error = text.parse::<Device>().unwrap_err().to_string();
            assert!(error.contains("none of \"cpu\", \"cuda:N\" and \"tensorrt:N\""), "{error}");
        }
    }
}
