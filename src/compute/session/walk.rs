//! A walk over a model file that finds every place outside it where tensor data is kept, and reads nothing else: the
//! weights themselves are skipped by seeking, so that a model of any size is walked in little memory.

use std::io::{self, BufRead, BufReader, Read, Seek};

/// How deep messages may nest. Protobuf's own limit, so that a deeper model could not be loaded either.
const DEEPEST: usize = 100;
/// The longest text that is read: the longest path of Linux.
const LONGEST_TEXT: u64 = 4096;

/// Why a walk ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalkError {
    /// The bytes are not those of a model.
    #[error("{what} at byte {at}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: u64,
    },
    /// The file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The external data of one tensor, as the model has it. Other keys (a checksum) are of no concern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ExternalData {
    pub(super) location: Option<String>,
    pub(super) offset: Option<String>,
    pub(super) length: Option<String>,
}

/// The messages of ONNX that lead to external data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Function,
    Training,
    SparseTensor,
    Tensor,
    /// `StringStringEntryProto`: a key and its value.
    Entry,
}

impl Message {
    /// The message in a field of this one, where it is one of these.
    fn field(self, number: u64) -> Option<Message> {
        use Message::*;
        match (self, number) {
            (Model, 7) | (Attribute, 6 | 11) | (Training, 1 | 2) => Some(Graph),
            (Model, 20) => Some(Training),
            (Model, 25) => Some(Function),
            (Graph, 1) | (Function, 7) => Some(Node),
            (Node, 5) | (Function, 11) => Some(Attribute),
            (Graph, 15) | (Attribute, 22 | 23) => Some(SparseTensor),
            (Graph, 5) | (Attribute, 5 | 10) | (SparseTensor, 1 | 2) => Some(Tensor),
            (Tensor, 13) => Some(Entry),
            _ => None,
        }
    }
}

/// Walks over a model of `length` bytes and returns the external data of each tensor that has any, in order.
pub(super) fn external_data(model: impl Read + Seek, length: u64) -> Result<Vec<ExternalData>, WalkError> {
    let walk = Walk {
        bytes: BufReader::with_capacity(64 << 10, model),
        at: 0,
        open: vec![(Message::Model, length)],
        found: Vec::new(),
        entry: Default::default(),
    };
    walk.run()
}

struct Walk<R> {
    bytes: BufReader<R>,
    /// Where in the file the next byte lies.
    at: u64,
    /// The messages around that byte, innermost last, each with where it ends.
    open: Vec<(Message, u64)>,
    found: Vec<ExternalData>,
    /// The key and the value read so far of the entry that is open.
    entry: (String, String),
}

impl<R: Read + Seek> Walk<R> {
    fn run(mut self) -> Result<Vec<ExternalData>, WalkError> {
        while let Some(&(message, end)) = self.open.last() {
            if self.at == end {
                self.close(message)?;
            } else {
                self.field(message, end)?;
            }
        }
        Ok(self.found)
    }

    /// Reads one field of `message`: enters it, keeps it or skips it.
    fn field(&mut self, message: Message, end: u64) -> Result<(), WalkError> {
        let tag = self.varint(end)?;
        match tag & 7 {
            0 => self.varint(end).map(drop),
            1 => self.skip(8, end),
            2 => {
                let length = self.varint(end)?;
                self.delimited(message, tag >> 3, length, end)
            }
            5 => self.skip(4, end),
            // Groups (3 and 4) were never part of ONNX.
            _ => Err(self.malformed("an unknown kind of field")),
        }
    }

    fn delimited(&mut self, message: Message, number: u64, length: u64, end: u64) -> Result<(), WalkError> {
        if length > end - self.at {
            return Err(self.malformed("a field that reaches past its end"));
        }
        match (message, number) {
            (Message::Entry, 1) => self.entry.0 = self.text(length)?,
            (Message::Entry, 2) => self.entry.1 = self.text(length)?,
            _ => match message.field(number) {
                Some(inner) => self.enter(inner, length)?,
                None => self.skip(length, end)?,
            },
        }
        Ok(())
    }

    fn enter(&mut self, inner: Message, length: u64) -> Result<(), WalkError> {
        if self.open.len() == DEEPEST {
            return Err(self.malformed("a message nested too deep"));
        }
        if inner == Message::Entry {
            self.entry = Default::default();
        } else if inner == Message::Tensor {
            // Filled by its entries; removed again where it has none.
            self.found.push(ExternalData::default());
        }
        self.open.push((inner, self.at + length));
        Ok(())
    }

    fn close(&mut self, message: Message) -> Result<(), WalkError> {
        self.open.pop();
        match message {
            Message::Tensor => {
                self.found.pop_if(|data| *data == ExternalData::default());
                Ok(())
            }
            Message::Entry => self.keep(),
            _ => Ok(()),
        }
    }

    /// Adds an entry to the tensor around it, which is the last one found: tensors hold no tensors.
    fn keep(&mut self) -> Result<(), WalkError> {
        let (key, value) = std::mem::take(&mut self.entry);
        let Some(data) = self.found.last_mut() else { return Ok(()) };
        let place = match key.as_str() {
            "location" => &mut data.location,
            "offset" => &mut data.offset,
            "length" => &mut data.length,
            _ => return Ok(()),
        };
        // Which of two would count is for ONNX Runtime to choose; what it opens is to be what was checked.
        match place.replace(value) {
            Some(_) => Err(self.malformed("external data with the same key twice")),
            None => Ok(()),
        }
    }

    fn malformed(&self, what: &'static str) -> WalkError {
        WalkError::Malformed { what, at: self.at }
    }

    fn varint(&mut self, end: u64) -> Result<u64, WalkError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = if self.at < end { self.bytes.fill_buf()?.first().copied() } else { None };
            let Some(byte) = byte else { return Err(self.malformed("a number that is cut off")) };
            self.bytes.consume(1);
            self.at += 1;
            // Bits beyond the 64th are dropped, as protobuf does.
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number that does not end"))
    }

    fn skip(&mut self, length: u64, end: u64) -> Result<(), WalkError> {
        let distance = i64::try_from(length).ok().filter(|_| length <= end - self.at);
        let distance = distance.ok_or_else(|| self.malformed("a field that reaches past its end"))?;
        self.bytes.seek_relative(distance)?;
        self.at += length;
        Ok(())
    }

    fn text(&mut self, length: u64) -> Result<String, WalkError> {
        if length > LONGEST_TEXT {
            return Err(self.malformed("an overlong text"));
        }
        let mut text = vec![0; length as usize];
        self.bytes.read_exact(&mut text)?;
        self.at += length;
        String::from_utf8(text).map_err(|_| self.malformed("a text that is not UTF-8"))
    }
}

#[cfg(test)]
pub(super) mod tests;
