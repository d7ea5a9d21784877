//! How a call says which model it wants.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use bytestring::ByteString;

use crate::error::{Error, Result};

/// The longest model name. Names travel in labels, folders and messages.
const MAX_NAME: usize = 128;

/// A model's name: a letter or digit, then letters, digits, `.`, `_` and `-`, 128 bytes at most. So it can be joined
/// to a folder and printed in a label without a second thought.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelName(ByteString);

impl ModelName {
    /// Checks a name that a peer or a file system gave.
    ///
    /// # Errors
    /// `Invalid`, saying what a name may be.
    pub fn new(name: ByteString) -> Result<ModelName> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let starts_well = name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if starts_well && name.len() <= MAX_NAME && name.bytes().all(plain) {
            return Ok(ModelName(name));
        }
        let shown: String = name.chars().take(40).collect();
        Err(Error::invalid(format!(
            "model name {shown:?} is not a letter or digit followed by at most 127 letters, digits, '.', '_' or '-'"
        )))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As shared bytes.
    pub fn to_bytes(&self) -> ByteString {
        self.0.clone()
    }
}

impl Borrow<str> for ModelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ModelName {
    type Err = Error;

    fn from_str(name: &str) -> Result<ModelName> {
        ModelName::new(name.into())
    }
}

/// A model's version: the name of its folder, a decimal number without sign, space or leading zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(u64);

impl Version {
    /// The version of that number; `None` over `i64::MAX`, which the protocols cannot carry.
    pub fn new(number: u64) -> Option<Version> {
        (number <= i64::MAX as u64).then_some(Version(number))
    }

    /// As the protocols' signed number.
    pub fn number(self) -> i64 {
        self.0 as i64
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Version> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let canonical = digits && (text == "0" || !text.starts_with('0'));
        let number = if canonical { text.parse().ok() } else { None };
        number.and_then(Version::new).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Error::invalid(format!("model version {shown:?} is not a decimal number"))
        })
    }
}

/// Which version of a model a call wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum VersionChoice {
    /// The highest that is ready.
    #[default]
    Latest,
    /// This one.
    Exact(Version),
    /// The one that the model's settings give this label.
    Label(ByteString),
}

/// The model that a call wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: ModelName,
    /// Which of its versions.
    pub version: VersionChoice,
}

impl Target {
    /// Reads the protocol's pair of strings, in which an empty version leaves the choice to the server.
    ///
    /// # Errors
    /// `Invalid` where one of them is not what it should be.
    pub fn parse(name: ByteString, version: &str) -> Result<Target> {
        let name = ModelName::new(name)?;
        let version = if version.is_empty() { VersionChoice::Latest } else { VersionChoice::Exact(version.parse()?) };
        Ok(Target { name, version })
    }
}

impl fmt::Display for Target {
    /// `"name"`, or `"name" version 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name.as_str())?;
        match &self.version {
            VersionChoice::Latest => Ok(()),
            VersionChoice::Exact(version) => write!(f, " version {version}"),
            VersionChoice::Label(label) => write!(f, " version label {label:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_folder_or_a_label_are_refused() {
        for name in ["", ".", "..", "a/b", "../x", "a\0b", "-a", "a b", "é", &"a".repeat(129)] {
            assert!(name.parse::<ModelName>().is_err(), "{name:?}");
        }
        for name in ["a", "digits", "resnet-50.v2_1", "0"] {
            assert!(name.parse::<ModelName>().is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_version_is_a_plain_decimal_number() {
        for text in ["", "1.0", "1 ", "+1", "-1", "01", "9223372036854775808", "99999999999999999999999"] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
        assert_eq!("0".parse::<Version>().unwrap().number(), 0);
        assert_eq!("9223372036854775807".parse::<Version>().unwrap().number(), i64::MAX);
    }
}
