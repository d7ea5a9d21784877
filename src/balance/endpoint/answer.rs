//! What came back for a call: the message put together, and the trailers.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use crate::wire::PREFIX;

/// What a backend answered, be it a message or a refusal: its trailers say which.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The message without its prefix; `None` where there was none.
    pub message: Option<Bytes>,
    /// The trailers, or the headers where there was nothing else.
    pub trailers: HeaderMap,
    /// When there was a connection for it.
    pub connected: Instant,
    /// When all of it was handed to that.
    pub sent: Instant,
}

/// Puts the one message of an answer together from frames cut anywhere.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// What came, while there is too little to tell the length; then what came of the message.
    parts: BytesMut,
    /// Bytes of the message, once that is known.
    len: Option<usize>,
    whole: Option<Bytes>,
}

impl Assembly {
    /// Takes one frame.
    ///
    /// # Errors
    /// A sentence where the message is compressed, larger than `limit`, or not the only one.
    pub(super) fn take(&mut self, mut frame: Bytes, limit: usize) -> Result<(), String> {
        if self.len.is_none() {
            // Nearly always the prefix comes in one frame, and often the message with it, which then is not copied.
            if self.parts.is_empty() && frame.len() >= PREFIX {
                let len = self.begin(frame.split_to(PREFIX).as_ref().try_into().expect("so many"), limit)?;
                if frame.len() >= len {
                    self.whole = Some(frame.split_to(len));
                    return if frame.is_empty() { Ok(()) } else { Err(more()) };
                }
                self.parts.reserve(len);
            } else {
                let missing = (PREFIX - self.parts.len()).min(frame.len());
                self.parts.extend_from_slice(&frame.split_to(missing));
                let Some(prefix) = self.parts.first_chunk::<PREFIX>().copied() else { return Ok(()) };
                self.parts.clear();
                let len = self.begin(prefix, limit)?;
                self.parts.reserve(len);
            }
        }
        let len = self.len.unwrap_or_default();
        if self.whole.is_some() || frame.len() > len - self.parts.len() {
            return if frame.has_remaining() { Err(more()) } else { Ok(()) };
        }
        self.parts.extend_from_slice(&frame);
        if self.parts.len() == len {
            self.whole = Some(self.parts.split().freeze());
        }
        Ok(())
    }

    fn begin(&mut self, [flag, len @ ..]: [u8; PREFIX], limit: usize) -> Result<usize, String> {
        let len = u32::from_be_bytes(len) as usize;
        if flag != 0 {
            return Err("its answer is compressed, which it was not asked for".to_owned());
        }
        if len > limit {
            return Err(format!("its answer of {len} bytes is over the limit of {limit} bytes"));
        }
        self.len = Some(len);
        Ok(len)
    }

    /// The message; `None` where no byte came.
    ///
    /// # Errors
    /// A sentence where it is not whole.
    pub(super) fn finish(self) -> Result<Option<Bytes>, String> {
        match (self.whole, self.len) {
            (Some(whole), _) => Ok(Some(whole)),
            (None, None) if self.parts.is_empty() => Ok(None),
            _ => Err("its answer ends inside the message".to_owned()),
        }
    }
}

fn more() -> String {
    "its answer has more than one message".to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
    }

    fn assembled(frames: &[&[u8]]) -> Result<Option<Bytes>, String> {
        let mut assembly = Assembly::default();
        frames.iter().try_for_each(|frame| assembly.take(Bytes::copy_from_slice(frame), 1000))?;
        assembly.finish()
    }

    proptest! {
        #[test]
        fn a_message_comes_out_whole_wherever_its_frames_were_cut(
            len in 0..900usize,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let message: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
            let bytes = framed(&message);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort();
            let frames: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(assembled(&frames).unwrap().unwrap(), message);
        }
    }

    #[test]
    fn an_answer_that_is_not_one_whole_message_is_told_as_such() {
        assert_eq!(assembled(&[]), Ok(None));
        let whole = framed(&[1, 2, 3]);
        assert_eq!(assembled(&[&whole[..4]]).unwrap_err(), "its answer ends inside the message");
        assert_eq!(assembled(&[&whole[..7]]).unwrap_err(), "its answer ends inside the message");
        let twice = [whole.clone(), whole.clone()].concat();
        assert_eq!(assembled(&[&twice]).unwrap_err(), "its answer has more than one message");
        assert_eq!(assembled(&[&whole, &whole]).unwrap_err(), "its answer has more than one message");
        assert_eq!(assembled(&[&whole[..3], &twice[3..]]).unwrap_err(), "its answer has more than one message");
        assert_eq!(assembled(&[&[1, 0, 0, 0, 0]]).unwrap_err(), "its answer is compressed, which it was not asked for");
        let error = assembled(&[&[0, 0, 1, 0, 0]]).unwrap_err();
        assert_eq!(error, "its answer of 65536 bytes is over the limit of 1000 bytes");
    }
}
