//! Names for the classes of an output, one a line, in a file beside the model.

use std::path::Path;
use std::sync::Arc;

use bytestring::ByteString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::folder::Folder;

/// The largest file of labels. The largest known has some hundred thousand short lines.
const LARGEST: u64 = 16 << 20;

/// The names of an output's classes: the first line names class 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    file: String,
    names: Arc<[ByteString]>,
}

impl Labels {
    /// Names that are still to be read from a file.
    pub(super) fn in_file(file: String) -> Labels {
        Labels { file, names: Arc::default() }
    }

    /// The name of a class, where the file has one.
    pub fn name(&self, class: usize) -> Option<&ByteString> {
        self.names.get(class)
    }

    /// Every name.
    pub fn names(&self) -> &[ByteString] {
        &self.names
    }

    /// The file, relative to the model's folder.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Reads the file, which lies beneath the model's folder.
    pub(super) fn read(&mut self, folder: &Folder) -> std::io::Result<()> {
        let text = ByteString::from(folder.read(Path::new(&self.file), LARGEST)?);
        self.names = text.lines().map(|line| text.slice_ref(line)).collect();
        Ok(())
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.file)
    }
}

impl<'de> Deserialize<'de> for Labels {
    /// Takes the file's name; it is read when the model's folder is known.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
        String::deserialize(deserializer).map(Labels::in_file)
    }
}
