//! A gRPC message as it is written: a prefix, small fields put together, large ones shared.

use bytes::{Bytes, BytesMut};

use super::protobuf::put_head;
use crate::tensor::Rope;

/// Bytes of a gRPC message's prefix: a flag and the length.
pub const PREFIX: usize = 5;

/// Parts up to this size are copied beside the small fields: a frame of their own would cost more than the copy.
const SMALL: usize = 8 * 1024;

/// Collects the parts of one message. Only large fields become parts of their own.
#[derive(Debug)]
pub(super) struct MessageWriter {
    /// The first part, once it is complete; the prefix in it is written last.
    first: Option<BytesMut>,
    rest: Rope,
    pending: BytesMut,
}

impl Default for MessageWriter {
    fn default() -> Self {
        MessageWriter::with_room_for(251)
    }
}

/// A message as it is, with a prefix.
pub(super) fn framed(message: &Bytes) -> Rope {
    let mut writer = MessageWriter::with_room_for(if message.len() <= SMALL { message.len() } else { 0 });
    writer.put(&Rope::from(message.clone()));
    writer.finish()
}

impl MessageWriter {
    /// A message whose small fields will take so many bytes.
    fn with_room_for(small: usize) -> MessageWriter {
        let mut pending = BytesMut::with_capacity(PREFIX + small);
        pending.resize(PREFIX, 0);
        MessageWriter { first: None, rest: Rope::default(), pending }
    }

    /// Where small fields are written.
    pub(super) fn head(&mut self) -> &mut BytesMut {
        &mut self.pending
    }

    /// Writes a length-delimited field, sharing its bytes where they are many.
    pub(super) fn put_field(&mut self, number: u32, value: &Rope) {
        put_head(&mut self.pending, number, value.len());
        self.put(value);
    }

    /// Writes bytes, sharing them part by part where they are many.
    pub(super) fn put(&mut self, value: &Rope) {
        let is_small = |part: &&Bytes| part.len() <= SMALL;
        self.pending.reserve(value.parts().iter().take_while(is_small).map(Bytes::len).sum());
        for part in value.parts() {
            if is_small(&part) {
                self.pending.extend_from_slice(part);
            } else {
                self.cut();
                self.rest.push(part.clone());
            }
        }
    }

    fn cut(&mut self) {
        let part = self.pending.split();
        match self.first {
            None => self.first = Some(part),
            Some(_) => self.rest.push(part.freeze()),
        }
    }

    /// The message with its prefix. One of 4 GiB or more, which gRPC cannot carry, says so by a length that no reader
    /// takes; outputs of that size do not come out of an engine that was fed through this door.
    pub(super) fn finish(mut self) -> Rope {
        self.cut();
        let mut first = self.first.unwrap_or_default();
        let len = u32::try_from(first.len() - PREFIX + self.rest.len()).unwrap_or(u32::MAX);
        first[1..PREFIX].copy_from_slice(&len.to_be_bytes());
        let mut message = Rope::from(first.freeze());
        message.append(self.rest);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_fields_make_one_part_and_large_ones_are_shared() {
        let (small, large) = (Rope::from(vec![1; 100]), Rope::from(vec![2; 100_000]));
        let mut writer = MessageWriter::default();
        writer.put_field(6, &small);
        writer.put_field(6, &large);
        writer.put_field(6, &small);
        let message = writer.finish();
        let [head, shared, tail] = message.parts() else { panic!("{} parts", message.parts().len()) };
        assert_eq!(shared.as_ptr(), large.parts()[0].as_ptr());
        assert_eq!(u32::from_be_bytes(head[1..5].try_into().unwrap()) as usize, message.len() - PREFIX);
        assert_eq!(tail.len(), 102);
    }

    #[test]
    fn a_rope_of_many_small_parts_goes_into_one_and_its_large_parts_are_shared() {
        let mut value = Rope::default();
        (0..32).for_each(|row| value.push(vec![row; 1000].into()));
        value.push(vec![33; 100_000].into());
        value.push(vec![34; 100_000].into());
        let mut writer = MessageWriter::default();
        writer.put_field(7, &value);
        let message = writer.finish();
        assert_eq!(message.parts().len(), 3);
        assert_eq!(message.parts()[2].as_ptr(), value.parts()[33].as_ptr());
        assert_eq!(message.slice(message.len() - value.len()..message.len()), value);
    }

    #[test]
    fn a_message_that_is_there_gets_a_prefix_and_is_shared_where_it_is_large() {
        for len in [0, 1, SMALL, SMALL + 1] {
            let message = Bytes::from(vec![7; len]);
            let framed = framed(&message);
            assert_eq!(framed.slice(PREFIX..framed.len()).to_bytes(), message);
            let prefix = [&[0][..], &(len as u32).to_be_bytes()].concat();
            assert_eq!(framed.slice(0..PREFIX).to_bytes(), prefix);
            let is_shared = framed.parts().iter().any(|part| part.as_ptr() == message.as_ptr());
            assert_eq!(is_shared, len > SMALL);
        }
    }
}
